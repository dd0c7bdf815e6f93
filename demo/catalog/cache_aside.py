"""Cache-aside with a lease: after `invalidate(key)` returns, no `get_or_load` that starts later returns a value that was
loaded before it.

A hit is one GET. A miss takes a lease, loads, and stores the value only if the lease is still there: GET, SET NX and one
script. Invalidating deletes whatever lies under the key, lease included, so a reader that loaded the old row finds its
lease gone and stores nothing. The lease is the single flight too: who meets somebody else's waits for the value with
backoff and jitter, and takes over when the lease runs out, so a slow loader costs one more load per lease time at most.

Groups (every list page of a category, say) carry a version token: entries hold the token that stood when their load
began, `invalidate_group` sets a new one, and an entry with another token is a miss. The token outlives every entry that
was stored before it.

What weakens the guarantee: a failover to a replica that had not yet seen the delete, or a delete that Redis never got
(`invalidate` raises then: an outbox delivers it later), or a server that evicts a group's token (noeviction does not).
The TTL bounds all three.

Sources: Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013, section 3.2.1 (leases); rueidisaside (Go).
"""

import hashlib
import logging
import random
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from redis.exceptions import RedisClusterException, RedisError, ResponseError

T = TypeVar("T")
PLAIN = re.compile(r"(?!version$)[a-z0-9-]{1,40}")  # a group's token is called version
REDIS_ERRORS = (RedisError, RedisClusterException)
log = logging.getLogger(__name__)


class CacheStatus(StrEnum):
    """Where a value came from. NEGATIVE: the cache knows that there is none. BYPASS: Redis was not used."""

    HIT = "HIT"
    MISS = "MISS"
    NEGATIVE = "NEGATIVE"
    BYPASS = "BYPASS"


@dataclass(frozen=True)
class Cached(Generic[T]):
    """A value, None when there is none, and how it came.

    `ttl_seconds` is what is left of the entry's life by this machine's clock (for showing; Redis' own clock expires
    it), `load_ms` what loading it took when it was loaded, `bytes` its size in Redis, `collapsed` whether this reader
    waited for somebody else's load.
    """

    value: T | None
    status: CacheStatus
    ttl_seconds: float = 0.0
    load_ms: float = 0.0
    bytes: int = 0
    collapsed: bool = False


@dataclass(frozen=True)
class _Entry(Generic[T]):
    value: T | None
    negative: bool
    expires_ms: float
    load_ms: float
    size: int


