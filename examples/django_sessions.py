"""Django: SESSION_ENGINE = "django_sessions" keeps request.session in the store. Two requests that
change different keys both count, and a session that was ended stays ended.

settings.py: REDIS_CLIENT, a client of bytes.
"""

from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError

from demo.sessions.session_store import SessionStore as Store

DAY_SECONDS = 86_400


class SessionStore(SessionBase):
    """Each save writes what this request changed, and nothing else."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        age = settings.SESSION_COOKIE_AGE
        self._store = Store(
            settings.REDIS_CLIENT, idle_seconds=age, absolute_seconds=max(age, 30 * DAY_SECONDS)
        )
        self._loaded: dict[str, bytes] = {}

    def load(self) -> dict[str, Any]:
        found = self._store.load(self.session_key or "")
        self._loaded = dict(found.encoded) if found else {}
        if not found:
            self._session_key = None
        return found.data if found else {}

    def exists(self, session_key: str) -> bool:
        return self._store.load(session_key) is not None

    def create(self) -> None:
        data = dict(getattr(self, "_session_cache", {}))
        self._session_key = self._store.begin(data)
        if self._session_key is None:
            raise CreateError
        self._loaded = {name: self._store.kept(name, value) for name, value in data.items()}
        self._session_cache = data
        self.modified = True

    def save(self, must_create: bool = False) -> None:
        if must_create or self.session_key is None:
            self.create()
            return
        kept = {name: self._store.kept(name, value) for name, value in self._session.items()}
        changed = {n: self._session[n] for n, raw in kept.items() if raw != self._loaded.get(n)}
        removed = [name for name in self._loaded if name not in kept]
        if (changed or removed) and not self._store.save(self.session_key, changed, removed):
            raise UpdateError  # it was ended meanwhile: Django tells the visitor so
        self._loaded = kept

    def cycle_key(self) -> None:
        if self.session_key:
            self._session_key = self._store.rotate(self.session_key)
        self.modified = True

    def delete(self, session_key: str | None = None) -> None:
        self._store.delete(session_key or self.session_key or "")

    @classmethod
    def clear_expired(cls) -> None:
        """Redis does."""
