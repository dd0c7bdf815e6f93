"""A collector of views: it gathers them in the process, and writes them once a second and at the
end, in one pipeline. No request waits for the collector.

A process that is killed loses the views since its last write, about a second of them. While Redis
is away, gathered views are dropped. Dropped views are counted in the minute they belong to and
reported when Redis is back. So the missing number is known. If Redis refuses part of a pipeline,
only the refused views are dropped. A write is never tried twice, because it may have arrived. Views
whose answer is lost count as dropped, and drops whose answer is lost are not reported again.
"""

import atexit
import contextvars
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from demo.analytics import salts
from demo.analytics.active_days import ActiveDays
from demo.analytics.batch import Batch
from demo.analytics.counters import RESOLUTIONS, Counters
from demo.analytics.presence import Presence
from demo.analytics.salts import Salts
from demo.analytics.trending import Trending
from demo.analytics.unique_visitors import UniqueVisitors
from demo.client.contract import PREFIX, RedisClient, checked, errors_of, positive

DROPPED = "(dropped)"
CLOCK_SECONDS = 60.0
ROLL_UP_SECONDS = 600.0
MAX_MINUTES = 120
log = logging.getLogger(__name__)


class Collector:
    """`note` costs no round trip and starts the writer, a thread, in the process that serves.
    `told` hears how many views were dropped. `refused_by` is the last error by which some were."""

    def __init__(
        self,
        client: RedisClient,
        told: Callable[[int], None] = lambda _: None,
        *,
        interval_seconds: float = 1.0,
        prefix: str = PREFIX,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client, self._told, self._clock = checked(client), told, clock
        self._errors = errors_of(client)
        self.refused_by: Exception | None = None
        self._interval_seconds = positive("interval_seconds", interval_seconds)
        self._salts = Salts(client, prefix=prefix)
        self.counters = Counters(client, prefix=prefix)
        self.uniques = UniqueVisitors(client, prefix=prefix)
        self.presence, self.active, self.trending = (
            Presence(client, prefix=prefix),
            ActiveDays(client, prefix=prefix),
            Trending(client, prefix=prefix),
        )
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._batch = Batch()
        self._untold: Counter[tuple[str, int]] = Counter()  # by resolution and minute
        self._ahead_seconds, self._asked_at, self._rolled_up_at = 0.0, float("-inf"), float("-inf")
        self._some, self._told_writer = threading.Event(), False
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def now(self) -> float:
        """Seconds since 1970 by Redis' clock, as far as it is known here."""
        return self._clock() + self._ahead_seconds

    def note(self, name: str, visitor: str | None = None, product: str | None = None) -> None:
        """One view, perhaps of `product`, by `visitor` where counting is permitted."""
        if self._pid != os.getpid():
            self._start()
        with self._lock:
            self._batch.note(name, visitor, product)
        if not self._told_writer:  # the writer forgets it before it looks, so no view is left alone
            self._told_writer = True
            self._some.set()

    def flush(self) -> bool:
        """Writes what is gathered; whether Redis took it."""
        with self._writing:
            with self._lock:
                batch, self._batch = self._batch, Batch()
            if batch.left_out:
                self._drop(dict.fromkeys(RESOLUTIONS, batch.left_out))
            if not batch.size and not self._untold:
                return True
            try:
                self._learn_the_time()
                refused = self.write(batch, self._untold)
            except self._errors.all as error:
                log.debug("analytics: %d views dropped: %s", batch.size, type(error).__name__)
                self._drop(dict.fromkeys(RESOLUTIONS, batch.size))
                return False
            self._drop(refused)
            self._roll_up()
            return not refused

    def write(self, batch: Batch, untold: Counter[tuple[str, int]] | None = None) -> Counter[str]:
        """One pipeline with all of a batch; the views that Redis refused, by resolution. The drops
        of `untold` are told along and taken out of it as they are sent; what is refused of them
        comes back. Raises RedisError."""
        at = self.now()
        today = datetime.fromtimestamp(at, UTC).date()
        by_day = self._hashed(batch, salts.day(today))
        by_month = self._hashed(batch, salts.month(today))
        pipeline = self._client.pipeline(transaction=False)
        added = self.counters.incr(pipeline, batch.views, at)
        told: list[tuple[tuple[str, int], int]] = []
        for key, count in untold.items() if untold else ():
            resolution, minute = key
            told += [
                (key, share)
                for _, share in self.counters.incr(
                    pipeline, {DROPPED: count}, minute, (resolution,)
                )
            ]
        self.presence.add(pipeline, by_month, at)
        self.active.add(pipeline, by_month, today)
        self.trending.add(pipeline, batch.products, at)
        self.uniques.add(pipeline, by_month, by_day, today)
        if untold:
            untold.clear()
        replies = pipeline.execute(raise_on_error=False)
        refused: Counter[str] = Counter()
        for (resolution, count), reply in zip(added, replies, strict=False):
            if count and isinstance(reply, Exception):
                refused[resolution] += count
                self.refused_by = reply
        for (key, count), reply in zip(told, replies[len(added) :], strict=False):
            # A reply that was lost, from one server of a cluster, may have counted.
            uncounted = isinstance(reply, self._errors.response) or getattr(reply, "unsent", False)
            if count and untold is not None and uncounted:
                untold[key] += count
        if not isinstance(replies[-1], Exception):
            self.uniques.learn(replies[-1], today)
        return refused

    def close(self) -> None:
        """Ends the writer and writes what is left."""
        self._closed.set()
        self._some.set()
        atexit.unregister(self.close)
        if self._thread and self._pid == os.getpid():
            self._thread.join()
        self.flush()

    def _hashed(self, batch: Batch, period: str) -> list[str]:
        if not batch.visitors:
            return []
        salt = self._salts.of(period)
        return [salts.hashed(visitor, salt) for visitor in batch.visitors]

    def _drop(self, counts: Mapping[str, int]) -> None:
        """So many views are missing, by resolution."""
        if not any(counts.values()):
            return
        for resolution, count in counts.items():
            minute = int(self.now()) // 60 * 60
            minutes = [known for name, known in self._untold if name == resolution]
            if len(minutes) >= MAX_MINUTES and minute not in minutes:
                minute = max(minutes)
            self._untold[resolution, minute] += count
        self._told(max(counts.values()))

    def _learn_the_time(self) -> None:
        """Now and then, and whether the salts are still the same; before drops are told too, which
        are sent once: that Redis is away has to be known before."""
        due = time.monotonic() - self._asked_at > CLOCK_SECONDS
        if due or self._untold:
            seconds, micros = self._client.time()
        if due:
            self._ahead_seconds = seconds + micros / 1e6 - self._clock()
            self._asked_at = time.monotonic()
            self._salts.forget()

    def _roll_up(self) -> None:
        if time.monotonic() - self._rolled_up_at > ROLL_UP_SECONDS:
            self._rolled_up_at = time.monotonic()
            try:
                self.uniques.roll_up(datetime.fromtimestamp(self.now(), UTC).date())
            except self._errors.all as error:
                log.debug("analytics: not rolled up: %s", type(error).__name__)

    def _start(self) -> None:
        with self._lock:
            if self._pid == os.getpid() or self._closed.is_set():
                return
            self._pid, self._batch = os.getpid(), Batch()
            self._some, self._told_writer = threading.Event(), False
            nobody = contextvars.Context()  # not that of the request which happens to come first
            self._thread = threading.Thread(
                target=nobody.run, args=(self._run,), name="analytics", daemon=True
            )
            self._thread.start()
            atexit.register(self.close)

    def _run(self) -> None:
        closed = self._closed
        # Looked at first: a `close` as this thread wakes has its `_some` cleared here.
        while not closed.is_set() and self._some.wait() and not closed.wait(self._interval_seconds):
            # In this order: the other way round, a view between the two would be the last to wake it.
            self._some.clear()
            self._told_writer = False
            self.flush()
            if self._untold:  # they are told along as soon as Redis is there
                self._some.set()
