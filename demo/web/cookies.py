"""Cookies of this app: under names of its own, at its own path.

A browser sends a host's cookies to all of its ports, so on one machine every app is told those of
all others. So no name is one that another may have too, and nothing is taken back that this app has
not given. Of one name a browser may send several, of other paths: all are looked at.
"""

import re

from flask import current_app, request
from werkzeug import Response

PREFIX = "redis-in-practice-"
SESSION = PREFIX + "session"
MOST = 4
KNOWN = "demo.has_session"  # in a request's environment
# What sessions were kept under before, and what could be one of ours: others have such a cookie too.
OLD_SESSION, OLD_ID = "session", re.compile(r"[0-9a-f]{32}\.[A-Za-z0-9_-]{43}")


def full(name: str) -> str:
    """The name as it is sent to the running app."""
    return named(name, current_app.config["SESSION_COOKIE_SECURE"], request.script_root)


def named(name: str, secure: bool, below: str) -> str:
    """The name as it is sent: where cookies are for https alone, no other host can set it either.
    An app `below` a path of its host cannot have the prefix that says so."""
    if not secure:
        return name
    return f"__Secure-{name}" if below else f"__Host-{name}"


def sent(name: str) -> list[str]:
    """What came under this name, each once and MOST at most; empty ones are none."""
    if name not in request.environ.get("HTTP_COOKIE", ""):  # most are not: no need to take it apart
        return []
    found = request.cookies.getlist(full(name))
    return [value for value in dict.fromkeys(found) if value][:MOST]


def old_sessions() -> list[str]:
    """Ids of sessions that came under the name of older builds. They may be another app's."""
    secure = current_app.config["SESSION_COOKIE_SECURE"]
    found = request.cookies.getlist(f"__Host-{OLD_SESSION}" if secure else OLD_SESSION)
    return [value for value in dict.fromkeys(found) if OLD_ID.fullmatch(value)][:MOST]


def has_session() -> bool:
    """Whether this may be somebody whom we know."""
    environ = request.environ
    if "HTTP_COOKIE" not in environ:
        return False
    known: bool | None = environ.get(KNOWN)  # asked by several, each time for the same
    if known is None:
        known = is_sent(current_app.config["SESSION_COOKIE_NAME"]) or bool(old_sessions())
        environ[KNOWN] = known
    return known


def is_sent(name: str) -> bool:
    """Whether anything came under this name."""
    return full(name) in request.cookies


def put(
    response: Response, name: str, value: str, life_seconds: int, samesite: str = "Lax"
) -> None:
    """Gives a cookie; with no life it is taken back."""
    response.set_cookie(
        full(name),
        value,
        max_age=life_seconds,
        path=request.script_root or "/",
        httponly=True,
        samesite=samesite,
        secure=bool(current_app.config["SESSION_COOKIE_SECURE"]),
    )


def take_back(response: Response, name: str) -> None:
    """Ends a cookie."""
    response.delete_cookie(
        full(name),
        path=request.script_root or "/",
        httponly=True,
        samesite="Lax",
        secure=bool(current_app.config["SESSION_COOKIE_SECURE"]),
    )


def take_back_old_session(response: Response) -> None:
    """Ends that of an older build, once what it held was found to be ours."""
    secure = bool(current_app.config["SESSION_COOKIE_SECURE"])
    response.delete_cookie(
        f"__Host-{OLD_SESSION}" if secure else OLD_SESSION, path="/", secure=secure
    )
