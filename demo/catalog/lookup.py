"""Look up many keys, in one round trip or in none.

Whether a value is stale is judged by this machine's clock, corrected by the time that scripts
return from Redis. Every entry has a TTL in Redis, so it expires even if this machine's clock is
wrong.

A reader may load a value again before its time is over. The longer a load takes and the less time a
value has left, the likelier a reader loads it early (XFetch). So one reader reloads a popular value
before all of them miss it.

Source: Vattani et al., "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015 (XFetch).
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from demo.catalog.entry import Cached, CacheStatus, Codec, Entry
from demo.catalog.lease import LEASE, Keys

if TYPE_CHECKING:
    from demo.catalog.near_cache import NearCache

T = TypeVar("T")
CLOCK_MS = 2000.0  # what two clocks may differ by that are said to agree


class Clock:
    """Redis' clock, as far as this machine knows: its own, `seconds`, and how far that one was
    ahead when a script last told."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds, self._ahead_ms = seconds, 0.0

    def heard(self, redis_ms: int) -> None:
        """What a script has returned: Redis' time in milliseconds, or 0 when it did nothing."""
        if redis_ms:
            self._ahead_ms = redis_ms - self._seconds() * 1000

    def left_ms(self, until_ms: float) -> float:
        """Milliseconds from now to a time of Redis'."""
        return until_ms - self._seconds() * 1000 - self._ahead_ms


class Seen(NamedTuple, Generic[T]):
    """What lay under a key, the tokens of its groups, and the entry if it is one and those are its
    tokens; `due` when there is none, or somebody has to load it again and nobody is at it."""

    raw: bytes | None
    versions: tuple[bytes | None, ...]
    entry: Entry[T] | None
    due: bool


class Lookup(Generic[T]):
    """The reading half of a cache with these keys."""

    def __init__(
        self,
        keys: Keys,
        codec: Codec[T],
        clock: Clock,
        near: "NearCache | None",
        *,
        ttl_seconds: float,
        lease_seconds: float,
        early: float,
    ) -> None:
        self._keys, self._codec, self._clock, self._near = keys, codec, clock, near
        self._ttl_seconds, self._early = ttl_seconds, early
        self._lease_ms = lease_seconds * 1000 + CLOCK_MS

    def read(
        self,
        wanted: Mapping[str, Sequence[str]],
        fetch: Callable[[list[str]], list[bytes | None]],
    ) -> dict[str, Seen[T]]:
        """What lies under keys of these groups, by one `fetch` of all. Raises what that raises."""
        near = self._near
        names = {key: _names(self._keys, key, tuple(groups)) for key, groups in wanted.items()}
        places = (
            {key: near.reserve(all_of[0], all_of[1:]) for key, all_of in names.items()}
            if near
            else {}
        )
        replies = iter(fetch([name for all_of in names.values() for name in all_of]))
        found = {}
        for key, all_of in names.items():
            raw, versions = next(replies), tuple([next(replies) for _ in all_of[1:]])
            entry = (
                None if raw is None or raw.startswith(LEASE) else self._codec.decode(raw, versions)
            )
            found[key] = Seen(raw, versions, entry, entry is None or self.is_due(entry))
            if near:
                hold = entry is not None and not entry.negative and self._is_fresh(entry)
                near.fill(places[key], entry if hold else None, entry.size if entry else 0)
        return found

    def near(self, key: str) -> Cached[T] | None:
        """What is fresh in this process' own memory."""
        assert self._near
        entry = self._near.get(self._keys.of(key))
        found = self.answer(entry, near=True) if entry else None
        return found if found and found.ttl_seconds > 0 else None

    def is_due(self, entry: Entry[T]) -> bool:
        """Whether somebody has to load it again, and nobody is at it."""
        if entry.negative:
            return False
        claimed = entry.claimed_until_ms  # 0 by nobody
        if claimed and 0 < self._clock.left_ms(claimed) <= self._lease_ms:
            return False
        early_ms = self._early * entry.load_ms * -math.log(1.0 - random.random())
        left_ms = self._clock.left_ms(entry.fresh_until_ms)
        # Longer than any is fresh: from before Redis' clock was set back, if not our own is behind,
        # which the next script tells.
        return left_ms <= early_ms or left_ms > self._ttl_seconds * 1000 + CLOCK_MS

    def answer(self, entry: Entry[T], *, waited: bool = False, near: bool = False) -> Cached[T]:
        """What a reader gets of an entry."""
        left = min(self._ttl_seconds, self._clock.left_ms(entry.fresh_until_ms) / 1000)
        status = (
            CacheStatus.NEGATIVE
            if entry.negative
            else CacheStatus.HIT
            if left > 0
            else CacheStatus.STALE
        )
        return Cached(entry.value, status, max(0.0, left), entry.load_ms, entry.size, waited, near)

    def _is_fresh(self, entry: Entry[T]) -> bool:
        return self._clock.left_ms(entry.fresh_until_ms) > 0


@lru_cache(maxsize=4096)
def _names(keys: Keys, key: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """Return a key and those of its groups' tokens, as Redis knows them."""
    return keys.of(key), *map(keys.version, groups)
