"""A few minutes of history on a fresh start, so that a chart has something to show. They are
made-up views under a separate name, which no figure of real views includes."""

import time
from collections.abc import Callable
from typing import Any

from demo.analytics.counters import RESOLUTIONS, Counters

SAMPLE = "(sample)"
MINUTES = (7, 12, 9, 15, 22, 18, 26, 21, 17, 11)  # the last one is the latest
AGAIN_SECONDS = 3600.0
MINUTE = RESOLUTIONS["minute"]


class SampleHistory:
    """`client` is a redis-py client of bytes, `clock` tells the seconds since 1970."""

    def __init__(
        self, client: Any, *, wanted: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._client, self._wanted, self._clock = client, wanted, clock
        self._counters, self._done = Counters(client), False

    def step(self) -> float:
        """On its first call, writes the history where the last hour is empty except for the running
        minute, or removes it where it is not wanted. With many processes it still counts once.
        Raises RedisError."""
        now = self._clock()
        if self._done:
            return AGAIN_SECONDS
        if not self._wanted:
            self._take_away(now)
        elif not any(
            any(counts[:-2]) for counts in self._counters.series(MINUTE, now).counts.values()
        ):
            self._write(now)
        self._done = True
        return AGAIN_SECONDS

    def _write(self, now: float) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for ago, views in enumerate(reversed(MINUTES), 1):
            at = int(now) - 60 * ago
            field = f"{at % MINUTE.hash_seconds // MINUTE.bucket_seconds}:{SAMPLE}"
            pipeline.hsetnx(MINUTE.key(at), field, views)
            pipeline.expire(MINUTE.key(at), MINUTE.kept_seconds + MINUTE.hash_seconds)
        pipeline.execute()

    def _take_away(self, now: float) -> None:
        """What may be left of it: of as many hours as a minute is kept."""
        pipeline = self._client.pipeline(transaction=False)
        fields = [f"{bucket}:{SAMPLE}" for bucket in range(60)]
        for hours in range(MINUTE.kept_seconds // 3600 + 1):
            pipeline.hdel(MINUTE.key(int(now) - 3600 * hours), *fields)
        pipeline.execute()
