"""Adding in place: under gunicorn a value of prometheus_client's is eight bytes of a file that lies
mapped in memory.

Its own way of adding packs a value and its time, and copies both into the file, for more than the
answer costs that is counted. Adding to the eight bytes themselves has the same effect. A reader of
the file sees it at once, even if the process is killed in the next moment. The place is looked up
once, and again after a fork, because each process has files of its own. This leans on names that
prometheus_client keeps to itself, so its tests force growth, forks and threads.
"""

import mmap
import os
import threading
from typing import Any

from prometheus_client import values

_lock = threading.Lock()
_maps: dict[tuple[str, int], Any] = {}  # of this process: a new one after a fork


def in_place() -> None:
    """Metrics that are made from now on add in place, where several processes count. Without those a
    value is a number in this process, and stays one."""
    if values.ValueClass._multiprocess:
        values.ValueClass = _placed(values.ValueClass)


def _placed(mapped: Any) -> Any:
    class Placed(mapped):  # type: ignore[misc]
        """A value of a file, which tells where in it."""

        _found_in: Any = None

        def inc(self, amount: float) -> None:
            if self._found_in is not _maps:
                self._find()
            with _lock:
                self._cells[self._at] += amount

        def get(self) -> float:
            if self._found_in is not _maps:
                self._find()
            return float(self._cells[self._at])

        def _find(self) -> None:
            super().get()  # which takes another file after a fork
            file = self._file
            with _lock:
                at = file._positions[self._key]
                place = file._fname, file._capacity
                if (
                    place not in _maps
                ):  # the file has grown; what was mapped before stays where it is
                    whole = mmap.mmap(file._f.fileno(), file._capacity)
                    _maps[place] = memoryview(whole).cast("d")
                self._cells, self._at = _maps[place], at // 8
            self._found_in = _maps

    return Placed


def _begin_anew() -> None:
    global _maps
    _maps = {}


os.register_at_fork(after_in_child=_begin_anew)
