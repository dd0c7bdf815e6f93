"""`flask.session` over the store, by Flask-Session's interface.

Lazy: a request that never looks at the session costs no round trip. Only deltas are saved, nested changes included:
each value is compared with what was loaded. Without Redis the visitor counts as signed out for this request, the cookie
is left alone and nothing is saved.
"""

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from flask import Flask, Request, Response, request
from flask.sessions import SessionMixin
from flask_session.base import ServerSideSessionInterface
from redis.exceptions import RedisError

from demo.sessions import session_store
from demo.sessions.session_store import SID, Session, SessionStore

log = logging.getLogger(__name__)


class LazySession(SessionMixin):
    """A session that is read when it is first asked for. `away` tells that Redis could not be asked."""

    def __init__(self, store: SessionStore, sid: str | None) -> None:
        self.sid = sid
        self.away = False
        self.accessed = False
        self.cleared = False
        self.loaded: Session | None = None
        self._store = store
        self._data: dict[str, Any] | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The values, loaded at the first look."""
        if self._data is None:
            self.accessed = True
            self._data = {}
            if self.sid is not None:
                try:
                    self.loaded = self._store.load(self.sid)
                except RedisError as error:
                    self.away = True
                    log.warning("sessions: signed out for this request: %s", type(error).__name__)
                else:
                    self.sid = self.sid if self.loaded else None
                    self._data = dict(self.loaded.data) if self.loaded else {}
        return self._data

    def changes(self) -> tuple[dict[str, Any], list[str]]:
        """What differs from what was loaded: new or changed values, and names that are gone."""
        before = self.loaded.encoded if self.loaded else {}
        changed = {name: value for name, value in self.data.items() if session_store.encode(value) != before.get(name)}
        return changed, [name for name in before if name not in self.data]

    @property
    def modified(self) -> bool:  # type: ignore[override]
        """Whether saving would write anything."""
        return self._data is not None and self.changes() != ({}, [])

    def clear(self) -> None:
        """Empties the session and ends it with the next save, what other requests wrote meanwhile included."""
        super().clear()
        self.cleared = True

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.data[key] = value

    def __delitem__(self, key: str) -> None:
        del self.data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


class RedisSessionInterface(ServerSideSessionInterface):  # type: ignore[misc]
    """Flask-Session's interface with the store behind it. Views that must know that a change was kept call `commit`."""

    session_class = LazySession

    def __init__(self, app: Flask, store: SessionStore) -> None:
        super().__init__(app, key_prefix="", permanent=True)
        self.store = store

    def open_session(self, app: Flask, request: Request) -> LazySession:
        """The visitor's session, not read yet. A cookie that has not the form of an id is no id."""
        cookie = request.cookies.get(self.get_cookie_name(app), "")
        return LazySession(self.store, cookie if SID.fullmatch(cookie) else None)

    def regenerate(self, session: LazySession) -> None:
        """A new id for the same values, for each change of privilege: the old session ends now, the new one is made by
        the next `commit`. Raises RedisError."""
        session.data  # noqa: B018 - what is carried over has to be loaded first
        if session.sid is not None:
            self._delete_session(session.sid)
        session.sid, session.loaded = None, None

    def commit(self, session: LazySession) -> bool:
        """Saves what changed, now. False when the session was ended meanwhile. Raises RedisError, SessionTooLarge."""
        changed, removed = session.changes()
        if session.away or not (changed or removed):
            return not session.away
        create = session.sid is None
        sid = session.sid or session_store.new_sid()
        if session.cleared and not session.data:
            kept = self.store.delete(sid)
            session.sid, session.loaded = None, None
            return kept
        if not self.store.save(sid, changed, removed, create=create):
            return False
        session.sid = sid
        encoded = {name: session_store.encode(value) for name, value in session.data.items()}
        before = session.loaded
        session.loaded = Session(
            dict(session.data),
            encoded,
            *((before.created_at, before.seen_at, before.absolute_expires_at) if before else (0.0, 0.0, 0.0)),
            self.store.idle_seconds,
        )
        return True

    def save_session(self, app: Flask, session: LazySession, response: Response) -> None:
        """Writes what no view has committed, and sets, or takes back, the cookie."""
        if not session.accessed:
            return
        response.vary.add("Cookie")
        if session.away:
            return
        try:
            self.commit(session)
        except (RedisError, session_store.SessionTooLarge) as error:
            log.warning("sessions: not saved: %s", type(error).__name__)
            return
        self._set_cookie(app, session, response)

    def _retrieve_session_data(self, store_id: str) -> dict[str, Any] | None:
        loaded = self.store.load(store_id)
        return loaded.data if loaded else None

    def _delete_session(self, store_id: str) -> None:
        self.store.delete(store_id)

    def _upsert_session(self, session_lifetime: timedelta, session: LazySession, store_id: str) -> None:
        self.store.save(store_id, dict(session), create=True)

    def _set_cookie(self, app: Flask, session: LazySession, response: Response) -> None:
        name = self.get_cookie_name(app)
        sent = request.cookies.get(name)
        place = {"path": "/", "secure": self.get_cookie_secure(app), "httponly": True, "samesite": "Lax"}
        if session.sid and session.sid != sent:
            response.set_cookie(name, session.sid, max_age=int(self.store.absolute_seconds), **place)
        elif session.sid is None and sent is not None:
            response.delete_cookie(name, **place)
