"""Write-behind: a write goes to Redis alone, and a worker brings it to the database later, in
batches.

One script changes the cache entry and adds the change to a stream, so one is never written without
the other. A worker of a consumer group reads a batch, saves it in one transaction, and only then
acknowledges it. If that worker dies, another one claims the batch and saves it again. That does no
harm. A database row takes a change only if the change has a higher version. The changes of one key
reach the database in order, even with two workers and after a crash. On a miss, a reader looks for
the value in the waiting changes first, and only then in the database. A change that cannot be saved
does not hold up the others: after `max_deliveries` tries it goes to a second stream. That stream
keeps the last thousand such changes, for a person to look at.

What can be lost: changes that Redis loses before they are saved. So Redis needs persistence (with
`appendfsync everysec` it can lose the last second) and the policy `noeviction`. A failover loses
what was not replicated. A change waits in Redis for `keep_seconds` at most.

Source: Redis documentation, "Streams", consumer groups. All keys share one cluster slot, because
one script needs them.
"""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
GROUP = "savers"
DEAD_AT_MOST = 1000
HERE = Path(__file__)
log = logging.getLogger(__name__)


class Contended(Exception):
    """Others changed the key again and again, or somebody's load of it took too long."""


@dataclass(frozen=True)
class Versioned(Generic[T]):
    """A value and its version, which rises by 1 with each change."""

    key: str
    version: int
    value: T


@dataclass(frozen=True)
class Flushed:
    """One pass of a worker: changes saved, of which `claimed` had been read by another one, and
    changes given up."""

    saved: int
    claimed: int
    dead: int


