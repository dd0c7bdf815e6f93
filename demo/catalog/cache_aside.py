"""Cache-aside with a lease: after `invalidate(key)` returns, no `get_or_load` that starts later
returns a value loaded from before it.

A hit is one MGET. A miss takes a lease, loads, and stores the value only if the lease is still
there. Invalidating deletes whatever lies under the key, lease included, so a reader that loaded the
old row finds its lease gone and stores nothing. The lease is the single flight too: who meets
somebody else's waits for the value with backoff and jitter, and takes over when the lease runs out,
so a slow loader costs one more load per lease time at most.

Past `ttl_seconds` a value is stale for `stale_seconds` more: the one reader who wins a
compare-and-set on it loads again, the others get it at once, and when the loader fails so does that
one. What was invalidated is never stale, it is gone.

Groups (every list of a category, say) are version tokens: an entry holds the tokens that stood when
its load began, and with any other, or none, it is a miss. So invalidating a group is one key, and a
token that was evicted or that expired costs hits, never the guarantee.

What weakens the guarantee: a failover to a replica that had not yet seen the delete, and a delete
that Redis never got (`invalidate` raises then, and an outbox delivers it later), both bounded by
the two times; a near cache, by its lag. Stale is judged by this machine's clock, corrected by what
scripts tell of Redis'; Redis' own ends every entry.

Sources: Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013, 3.2.1 (leases); rueidisaside
(Go); RFC 5861 (stale while revalidate, stale if error); Vattani et al., "Optimal Probabilistic
Cache Stampede Prevention", VLDB 2015 (XFetch).
"""

import hashlib
import logging
import math
import random
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from redis.exceptions import OutOfMemoryError, RedisClusterException, RedisError

if TYPE_CHECKING:
    from demo.catalog.near_cache import NearCache

T = TypeVar("T")
PLAIN = re.compile(r"[a-z0-9-]{1,40}")
REDIS_ERRORS = (RedisError, RedisClusterException)
TOKEN_SECONDS = 86_400
HERE = Path(__file__)
log = logging.getLogger(__name__)


class CacheStatus(StrEnum):
    """Where a value came from.

    EXPIRED: it was past its time, or nearly, and this reader loaded it again. STALE: it is past its
    time, and somebody else loads it, or could not. NEGATIVE: the cache knows that there is none.
    BYPASS: it was loaded and not kept.
    """

    HIT = "HIT"
    MISS = "MISS"
    EXPIRED = "EXPIRED"
    STALE = "STALE"
    NEGATIVE = "NEGATIVE"
    BYPASS = "BYPASS"


class Busy(Exception):
    """A reader has waited long enough for somebody else's load, and another one is already trying
    for itself."""


@dataclass(frozen=True)
class Cached(Generic[T]):
    """A value, None when there is none, and how it came.

    `ttl_seconds` is what is left of its fresh life (0: stale, or not kept), `load_ms` what loading
    it took when it was loaded, `bytes` its size in Redis, `collapsed` whether this reader waited
    for somebody else's load, `near` whether it came from this process' own memory.
    """

    value: T | None
    status: CacheStatus
    ttl_seconds: float = 0.0
    load_ms: float = 0.0
    bytes: int = 0
    collapsed: bool = False
    near: bool = False


@dataclass(frozen=True)
class _Entry(Generic[T]):
    begins: bytes
    negative: bool
    fresh_until_ms: float
    claimed_until_ms: float
    load_ms: float
    value: T | None
    size: int


@dataclass(frozen=True)
class _Seen(Generic[T]):
    """What lay under a key, the tokens of its groups, and the entry if it is one and those are its
    tokens."""

    raw: bytes | None
    versions: tuple[bytes | None, ...]
    entry: _Entry[T] | None


@dataclass(frozen=True)
class _Claim(Generic[T]):
    """The right to load: what has to lie there when the load is done, and the value that it
    replaces."""

    begins: bytes
    versions: tuple[bytes, ...]
    old: _Entry[T] | None = None


