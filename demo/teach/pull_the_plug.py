"""What a visitor has made different for himself alone: a slow or a broken database, no Redis,
another strategy, or scripts that note what they run.

It lies in a signed cookie that expires by itself, so nothing is stored on the server and nobody
else is affected. The wrappers of the wire and of the database ask `current`. The catalog keeps such
a visitor's answers under separate keys.
"""

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Literal

import msgspec
from flask import Blueprint, redirect, request, url_for
from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy.exc import OperationalError
from werkzeug import Response

from demo.observe.trace import current_trace
from demo.web import cookies, signed
from demo.web.security import came_from, is_own_path
from demo.web.validation import Invalid, convert

COOKIE = cookies.PREFIX + "choices"
LIFE_SECONDS = 600
SLOW_SECONDS = 1.0  # of a database that a visitor has made slow
bp = Blueprint("pull_the_plug", __name__, cli_group=None)


Redis = Literal["", "refused", "slow", "readonly", "full", "paused"]


class Choices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`visitor` names the visitor's own corner of the cache; empty for who has chosen nothing.
    `scripts` shows more and changes nothing."""

    database: Literal["", "slow", "down"] = ""
    redis: Redis = ""
    strategy: Literal["", "write-through", "none"] = ""
    scripts: Literal["", "noted"] = ""
    visitor: str = ""

    @property
    def any(self) -> bool:
        """Whether something is different for this visitor."""
        return bool(self.database or self.redis or self.strategy)

    @property
    def words(self) -> str:
        """What is broken, as short as can be."""
        redis = {
            "": "",
            "slow": "Redis slow",
            "readonly": "Redis read-only",
            "full": "Redis full",
            "paused": "Redis hangs",
        }
        parts = [
            redis.get(self.redis, "Redis refused"),
            f"database {self.database}" if self.database else "",
        ]
        return ", ".join(filter(None, parts))


NONE = Choices()
_current: ContextVar[Choices | None] = ContextVar("choices", default=None)


def current() -> Choices:
    """The choices of the visitor whose request runs in this context."""
    return _current.get() or NONE


def take(chosen: Choices | None) -> None:
    """From here on, in this context."""
    _current.set(chosen)


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form: what is not in it stays as it was."""

    database: Literal["", "slow", "down"] | None = None
    redis: Redis | None = None
    strategy: Literal["", "write-through", "none"] | None = None
    scripts: Literal["", "noted"] | None = None
    back: str = ""


def begin() -> None:
    """Reads the cookie at the beginning of a request; one that is forged, too old or foreign counts
    as none."""
    for text in cookies.sent(COOKIE):
        with suppress(BadData, msgspec.ValidationError):
            chosen = msgspec.convert(_signer().loads(text, max_age=LIFE_SECONDS), Choices)
            take(chosen)
            trace = current_trace()
            if trace is not None:
                trace.recording = chosen.scripts == "noted"
            return


def end() -> None:
    """Forgets them with the request."""
    take(None)


@bp.post("/choices")
def choose() -> Any:
    """Takes a choice, or, with empty ones, ends it; then back to the page that asked."""
    wanted = convert(request.form, Wanted)
    back = wanted.back or came_from(url_for("home.index"))
    if not is_own_path(back):
        raise Invalid({"back": "a path of this site"})
    before = current()
    made = Choices(
        before.database if wanted.database is None else wanted.database,
        before.redis if wanted.redis is None else wanted.redis,
        before.strategy if wanted.strategy is None else wanted.strategy,
        before.scripts if wanted.scripts is None else wanted.scripts,
        before.visitor or secrets.token_hex(6),
    )
    response: Response = redirect(back, 303)
    text = _signer().dumps(msgspec.to_builtins(made))
    life_seconds = LIFE_SECONDS if made.any or made.scripts else 0
    cookies.put(response, COOKIE, text, life_seconds)
    return response


def _signer() -> URLSafeTimedSerializer:
    return signed.serializer("choices")


class Waits:
    """How many visitors may be made to wait by their own choice at once, in this process: `most` is
    asked again each time. A wait holds a thread or a place of the server, and nothing else."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most, self._lock, self.waiting = most, threading.Lock(), 0

    def wait(self, seconds: float) -> bool:
        """Waits; False, at once, where too many do."""
        with self._lock:
            if self.waiting >= self._most():
                return False
            self.waiting += 1
        try:
            time.sleep(seconds)
        finally:
            with self._lock:
                self.waiting -= 1
        return True

    def before_visit(self) -> None:
        """Makes a visit to the database what this visitor has chosen: slow, or none. Raises
        OperationalError, also where too many wait already."""
        choice = current().database
        if choice == "down" or (choice == "slow" and not self.wait(SLOW_SECONDS)):
            raise Broken()


class Broken(OperationalError):
    """What a visitor sees who has chosen a database that is down."""

    def __init__(self) -> None:
        super().__init__(
            "a visit", None, ConnectionError("this visitor has taken the database away")
        )
