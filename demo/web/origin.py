"""Where this site is: scheme, host and port, as DEMO_ORIGIN says, else as the request does.

The Host header is the client's word. Links that leave the page have it only where it is known to be
ours: from DEMO_ORIGIN, from a trusted proxy, or on loopback. Elsewhere they are paths.
"""

import logging
import re
from typing import Any
from urllib.parse import urlsplit

from flask import current_app, request
from werkzeug.exceptions import MisdirectedRequest

from demo.observe.origins import canonical, hosts

FOR_OPERATORS = ("/livez", "/readyz", "/metrics")  # asked by address
LOOPBACK = re.compile(r"(localhost|.+\.localhost|127\.[0-9.]+|\[::1\])(:\d+)?")
log = logging.getLogger(__name__)
_told: set[str] = set()


def asked() -> str | None:
    """The origin that the client says it asked, by Host and scheme."""
    return canonical(f"{request.scheme}://{request.headers.get('Host', '')}")


def own() -> str | None:
    """The origin of this site, where that is known."""
    config = current_app.config
    if config["ORIGIN"]:
        return str(config["ORIGIN"])
    found = asked()
    known = config["TRUSTED_PROXIES"] or LOOPBACK.fullmatch((found or "").partition("://")[2])
    return found if known else None


def absolute(path: str, otherwise: str = "") -> str:
    """A link for elsewhere: the origin and this path, or `otherwise` and the path where the origin
    is not known."""
    return (own() or otherwise) + path


def is_own(origin: str) -> bool:
    """Whether an Origin header names this site: scheme, host and port count."""
    given, ours = canonical(origin), current_app.config["ORIGIN"] or asked()
    if given is None:
        return False
    if given != ours and given.partition(":")[2] == str(ours).partition(":")[2]:
        _tell(
            "A change was refused: its Origin is %s, this app was asked by %s. With TLS in a proxy in front, set "
            "DEMO_ORIGIN, or DEMO_TRUSTED_PROXIES to the number of proxies.",
            given,
            ours,
        )
    return given == ours


def path_of(url: str) -> str | None:
    """The path and query of a URL of this site, such as a Referer; None for another's. Its scheme
    does not count: nothing but the path is used."""
    ours = current_app.config["ORIGIN"] or asked()
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    theirs = canonical(f"{parts.scheme}://{parts.netloc}")
    if theirs is None or ours is None or theirs.partition(":")[2] != ours.partition(":")[2]:
        return None
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def refuse_other_hosts() -> None:
    """Raises MisdirectedRequest for another host than DEMO_ORIGIN's: its page is none of ours,
    whatever name leads here. Operators ask by address."""
    ours = current_app.config["ORIGIN"]
    host = request.headers.get("Host", "").lower()
    if host not in hosts(ours) and request.path not in FOR_OPERATORS:
        _tell(
            "A request for another host than DEMO_ORIGIN, %s, was refused. A proxy in front has to pass the Host on, "
            "or set X-Forwarded-Host and be counted in DEMO_TRUSTED_PROXIES.",
            ours,
        )
        raise MisdirectedRequest(f"This site is available only at {ours}.")


def _tell(text: str, *figures: Any) -> None:
    """Once for each process."""
    if text not in _told:
        _told.add(text)
        log.warning(text, *figures)
