"""The files that workers count in: those of dead workers become one, as each scrape reads them all.

A scrape must see a worker's figures once, in its own file or in the common one. So it takes a
shared lock of the folder. Folding takes it exclusively.
"""

import contextlib
import os
from pathlib import Path
from typing import IO, Any

from prometheus_client import mmap_dict

from demo.client.folders import lock

KINDS = ("counter", "histogram")
Figures: Any = mmap_dict.MmapedDict


def reading(folder: Path) -> IO[bytes] | None:
    """Holds the folder as it is until what is returned is closed."""
    return lock(folder / "fold.lock", exclusive=False)


def fold(folder: Path) -> None:
    """Adds what dead processes have counted to the common files, and removes theirs. Waits for
    nobody: what cannot be done while somebody reads is done the next time."""
    held = lock(folder / "fold.lock", exclusive=True, wait=False)
    if held is None:
        return
    with held:
        for kind in KINDS:
            dead = [
                path
                for path in folder.glob(f"{kind}_*.db")
                if _is_dead(path.stem.rpartition("_")[2])
            ]
            if not dead:
                continue
            with contextlib.closing(Figures(str(folder / f"{kind}_folded.db"))) as common:
                for path in dead:
                    for key, value, timestamp, _ in list(
                        Figures.read_all_values_from_file(str(path))
                    ):  # all or none
                        common.write_value(key, common.read_value(key)[0] + value, timestamp)
                    path.unlink()


def _is_dead(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError):
        pass
    return False
