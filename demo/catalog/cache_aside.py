"""Cache-aside with a lease, for many keys, groups of keys and stale values.

A `get_or_load` that starts after `invalidate(key)` has returned never returns a value from before
the invalidation. A hit takes one round trip, an MGET. `lease.py` shows how a lease keeps the
guarantee; read that first. `Cache` adds these parts, and each can be read by itself:

- `groups.py` makes groups of entries that one key invalidates.
- `entry.py` defines what `Cache` answers, and what of it is stored in Redis.
- `lookup.py` looks up many keys together, in Redis or in this process' own memory.
- `claims.py` gives one reader at a time the right to load a value that is absent or stale.
- `polls.py` lets readers of one process that wait for the same load ask together.
- `loading.py` loads and stores, and falls back on stale values when the loader fails.

Two things weaken the guarantee, both bounded by the fresh and the stale time. A failover can
promote a replica that had not yet seen the delete. If the delete does not reach Redis, `invalidate`
raises an error, and an outbox delivers the invalidation later. A near cache weakens the guarantee
by its lag.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from demo.catalog.claims import Claim, Claims
from demo.catalog.entry import Cached, CacheStatus, Codec
from demo.catalog.groups import invalidate
from demo.catalog.lease import Busy, Keys, Leases, Waits, pause
from demo.catalog.loading import Lives, Loader, Loading
from demo.catalog.lookup import Clock, Lookup
from demo.catalog.polls import POLL_SECONDS, Polls
from demo.client.contract import PREFIX, RedisClient, checked, positive

if TYPE_CHECKING:
    from demo.catalog.near_cache import NearCache

__all__ = ["Busy", "Cache", "CacheStatus", "Cached"]
T = TypeVar("T")
P = ParamSpec("P")
ONE_TEXT = "groups: must be a list of texts, not a text"
FOUND = (CacheStatus.HIT, CacheStatus.STALE, CacheStatus.NEGATIVE)
log = logging.getLogger(__name__)


class Cache(Generic[T]):
    """Values of one type under `<prefix>:catalog:{<name>:<key>}`.

    `client` is a client of redis-py or valkey-py that takes bytes. Values are msgpack, decoded
    strictly as `type`, or what `encode` and `decode` make of them; what does not decode, or has
    another `schema` (a few letters and digits), is a miss. An entry is
    fresh for `ttl_seconds` less up to `jitter` of it, then stale for `stale_seconds`; that there is
    none is remembered for `negative_ttl_seconds`. A lease lasts `lease_seconds`, and is taken over
    sooner from a reader who has died. A reader waits `wait_seconds` at most, then loads without
    storing if nobody did so within a lease time, or raises Busy. With `early` (XFetch's beta, 1 is
    usual) a reader may load before the time is over, the likelier the longer loads take. `on_hit`
    and `on_load` hear of each key and its answer, what was found and what was loaded.
    """

    def __init__(
        self,
        client: RedisClient,
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
        prefix: str = PREFIX,
        encode: Callable[[T], bytes] | None = None,
        decode: Callable[[bytes], T] | None = None,
        on_hit: Callable[[str, Cached[T]], None] | None = None,
        on_load: Callable[[str, Cached[T]], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        positive("lease_seconds", lease_seconds)
        positive("wait_seconds", wait_seconds)
        if early < 0:
            raise ValueError("early: must be 0 or more")
        lives = Lives(ttl_seconds, stale_seconds, negative_ttl_seconds, jitter)
        self.name, self.lease_seconds, self.wait_seconds = name, lease_seconds, wait_seconds
        self._client, self._near, self._sleep = checked(client), near, sleep
        self._on_hit, self._on_load = on_hit, on_load
        self._keys = keys = Keys(prefix, name)
        self._polls = Polls()
        self._clustered = hasattr(client, "get_node_from_key")
        redis_clock = Clock(clock)
        self._codec: Codec[T] = Codec(name, type, schema, encode, decode)
        self._leases = Leases(client, lease_seconds)
        self._lookup = Lookup(
            keys,
            self._codec,
            redis_clock,
            near,
            ttl_seconds=ttl_seconds,
            lease_seconds=lease_seconds,
            early=early,
        )
        self._claims: Claims[T] = Claims(client, keys, self._leases, redis_clock)
        self._loading = Loading(
            keys, self._leases, self._claims, self._codec, self._lookup, lives, redis_clock
        )

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What Redis, or the way to it, may raise, of the client's own package."""
        return self._leases.errors

    @property
    def schema(self) -> str:
        """What entries are told apart by that another version of the app has stored."""
        return self._codec.schema

    @schema.setter
    def schema(self, schema: str) -> None:
        self._codec.schema = schema

    def get_or_load(
        self, key: str, loader: Callable[[], T | None], *, groups: Sequence[str] = ()
    ) -> Cached[T]:
        """The value under `key`, from Redis or from `loader`, which returns None when there is
        none.

        Without Redis the loader answers (BYPASS). What the loader raises is raised here, unless a
        stale value can be served in its stead. Raises Busy.
        """
        if isinstance(groups, str):
            raise TypeError(ONE_TEXT)
        held = self._lookup.near(key) if self._near else None
        return held or self.get_many({key: groups}, lambda _: {key: loader()})[key]

    def cached(
        self,
        *,
        key: Callable[P, str],
        groups: Callable[P, Sequence[str]] | Sequence[str] = (),
    ) -> Callable[[Callable[P, T | None]], "CachedFunction[P, T]"]:
        """A decorator: the function loads, under the key and in the groups that `key` and `groups`
        make of its arguments."""
        return lambda function: CachedFunction(self, function, key, groups)

    def get_many(
        self, wanted: Mapping[str, Sequence[str]], loader: Loader[T]
    ) -> dict[str, Cached[T]]:
        """The same for many keys and their groups: one round trip when all are there, and one call
        of `loader` with those that are not. All leases together are a round trip, and so is each
        value to store."""
        answers: dict[str, Cached[T]] = {}
        if self._near:
            held = {key: self._lookup.near(key) for key in wanted}
            answers = {key: found for key, found in held.items() if found}
        pending = {
            key: tuple(dict.fromkeys(groups))
            for key, groups in wanted.items()
            if key not in answers
        }
        deadline, pauses, waited = time.monotonic() + self.wait_seconds, 0, False
        waits, fetch = Waits(), self._fetch
        if self._polls.open:  # who waits here already asks soon, for this reader too
            fetch = partial(self._polls.ask, 0.0, self._fetch, waits, self._sleep)
        while pending:
            late: list[str] = []
            try:
                claims = self._look(pending, answers, waits, waited, fetch)
                if not claims and time.monotonic() >= deadline:
                    late = self._claims.take_late([key for key in pending if key not in answers])
                    if not late:
                        raise Busy(
                            f"{self.name}: waited {self.wait_seconds} s for somebody else's load"
                        )
            except self._leases.errors as error:
                log.warning("%s: reading around the cache: %s", self.name, type(error).__name__)
                claims, late = {}, [key for key in pending if key not in answers]
            # Outside of the try: a RedisError of the loader's own is the loader's.
            if late:
                answers |= self._loading.load_only(late, loader)
            elif claims:
                answers |= self._loading.load_and_store(claims, loader)
            pending = {key: groups for key, groups in pending.items() if key not in answers}
            waited = bool(pending)  # what is still pending is somebody else's load
            fetch = self._fetch
            if pending and not claims:
                seconds = min(pause(pauses), POLL_SECONDS)
                fetch = partial(self._polls.ask, seconds, self._fetch, waits, self._sleep)
                pauses += 1
        if self._on_hit or self._on_load:
            self._tell(answers)
        return answers

    def peek(self, key: str, *, groups: Sequence[str] = ()) -> Cached[T] | None:
        """What there is under `key`, fresh, stale or negative, without loading. One round trip.
        Raises RedisError."""
        entry = self._lookup.read({key: tuple(dict.fromkeys(groups))}, self._fetch)[key].entry
        return None if entry is None else self._lookup.answer(entry)

    def invalidate(self, *keys: str, groups: Iterable[str] = ()) -> int:
        """Drops entries and leases, and makes every entry of the groups a miss; how many of the
        keys there were. One round trip, two where Redis is full. Raises RedisError."""
        if isinstance(groups, str):
            raise TypeError(ONE_TEXT)
        names, versions = (
            [self.redis_key(key) for key in keys],
            [self.version_key(group) for group in groups],
        )
        try:
            return invalidate(self._client, names, versions)
        finally:
            if self._near:
                self._near.drop(*names, *versions)

    def begin_write(self, key: str) -> bytes:
        """For write-through: puts a lease in the place of whatever is there, so that nothing from
        before is served or stored any more. What it returns is for `finish_write`. One round
        trip. Raises RedisError."""
        lease = self._leases.new()
        self._client.set(self.redis_key(key), lease, px=self._leases.ms)
        if self._near:
            self._near.drop(self.redis_key(key))
        return lease

    def finish_write(self, key: str, lease: bytes, value: T) -> bool:
        """After the commit: stores the value if no other writer began meanwhile; if one did, nobody
        can tell whose commit came last, and what is there is dropped. Whether it is stored.
        Raises RedisError."""
        kept = False
        try:
            kept = self._loading.store(key, Claim(lease, ()), value, 0.0)[1] > 0
        finally:  # a value that cannot be written leaves no lease either
            if not kept:
                self.invalidate(key)
        return kept

    def redis_key(self, key: str) -> str:
        """The key in Redis. What is not plain, whatever a visitor typed, is hashed."""
        return self._keys.of(key)

    def version_key(self, group: str) -> str:
        """Where a group's version token lies."""
        return self._keys.version(group)

    def _tell(self, answers: Mapping[str, Cached[T]]) -> None:
        for key, answer in answers.items():
            told = self._on_hit if answer.status in FOUND else self._on_load
            if told:
                told(key, answer)

    def _look(
        self,
        pending: Mapping[str, Sequence[str]],
        answers: dict[str, Cached[T]],
        waits: Waits,
        waited: bool,
        fetch: Callable[[list[str]], list[bytes | None]],
    ) -> dict[str, Claim[T]]:
        """Adds the answers that there are; returns what this reader has won the right to load."""
        due, found = {}, self._lookup.read(pending, fetch)
        waited = waited or waits.slept_ms > 0
        for key, seen in found.items():
            if seen.due:
                due[key] = seen
            elif seen.entry:
                answers[key] = self._lookup.answer(seen.entry, waited=waited)
        if not due:
            return {}
        won = self._claims.take_over_each(due, waits)
        for key, seen in due.items():
            if seen.entry and key not in won:
                answers[key] = self._lookup.answer(seen.entry, waited=waited)
        return self._claims.begin(pending, due, won)

    def _fetch(self, names: list[str]) -> list[bytes | None]:
        if not self._clustered:
            replies: list[bytes | None] = self._client.mget(names)
            return replies
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.get(name)
        return [_bytes_or_none(reply) for reply in pipeline.execute(raise_on_error=False)]


