"""A small cache of single keys, with a lease for each load. Read this first; `cache_aside.py` is
built on it.

A `get_or_load` that starts after `invalidate(key)` has returned never returns a value from before
the invalidation. A hit takes one round trip, a GET. A miss takes a lease, loads the value, and
stores it only if the lease is still in Redis. An invalidation also deletes the lease, so a reader
that has loaded the old value stores nothing.

Unless a loader is slow, one reader at a time loads a value, and the others wait for it. They wait with
backoff and jitter. Each lease says how long to wait: a few times what earlier loads took. A reader
that has waited that long takes the lease over for twice the time, because its holder may have died.
If a loader is slow, a few more readers load the value, but not all of them. No clock is asked.

Two things weaken the guarantee, both only until the value's TTL has passed. A failover can promote
a replica that had not yet seen the delete. If the delete does not reach Redis, `invalidate` raises
an error.

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

from demo.client.contract import (
    PREFIX,
    RedisClient,
    beginning,
    checked,
    errors_of,
    plain,
    positive,
    text,
)

T = TypeVar("T")
PLAIN = re.compile(r"[a-z0-9-]{1,40}")
PATIENCE, LEAST_PATIENCE_MS = 4, 250
UNKNOWN_LOAD_MS = 250.0
SEEN_BYTES = 200
LEASE = (
    b"L|"  # in msgpack L is a whole number, 76, and nothing follows it: no value begins like this
)
SCRIPT = Path(__file__).with_suffix(".lua").read_text()
log = logging.getLogger(__name__)


class Busy(Exception):
    """A reader has waited long enough for somebody else's load."""


class LeasedCache(Generic[T]):
    """Values of one type under `<prefix>:catalog:{<name>:<key>}`, each for `ttl_seconds`.

    `client` is a client of redis-py or valkey-py that takes bytes. Values are msgpack, decoded
    strictly as `type`; what does not decode is a miss. `encode` and `decode` write and read them in
    another way. None, for what is not there, is kept like any value. A lease lasts `lease_seconds`,
    and a reader waits `wait_seconds` at most.
    """

    def __init__(
        self,
        client: RedisClient,
        name: str,
        type: type[T],
        *,
        ttl_seconds: float,
        lease_seconds: float = 5.0,
        wait_seconds: float = 10.0,
        prefix: str = PREFIX,
        encode: Callable[[T], bytes] | None = None,
        decode: Callable[[bytes], T] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        positive("lease_seconds", lease_seconds)
        self._ttl_ms = int(positive("ttl_seconds", ttl_seconds) * 1000)
        self._wait_seconds = positive("wait_seconds", wait_seconds)
        self._keys, self._sleep = Keys(prefix, name), sleep
        self._client = checked(client)
        self._leases = Leases(client, lease_seconds)
        self._encode, self._read = values(type, encode, decode)

    def get_or_load(self, key: str, loader: Callable[[], T | None]) -> T | None:
        """The value under `key`, from Redis or from `loader`, which returns None when there is
        none. A hit is one round trip, a miss three.

        Without Redis the loader answers. What the loader raises is raised here. Raises Busy.
        """
        name, deadline = self._keys.of(key), time.monotonic() + self._wait_seconds
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
            except self._leases.errors as error:
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
        """Drops the value, or the lease of the reader that is loading it. Returns whether there was
        one. One round trip. Raises RedisError."""
        return bool(self._client.delete(self._keys.of(key)))

    def _decode(self, name: str, raw: bytes | None) -> tuple[bool, T | None]:
        if raw is None or raw.startswith(LEASE):
            return False, None
        try:
            return True, self._read(raw)
        except Exception as error:  # whatever a reader of somebody's raises
            log.warning("%s: dropped, it does not decode: %s", name, type(error).__name__)
            self._client.delete(name)
            return False, None

    def _load_and_store(self, name: str, lease: bytes, loader: Callable[[], T | None]) -> T | None:
        kept = b""  # If the loader raises: no value, but no lease either that others wait for.
        began = time.perf_counter()
        try:
            value = loader()
            self._leases.took((time.perf_counter() - began) * 1000)
            kept = self._encode(value)
        finally:
            try:
                self._leases.store(name, lease, kept, self._ttl_ms)
            except self._leases.errors as error:
                log.warning("%s: not stored: %s", name, type(error).__name__)
        return value


class Leases:
    """The commands of a lease, one round trip each. Names are those of `Keys`. All raise
    `errors`."""

    def __init__(self, client: Any, seconds: float) -> None:
        self._client, self.ms = client, int(seconds * 1000)
        self.errors = errors_of(client).all
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
        try:
            return lease if self.ask(self._client, name, lease) is None else None
        except BaseException as error:
            if not isinstance(error, Exception):  # this reader is ended, and may have got it
                self.store(name, lease, b"", 0)
            raise

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
    """How long one reader has waited for each lease that it met: the time it slept while the same
    lease was there. `slept_ms` is what it slept in all."""

    def __init__(self) -> None:
        self.slept_ms = 0.0
        self._met: dict[str, tuple[bytes, float]] = {}

    def sleep(self, sleep: Callable[[float], None], seconds: float) -> None:
        """Sleeps, by this function."""
        sleep(seconds)
        self.slept(seconds)

    def slept(self, seconds: float) -> None:
        """It has waited so long."""
        self.slept_ms += seconds * 1000

    def are_over(self, name: str, seen: bytes) -> bool:
        """Whether what lies there is a lease for which this reader has waited as long as it says."""
        if not seen.startswith(LEASE):
            return False
        met, since = self._met.get(name, (b"", 0.0))
        if met != seen:
            self._met[name] = seen, self.slept_ms
            return False
        patience_ms = patience_of(seen)
        return bool(patience_ms) and self.slept_ms - since >= patience_ms


def lease_of(token: str, patience_ms: int) -> bytes:
    """What lies in Redis while the holder of the token loads, and how long others wait."""
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
def _redis_key(beginning: str, key: str) -> str:
    if not PLAIN.fullmatch(key):
        key = "_" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:39]
    return f"{beginning}{key}}}"


