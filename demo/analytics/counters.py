"""Counts by name, per minute, hour and day. Each view is counted for its minute, hour and day, and
the finer counts expire sooner.

A hash holds the buckets of one stretch of time, with a field for each bucket and name. So a chart
takes two HGETALL, and hours do not have to be added up from minutes. Each bucket of a chart has
exactly the views that were counted in its time. Counted names come from the program, never from a
visitor, so a hash stays bounded. Times are seconds since 1970 by Redis' clock, handed in.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from demo.client.contract import PREFIX, RedisClient, beginning, checked

FIRST = beginning(PREFIX, "analytics")


@dataclass(frozen=True)
class Resolution:
    """Buckets of `bucket_seconds`, so many of them in a hash, which expires `kept_seconds` after
    its last write."""

    name: str
    bucket_seconds: int
    hash_seconds: int
    kept_seconds: int
    shown: int

    def key(self, at: int, first: str = FIRST) -> str:
        """The hash that holds the bucket of this time; `first` is what keys begin with."""
        return f"{first}{{views}}:{self.name}:{at - at % self.hash_seconds}"


RESOLUTIONS = {
    "minute": Resolution("minute", 60, 3600, 26 * 3600, 60),
    "hour": Resolution("hour", 3600, 86_400, 35 * 86_400, 48),
    "day": Resolution("day", 86_400, 30 * 86_400, 400 * 86_400, 30),
}


@dataclass(frozen=True)
class Series:
    """`counts[name][i]` is what was counted in the bucket that begins at `starts[i]`, the last one
    of which is not over."""

    starts: tuple[int, ...]
    counts: Mapping[str, tuple[int, ...]]

    def sum(self, name: str) -> int:
        """All of one name."""
        return sum(self.counts.get(name, ()))


class Counters:
    """Counters on a client of bytes."""

    def __init__(self, client: RedisClient, *, prefix: str = PREFIX) -> None:
        self._client, self._first = checked(client), beginning(prefix, "analytics")

    def incr(
        self,
        pipeline: Any,
        counts: Mapping[str, int],
        at: float,
        resolutions: Iterable[str] = RESOLUTIONS,
    ) -> list[tuple[str, int]]:
        """Adds to the buckets of a time, as commands of the caller's pipeline; tells of each of
        them in which resolution it counts how much: any may be refused by itself."""
        added = []
        for resolution in map(RESOLUTIONS.__getitem__, resolutions):
            key = resolution.key(int(at), self._first)
            bucket = int(at) % resolution.hash_seconds // resolution.bucket_seconds
            for name, count in counts.items():
                pipeline.hincrby(key, f"{bucket}:{name}", count)
                added.append((resolution.name, count))
            if counts:
                pipeline.expire(key, resolution.kept_seconds + resolution.hash_seconds)
                added.append((resolution.name, 0))
        return added

    def series(self, resolution: Resolution, now: float, buckets: int | None = None) -> Series:
        """The last buckets, the running one included. One round trip, mostly of two hashes; raises
        RedisError."""
        count, size = buckets or resolution.shown, resolution.bucket_seconds
        last = int(now) - int(now) % size
        starts = tuple(range(last - (count - 1) * size, last + 1, size))
        hashes = sorted({start - start % resolution.hash_seconds for start in starts})
        pipeline = self._client.pipeline(transaction=False)
        for begin in hashes:
            pipeline.hgetall(resolution.key(begin, self._first))
        found: defaultdict[str, list[int]] = defaultdict(lambda: [0] * count)
        for begin, fields in zip(hashes, pipeline.execute(), strict=True):
            for field, value in fields.items():
                bucket, _, name = field.decode().partition(":")
                place = (begin + int(bucket) * size - starts[0]) // size
                if 0 <= place < count:
                    found[name][place] = int(value)
        return Series(
            starts, {name: tuple(values) for name, values in found.items() if any(values)}
        )
