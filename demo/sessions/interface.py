"""`flask.session` over the store, by Flask-Session's interface.

A request that never looks at `flask.session` costs no round trip for it. Only changed values are
saved, so a request that only reads does not undo what another request wrote meanwhile. Changes
inside nested values are saved too. Without Redis the visitor counts as signed out for this request,
the cookie stays as it is, and nothing is saved. When a session's expiry is extended, the expiry of
its cookie is extended too.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

from flask import Flask, Request, Response, current_app, g, session
from flask.sessions import SessionMixin
from flask_session.base import ServerSideSessionInterface
from redis.exceptions import RedisError
from werkzeug.local import LocalProxy

from demo.client import refusals
from demo.sessions import session_id, session_store
from demo.sessions.session_store import Ended, SessionStore
from demo.sessions.session_values import Session
from demo.web import cookies
from demo.web.budgets import OutOfBudget
from demo.web.formats import duration

NESTED = {list, dict}
OVER = "This browser’s session has ended: {}. You are signed out now."
EXPIRED = "it was unused for {}, was {} old, or was evicted by Redis"
DAY_SECONDS = 86_400
log = logging.getLogger(__name__)


class LazySession(SessionMixin):
    """A session that is read when it is first asked for. `away` is the error when Redis could not
    be asked. That an id was one and is none any more is left for the page among `g.parts`."""

    def __init__(
        self,
        store: SessionStore,
        offered: Sequence[str] = (),
        old: Sequence[str] = (),
        why: Callable[[str], str] = str,
    ) -> None:
        self.offered = (*offered, *old)
        self.sid = self.sent = self.offered[0] if self.offered else None
        self.old, self.found_under_old_name = old, False
        self.away: RedisError | None = None
        self.accessed = False
        self.cleared = False
        self.loaded: Session | None = None
        self._store, self._why = store, why
        self._data: dict[str, Any] | None = None
        self._before: dict[str, bytes] = {}
        self._touched = self._nested = False

    @property
    def data(self) -> dict[str, Any]:
        """The values, loaded at the first look."""
        if self._data is None:
            self.accessed = True
            self._data = {}
            sent = self.sent
            if sent is not None:
                try:
                    found = self._find()
                except RedisError as error:
                    self.away = error
                    log.warning(
                        "sessions: signed out for this request: %s", refusals.of(error).name
                    )
                else:
                    self.loaded = found
                    self._data = dict(found.data) if found else {}
                    self._before = found.encoded if found else {}
                    place = session_id.place(sent)
                    if found is None and sent not in self.old and place:
                        why = self._why(place.handle)
                        g.setdefault("parts", {})["notice"] = OVER.format(why)
                    self._nested = not NESTED.isdisjoint(map(type, self._data.values()))
        return self._data

    def _find(self) -> Session | None:
        """The first of the sent ids that is a session."""
        for sid in self.offered:
            found = self._store.load(sid)
            if found:
                self.sid = self.sent = sid
                self.found_under_old_name = sid in self.old
                return found
        self.sid = None
        return None

    def changes(self) -> tuple[dict[str, Any], list[str]]:
        """What differs from what was loaded: new or changed values, and names that are gone.
        Nothing differs where nothing was set and nothing that was loaded can be changed from
        within."""
        before = self._before
        if self._data is None or not (self._touched or self._nested):
            return {}, []
        kept = self._store.kept
        changed = {
            name: value
            for name, value in self.data.items()
            if kept(name, value) != before.get(name)
        }
        return changed, [name for name in before if name not in self.data]

    @property
    def is_as_it_was(self) -> bool:
        """Whether there is nothing to save and no cookie to set or take back: most requests."""
        loaded = self.loaded
        return (
            loaded is not None
            and self.sid is self.sent
            and not self.found_under_old_name
            and not (loaded.slid or self._touched or self._nested or self.cleared)
        )

    @property
    def modified(self) -> bool:  # type: ignore[override]
        """Whether saving would write anything."""
        return self._data is not None and self.changes() != ({}, [])

    def clear(self) -> None:
        """Empties the session and ends it with the next save, what other requests wrote meanwhile
        included."""
        super().clear()
        self.cleared = True

    def moved(self, sid: str | None) -> None:
        """What it holds is now what Redis holds, under this id; with None, Redis holds nothing."""
        self.sid = sid
        self.cleared = self._touched = False
        kept = self._store.kept
        self._before = {name: kept(name, value) for name, value in self.data.items()} if sid else {}
        self._nested = True
        if sid is None:
            self.loaded = None

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._touched = True
        self.data[key] = value

    def __delitem__(self, key: str) -> None:
        self._touched = True
        del self.data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


class RedisSessionInterface(ServerSideSessionInterface):  # type: ignore[misc]
    """Flask-Session's interface with the store behind it. Views that must know that a change was
    kept call `commit`. `visited` is told of a user once in each day, of 24 hours, in which the
    session is visited, except for the first."""

    session_class = LazySession

    def __init__(
        self,
        app: Flask,
        store: SessionStore,
        room: Callable[[], None] = lambda: None,
        visited: Callable[[str], None] = lambda user: None,
        why: Callable[[str], str | None] = lambda handle: None,
    ) -> None:
        """`room` raises OutOfBudget where no more sessions may be kept for this client. `why` tells
        why a session was ended, None for one that nobody ended."""
        super().__init__(app, key_prefix="", permanent=True)
        self.store, self._room, self._visited, self._told_why = store, room, visited, why

    def open_session(self, app: Flask, request: Request) -> LazySession:
        """The visitor's session, not read yet. A cookie that has not the form of an id will be
        found to be none."""
        if "HTTP_COOKIE" not in request.environ:
            return LazySession(self.store)
        offered = cookies.sent(app.config["SESSION_COOKIE_NAME"])
        old = () if offered else cookies.old_sessions()
        return LazySession(self.store, offered, old, self._why)

    def begin(self, session: LazySession) -> None:
        """Makes sure that there is a session in Redis, even an empty one. Raises RedisError,
        SessionTooLarge."""
        data = session.data
        if session.sid is None and not session.away:
            self._room()
            session.moved(self.store.begin(data))

    def regenerate(self, session: LazySession) -> None:
        """A new id for the same session, for each change of privilege of its owner; the old one is
        nobody's at once. Raises RedisError."""
        session.data  # noqa: B018 - what is not there is not rotated
        if session.sid is not None:
            session.sid = self.store.rotate(session.sid)
            if session.sid is None:
                session.moved(None)

    def sign_in(
        self,
        session: LazySession,
        user: str,
        epoch: str,
        values: Mapping[str, Any],
        noted: Mapping[str, Any],
    ) -> Ended | None:
        """Starts a new session of `user` and ends the one before. A sign-in takes over the session
        values of a visitor who was not signed in, and none of another user. Returns what ending the
        old session found; None when the user's epoch has moved on, and nobody was signed in. Raises
        RedisError and SessionTooLarge."""
        held = session.data  # read first: whose it is, is not known before
        nobody = session.loaded is None or session.loaded.user is None
        before, data = session.sid, {**(held if nobody else {}), **values}
        self._room()
        sid = self.store.begin(data, user=user, epoch=epoch, noted=noted)
        if sid is None:
            return None
        ended = self.store.delete(before) if before else Ended(False, {})
        session.data.clear()
        session.data.update(data)
        session.loaded = None
        session.moved(sid)
        return ended

    def commit(self, session: LazySession) -> bool:
        """Saves what changed, now. False when the session was ended meanwhile. Raises RedisError,
        SessionTooLarge."""
        if session.cleared and not session.data and not session.away:
            found = self.store.delete(session.sid).found if session.sid else False
            session.moved(None)
            return found
        changed, removed = session.changes()
        if session.away or not (changed or removed):
            return session.away is None
        if session.sid is None:
            self._room()
            session.moved(self.store.begin(changed))
            return True
        if not self.store.save(session.sid, changed, removed):
            return False
        session.moved(session.sid)
        return True

    def save_session(self, app: Flask, session: LazySession, response: Response) -> None:
        """Writes what no view has committed, and sets, or takes back, the cookie."""
        if not session.accessed:
            return
        if "Vary" in response.headers:
            response.vary.add("Cookie")
        else:
            response.headers["Vary"] = "Cookie"
        if session.away or session.is_as_it_was:
            return
        loaded = session.loaded
        if loaded and loaded.user and loaded.slid and _another_day(loaded):
            self._visited(loaded.user)
        try:
            if not self.commit(session):
                log.info("sessions: ended meanwhile, nothing saved")
        except (RedisError, session_store.SessionTooLarge, OutOfBudget) as error:
            log.warning("sessions: not saved: %s", type(error).__name__)
            return
        self._set_cookie(app, session, response)

    def _why(self, handle: str) -> str:
        """Why the session of this handle is none any more."""
        lives = (self.store.idle_seconds, self.store.absolute_seconds)
        return self._told_why(handle) or EXPIRED.format(*map(duration, lives))

    def _retrieve_session_data(self, store_id: str) -> dict[str, Any] | None:
        loaded = self.store.load(store_id)
        return loaded.data if loaded else None

    def _delete_session(self, store_id: str) -> None:
        self.store.delete(store_id)

    def _upsert_session(
        self, session_lifetime: timedelta, session: LazySession, store_id: str
    ) -> None:
        self.store.save(store_id, dict(session))

    def _set_cookie(self, app: Flask, session: LazySession, response: Response) -> None:
        name = app.config["SESSION_COOKIE_NAME"]
        slid = session.loaded is not None and session.loaded.slid
        if session.sid and (session.sid != session.sent or slid or session.found_under_old_name):
            left = (
                session.loaded.idle_seconds_left
                if slid and session.loaded
                else self.store.idle_seconds
            )
            life_seconds = math.ceil(min(left, self.store.absolute_seconds))
            cookies.put(response, name, session.sid, life_seconds)
        elif session.sid is None and cookies.is_sent(name):
            cookies.take_back(response, name)
        if session.found_under_old_name:
            cookies.take_back_old_session(response)


def _another_day(loaded: Session) -> bool:
    """Whether a visit is the first in its day of the session's life."""
    day_before, day_now = (
        (moment - loaded.created_at) // DAY_SECONDS for moment in (loaded.seen_at, time.time())
    )
    return day_before < day_now


def current() -> LazySession:
    """The session of the running request, itself."""
    return cast("LocalProxy[LazySession]", session)._get_current_object()


def current_interface() -> RedisSessionInterface:
    """The interface of the running app."""
    interface = current_app.session_interface
    assert isinstance(interface, RedisSessionInterface)
    return interface
