"""Origins, scheme, host and port, in one form each, so that they can be compared."""

import re
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")


def canonical(text: str) -> str | None:
    """An origin in its one form, lower case and without the scheme's own port; None for what is
    none, such as "null" or what has a path."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    if parts.scheme not in PORTS or not HOST.fullmatch(host):
        return None
    shown = "" if port in (None, PORTS[parts.scheme]) else f":{port}"
    whole = f"{parts.scheme}://{host}{shown}"
    plain = text.lower() in (whole, f"{parts.scheme}://{host}:{port}")
    return whole if plain else None


def hosts(origin: str) -> tuple[str, ...]:
    """What a Host header of this origin may be."""
    scheme, _, host = origin.partition("://")
    return (host, f"{host}:{PORTS[scheme]}")
