"""What the catalog's views share: input, the shelf, and how a rendered answer goes out."""

from functools import lru_cache
from typing import Any

from flask import Response, current_app, g, render_template, request
from werkzeug.datastructures import Accept
from werkzeug.exceptions import NotFound
from werkzeug.http import parse_accept_header

from demo import choices, panel
from demo.catalog import products
from demo.catalog.cache_aside import Cached, CacheStatus
from demo.catalog.products import CATEGORIES
from demo.catalog.rendered import Rendered
from demo.catalog.shelf import Shelf
from demo.validation import Invalid


def shelf() -> Shelf:
    """The catalog of the running app."""
    found: Shelf = current_app.extensions["shelf"]
    return found


def corner() -> str:
    """The visitor's own corner of the cache, for one who has chosen another database than the others."""
    chosen = choices.current()
    return f"-{chosen.visitor}" if chosen.database else ""


def known_category(slug: str) -> str:
    """The category, or empty for all. Raises Invalid."""
    if slug and slug not in CATEGORIES:
        raise Invalid({"category": "one of " + ", ".join(CATEGORIES)})
    return slug


def checked_id(text: str) -> int:
    """The id in a path. Raises NotFound for what cannot be one."""
    if not is_integer(text) or not 1 <= int(text) <= products.MAX_ID:
        raise NotFound("There is no such product.")
    return int(text)


def is_integer(text: str) -> bool:
    """Whether it is one, of a sensible length."""
    return text.removeprefix("-").isdecimal() and text.isascii() and len(text) <= 12


def page(cached: Cached[Rendered]) -> Response:
    """A page from the cache: compressed and with its ETag where nothing of this visitor has to be in it, else filled."""
    assert cached.value is not None
    if panel.may_go_out_whole():
        g.whole = True
        return deliver(cached, "text/html; charset=utf-8")
    if panel.wanted():
        show_status(cached)
    response = with_status(Response(cached.value.plain), cached)
    response.cache_control.no_cache = True
    response.cache_control.private = True
    return response


def show_status(cached: Cached[Any]) -> None:
    """Puts the cache's verdict into the page."""
    g.setdefault("parts", {})["cached"] = render_template("_cached.html", cached=cached)


def deliver(cached: Cached[Rendered], content_type: str) -> Response:
    """The bytes as they were cached, or 304 for who has them. To be asked again each time: a browser's own copy would not
    hear of an invalidation."""
    rendered = cached.value
    assert rendered is not None
    gzipped = rendered.gzipped and _takes_gzip(request.environ.get("HTTP_ACCEPT_ENCODING", ""))
    etag = rendered.etag(gzipped=gzipped)
    headers = {"Content-Type": content_type, "ETag": etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if "HTTP_IF_NONE_MATCH" in request.environ and request.if_none_match.contains_weak(etag.strip('"')):
        return with_status(Response(status=304, headers=headers), cached)
    if gzipped:
        headers["Content-Encoding"] = "gzip"
    body = rendered.body if gzipped else rendered.plain
    return with_status(Response(body, headers=headers), cached)


def with_status(response: Response, cached: Cached[Any]) -> Response:
    """Adds Cache-Status (RFC 9211)."""
    ttl = f"hit; ttl={cached.ttl_seconds:.0f}"
    words = {
        CacheStatus.HIT: ttl + ("; detail=near" if cached.near else ""),
        CacheStatus.NEGATIVE: f"{ttl}; detail=negative",
        CacheStatus.STALE: "hit; ttl=-1; detail=stale",
        CacheStatus.MISS: "fwd=miss; stored" if cached.ttl_seconds else "fwd=miss",
        CacheStatus.EXPIRED: "fwd=stale; stored" if cached.ttl_seconds else "fwd=stale",
        CacheStatus.BYPASS: "fwd=bypass",
    }[cached.status]
    response.headers["Cache-Status"] = f"catalog; {words}{'; collapsed' if cached.collapsed else ''}"
    return response


@lru_cache(maxsize=256)
def _takes_gzip(header: str) -> bool:
    return parse_accept_header(header, Accept)["gzip"] > 0
