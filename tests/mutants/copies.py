"""A copy of the repository, in which a fault may stand without anybody else's seeing it."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers import REPOSITORY

LEFT_OUT = shutil.ignore_patterns(
    *(".git", ".venv", ".env", ".mutants", ".hypothesis", ".*_cache"),
    *("instance", "screenshots"),
)


@contextlib.contextmanager
def copied() -> Iterator[Path]:
    """With its bytecode, which goes by the times of the files. The name is short: sockets lie below
    it, and may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="mu-", ignore_cleanup_errors=True) as name:
        folder = Path(name) / "r"
        shutil.copytree(REPOSITORY, folder, ignore=LEFT_OUT, symlinks=True)
        yield folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    """For a process that works in the copy, and whose own files lie beside it."""
    beside = folder.parent / "t"
    beside.mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(beside), "PYTHONPATH": str(folder), **more}