class Cache(Generic[T]):
    """Values of one type under `demo:<use_case>:{<name>:<key>}`.

    `client` is a redis-py client of bytes. Values are msgpack, decoded strictly as `type`; what does not decode, or has
    another `schema`, is a miss and is logged. Each entry lives `ttl_seconds` less up to `jitter` of it, a negative one
    `negative_ttl_seconds`. A lease lasts `lease_seconds`; a reader waits `wait_seconds` at most, then loads for itself.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        type: type[T],
        *,
        ttl_seconds: float,
        negative_ttl_seconds: float = 10.0,
        lease_seconds: float = 5.0,
        wait_seconds: float = 10.0,
        jitter: float = 0.1,
        schema: int = 1,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if min(ttl_seconds, negative_ttl_seconds, lease_seconds, wait_seconds) <= 0 or not 0 <= jitter < 1:
            raise ValueError("times have to be positive, and jitter from 0 to 1")
        self.name = name
        self.ttl_seconds, self.negative_ttl_seconds = ttl_seconds, negative_ttl_seconds
        self.lease_seconds, self.wait_seconds, self.jitter, self.schema = lease_seconds, wait_seconds, jitter, schema
        self._client = client
        self._decoder = msgspec.msgpack.Decoder(type)
        self._encoder = msgspec.msgpack.Encoder()
        self._compare_and_set = client.register_script(Path(__file__).with_suffix(".lua").read_text())
        self._sleep = sleep

    def get_or_load(self, key: str, loader: Callable[[], T | None], *, group: str | None = None) -> Cached[T]:
        """The value under `key`, from Redis or from `loader`, which returns None when there is none.

        Without Redis the loader answers (BYPASS). What the loader raises is raised here, and the lease is given back.
        """
        deadline = time.monotonic() + self.wait_seconds
        pause, waited = 0.005, False
        token, version = None, b""
        try:
            while time.monotonic() < deadline:
                raw, version = self._get(key, group)
                entry = self._decode(raw, version)
                if entry is not None:
                    return self._hit(entry, waited)
                if not _is_lease(raw):
                    token = self._take_lease(key, group, raw)
                    if token is not None:
                        break
                waited = True
                self._sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 1.5, 0.1)
        except REDIS_ERRORS as error:
            log.warning("%s: reading around the cache: %s", self.name, type(error).__name__)
        # Outside of the try: a RedisError of the loader's own is the loader's.
        if token is None:
            return self._load_only(loader)
        return self._load_and_store(key, group, version, token, loader)

    def invalidate(self, *keys: str) -> int:
        """Drops entries and leases; returns how many there were. One round trip. Raises RedisError."""
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.delete(self.redis_key(key))
        return sum(pipeline.execute())

    def invalidate_group(self, *groups: str) -> None:
        """Makes every entry of the groups a miss. One round trip. Raises RedisError."""
        life_ms = int((max(self.ttl_seconds, self.negative_ttl_seconds) + self.lease_seconds) * 2000)
        pipeline = self._client.pipeline(transaction=False)
        for group in groups:
            pipeline.set(self.version_key(group), secrets.token_hex(8), px=life_ms)
        pipeline.execute()

    def redis_key(self, key: str, group: str | None = None) -> str:
        """The key in Redis. What is not plain, whatever a visitor typed, is hashed."""
        if group is None:
            return f"demo:catalog:{{{self.name}:{_plain(key)}}}"
        return f"demo:catalog:{{{self.name}:{_plain(group)}}}:{_plain(key)}"

    def version_key(self, group: str) -> str:
        """Where a group's version token lies: in the same cluster slot as its entries."""
        return f"demo:catalog:{{{self.name}:{_plain(group)}}}:version"

    def _get(self, key: str, group: str | None) -> tuple[bytes | None, bytes]:
        name = self.redis_key(key, group)
        try:
            if group is None:
                return self._client.get(name), b""
            raw, version = self._client.mget(name, self.version_key(group))
            return raw, version or b""
        except ResponseError as error:
            self._drop_other_kind(name, error)
            return None, b""

    def _drop_other_kind(self, name: str, error: ResponseError) -> None:
        if "WRONGTYPE" not in str(error):
            raise error
        log.warning("%s: %s holds no string and is dropped", self.name, name)
        self._client.unlink(name)

    def _take_lease(self, key: str, group: str | None, raw: bytes | None) -> str | None:
        token = secrets.token_hex(8)
        name, life_ms = self.redis_key(key, group), int(self.lease_seconds * 1000)
        if raw is None:
            try:  # GET tells a key of another kind, which MGET takes for a missing one.
                taken = self._client.set(name, f"0|L|{token}", nx=True, get=True, px=life_ms) is None
            except ResponseError as error:
                self._drop_other_kind(name, error)
                taken = False
        else:  # An entry of another version or schema: replaced only if nobody else did so first.
            taken = self._compare_and_set(keys=[name], args=[_head(raw), f"L|{token}", life_ms])
        return token if taken else None

    def _load_and_store(
        self, key: str, group: str | None, version: bytes, token: str, loader: Callable[[], T | None]
    ) -> Cached[T]:
        name = self.redis_key(key, group)
        began = time.perf_counter()
        try:
            value = loader()
        except BaseException:
            self._give_back(name, token)
            raise
        load_ms = (time.perf_counter() - began) * 1000
        ttl = self.negative_ttl_seconds if value is None else self.ttl_seconds * (1 - random.uniform(0, self.jitter))
        payload = b"" if value is None else self._encoder.encode(value)
        kind = "N" if value is None else "V"
        head = f"{kind}{self.schema}|{secrets.token_hex(8)}|{load_ms * 1000:.0f}|".encode() + version + b"|"
        try:
            stored = self._compare_and_set(keys=[name], args=[token, head + payload, int(ttl * 1000)])
        except REDIS_ERRORS as error:
            log.warning("%s: not stored: %s", self.name, type(error).__name__)
            return Cached(value, CacheStatus.BYPASS, 0.0, load_ms)
        return Cached(value, CacheStatus.MISS, ttl if stored else 0.0, load_ms, len(payload))

    def _give_back(self, name: str, token: str) -> None:
        try:
            self._compare_and_set(keys=[name], args=[token, "", 0])
        except REDIS_ERRORS as error:
            log.warning("%s: lease not given back: %s", self.name, type(error).__name__)

    def _load_only(self, loader: Callable[[], T | None]) -> Cached[T]:
        began = time.perf_counter()
        value = loader()
        return Cached(value, CacheStatus.BYPASS, 0.0, (time.perf_counter() - began) * 1000)

    def _hit(self, entry: _Entry[T], waited: bool) -> Cached[T]:
        status = CacheStatus.NEGATIVE if entry.negative else CacheStatus.HIT
        left = max(0.0, min(self.ttl_seconds, entry.expires_ms / 1000 - time.time()))
        return Cached(entry.value, status, left, entry.load_ms, entry.size, waited)

    def _decode(self, raw: bytes | None, version: bytes) -> _Entry[T] | None:
        if raw is None or _is_lease(raw):
            return None
        try:
            expires, kind, _, load_us, entry_version, payload = raw.split(b"|", 5)
            if kind[1:] != str(self.schema).encode() or entry_version != version:
                return None
            negative = {b"V": False, b"N": True}[kind[:1]]
            value = None if negative else self._decoder.decode(payload)
            return _Entry(value, negative, float(expires), float(load_us) / 1000, len(raw))
        except (ValueError, KeyError, msgspec.MsgspecError) as error:
            log.warning("%s: an entry does not decode and counts as a miss: %s", self.name, type(error).__name__)
            return None


def _is_lease(raw: bytes | None) -> bool:
    return raw is not None and raw[:32].partition(b"|")[2].startswith(b"L|")


def _head(raw: bytes) -> bytes:
    """What identifies a value that was seen: the beginning, which holds its token."""
    return raw[:200]


def _plain(part: str) -> str:
    return part if PLAIN.fullmatch(part) else "_" + hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:39]
