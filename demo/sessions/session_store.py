"""Sessions as hashes: one field per top-level key, so that two requests that change different things both count.

- A request writes only what it changed, in one script, and only if the session still is there: a request in flight
  cannot bring back a session that was ended.
- The id is the visitor's secret. Redis holds its SHA-256: who reads Redis, a dump or a log cannot sign in with it.
- An unknown id is never adopted (fixation), `rotate` at each change of privilege is the caller's part.
- A session ends after `idle_seconds` without a visit, and `absolute_seconds` after it began, whatever happens.
- Values are msgpack and decoded strictly: bytes that do not decode are no session, and nothing is ever executed.

Source of the rules: OWASP Session Management Cheat Sheet.
"""

import hashlib
import logging
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from redis.exceptions import ResponseError

SID = re.compile(r"[A-Za-z0-9_-]{43}")
MAX_BYTES = 16_384
HERE = Path(__file__)
log = logging.getLogger(__name__)


class SessionTooLarge(ValueError):
    """The session would hold more than MAX_BYTES; nothing was written."""


@dataclass(frozen=True)
class Session:
    """A session as it was loaded. Times are seconds: since the epoch for `created_at`, `seen_at` and
    `absolute_expires_at` (Redis' clock), from the load on for `idle_seconds_left`. `encoded` holds the stored bytes by
    field."""

    data: dict[str, Any]
    encoded: dict[str, bytes]
    created_at: float
    seen_at: float
    absolute_expires_at: float
    idle_seconds_left: float

    @property
    def bytes(self) -> int:
        """Bytes of the fields and values."""
        return sum(len(name) + len(value) for name, value in self.encoded.items())


def new_sid() -> str:
    """A fresh id of 256 random bits."""
    return secrets.token_urlsafe(32)


def handle(sid: str) -> str:
    """The public name of a session: safe to show and to log, of no use for signing in."""
    return hashlib.sha256(sid.encode()).hexdigest()[:8]


class SessionStore:
    """`client` is a redis-py client of bytes. Each method is one round trip and raises RedisError."""

    def __init__(self, client: Any, *, idle_seconds: float, absolute_seconds: float) -> None:
        if idle_seconds <= 0 or absolute_seconds <= 0:
            raise ValueError("lifetimes have to be positive")
        self.idle_seconds, self.absolute_seconds = idle_seconds, absolute_seconds
        self._client = client
        self._load = client.register_script(HERE.with_name("session_store_load.lua").read_text())
        self._save = client.register_script(HERE.with_suffix(".lua").read_text())

    @staticmethod
    def redis_key(sid: str) -> str:
        """The key in Redis."""
        return f"demo:sessions:{{{hashlib.sha256(sid.encode()).hexdigest()}}}"

    def load(self, sid: str, *, now_ms: int | None = None) -> Session | None:
        """The session, its idle time started anew (at most once a minute); None when there is none."""
        if not SID.fullmatch(sid):
            return None
        args = [int(self.idle_seconds * 1000), "" if now_ms is None else now_ms]
        try:
            reply = self._load(keys=[self.redis_key(sid)], args=args)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            log.warning("session %s: not a hash, taken as none", handle(sid))
            return None
        return _session(sid, reply) if reply else None

    def save(
        self,
        sid: str,
        changed: Mapping[str, Any],
        removed: Iterable[str] = (),
        *,
        create: bool = False,
        now_ms: int | None = None,
    ) -> bool:
        """Writes `changed` and drops `removed`; a session that is left without a value ends. False when the session is
        gone: nothing was written then.

        Raises SessionTooLarge, and TypeError for a value that msgpack does not know.
        """
        pairs = [part for name, value in changed.items() for part in (f"d:{name}", encode(value))]
        life = [int(self.idle_seconds * 1000), int(self.absolute_seconds * 1000)]
        args = [int(create), *life, MAX_BYTES, "" if now_ms is None else now_ms, len(changed), *pairs]
        written = self._save(keys=[self.redis_key(sid)], args=[*args, *(f"d:{name}" for name in removed)])
        if written == -1:
            raise SessionTooLarge(f"a session may hold {MAX_BYTES} bytes")
        return bool(written)

    def delete(self, sid: str) -> bool:
        """Ends the session; whether there was one."""
        return bool(self._client.unlink(self.redis_key(sid)))


def encode(value: Any) -> bytes:
    """A value as stored."""
    return msgspec.msgpack.encode(value)


def _session(sid: str, reply: list[Any]) -> Session | None:
    _, ttl_ms, *flat = reply
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    try:
        encoded = {name[2:].decode(): value for name, value in fields.items() if name.startswith(b"d:")}
        data = {name: msgspec.msgpack.decode(value) for name, value in encoded.items()}
        created, seen, ends = (int(fields[name]) / 1000 for name in (b"_created", b"_seen", b"_ends"))
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, ValueError, RecursionError) as error:
        log.warning("session %s: does not decode (%s), taken as none", handle(sid), type(error).__name__)
        return None
    return Session(data, encoded, created, seen, ends, ttl_ms / 1000)