class WriteBehind(Generic[T]):
    """Values of one type under `<prefix>:catalog:{behind-<name>}:entry:<key>`; `name` and keys are
    our own, never typed.

    `load(key)` gives a Versioned or None; `save_batch(changes)` writes them in one transaction,
    each only over a lower version. Clean entries live `ttl_seconds`.
    """

    def __init__(
        self,
        client: RedisClient,
        name: str,
        type: type[T],
        load: Callable[[str], Versioned[T] | None],
        save_batch: Callable[[Sequence[Versioned[T]]], None],
        *,
        ttl_seconds: float = 60,
        keep_seconds: float = 86_400,
        lease_seconds: float = 5,
        max_deliveries: int = 5,
        prefix: str = PREFIX,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        for argument, seconds in (
            ("ttl_seconds", ttl_seconds),
            ("keep_seconds", keep_seconds),
            ("lease_seconds", lease_seconds),
        ):
            positive(argument, seconds)
        self._client, self._response_error = checked(client), errors_of(client).response
        self._load, self._save_batch, self._sleep = load, save_batch, sleep
        self._tag = f"{beginning(prefix, 'catalog')}{{behind-{plain('name', name)}}}"
        self.stream, self.dead = f"{self._tag}:stream", f"{self._tag}:dead"
        self._ttl_ms, self._keep_ms, self._lease_ms = (
            int(s * 1000) for s in (ttl_seconds, keep_seconds, lease_seconds)
        )
        self._max_deliveries = max_deliveries
        self._decoder, self._encoder = msgspec.msgpack.Decoder(type), msgspec.msgpack.Encoder()
        self._change = client.register_script(HERE.with_suffix(".lua").read_text())
        self._fill = client.register_script(HERE.with_name("write_behind_fill.lua").read_text())
        self._done = client.register_script(HERE.with_name("write_behind_done.lua").read_text())

    def entry_key(self, key: str) -> str:
        """Where a value lies."""
        return f"{self._tag}:entry:{text('key', key)}"

    def read(self, key: str) -> T | None:
        """The value, changes that the database has not seen included. Raises RedisError, since the
        database alone may be behind, and Contended."""
        found = self._get(key)
        return None if found is None else found.value

    def update(self, key: str, change: Callable[[T], T]) -> T | None:
        """The changed value, None when there is none. Nothing is written when it raises RedisError
        or Contended, unless only the reply was lost."""
        for _ in range(100):
            found = self._get(key)
            if found is None:
                return None
            value = change(found.value)
            args = [found.version, self._encoder.encode(value), key, self._keep_ms]
            if self._change(keys=[self.entry_key(key), self.stream], args=args):
                return value
        raise Contended(key)

    def flush(self, consumer: str, *, count: int = 50, idle_ms: int = 5000) -> Flushed:
        """One pass of a worker: saves up to `count` changes that nobody has read, and as many that
        somebody read `idle_ms` ago and never acknowledged. Does not wait for any. Raises
        RedisError."""
        try:
            claimed = self._client.xautoclaim(
                self.stream, GROUP, consumer, idle_ms, "0-0", count=count
            )[1]
            fresh = self._client.xreadgroup(GROUP, consumer, {self.stream: ">"}, count=count)
        except self._response_error as error:
            if "NOGROUP" not in str(error):
                raise
            self._make_group()
            return self.flush(consumer, count=count, idle_ms=idle_ms)
        read = _messages(fresh)
        changes = [
            (number, change)
            for number, fields in [*claimed, *read]
            if (change := self._decode(number, fields))
        ]
        saved, dead = self._save(changes)
        return Flushed(saved, len(claimed), dead)

    def pending(self) -> int:
        """How many changes the database has not seen."""
        waiting: int = self._client.xlen(self.stream)
        return waiting

    def unacknowledged(self) -> int:
        """How many of them a worker has read and not acknowledged."""
        try:
            read: int = self._client.xpending(self.stream, GROUP)["pending"]
        except self._response_error as error:
            if "NOGROUP" not in str(error):
                raise
            return 0
        return read

    def _make_group(self) -> None:
        try:
            self._client.xgroup_create(self.stream, GROUP, "0", mkstream=True)
            self._client.pexpire(self.stream, self._keep_ms)
        except self._response_error as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _save(self, changes: Sequence[tuple[bytes, Versioned[T]]]) -> tuple[int, int]:
        if not changes:
            return 0, 0
        try:
            self._save_batch([change for _, change in changes])
        except Exception as error:
            if len(changes) > 1:  # One of them may be the reason: each by itself.
                alone = [self._save([change]) for change in changes]
                return sum(saved for saved, _ in alone), sum(dead for _, dead in alone)
            log.warning("a change of %s is not saved: %s", changes[0][1].key, type(error).__name__)
            return 0, self._give_up(*changes[0])
        self._acknowledge(changes)
        return len(changes), 0

    def _give_up(self, number: bytes, change: Versioned[T]) -> int:
        told = self._client.xpending_range(self.stream, GROUP, number, number, 1)
        if not told or told[0]["times_delivered"] < self._max_deliveries:
            return 0  # It stays unacknowledged, and is claimed again.
        self._bury(
            {
                "key": change.key,
                "version": change.version,
                "value": self._encoder.encode(change.value),
            }
        )
        self._acknowledge([(number, change)])
        return 1

    def _acknowledge(self, changes: Sequence[tuple[bytes, Versioned[T]]]) -> None:
        pairs = [part for number, change in changes for part in (number, change.version)]
        keys = [self.stream, *(self.entry_key(change.key) for _, change in changes)]
        self._done(keys=keys, args=[GROUP, self._ttl_ms, *pairs])

    def _get(self, key: str) -> Versioned[T] | None:
        name = self.entry_key(key)
        for _ in range(max(1, self._lease_ms // 10)):
            lease = f"L|{secrets.token_hex(8)}|"
            raw = self._client.set(name, lease, nx=True, get=True, px=self._lease_ms)
            if raw is None:
                raw = self._load_under(lease, key)
                if raw == b"":
                    return None
            if raw is not None and not raw.startswith(b"L|"):
                try:
                    version, _, payload = raw.split(b"|", 2)
                    return Versioned(key, int(version), self._decoder.decode(payload))
                except (ValueError, msgspec.MsgspecError) as error:
                    log.warning(
                        "%s does not decode and counts as a miss: %s", name, type(error).__name__
                    )
                    self._client.delete(name)
                    continue
            self._sleep(0.01)
        raise Contended(key)

    def _load_under(self, lease: str, key: str) -> bytes | None:
        """The entry as it is stored now; empty when there is none to load, None when the lease was
        lost."""
        loaded, version, value = None, "", b""  # nothing to store, and no lease either
        try:
            loaded = self._load(key)
            if loaded:
                value = self._encoder.encode(loaded.value)
                version = str(loaded.version)
        finally:
            args = [lease, key, version, value, self._ttl_ms, self._keep_ms]
            entry: bytes | None = self._fill(keys=[self.entry_key(key), self.stream], args=args)
        return entry if loaded else b""

    def _decode(self, number: bytes, fields: dict[bytes, bytes]) -> Versioned[T] | None:
        """A change; what is none is put with those that were given up."""
        try:
            return Versioned(
                fields[b"key"].decode(),
                int(fields[b"version"]),
                self._decoder.decode(fields[b"value"]),
            )
        except (KeyError, ValueError, msgspec.MsgspecError) as error:
            log.warning("a change does not decode and is given up: %s", type(error).__name__)
            self._bury(fields)
            self._done(
                keys=[self.stream, self.entry_key("")], args=[GROUP, self._ttl_ms, number, 0]
            )
            return None

    def _bury(self, fields: dict[Any, Any]) -> None:
        if fields:
            self._client.xadd(self.dead, fields, maxlen=DEAD_AT_MOST)
            self._client.pexpire(self.dead, self._keep_ms)


def _messages(reply: Any) -> list[Any]:
    """Those of one stream, in either shape that redis-py gives them: a client that was made with
    `protocol=3` answers with a mapping, and with one list more around them."""
    if isinstance(reply, dict):
        return [message for pages in reply.values() for page in pages for message in page]
    return [message for _, messages in reply or [] for message in messages]
