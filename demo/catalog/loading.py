"""Loading: what the holder of a claim does with it.

A loaded value is stored only if the reader's claim is still in Redis. If the loader fails, the
reader gives its lease back at once. If reloading a stale value fails, the reader gets the stale
value, and its claim expires by itself.

Source: RFC 5861 (stale if error).
"""

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from demo.catalog.claims import Claim, Claims
from demo.catalog.entry import Cached, CacheStatus, Codec
from demo.catalog.lease import Keys, Leases
from demo.catalog.lookup import Clock, Lookup
from demo.client.contract import positive

T = TypeVar("T")
Loader = Callable[[list[str]], Mapping[str, T | None]]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lives:
    """How long entries live: fresh for `ttl_seconds` less up to `jitter` of it, then stale for
    `stale_seconds`; that there is none for `negative_ttl_seconds`."""

    ttl_seconds: float
    stale_seconds: float
    negative_ttl_seconds: float
    jitter: float

    def __post_init__(self) -> None:
        positive("ttl_seconds", self.ttl_seconds)
        positive("negative_ttl_seconds", self.negative_ttl_seconds)
        if not 0 <= self.jitter < 1:
            raise ValueError("jitter: must be from 0 to below 1")
        if self.stale_seconds < 0:
            raise ValueError("stale_seconds: must be 0 or more")

    def of_one(self, *, negative: bool) -> tuple[float, float]:
        """The seconds that an entry will be fresh, and those that it will live."""
        if negative:
            return self.negative_ttl_seconds, self.negative_ttl_seconds
        fresh = self.ttl_seconds * (1 - random.uniform(0, self.jitter))
        return fresh, fresh + self.stale_seconds


class Loading(Generic[T]):
    """The writing half of a cache with these keys."""

    def __init__(
        self,
        keys: Keys,
        leases: Leases,
        claims: Claims[T],
        codec: Codec[T],
        lookup: Lookup[T],
        lives: Lives,
        clock: Clock,
    ) -> None:
        self._keys, self._name, self._leases, self._claims = keys, keys.name, leases, claims
        self._codec, self._lookup, self._lives, self._clock = codec, lookup, lives, clock

    def load_and_store(
        self, claims: Mapping[str, Claim[T]], loader: Loader[T]
    ) -> dict[str, Cached[T]]:
        """What one call of `loader` brings for the claimed keys. Each value to store is a round
        trip. What the loader raises is raised here, unless each of them has a stale value.

        Whatever ends this, a value that cannot be written included, no lease is left behind."""
        began, left = time.perf_counter(), dict(claims)
        try:
            try:
                values = loader(list(claims))
            except Exception as error:
                stale = {key: self._lookup.answer(c.old) for key, c in claims.items() if c.old}
                if len(stale) < len(claims):
                    raise
                # The claims are left to run out: the next attempt is a lease time away.
                kind = type(error).__name__
                log.warning("%s: served stale, the loader failed: %s", self._name, kind)
                return stale
            load_ms = (time.perf_counter() - began) * 1000
            self._leases.took(load_ms)
            answers = {}
            for key, claim in claims.items():
                answers[key] = self._store_and_tell(key, claim, values.get(key), load_ms)
                del left[key]
            return answers
        except BaseException:
            for key, claim in left.items():
                if claim.old is None:
                    self._claims.give_back(key, claim.begins)
            raise

    def load_only(self, keys: list[str], loader: Loader[T]) -> dict[str, Cached[T]]:
        """What one call of `loader` brings, without a claim: nothing is stored."""
        began = time.perf_counter()
        values = loader(keys)
        load_ms = (time.perf_counter() - began) * 1000
        return {key: Cached(values.get(key), CacheStatus.BYPASS, 0.0, load_ms) for key in keys}

    def store(
        self, key: str, claim: Claim[T], value: T | None, load_ms: float
    ) -> tuple[int, float]:
        """The entry's size and the seconds that it will be fresh, 0 when the claim was gone and
        nothing is stored. One round trip. Raises RedisError."""
        fresh, life = self._lives.of_one(negative=value is None)
        head, tail = self._codec.encode(value, load_ms, claim.versions)
        name, fresh_ms, life_ms = self._keys.of(key), int(fresh * 1000), int(life * 1000)
        now_ms = self._leases.store(name, claim.begins, head, life_ms, fresh_ms, tail)
        self._clock.heard(now_ms)
        return len(head) + len("1700000000000") + len(tail), fresh if now_ms else 0.0

    def _store_and_tell(
        self, key: str, claim: Claim[T], value: T | None, load_ms: float
    ) -> Cached[T]:
        status = CacheStatus.EXPIRED if claim.old else CacheStatus.MISS
        try:
            size, fresh_seconds = self.store(key, claim, value, load_ms)
        except self._leases.errors as error:
            log.warning("%s: not stored: %s", self._name, type(error).__name__)
            self._claims.leave(key, claim.begins)
            return Cached(value, CacheStatus.BYPASS, 0.0, load_ms)
        return Cached(value, status, fresh_seconds, load_ms, size)
