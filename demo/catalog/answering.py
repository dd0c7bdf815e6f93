"""What the catalog's views share: the blueprint, input, the cached catalog, and how a rendered
answer goes out."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from time import time as now
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, render_template, request
from jinja2 import Template
from werkzeug.datastructures import Accept
from werkzeug.exceptions import NotFound
from werkzeug.http import http_date, parse_accept_header

from demo.catalog import products
from demo.catalog.cache_aside import Cache, Cached, CacheStatus
from demo.catalog.cached_catalog import CachedCatalog
from demo.catalog.products import CATEGORIES
from demo.catalog.rendered import Rendered
from demo.teach import listing, panel, pull_the_plug
from demo.web import preconditions
from demo.web.before_flask import OUTCOME, Whole
from demo.web.dictionaries import ABLE, AVAILABLE, DCZ, Dictionaries
from demo.web.freshness import no_vary_search
from demo.web.services import part, services
from demo.web.validation import Invalid

HERE = Path(__file__).parent
LESSONS: dict[str, list[Callable[..., Any]]] = {
    "catalog/_product_lessons.html": [Cache.get_many],
    "catalog/_list_lessons.html": [Cache.invalidate, CachedCatalog.listing],
}
SCRIPTS = {
    "catalog/_product_lessons.html": [HERE / "lease.lua", HERE / "claims.lua"],
    "catalog/_list_lessons.html": [],
}
bp = Blueprint("catalog", __name__, url_prefix="/catalog", cli_group=None)
ONE_JSON, ONE_PAGE = no_vary_search(), no_vary_search("xray")
HTML, JSON = "text/html; charset=utf-8", "application/json"


def catalog() -> CachedCatalog:
    """The catalog of the running app."""
    return part(CachedCatalog)


def corner() -> str:
    """The visitor's own corner of the cache, for one who has chosen another database than the
    others."""
    chosen = pull_the_plug.current()
    return f"-{chosen.visitor}" if chosen.database else ""


def known_category(slug: str) -> str:
    """The category, or empty for all. Raises Invalid."""
    if slug and slug not in CATEGORIES:
        raise Invalid({"category": "one of " + ", ".join(CATEGORIES)})
    return slug


def checked_id(text: str) -> int:
    """The id in a path. Raises NotFound for what cannot be one."""
    if not is_integer(text) or not 1 <= int(text) <= products.MAX_ID:
        raise NotFound("This product does not exist.")
    return int(text)


def is_integer(text: str) -> bool:
    """Whether it is a whole number that is not negative, of a sensible length."""
    return text.isdecimal() and text.isascii() and len(text) <= 12


def looked_for() -> Cached[Rendered] | None:
    """What was found, or raised, before Flask was asked; None where nobody looked."""
    outcome: Any = request.environ.get(OUTCOME)
    if isinstance(outcome, Exception):
        raise outcome
    found: Cached[Rendered] | None = outcome
    return found


def page(cached: Cached[Rendered], lessons: str, groups: str, search: str) -> Response:
    """A page from the cache: compressed and with its ETag where it holds nothing of this visitor,
    otherwise filled. With the x-ray come the `lessons` of a template, which are the same on every
    page of its kind."""
    assert cached.value is not None
    if panel.may_go_out_whole():
        g.whole = True
        return deliver(cached, HTML, groups, search)
    if panel.wanted():
        parts = g.setdefault("parts", {})
        parts["cached"] = how_cached(current_app, cached)
        parts["lessons"] = _lessons(lessons)
    response = with_status(Response(cached.value.plain), cached)
    response.vary.add("Accept-Encoding")  # as for who gets it as it was cached
    response.headers["Cache-Groups"], response.headers["No-Vary-Search"] = groups, search
    return response


def deliver(cached: Cached[Rendered], content_type: str, groups: str, search: str) -> Response:
    """The bytes as they were cached, or 304 for who has them."""
    dictionaries = services().parts.get(Dictionaries)
    answer = whole(request.environ, cached, content_type, groups, search, dictionaries)
    response = Response(answer.body, answer.status)
    response.headers.clear()
    response.headers.extend(answer.headers)
    return response


def whole(
    environ: dict[str, Any],
    cached: Cached[Rendered],
    content_type: str,
    groups: str,
    search: str,
    dictionaries: Dictionaries | None = None,
) -> Whole:
    """The same before Flask is asked. `groups` are what it can be dropped from caches by (RFC 9875),
    `search` says which parameters change nothing. To be asked again each time: a browser's own copy would not
    hear of an invalidation."""
    rendered = cached.value
    assert rendered is not None
    takes = taken(environ.get("HTTP_ACCEPT_ENCODING", ""))
    coding = "gzip" if rendered.gzipped and "gzip" in takes else ""
    etag, vary, frame = rendered.etag(gzipped=coding != ""), "Accept-Encoding", None
    if content_type == HTML:
        vary = "Accept-Encoding, Cookie"
        if dictionaries and dictionaries.may_use(environ):
            vary = "Accept-Encoding, Available-Dictionary, Cookie"
            if rendered.gzipped and not ABLE.isdisjoint(takes):
                frame = dictionaries.frame(environ)
                if DCZ in takes and environ.get(AVAILABLE) == frame.name:
                    coding, etag = DCZ, frame.etag(rendered.digest)
    headers = [
        *_constant(etag, vary, groups, search),
        ("Cache-Status", cache_status(cached)),
    ]
    if not preconditions.FIELDS.isdisjoint(environ):
        written = datetime.fromtimestamp(rendered.modified, UTC) if rendered.modified else None
        if preconditions.status_of_read(environ, etag, written) == 304:
            return Whole("304 NOT MODIFIED", headers, b"")
    if 0 < rendered.modified <= now():
        headers.append(("Last-Modified", _date(rendered.modified)))
    if frame and dictionaries and coding == DCZ:
        body = dictionaries.packed(frame, rendered)
    else:
        body = rendered.body if coding else rendered.plain
        if frame:
            headers.append(frame.link)
    headers += [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    if coding:
        headers.append(("Content-Encoding", coding))
    return Whole("200 OK", headers, body)


def with_status(response: Response, cached: Cached[Any]) -> Response:
    """Adds Cache-Status."""
    response.headers["Cache-Status"] = cache_status(cached)
    return response


def cache_status(cached: Cached[Any]) -> str:
    """The value of Cache-Status (RFC 9211)."""
    if cached.status is CacheStatus.HIT:
        words = f"hit; ttl={cached.ttl_seconds:.0f}{'; detail=near' if cached.near else ''}"
    elif cached.status is CacheStatus.NEGATIVE:
        words = f"hit; ttl={cached.ttl_seconds:.0f}; detail=negative"
    elif cached.status is CacheStatus.STALE:
        words = "hit; ttl=-1; detail=stale"
    else:
        forwarded = {
            CacheStatus.MISS: "miss",
            CacheStatus.EXPIRED: "stale",
            CacheStatus.BYPASS: "bypass",
        }[cached.status]
        words = f"fwd={forwarded}{'; stored' if cached.ttl_seconds else ''}"
    return f"catalog; {words}{'; collapsed' if cached.collapsed else ''}"


def how_cached(app: Flask, cached: Cached[Rendered]) -> str:
    """What a page says of where it comes from."""
    template = app.jinja_env.get_template("catalog/_cache_status.html")
    left = cached.ttl_seconds  # it says the full ones, and whether there is anything left
    told = replace(cached, value=None, ttl_seconds=int(left) or (left and 0.5), bytes=0)
    return _status(template, told)


@lru_cache(maxsize=1024)
def _status(template: Template, cached: Cached[None]) -> str:
    return template.render(cached=cached)


def drawn_lessons(app: Flask, below: str, template: str) -> str | None:
    """The lessons of a template as this process has drawn them for this place, if it has."""
    place, rendered = app.extensions.get("lessons", ("", {}))
    return rendered.get(template) if place == below else None


def _lessons(template: str) -> str:
    below, rendered = current_app.extensions.setdefault("lessons", ("", {}))
    if below != request.script_root:  # its links are those of another place
        rendered = {}
        current_app.extensions["lessons"] = request.script_root, rendered
    if template not in rendered:
        rendered[template] = render_template(
            template,
            listings=[listing.of_function(function) for function in LESSONS[template]]
            + [listing.of_file(path) for path in SCRIPTS[template]],
            stale_seconds=current_app.config["CATALOG_STALE_SECONDS"],
        )
    return str(rendered[template])


@lru_cache(maxsize=4096)
def _constant(etag: str, vary: str, groups: str, search: str) -> list[tuple[str, str]]:
    """The headers that are the same as long as the answer is."""
    return [
        ("ETag", etag),
        ("Cache-Control", "no-cache"),
        ("Vary", vary),
        ("Cache-Groups", groups),
        ("No-Vary-Search", search),
    ]


_date = lru_cache(maxsize=4096)(http_date)


@lru_cache(maxsize=256)
def taken(header: str) -> frozenset[str]:
    """Which of the codings that matter here an Accept-Encoding takes."""
    accepted = parse_accept_header(header, Accept)
    return frozenset(coding for coding in ("gzip", *ABLE) if accepted[coding] > 0)
