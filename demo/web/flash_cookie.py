"""What a redirect after a POST has to carry to the next page: a signed cookie that is read once.

Nothing is stored on the server, and a visitor without a session stays without one.
"""

from contextlib import suppress
from typing import Any

from flask import g, request
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug import Response

from demo.web import cookies, signed

PREFIX = cookies.PREFIX + "once-"
MAX_AGE_SECONDS = 60
MAX_CHARACTERS = 3500


def _signer(name: str) -> URLSafeTimedSerializer:
    # Each name signs for itself: a visitor cannot hand one view what was meant for another.
    return signed.serializer(f"oneshot:{name}")


def put(response: Response, name: str, value: Any, *, seconds: int | None = None) -> bool:
    """Sends `value` (JSON) along, for so long; one that is too large for a cookie is left out, and
    False."""
    text = _signer(name).dumps(value)
    fits = len(text) <= MAX_CHARACTERS
    if fits:
        g.get("oneshot_taken", set()).discard(name)
        cookies.put(response, PREFIX + name, text, _age(seconds))
    return fits


def take(name: str, *, seconds: int | None = None) -> Any:
    """What an earlier request sent along at most so long ago, or None; the cookie is taken back with
    this response, unless that puts one of its name."""
    given = cookies.sent(PREFIX + name)
    if given:
        g.setdefault("oneshot_taken", set()).add(name)
    for text in given:
        with suppress(BadData):
            return _signer(name).loads(text, max_age=_age(seconds))
    return None


def are_there() -> bool:
    """Whether a request before has sent anything along."""
    return any(PREFIX in name for name in request.cookies)


def _age(seconds: int | None) -> int:
    return MAX_AGE_SECONDS if seconds is None else seconds


def clear_taken(response: Response) -> None:
    """Takes back the cookies that were read."""
    for name in g.get("oneshot_taken", ()):
        cookies.take_back(response, PREFIX + name)
