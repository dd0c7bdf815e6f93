"""Claims on keys. One reader at a time has the claim on a key, which is the right to load its
value.

If the key is empty, the claim is a lease, and a reader whose lease was taken over stores nothing.
After `ttl_seconds` a value is stale for `stale_seconds` more. One reader claims a stale value by
compare-and-set and loads it again, and the others get the stale value at once. An invalidated value
is never served as a stale one. If an entry's group was invalidated or its schema has changed, one
reader replaces the entry by a lease.

Source: RFC 5861 (stale while revalidate).
"""

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from demo.catalog import groups
from demo.catalog.entry import Entry
from demo.catalog.lease import LEASE, Keys, Leases, Waits
from demo.catalog.lookup import Clock, Seen

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim(Generic[T]):
    """The right to load: what has to lie there when the load is done, and the value that it
    replaces."""

    begins: bytes
    versions: tuple[bytes, ...]
    old: Entry[T] | None = None


class Claims(Generic[T]):
    """The claims of a cache with these keys."""

    def __init__(self, client: Any, keys: Keys, leases: Leases, clock: Clock) -> None:
        self._client, self._keys, self._leases, self._clock = client, keys, leases, clock
        self._name = keys.name
        self._script = client.register_script(Path(__file__).with_suffix(".lua").read_text())
        self._orphans: dict[str, bytes] = {}

    def take_over_each(self, due: Mapping[str, Seen[T]], waits: Waits) -> dict[str, bytes]:
        """Of what is due and lies there, what this reader may load now, and how it begins. A round
        trip each, none for a lease that is worth waiting for. Raises RedisError."""
        begins = {
            key: self.take_over(key, seen)
            for key, seen in due.items()
            if seen.raw is not None and not self._is_somebodys(key, seen.raw, waits)
        }
        return {key: begin for key, begin in begins.items() if begin}

    def take_over(self, key: str, seen: Seen[T]) -> bytes | None:
        """The right to replace what was seen, unless another reader was quicker. A stale value
        stays readable during the load, an outdated one gives way to a lease."""
        assert seen.raw is not None
        if not seen.entry:
            return self._leases.take_over(self._keys.of(key), seen.raw)
        token = secrets.token_hex(8)
        args = [seen.entry.begins, token, self._leases.ms]
        now_ms = self._script(keys=[self._keys.of(key)], args=args)
        self._clock.heard(now_ms)
        return f"V|{token}|".encode() if now_ms else None

    def begin(
        self, wanted: Mapping[str, Sequence[str]], due: Mapping[str, Seen[T]], won: dict[str, bytes]
    ) -> dict[str, Claim[T]]:
        """Claims on what was won, and on what is absent if nobody else is at it by now. Groups
        without a token get one. One round trip, or none. Raises RedisError."""
        absent = [key for key, seen in due.items() if seen.raw is None]
        versions = {
            key: dict(zip(wanted[key], due[key].versions, strict=True)) for key in [*absent, *won]
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
            key: Claim(
                begins,
                tuple(version or tokens[group] for group, version in versions[key].items()),
                due[key].entry,
            )
            for key, begins in (won | leases).items()
        }

    def take_late(self, keys: Sequence[str]) -> list[str]:
        """Which of the keys a reader that waited long enough may load for itself, without storing:
        one reader in a lease time. One round trip. Raises RedisError."""
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.set(f"{self._keys.of(key)}:late", 1, nx=True, px=self._leases.ms)
        return [key for key, reply in zip(keys, pipeline.execute(), strict=True) if reply]

    def give_back(self, key: str, begins: bytes) -> None:
        """Ends a claim without a value, so that nobody has to wait for it. One round trip."""
        try:
            self._clock.heard(self._leases.store(self._keys.of(key), begins, b"", 0))
        except self._leases.errors as error:
            log.warning("%s: lease not given back: %s", self._name, type(error).__name__)
            self.leave(key, begins)

    def leave(self, key: str, begins: bytes) -> None:
        """Remembers a claim that Redis could not be told the end of: this process need not wait for
        it."""
        if len(self._orphans) < 1000:  # the others have to run out
            self._orphans[key] = begins

    def _is_somebodys(self, key: str, raw: bytes, waits: Waits) -> bool:
        if not raw.startswith(LEASE) or self._orphans.pop(key, None) == raw:
            return False
        return not waits.are_over(key, raw)

    def _take_leases(
        self, keys: Sequence[str], lacking: Sequence[str]
    ) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Leases where nothing lies, and the groups' tokens, made where there are none: in one
        round trip, so that they stand before the load begins."""
        names = [self._keys.of(key) for key in keys]
        versions = [self._keys.version(group) for group in lacking]
        leases = [self._leases.new() for _ in keys]
        pipeline = self._client.pipeline(transaction=False)
        for name, lease in zip(names, leases, strict=True):
            self._leases.ask(pipeline, name, lease)
        proposed = [groups.ask_for_token(pipeline, version) for version in versions]
        try:
            replies = pipeline.execute(raise_on_error=False)
        except BaseException as error:
            if not isinstance(error, Exception):  # this reader is ended, and may have got them
                for key, lease in zip(keys, leases, strict=True):
                    self.give_back(key, lease)
            raise
        taken = {
            key: lease
            for key, lease, reply in zip(keys, leases, replies, strict=False)
            if reply is None
        }
        try:
            for name, reply in zip([*names, *versions], replies, strict=True):
                if isinstance(reply, Exception):
                    self._drop_other_kind(name, reply)
        except self._leases.errors:
            for key, lease in taken.items():
                self.give_back(key, lease)
            raise
        stand = [
            reply if isinstance(reply, bytes) else token
            for token, reply in zip(proposed, replies[len(keys) :], strict=True)
        ]
        return taken, dict(zip(lacking, stand, strict=True))

    def _drop_other_kind(self, name: str, error: Exception) -> None:
        if "WRONGTYPE" not in str(error):
            raise error
        log.warning("%s: %s holds no string and is dropped", self._name, name)
        self._client.unlink(name)
