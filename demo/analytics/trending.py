"""What is viewed most at the moment: a sorted set for each stretch of time. The top of an hour or a
day is the union of its sets, with their counts added up.

A stretch of time that is over is no longer in the union, so nothing has to be subtracted from a
count. The running stretch has just begun, so the hour is the last 55 to 60 minutes, the day the
last 22 to 24 hours. Each set keeps only its top members, at most `MOST`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.client.contract import PREFIX, RedisClient, beginning, checked

MOST = 2000
FIRST = beginning(PREFIX, "analytics")


@dataclass(frozen=True)
class Span:
    """So many stretches of `bucket_seconds`."""

    name: str
    bucket_seconds: int
    buckets: int

    def key(self, at: float, first: str = FIRST) -> str:
        """The sorted set of the stretch that holds this time; `first` is what keys begin with."""
        return f"{first}{{trending}}:{self.name}:{int(at) - int(at) % self.bucket_seconds}"


SPANS = {"hour": Span("hour", 300, 12), "day": Span("day", 7200, 12)}


@dataclass(frozen=True)
class Rising:
    """A member and how often it was counted."""

    member: str
    count: int


class Trending:
    """Trending members on a client of bytes."""

    def __init__(self, client: RedisClient, *, prefix: str = PREFIX) -> None:
        self._client, self._first = checked(client), beginning(prefix, "analytics")
        self._script = client.register_script(Path(__file__).with_suffix(".lua").read_text())

    def add(self, pipeline: Any, counts: Mapping[str, int], at: float) -> None:
        """Counts members at a time, as commands of the caller's pipeline."""
        for span in SPANS.values() if counts else ():
            key = span.key(at, self._first)
            for member, count in counts.items():
                pipeline.zincrby(key, count, member)
            pipeline.zremrangebyrank(key, 0, -MOST - 1)
            pipeline.expire(key, span.bucket_seconds * (span.buckets + 1))

    def top(self, span: Span, now: float, count: int = 10) -> tuple[Rising, ...]:
        """The most counted; of equals the last by name comes first. One round trip; raises
        RedisError."""
        stretches = [
            span.key(now - ago * span.bucket_seconds, self._first) for ago in range(span.buckets)
        ]
        reply = self._script(keys=[f"{self._first}{{trending}}:united", *stretches], args=[count])
        return tuple(Rising(reply[i].decode(), int(reply[i + 1])) for i in range(0, len(reply), 2))
