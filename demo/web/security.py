"""Who may change things, and what a browser may do with a page.

Cross-site changes are refused by the headers that browsers send, not by tokens. A token in a form
would give every anonymous reader a session, and a cached page would hand one visitor's token to
all. The rule is that of Go's net/http.CrossOriginProtection: Sec-Fetch-Site same-origin or none
passes; without that header Origin has to be ours, its scheme too; with neither it is a program,
which carries nobody's cookie.
"""

import hmac
from collections.abc import Iterator, Mapping
from typing import Any

from flask import current_app, request, url_for
from werkzeug.exceptions import Forbidden, Unauthorized

from demo.web import origin

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def refuse_cross_site() -> None:
    """Raises Forbidden for a change that another site's page asked for."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        allowed = site in ("same-origin", "none")
    else:
        given = request.headers.get("Origin")
        allowed = given is None or origin.is_own(given)
    if not allowed:
        raise Forbidden("Another site sent this change. Nothing was changed.")


def is_own_path(path: str) -> bool:
    """Whether a redirect to this path stays here, whatever a browser makes of slashes and of what
    is not printed."""
    return (
        path.startswith("/")
        and not path.startswith(("//", "/\\"))
        and path.isprintable()
        and len(path) <= 512
    )


def page_before() -> str | None:
    """The page of ours that a form was sent from, where a browser tells."""
    path = origin.path_of(request.referrer or "")
    return path if path is not None and is_own_path(path) else None


def came_from(otherwise: str) -> str:
    """The page whose form it was, as the browser says, if it is a page of ours. The bytes of a
    cached page are the same for every visitor, on whatever page."""
    before = page_before()
    adapter = current_app.create_url_adapter(request)
    if before is None or adapter is None or not before.startswith(url_for("home.index")):
        return otherwise
    path = before.partition("?")[0].removeprefix(request.script_root)
    return before if adapter.test(path, "GET") else otherwise


def ask_for_key() -> None:
    """Raises Unauthorized for a change by the API without the key, where one is set."""
    key = current_app.config["API_KEY"]
    if not key or "/api/" not in request.path:
        return
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
        raise Unauthorized(
            "This change needs the header “Authorization: Bearer” with the API key. Nothing was "
            "changed.",
            www_authenticate=None,
        )


def headers(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What every response says."""
    yield from HEADERS.items()
    if config["SECURE_COOKIES"]:
        yield "Strict-Transport-Security", "max-age=31536000"
