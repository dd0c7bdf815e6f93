"""A lease: a small cache of single keys that keeps nothing from before an invalidation. Read this
first; `cache_aside.py` is made of it.

After `invalidate(key)` returns, no `get_or_load` that starts later returns a value loaded from
before it. A hit is one GET. A miss takes a lease, loads, and stores the value only if the lease is
still there. Invalidating deletes whatever lies under the key, lease included, so a reader that
loaded the old row finds its lease gone and stores nothing.

The lease is the single flight too: who meets somebody else's waits for the value with backoff and
jitter. Each lease says how long that is reasonable, which is a few times what loads have taken: its
holder may have died. Who has waited so long takes it over, and his own lease says twice as much, so
that a loader that is only slow costs a few loads more and no stampede. No clock is asked.

What weakens the guarantee: a failover to a replica that had not yet seen the delete, and a delete
that Redis never got (`invalidate` raises then), both bounded by the time that a value lives.

Sources: Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013, 3.2.1 (leases); rueidisaside
(Go).
"""

import hashlib
import logging
import random
import re
import secrets
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from redis.exceptions import RedisClusterException, RedisError

T = TypeVar("T")
PLAIN = re.compile(r"[a-z0-9-]{1,40}")
PATIENCE, LEAST_PATIENCE_MS = 4, 250
UNKNOWN_LOAD_MS = 250.0
SEEN_BYTES = 200
LEASE = (
    b"L|"  # in msgpack L is a whole number, 76, and nothing follows it: no value begins like this
)
REDIS_ERRORS = (RedisError, RedisClusterException)
SCRIPT = Path(__file__).with_suffix(".lua").read_text()
log = logging.getLogger(__name__)


class Busy(Exception):
    """A reader has waited long enough for somebody else's load."""


class LeasedCache(Generic[T]):
    """Values of one type under `demo:catalog:{<name>:<key>}`, each for `ttl_seconds`.

    `client` is a redis-py client of bytes. Values are msgpack, decoded strictly as `type`; what
    does not decode is a miss. None, for what is not there, is kept like any value. A lease lasts
    `lease_seconds`, and a reader waits `wait_seconds` at most.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        type: type[T],
        *,
        ttl_seconds: float,
        lease_seconds: float = 5.0,
        wait_seconds: float = 10.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if min(ttl_seconds, lease_seconds, wait_seconds) <= 0:
            raise ValueError("times have to be positive")
        self._client, self._name, self._sleep = client, name, sleep
        self._ttl_ms, self._wait_seconds = int(ttl_seconds * 1000), wait_seconds
        self._leases = Leases(client, lease_seconds)
        self._decoder = msgspec.msgpack.Decoder(type | None)

    def get_or_load(self, key: str, loader: Callable[[], T | None]) -> T | None:
        """The value under `key`, from Redis or from `loader`, which returns None when there is
        none. A hit is one round trip, a miss three.

        Without Redis the loader answers. What the loader raises is raised here. Raises Busy.
        """
        name, deadline = redis_key(self._name, key), time.monotonic() + self._wait_seconds
        waits = Waits()
        for pauses in count():
            try:
                raw = self._client.get(name)
                found, value = self._decode(name, raw)
                lease = None
                if raw is None:
                    lease = self._leases.take(name)
                elif waits.are_over(name, raw):
                    lease = self._leases.take_over(name, raw)
            except REDIS_ERRORS as error:
                log.warning("%s: reading around the cache: %s", name, type(error).__name__)
                break
            if found:
                return value
            if lease:
                return self._load_and_store(name, lease, loader)
            if time.monotonic() >= deadline:
                raise Busy(f"{name}: waited {self._wait_seconds} s for somebody else's load")
            waits.sleep(self._sleep, pause(pauses))
        return loader()

    def invalidate(self, key: str) -> bool:
        """Drops the value, and the lease of whoever is loading it; whether there was one. One round
        trip. Raises RedisError."""
        return bool(self._client.delete(redis_key(self._name, key)))

    def _decode(self, name: str, raw: bytes | None) -> tuple[bool, T | None]:
        if raw is None or raw.startswith(LEASE):
            return False, None
        try:
            return True, self._decoder.decode(raw)
        except msgspec.MsgspecError as error:
            log.warning("%s: dropped, it does not decode: %s", name, type(error).__name__)
            self._client.delete(name)
            return False, None

    def _load_and_store(self, name: str, lease: bytes, loader: Callable[[], T | None]) -> T | None:
        kept = b""  # If the loader raises: no value, but no lease either that others wait for.
        began = time.perf_counter()
        try:
            value = loader()
            self._leases.took((time.perf_counter() - began) * 1000)
            kept = msgspec.msgpack.encode(value)
        finally:
            try:
                self._leases.store(name, lease, kept, self._ttl_ms)
            except REDIS_ERRORS as error:
                log.warning("%s: not stored: %s", name, type(error).__name__)
        return value


class Leases:
    """The commands of a lease, one round trip each. Names are those of `redis_key`. All raise
    RedisError."""

    def __init__(self, client: Any, seconds: float) -> None:
        self._client, self.ms = client, int(seconds * 1000)
        self._load_ms = UNKNOWN_LOAD_MS
        self._compare_and_set = client.register_script(SCRIPT)

    def took(self, ms: float) -> None:
        """A load took so long; slow ones are remembered for a while."""
        self._load_ms = max(ms, 0.0 if self._load_ms == UNKNOWN_LOAD_MS else self._load_ms * 0.9)

    def new(self) -> bytes:
        """What lies in Redis while a reader loads."""
        patience_ms = max(LEAST_PATIENCE_MS, int(PATIENCE * self._load_ms))
        return lease_of(secrets.token_hex(8), min(patience_ms, self.ms))

    def take(self, name: str) -> bytes | None:
        """A lease where nothing lies, else None."""
        lease = self.new()
        return lease if self.ask(self._client, name, lease) is None else None

    def ask(self, commands: Any, name: str, lease: bytes) -> Any:
        """The same on a client or in a pipeline; the reply is None where the lease is taken."""
        return commands.set(name, lease, nx=True, get=True, px=self.ms)

    def take_over(self, name: str, seen: bytes) -> bytes | None:
        """A lease in the place of what was seen, if that still lies there, else None."""
        lease = self.new()
        if seen.startswith(LEASE):
            patience_ms = min(2 * (patience_of(seen) or self.ms), self.ms)
            lease = lease_of(secrets.token_hex(8), patience_ms)
        return lease if self.store(name, seen[:SEEN_BYTES], lease, self.ms) else None

    def store(self, name: str, lease: bytes, value: bytes, ms: int, *more: Any) -> int:
        """Puts a value that lives for `ms` in the place of a lease that is still there; an empty
        one gives the lease back. With two arguments more the value goes on with the time so many ms
        away, and the second. Redis' time in ms, 0 when the lease was gone."""
        done: int = self._compare_and_set(keys=[name], args=[lease, value, ms, *more])
        return done


