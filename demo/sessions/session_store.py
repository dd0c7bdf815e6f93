"""Sessions as hashes, with one field per top-level key. If two requests change different keys of a
session, both changes are kept.

- A request writes only what it changed, in one script, and only if the session still exists with
  the epoch that it began with. A request in flight cannot bring back a session that has ended,
  whether it ended alone or with its user's other sessions.
- The session id is the visitor's secret, and Redis holds only its SHA-256 hash. If a browser
  sends an unknown id, the store never starts a session under that id.
- A session ends after `idle_seconds` without a visit. Even a session in use ends `absolute_seconds`
  after it began.
- A sorted set lists a user's sessions by expiry, and each read of the list removes the expired
  ones. If Redis loses a user's epoch, all sessions of this user end.
- A replica that becomes the primary may not know that a session has ended, and the session would be
  valid again. So the callback `ended` gets each ending to store for a while. `again` repeats a
  stored ending, so the session stays ended after a failover.
- Values are msgpack and decoded strictly. Bytes that do not decode count as no session, and no code
  in them is executed.

All keys of a user are in one cluster slot, so each call is one script, on a cluster too. Source of
the rules: OWASP Session Management Cheat Sheet.
"""

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.client.contract import (
    PREFIX,
    RedisClient,
    beginning,
    checked,
    errors_of,
    positive,
    text,
)
from demo.sessions import session_id, session_values
from demo.sessions.session_id import Place
from demo.sessions.session_values import (
    Device,
    Hash,
    Session,
    read_device,
    read_hash,
    read_session,
)

MAX_BYTES = 16_384
SIGN_IN_SECONDS = 120
HERE = Path(__file__)
log = logging.getLogger(__name__)


class SessionTooLarge(ValueError):
    """The session would hold more than MAX_BYTES; nothing was written."""


@dataclass(frozen=True)
class Ended:
    """What ending a session found: whether it was there, and the other hashes of a visitor who was
    nobody."""

    found: bool
    along: dict[str, Hash]


@dataclass(frozen=True)
class Ending:
    """What was ended: the session of a handle, or all that began under the epoch `before`, which
    was replaced by `epoch`; `handles` are those of them that were on the user's list."""

    owner: str
    handle: str = ""
    before: str = ""
    epoch: str = ""
    handles: tuple[str, ...] = ()