class Keys:
    """The keys of one cache. Raises TypeError or ValueError for a prefix or a name that is none."""

    def __init__(self, prefix: str, name: str) -> None:
        self.name = plain("name", name)
        self._beginning = f"{beginning(prefix, 'catalog')}{{{name}:"

    def of(self, key: str) -> str:
        """The key in Redis. What is not plain, whatever a visitor typed, is hashed. Raises TypeError
        for what is no text."""
        if not isinstance(key, str):
            text("key", key)
        return _redis_key(self._beginning, key)

    def version(self, group: str) -> str:
        """Where a group's version token lies."""
        return f"{self.of(group)}:version"


def redis_key(name: str, key: str, prefix: str = PREFIX) -> str:
    """The key in Redis."""
    return Keys(prefix, name).of(key)


def values(
    type: type[T],
    encode: Callable[[T], bytes] | None,
    decode: Callable[[bytes], T] | None,
) -> tuple[Callable[[T | None], bytes], Callable[[bytes], T | None]]:
    """How values are written and read, None included. Those that are written by a function of the
    caller's stand within msgpack, so that none looks like a lease. Raises TypeError for one of the
    two without the other."""
    if (encode is None) != (decode is None):
        raise TypeError("encode, decode: must be given both, or neither")
    if encode is None or decode is None:
        return msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(type | None).decode
    write, read = encode, decode
    inner = msgspec.msgpack.Decoder(bytes | None)

    def written(value: T | None) -> bytes:
        return msgspec.msgpack.encode(None if value is None else bytes(write(value)))

    def found(raw: bytes) -> T | None:
        held = inner.decode(raw)
        return None if held is None else read(held)

    return written, found
