"""What the last miss of a page has cost, so that a hit can show it beside its own: each process
remembers its own."""

import threading
import time
from dataclasses import dataclass

from demo.observe.trace import Trace


@dataclass(frozen=True)
class Miss:
    """When, in seconds of the monotonic clock, and what it took; times in milliseconds. `renewed`: it
    was loaded again since, by another process or beside a stale answer."""

    at: float
    round_trips: int
    visits: int
    database_ms: float
    total_ms: float
    renewed: bool = False

    @property
    def seconds_ago(self) -> float:
        """Seconds since."""
        return time.monotonic() - self.at


class Misses:
    """The last miss of each of at most so many pages; the oldest goes first."""

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._last: dict[str, Miss] = {}
        self._lock = threading.Lock()

    def note(self, page: str, trace: Trace) -> None:
        """This page was missed just now."""
        miss = Miss(
            time.monotonic(), trace.round_trips, trace.visits, trace.database_ms, trace.total_ms()
        )
        with self._lock:
            self._last.pop(page, None)
            self._last[page] = miss
            if len(self._last) > self._most:
                del self._last[next(iter(self._last))]

    def of(self, page: str) -> Miss | None:
        """The last one of a page, if it is remembered."""
        return self._last.get(page)
