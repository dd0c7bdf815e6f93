"""DatabaseVisits to the database of this process: how long they took, and whether the last one reached it."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

from sqlalchemy.exc import OperationalError, TimeoutError

from demo.observe.redis_sums import bucket_of

AWAY = (OperationalError, TimeoutError)


class DatabaseVisits:
    """Listens to a database. What a visitor has made of it for himself alone, which `chosen` tells,
    counts for nobody."""

    def __init__(self, chosen: Callable[[], bool]) -> None:
        self._chosen, self._lock = chosen, threading.Lock()
        self._times: Counter[int] = Counter()
        self.away = False  # whether the last visit did not reach it

    def after_visit(self, _: str, began: float) -> None:
        """One visit is over, well or not."""
        if self._chosen():
            return
        self.away = isinstance(sys.exc_info()[1], AWAY)
        with self._lock:
            self._times[bucket_of(time.perf_counter() - began)] += 1

    def take(self) -> dict[int, int]:
        """By bucket of time, since this was asked last."""
        with self._lock:
            times, self._times = self._times, Counter()
        return dict(times)