class Waits:
    """How long one reader has waited for each lease that he met: the time that he slept while the
    same one lay there."""

    def __init__(self) -> None:
        self._slept_ms = 0.0
        self._met: dict[str, tuple[bytes, float]] = {}

    def sleep(self, sleep: Callable[[float], None], seconds: float) -> None:
        """Sleeps, by this function."""
        sleep(seconds)
        self._slept_ms += seconds * 1000

    def are_over(self, name: str, seen: bytes) -> bool:
        """Whether what lies there is a lease for which this reader has waited as long as it says."""
        if not seen.startswith(LEASE):
            return False
        met, since = self._met.get(name, (b"", 0.0))
        if met != seen:
            self._met[name] = seen, self._slept_ms
            return False
        patience_ms = patience_of(seen)
        return bool(patience_ms) and self._slept_ms - since >= patience_ms


def lease_of(token: str, patience_ms: int) -> bytes:
    """What lies in Redis while the holder of the token loads, and how long others wait for him."""
    return b"%b%b|%d|" % (LEASE, token.encode(), patience_ms)


def patience_of(lease: bytes) -> int:
    """How long others wait for the holder of a lease, in ms; 0 for one that does not say."""
    told = lease.split(b"|")[2:3]
    return int(told[0]) if told and told[0].isdigit() else 0


def pause(pauses: int) -> float:
    """Seconds to wait after so many: longer each time, a tenth at most, and by chance shorter, so
    that those who wait do not all come back at once."""
    return min(0.005 * 1.5 ** min(pauses, 8), 0.1) * random.uniform(0.5, 1.0)


@lru_cache(maxsize=4096)
def redis_key(name: str, key: str) -> str:
    """The key in Redis. What is not plain, whatever a visitor typed, is hashed."""
    if not PLAIN.fullmatch(key):
        key = "_" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:39]
    return f"demo:catalog:{{{name}:{key}}}"