class CachedFunction(Generic[P, T]):
    """A function whose values a cache keeps. It is called as it was before, raises what it did, and
    Busy; `invalidate`, with the same arguments, drops the value."""

    def __init__(
        self,
        cache: Cache[T],
        function: Callable[P, T | None],
        key: Callable[P, str],
        groups: Callable[P, Sequence[str]] | Sequence[str],
    ) -> None:
        if not callable(key):
            raise TypeError("key: must be a function of the same arguments")
        if isinstance(groups, str):
            raise TypeError(ONE_TEXT)
        self._cache, self._function, self._key, self._groups = cache, function, key, groups
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **options: P.kwargs) -> T | None:
        groups = self._groups(*args, **options) if callable(self._groups) else self._groups
        return self._cache.get_or_load(
            self._key(*args, **options),
            lambda: self._function(*args, **options),
            groups=groups,
        ).value

    def invalidate(self, *args: P.args, **options: P.kwargs) -> bool:
        """Drops the value of these arguments; whether there was one. One round trip. Raises
        RedisError."""
        return self._cache.invalidate(self._key(*args, **options)) > 0


def _bytes_or_none(reply: Any) -> bytes | None:
    if isinstance(reply, Exception) and "WRONGTYPE" not in str(reply):
        raise reply
    return reply if isinstance(reply, bytes) else None
