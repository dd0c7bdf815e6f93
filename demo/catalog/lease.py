"""A lease: a small cache of single keys that keeps nothing from before an invalidation. Read this
first; `cache_aside.py` is made of it.

After `invalidate(key)` returns, no `get_or_load` that starts later returns a value loaded from
before it. A hit is one GET. A miss takes a lease, loads, and stores the value only if the lease is
still there. Invalidating deletes whatever lies under the key, lease included, so a reader that
loaded the old row finds its lease gone and stores nothing.

The lease is the single flight too: who meets somebody else's waits for the value with backoff and
jitter, and takes over when the lease runs out, so a slow loader costs one more load per lease time
at most.

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
from itertools import count
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from redis.exceptions import RedisClusterException, RedisError

T = TypeVar("T")
PLAIN = re.compile(r"[a-z0-9-]{1,40}")
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
        for pauses in count():
            try:
                raw = self._client.get(name)
                found, value = self._decode(name, raw)
                lease = self._leases.take(name) if raw is None else None
            except REDIS_ERRORS as error:
                log.warning("%s: reading around the cache: %s", name, type(error).__name__)
                break
            if found:
                return value
            if lease:
                return self._load_and_store(name, lease, loader)
            if time.monotonic() >= deadline:
                raise Busy(f"{name}: waited {self._wait_seconds} s for somebody else's load")
            self._sleep(pause(pauses))
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
        try:
            value = loader()
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
        self._compare_and_set = client.register_script(SCRIPT)

    def take(self, name: str) -> bytes | None:
        """A lease where nothing lies, else None."""
        lease = lease_of(secrets.token_hex(8))
        return lease if self.ask(self._client, name, lease) is None else None

    def ask(self, commands: Any, name: str, lease: bytes) -> Any:
        """The same on a client or in a pipeline; the reply is None where the lease is taken."""
        return commands.set(name, lease, nx=True, get=True, px=self.ms)

    def store(self, name: str, lease: bytes, value: bytes, ms: int, *more: Any) -> int:
        """Puts a value that lives for `ms` in the place of a lease that is still there; an empty
        one gives the lease back. With two arguments more the value goes on with the time so many ms
        away, and the second. Redis' time in ms, 0 when the lease was gone."""
        done: int = self._compare_and_set(keys=[name], args=[lease, value, ms, *more])
        return done


def lease_of(token: str) -> bytes:
    """What lies in Redis while the holder of the token loads."""
    return b"%b%b|" % (LEASE, token.encode())


def pause(pauses: int) -> float:
    """Seconds to wait after so many: longer each time, a tenth at most, and by chance shorter, so
    that those who wait do not all come back at once."""
    return min(0.005 * 1.5 ** min(pauses, 8), 0.1) * random.uniform(0.5, 1.0)


def redis_key(name: str, key: str) -> str:
    """The key in Redis. What is not plain, whatever a visitor typed, is hashed."""
    if not PLAIN.fullmatch(key):
        key = "_" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:39]
    return f"demo:catalog:{{{name}:{key}}}"