class SessionStore:
    """Sessions under `<prefix>:sessions:{…}`: an id of one prefix is none of another. `client` is a
    client of redis-py or valkey-py that takes bytes, standalone, Sentinel's or a cluster's; `along`
    names other hashes of an owner that `load` reads in the same round trip.

    Values are None, bools, numbers, texts, bytes, lists and dicts, tuples, sets, times, dates,
    Decimal and UUID: each comes back with its type. Any other is refused with its key's name,
    unless `encode` and `decode` are given, which then write and read every value.

    Each method is one round trip, `revoke_others`, `revoke_all` and `forget` take one or two more to
    tidy up. All raise RedisError; `now_ms` is for tests. `outcomes` counts the loads of this process
    that found a session, and those that did not; `on_load` hears of each.
    `ended` is called with each ending before the method returns."""

    def __init__(
        self,
        client: RedisClient,
        *,
        idle_seconds: float,
        absolute_seconds: float,
        along: tuple[str, ...] = (),
        ended: Callable[[Ending], None] = lambda ending: None,
        prefix: str = PREFIX,
        encode: Callable[[Any], bytes] = session_values.encode,
        decode: Callable[[bytes], Any] = session_values.decode,
        on_load: Callable[[bool], None] | None = None,
    ) -> None:
        positive("idle_seconds", idle_seconds)
        positive("absolute_seconds", absolute_seconds)
        if isinstance(along, str):
            raise TypeError("along: must be names in a tuple, not a text")
        beginning(prefix, "sessions")
        self.prefix, self._encode, self._decode, self._on_load = prefix, encode, decode, on_load
        self.idle_seconds, self.absolute_seconds, self.along = idle_seconds, absolute_seconds, along
        self.outcomes: Counter[bool] = Counter()
        self._client, self._ended, self._errors = checked(client), ended, errors_of(client)
        self._idle_ms, self._absolute_ms = int(idle_seconds * 1000), int(absolute_seconds * 1000)
        self._load = client.register_script(HERE.with_name("session_store_load.lua").read_text())
        self._save = client.register_script(HERE.with_name("session_store.lua").read_text())
        self._begin = client.register_script(HERE.with_name("session_store_begin.lua").read_text())
        self._rotate = client.register_script(
            HERE.with_name("session_store_rotate.lua").read_text()
        )
        self._end = client.register_script(HERE.with_name("session_store_end.lua").read_text())
        self._revoke = client.register_script(
            HERE.with_name("session_store_revoke.lua").read_text()
        )
        self._list = client.register_script(HERE.with_name("session_store_list.lua").read_text())

    def kept(self, name: str, value: Any) -> bytes:
        """What is stored of a value. Raises TypeError or ValueError, which name the key, for one that
        cannot be kept as it is."""
        return _named(name, self._encode, value)

    def load(self, sid: str, *, now_ms: int | None = None) -> Session | None:
        """Read the session and extend its idle timeout, at most once a minute.

        None when there is no such session.
        """
        place = session_id.place(sid, self.prefix)
        if place is None:
            log.info("a session was asked for by what is no id")
            return None
        command = self._load_command(place, now_ms)
        try:
            reply = self._client.execute_command(*command)
        except self._errors.no_script:
            count = len(place.keys(*self.along))
            reply = self._load(keys=command[3 : 3 + count], args=command[3 + count :])
        except self._errors.response as error:
            if "WRONGTYPE" not in str(error):
                raise
            log.warning("session %s: not what a session is, taken as none", place.handle[:8])
            return None
        self.outcomes[bool(reply)] += 1
        if self._on_load:
            self._on_load(bool(reply))
        if not reply:
            log.info("session %s: there is none", place.handle[:8])
        return read_session(place, self.along, reply, self._decode) if reply else None

    def load_command(self, sid: str) -> tuple[Any, ...] | None:
        """The command that `load` will send for this id, for who can send it along with another.

        None for what is no id.
        """
        place = session_id.place(sid, self.prefix)
        return None if place is None else self._load_command(place, None)

    def epoch(self, user: str) -> str:
        """Read the user epoch, or create it.

        Read it before the password is checked, and hand it to `begin`.
        """
        fresh = secrets.token_hex(8)
        key = self._place(user).epoch
        there = self._client.set(key, fresh, nx=True, get=True, ex=SIGN_IN_SECONDS)
        return there.decode() if there else fresh

    def begin(
        self,
        data: Mapping[str, Any],
        *,
        user: str | None = None,
        epoch: str = "",
        noted: Mapping[str, Any] | None = None,
        now_ms: int | None = None,
    ) -> str | None:
        """Create a session for a visitor or for `user`, and return its session id.

        None when the user epoch is no longer `epoch`.

        Raises SessionTooLarge, and TypeError, which names the key, for a value that cannot be kept.
        """
        sid = session_id.new(user)
        place = session_id.place(sid, self.prefix)
        assert place is not None
        life = [self._idle_ms, self._absolute_ms, MAX_BYTES, _now(now_ms)]
        args = [
            place.handle,
            *life,
            user or "",
            epoch,
            _named("noted", session_values.encode, dict(noted or {})),
        ]
        args += self._fields(data)
        made = self._begin(keys=place.keys(), args=args)
        if made == -1:
            raise SessionTooLarge(f"a session may hold {MAX_BYTES} bytes")
        return sid if made else None

    def save(
        self,
        sid: str,
        changed: Mapping[str, Any],
        removed: Iterable[str] = (),
        *,
        now_ms: int | None = None,
    ) -> bool:
        """Write the fields in `changed` and delete those in `removed`.

        A visitor's session that is left empty ends. False when the session is gone: then nothing
        was written.

        Raises SessionTooLarge, and TypeError, which names the key, for a value that cannot be kept.
        """
        place = session_id.place(sid, self.prefix)
        if place is None:
            return False
        args = [
            MAX_BYTES,
            _now(now_ms),
            len(changed),
            *self._fields(changed),
            *(f"d:{name}" for name in removed),
        ]
        written = self._save(
            keys=[place.session, place.epoch, *map(place.part, self.along)], args=args
        )
        if written == -1:
            raise SessionTooLarge(f"a session may hold {MAX_BYTES} bytes")
        return bool(written)

    def rotate(self, sid: str, *, now_ms: int | None = None) -> str | None:
        """Move the session to a new session id and return it; the old id is worthless then.

        None when there is no such session.
        """
        before = session_id.place(sid, self.prefix)
        if before is None:
            return None
        fresh = f"{before.owner}.{secrets.token_urlsafe(32)}"
        after = Place(before.owner, session_id.handle(fresh), self.prefix)
        keys = [*before.keys(), after.session]
        if not self._rotate(keys=keys, args=[before.handle, after.handle, _now(now_ms)]):
            return None
        self._ended(Ending(before.owner, before.handle))
        return fresh

    def delete(self, sid: str) -> Ended:
        """End the session."""
        place = session_id.place(sid, self.prefix)
        return self._end_at(place) if place else Ended(False, {})

    def revoke(self, user: str, handle: str) -> bool:
        """End the user's session of this handle. True if there was one."""
        if not session_id.HANDLE.fullmatch(text("handle", handle)):
            return False
        return self._end_at(self._place(user, handle)).found

    def revoke_others(self, sid: str, *, now_ms: int | None = None) -> int | None:
        """End the user's other sessions and return their number.

        None when this session itself is gone.
        """
        place = session_id.place(sid, self.prefix)
        return self._replace_epoch(place, [place.session], _now(now_ms)) if place else None

    def revoke_all(self, user: str) -> int:
        """End all sessions of the user and return their number."""
        return self._replace_epoch(self._place(user), [], "") or 0

    def forget(self, user: str) -> None:
        """End all sessions of a user who is no more, and remove the owner's other hashes.

        Without an epoch a sign-in that is under way is refused too.
        """
        self.revoke_all(user)
        place = self._place(user)
        self._client.unlink(place.epoch, *map(place.part, self.along))

    def list_for(
        self, user: str, most: int = 50, *, now_ms: int | None = None
    ) -> tuple[list[Device], int]:
        """List up to `most` of the user's sessions, last to end first, and their total number."""
        place = self._place(user)
        total, *flat = self._list(keys=[place.index, place.devices], args=[_now(now_ms), most])
        rows = zip(*(flat[part::5] for part in range(5)), strict=True)
        return [read_device(*row) for row in rows], total

    def again(self, ending: Ending) -> None:
        """End once more what was ended, if it is back."""
        if ending.handle:
            self._end_at(Place(ending.owner, ending.handle, self.prefix), again=True)
        else:
            self._replace_epoch(Place(ending.owner, "", self.prefix), [], "", ending)

    def _load_command(self, place: Place, now_ms: int | None) -> tuple[Any, ...]:
        keys = place.keys(*self.along)
        life = (place.handle, self._idle_ms, _now(now_ms))
        return "EVALSHA", self._load.sha, len(keys), *keys, *life

    def _place(self, user: str, handle: str = "") -> Place:
        return Place(session_id.owner_of(user), handle, self.prefix)

    def _fields(self, data: Mapping[str, Any]) -> list[Any]:
        return [each for name in data for each in (f"d:{name}", self.kept(name, data[name]))]

    def _end_at(self, place: Place, *, again: bool = False) -> Ended:
        """End the session at `place` and return what a visitor had besides."""
        keys = [place.session, place.index, place.devices, *map(place.part, self.along)]
        found, *hashes = self._end(keys=keys, args=[place.handle])
        if found and not again:
            self._ended(Ending(place.owner, place.handle))
        return Ended(bool(found), dict(zip(self.along, map(read_hash, hashes), strict=False)))

    def _replace_epoch(
        self, place: Place, keep: list[str], now: Any, again: Ending | None = None
    ) -> int | None:
        """Give the user a new epoch, which ends every session but those in `keep`; `again` the one
        of an ending, where the one that it replaced is back."""
        epoch = again.epoch if again else secrets.token_hex(8)
        args = [epoch, self._absolute_ms, place.handle, now, *([again.before] if again else [])]
        done, *ended = self._revoke(
            keys=[place.epoch, place.index, place.devices, *keep], args=args
        )
        if not done:
            return None
        before, *handles = (part.decode() for part in ended)
        if not again and before:
            self._ended(Ending(place.owner, "", before, epoch, tuple(handles)))
        if handles:  # nobody can use them any more; this only frees their memory early
            self._client.unlink(
                *(Place(place.owner, each, self.prefix).session for each in handles)
            )
        return len(handles)


def _named(name: str, encode: Callable[[Any], bytes], value: Any) -> bytes:
    try:
        return encode(value)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    except OverflowError:
        raise ValueError(f"{name}: must be a whole number of at most 64 bits") from None


def _now(now_ms: int | None) -> Any:
    return "" if now_ms is None else now_ms