class Cache(Generic[T]):
    """Values of one type under `demo:catalog:{<name>:<key>}`.

    `client` is a redis-py client of bytes. Values are msgpack, decoded strictly as `type`; what
    does not decode, or has another `schema` (a few letters and digits), is a miss. An entry is
    fresh for `ttl_seconds` less up to `jitter` of it, then stale for `stale_seconds`; that there is
    none is remembered for `negative_ttl_seconds`. A lease lasts `lease_seconds`. A reader waits
    `wait_seconds` at most, then loads without storing if nobody did so within a lease time, or
    raises Busy. With `early` (XFetch's beta, 1 is usual) a reader may load before the time is over,
    the likelier the longer loads take.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        type: type[T],
        *,
        ttl_seconds: float,
        stale_seconds: float = 0.0,
        negative_ttl_seconds: float = 10.0,
        lease_seconds: float = 5.0,
        wait_seconds: float = 10.0,
        jitter: float = 0.1,
        early: float = 0.0,
        schema: str = "1",
        near: "NearCache | None" = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if (
            min(ttl_seconds, negative_ttl_seconds, lease_seconds, wait_seconds) <= 0
            or not 0 <= jitter < 1
        ):
            raise ValueError("times have to be positive, and jitter from 0 to 1")
        if min(stale_seconds, early) < 0 or not PLAIN.fullmatch(schema):
            raise ValueError(
                "stale_seconds and early cannot be negative, and schema is a few letters and digits"
            )
        self.name, self.schema = name, schema
        self.ttl_seconds, self.stale_seconds, self.negative_ttl_seconds = (
            ttl_seconds,
            stale_seconds,
            negative_ttl_seconds,
        )
        self.lease_seconds, self.wait_seconds, self.jitter, self.early = (
            lease_seconds,
            wait_seconds,
            jitter,
            early,
        )
        self._client, self._near, self._sleep, self._clock = client, near, sleep, clock
        self._clustered = hasattr(client, "get_node_from_key")
        self._redis_ahead_ms = 0.0
        self._orphans: dict[str, bytes] = {}
        self._decoder = msgspec.msgpack.Decoder(type)
        self._encoder = msgspec.msgpack.Encoder()
        self._compare_and_set = client.register_script(HERE.with_suffix(".lua").read_text())
        self._claim_script = client.register_script(
            HERE.with_name("cache_aside_claim.lua").read_text()
        )

    def get_or_load(
        self, key: str, loader: Callable[[], T | None], *, groups: Sequence[str] = ()
    ) -> Cached[T]:
        """The value under `key`, from Redis or from `loader`, which returns None when there is
        none.

        Without Redis the loader answers (BYPASS). What the loader raises is raised here, unless a
        stale value can be served in its stead. Raises Busy.
        """
        return self.get_many({key: groups}, lambda _: {key: loader()})[key]

    def get_many(
        self,
        wanted: Mapping[str, Sequence[str]],
        loader: Callable[[list[str]], Mapping[str, T | None]],
    ) -> dict[str, Cached[T]]:
        """The same for many keys and their groups: one round trip when all are there, and one call
        of `loader` with those that are not. Each value to store is a round trip."""
        answers = self._from_memory(wanted) if self._near else {}
        pending = {
            key: tuple(dict.fromkeys(groups))
            for key, groups in wanted.items()
            if key not in answers
        }
        deadline, pause, waited = time.monotonic() + self.wait_seconds, 0.005, False
        while pending:
            late: list[str] = []
            try:
                claims = self._look(pending, answers, waited)
                if not claims and time.monotonic() >= deadline:
                    late = self._claim_late([key for key in pending if key not in answers])
            except REDIS_ERRORS as error:
                log.warning("%s: reading around the cache: %s", self.name, type(error).__name__)
                claims, late = {}, [key for key in pending if key not in answers]
            # Outside of the try: a RedisError of the loader's own is the loader's.
            if late:
                answers |= self._load_only(late, loader)
            elif claims:
                answers |= self._load_and_store(claims, loader)
            pending = {key: groups for key, groups in pending.items() if key not in answers}
            waited = bool(pending)  # what is still pending is somebody else's load
            if pending and not claims:
                self._sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 1.5, 0.1)
        return answers

    def peek(self, key: str, *, groups: Sequence[str] = ()) -> Cached[T] | None:
        """What there is under `key`, fresh, stale or negative, without loading. One round trip.
        Raises RedisError."""
        entry = self._read({key: tuple(dict.fromkeys(groups))})[key].entry
        return None if entry is None else self._answer(entry)

    def invalidate(self, *keys: str, groups: Iterable[str] = ()) -> int:
        """Drops entries and leases, and makes every entry of the groups a miss; how many of the
        keys there were. One round trip, two where Redis is full. Raises RedisError."""
        names, versions = (
            [self.redis_key(key) for key in keys],
            [self.version_key(group) for group in groups],
        )
        try:
            return self._invalidate(names, versions)
        finally:
            if self._near:
                self._near.drop(*names, *versions)

    def _invalidate(self, names: list[str], versions: list[str]) -> int:
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.delete(name)
        for version in versions:
            pipeline.set(version, secrets.token_hex(8), ex=TOKEN_SECONDS)
        replies = pipeline.execute(raise_on_error=False)
        if any(isinstance(reply, OutOfMemoryError) for reply in replies):
            # A full Redis still deletes, and a group without a token is a miss too.
            pipeline = self._client.pipeline(transaction=False)
            for version in versions:
                pipeline.delete(version)
            pipeline.execute()
        for reply in replies:
            if isinstance(reply, Exception) and not isinstance(reply, OutOfMemoryError):
                raise reply
        return sum(replies[: len(names)])

    def begin_write(self, key: str) -> str:
        """For write-through: puts a lease in the place of whatever is there, so that nothing from
        before is served or stored any more. What it returns is for `finish_write`. One round
        trip. Raises RedisError."""
        token = secrets.token_hex(8)
        self._client.set(self.redis_key(key), f"L|{token}|", px=int(self.lease_seconds * 1000))
        if self._near:
            self._near.drop(self.redis_key(key))
        return token

    def finish_write(self, key: str, token: str, value: T) -> bool:
        """After the commit: stores the value if no other writer began meanwhile; if one did, nobody
        can tell whose commit came last, and what is there is dropped. Whether it is stored.
        Raises RedisError."""
        if self._store(key, _Claim(f"L|{token}|".encode(), ()), value, 0.0)[1]:
            return True
        self.invalidate(key)
        return False

    def redis_key(self, key: str) -> str:
        """The key in Redis. What is not plain, whatever a visitor typed, is hashed."""
        return f"demo:catalog:{{{self.name}:{_plain(key)}}}"

    def version_key(self, group: str) -> str:
        """Where a group's version token lies."""
        return f"demo:catalog:{{{self.name}:{_plain(group)}}}:version"

    def _from_memory(self, wanted: Iterable[str]) -> dict[str, Cached[T]]:
        assert self._near
        found = {key: self._near.get(self.redis_key(key)) for key in wanted}
        return {
            key: self._answer(entry, near=True)
            for key, entry in found.items()
            if entry and self._left_ms(entry.fresh_until_ms) > 0
        }

    def _look(
        self, pending: Mapping[str, Sequence[str]], answers: dict[str, Cached[T]], waited: bool
    ) -> dict[str, _Claim[T]]:
        """Adds the answers that there are; returns what this reader has won the right to load."""
        seen, won = self._read(pending), dict[str, bytes]()
        for key, look in seen.items():
            entry = look.entry
            if (
                look.raw is not None
                and not self._is_somebodys(key, look.raw)
                and (entry is None or self._is_due(entry))
            ):
                begins = self._take_over(key, look)
                if begins:
                    won[key] = begins
            if entry is not None and key not in won:
                answers[key] = self._answer(entry, waited=waited)
        absent = [key for key, look in seen.items() if look.raw is None]
        versions = {
            key: dict(zip(pending[key], seen[key].versions, strict=True)) for key in [*absent, *won]
        }
        lacking = {
            group
            for of_key in versions.values()
            for group, version in of_key.items()
            if version is None
        }
        leases, tokens = (
            self._take_leases(absent, sorted(lacking)) if absent or lacking else ({}, {})
        )
        return {
            key: _Claim(
                begins,
                tuple(version or tokens[group] for group, version in versions[key].items()),
                seen[key].entry,
            )
            for key, begins in (won | leases).items()
        }

    def _read(self, pending: Mapping[str, Sequence[str]]) -> dict[str, _Seen[T]]:
        names = {
            key: [self.redis_key(key), *map(self.version_key, groups)]
            for key, groups in pending.items()
        }
        near = self._near
        places = (
            {key: near.reserve(all_of[0], all_of[1:]) for key, all_of in names.items()}
            if near
            else {}
        )
        replies = iter(self._fetch([name for all_of in names.values() for name in all_of]))
        found = {}
        for key, all_of in names.items():
            raw, versions = next(replies), tuple(next(replies) for _ in all_of[1:])
            entry = self._decode(raw, versions)
            found[key] = _Seen(raw, versions, entry)
            if near:
                hold = (
                    entry is not None
                    and not entry.negative
                    and self._left_ms(entry.fresh_until_ms) > 0
                )
                near.fill(places[key], entry if hold else None, entry.size if entry else 0)
        return found

    def _fetch(self, names: list[str]) -> list[bytes | None]:
        if not self._clustered:
            replies: list[bytes | None] = self._client.mget(names)
            return replies
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.get(name)
        return [_bytes_or_none(reply) for reply in pipeline.execute(raise_on_error=False)]

    def _is_somebodys(self, key: str, raw: bytes) -> bool:
        """Whether it is a lease, but for one of our own that Redis could not be told of the end of."""
        return _is_lease(raw) and self._orphans.pop(key, None) != raw

    def _take_over(self, key: str, seen: _Seen[T]) -> bytes | None:
        """The right to load in the place of what was seen, unless somebody else was quicker: a
        stale value stays readable meanwhile, one that is out of date gives way to a lease."""
        assert seen.raw is not None
        token = secrets.token_hex(8)
        begins = seen.entry.begins if seen.entry else seen.raw[:200]
        keep = "1" if seen.entry else "0"
        taken = self._run(
            self._claim_script, key, [begins, token, int(self.lease_seconds * 1000), keep]
        )
        return f"{'V' if seen.entry else 'L'}|{token}|".encode() if taken else None

    def _take_leases(
        self, keys: Sequence[str], groups: Sequence[str]
    ) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Leases where nothing lies, and the groups' tokens, made where there are none: in one
        round trip, so that they stand before the load begins."""
        leases = {key: f"L|{secrets.token_hex(8)}|".encode() for key in keys}
        tokens = {group: secrets.token_hex(8).encode() for group in groups}
        pipeline = self._client.pipeline(transaction=False)
        for key, lease in leases.items():
            pipeline.set(
                self.redis_key(key), lease, nx=True, get=True, px=int(self.lease_seconds * 1000)
            )
        for group, token in tokens.items():
            pipeline.set(self.version_key(group), token, nx=True, get=True, ex=TOKEN_SECONDS)
        replies = pipeline.execute(raise_on_error=False)
        names = [*map(self.redis_key, keys), *map(self.version_key, groups)]
        taken = {
            key: lease
            for (key, lease), reply in zip(leases.items(), replies, strict=False)
            if reply is None
        }
        try:
            for name, reply in zip(names, replies, strict=True):
                if isinstance(reply, Exception):
                    self._drop_other_kind(name, reply)
        except REDIS_ERRORS:
            for key, lease in taken.items():
                self._give_back(key, lease)
            raise
        for group, reply in zip(groups, replies[len(keys) :], strict=True):
            if isinstance(reply, bytes):
                tokens[group] = reply
        return taken, tokens

    def _drop_other_kind(self, name: str, error: Exception) -> None:
        if "WRONGTYPE" not in str(error):
            raise error
        log.warning("%s: %s holds no string and is dropped", self.name, name)
        self._client.unlink(name)

    def _claim_late(self, keys: Sequence[str]) -> list[str]:
        """Which of the keys this reader may load for itself: one reader in a lease time. Raises
        Busy for none."""
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.set(
                f"{self.redis_key(key)}:late", 1, nx=True, px=int(self.lease_seconds * 1000)
            )
        allowed = [key for key, reply in zip(keys, pipeline.execute(), strict=True) if reply]
        if not allowed:
            raise Busy(f"{self.name}: waited {self.wait_seconds} s for somebody else's load")
        return allowed

    def _load_and_store(
        self, claims: Mapping[str, _Claim[T]], loader: Callable[[list[str]], Mapping[str, T | None]]
    ) -> dict[str, Cached[T]]:
        began = time.perf_counter()
        try:
            values = loader(list(claims))
        except BaseException as error:
            for key, claim in claims.items():
                if claim.old is None:
                    self._give_back(key, claim.begins)
            # The claims on stale values are left to run out: the next attempt is a lease time away.
            stale = {key: self._answer(claim.old) for key, claim in claims.items() if claim.old}
            if not isinstance(error, Exception) or len(stale) < len(claims):
                raise
            log.warning("%s: served stale, the loader failed: %s", self.name, type(error).__name__)
            return stale
        load_ms = (time.perf_counter() - began) * 1000
        return {
            key: self._store_and_tell(key, claim, values.get(key), load_ms)
            for key, claim in claims.items()
        }

    def _store_and_tell(
        self, key: str, claim: _Claim[T], value: T | None, load_ms: float
    ) -> Cached[T]:
        status = CacheStatus.EXPIRED if claim.old else CacheStatus.MISS
        try:
            size, fresh_seconds = self._store(key, claim, value, load_ms)
        except REDIS_ERRORS as error:
            log.warning("%s: not stored: %s", self.name, type(error).__name__)
            self._orphan(key, claim.begins)
            return Cached(value, CacheStatus.BYPASS, 0.0, load_ms)
        return Cached(value, status, fresh_seconds, load_ms, size)

    def _store(
        self, key: str, claim: _Claim[T], value: T | None, load_ms: float
    ) -> tuple[int, float]:
        """The entry's size and the seconds that it will be fresh, 0 when the claim was gone and
        nothing is stored."""
        negative = value is None
        fresh = (
            self.negative_ttl_seconds
            if negative
            else self.ttl_seconds * (1 - random.uniform(0, self.jitter))
        )
        life = fresh if negative else fresh + self.stale_seconds
        head = f"{'N' if negative else 'V'}|{secrets.token_hex(8)}|{self.schema}|"
        tail = f"0|{load_ms * 1000:.0f}|".encode() + b",".join(claim.versions) + b"|"
        tail += b"" if negative else self._encoder.encode(value)
        args = [claim.begins, head, int(fresh * 1000), int(life * 1000), tail]
        stored = self._run(self._compare_and_set, key, args)
        return len(head) + len(tail) + 14, fresh if stored else 0.0

    def _give_back(self, key: str, begins: bytes) -> None:
        try:
            self._run(self._compare_and_set, key, [begins, "", 0, 0, ""])
        except REDIS_ERRORS as error:
            log.warning("%s: lease not given back: %s", self.name, type(error).__name__)
            self._orphan(key, begins)

    def _orphan(self, key: str, begins: bytes) -> None:
        if len(self._orphans) < 1000:  # the others have to run out
            self._orphans[key] = begins

    def _run(self, script: Any, key: str, args: list[Any]) -> bool:
        now_ms = script(keys=[self.redis_key(key)], args=args)
        if now_ms:
            self._redis_ahead_ms = now_ms - self._clock() * 1000
        return bool(now_ms)

    def _load_only(
        self, keys: list[str], loader: Callable[[list[str]], Mapping[str, T | None]]
    ) -> dict[str, Cached[T]]:
        began = time.perf_counter()
        values = loader(keys)
        load_ms = (time.perf_counter() - began) * 1000
        return {key: Cached(values.get(key), CacheStatus.BYPASS, 0.0, load_ms) for key in keys}

    def _left_ms(self, until_ms: float) -> float:
        return until_ms - self._clock() * 1000 - self._redis_ahead_ms

    def _is_due(self, entry: _Entry[T]) -> bool:
        """Whether somebody has to load it again, and nobody is at it."""
        if entry.negative or self._left_ms(entry.claimed_until_ms) > 0:
            return False
        early_ms = self.early * entry.load_ms * -math.log(1.0 - random.random())
        return self._left_ms(entry.fresh_until_ms) <= early_ms

    def _answer(self, entry: _Entry[T], *, waited: bool = False, near: bool = False) -> Cached[T]:
        left = min(self.ttl_seconds, self._left_ms(entry.fresh_until_ms) / 1000)
        status = (
            CacheStatus.NEGATIVE
            if entry.negative
            else CacheStatus.HIT
            if left > 0
            else CacheStatus.STALE
        )
        return Cached(entry.value, status, max(0.0, left), entry.load_ms, entry.size, waited, near)

    def _decode(self, raw: bytes | None, versions: tuple[bytes | None, ...]) -> _Entry[T] | None:
        if raw is None or _is_lease(raw):
            return None
        try:
            kind, token, schema, fresh_until, claimed_until, load_us, stored_under, payload = (
                raw.split(b"|", 7)
            )
            stands = [version for version in versions if version is not None]
            if schema.decode() != self.schema or len(stands) < len(versions):
                return None
            if stored_under != b",".join(stands):
                return None
            negative = {b"V": False, b"N": True}[kind]
            value = None if negative else self._decoder.decode(payload)
            times = float(fresh_until), float(claimed_until), float(load_us) / 1000
            if not all(map(math.isfinite, times)):
                raise ValueError("a time that is no number")
            return _Entry(b"%b|%b|" % (kind, token), negative, *times, value, len(raw))
        except (ValueError, KeyError, msgspec.MsgspecError) as error:
            log.warning(
                "%s: an entry does not decode and counts as a miss: %s",
                self.name,
                type(error).__name__,
            )
            return None


def _is_lease(raw: bytes | None) -> bool:
    return raw is not None and raw.startswith(b"L|")


def _bytes_or_none(reply: Any) -> bytes | None:
    if isinstance(reply, Exception) and "WRONGTYPE" not in str(reply):
        raise reply
    return reply if isinstance(reply, bytes) else None


def _plain(part: str) -> str:
    return (
        part
        if PLAIN.fullmatch(part)
        else "_" + hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:39]
    )
