"""What a redirect after a POST has to carry to the next page: a signed cookie that is read once.

Nothing is stored on the server, and a visitor without a session stays without one.
"""

from typing import Any

from flask import current_app, g, request
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug import Response

from demo.web import signed

PREFIX = "once-"
MAX_AGE_SECONDS = 60
MAX_CHARACTERS = 3500


def _signer(name: str) -> URLSafeTimedSerializer:
    # Each name signs for itself: a visitor cannot hand one view what was meant for another.
    return signed.serializer(f"oneshot:{name}")


def put(response: Response, name: str, value: Any) -> None:
    """Sends `value` (JSON) along; one that is too large for a cookie is left out."""
    text = _signer(name).dumps(value)
    if len(text) <= MAX_CHARACTERS:
        secure = bool(current_app.config["SESSION_COOKIE_SECURE"])
        response.set_cookie(
            PREFIX + name,
            text,
            max_age=MAX_AGE_SECONDS,
            path="/",
            httponly=True,
            samesite="Lax",
            secure=secure,
        )


def take(name: str) -> Any:
    """What the request before sent along, or None; the cookie is taken back with this response."""
    text = request.cookies.get(PREFIX + name)
    if text is None:
        return None
    g.setdefault("oneshot_taken", set()).add(name)
    try:
        return _signer(name).loads(text, max_age=MAX_AGE_SECONDS)
    except BadData:
        return None


def clear_taken(response: Response) -> None:
    """Takes back the cookies that were read."""
    for name in g.get("oneshot_taken", ()):
        response.delete_cookie(PREFIX + name, path="/")
