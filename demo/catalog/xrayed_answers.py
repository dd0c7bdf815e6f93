"""A cached page with its x-ray before Flask is asked: for who has no cookie, where nothing but the
request's own figures has to be put in."""

import hashlib
import time
from functools import lru_cache
from html import escape
from typing import Any

from flask import Flask

from demo.catalog.answering import HTML, ONE_PAGE, cache_status, drawn_lessons, how_cached
from demo.catalog.cache_aside import Cached, CacheStatus
from demo.catalog.rendered import Rendered
from demo.observe.trace import Trace
from demo.teach import panel
from demo.web import preconditions
from demo.web.before_flask import Whole
from demo.web.freshness import ASKED_EACH_TIME
from demo.web.simulated import seen

LESSONS = "catalog/_product_lessons.html"


def may_be(app: Flask, environ: dict[str, Any]) -> bool:
    """Whether Flask would put in no more than this does."""
    return (
        drawn_lessons(app, environ.get("SCRIPT_NAME", ""), LESSONS) is not None
        and preconditions.FIELDS.isdisjoint(environ)
        and seen.until <= time.time()
    )


def answer(
    app: Flask, environ: dict[str, Any], cached: Cached[Rendered], trace: Trace, groups: str
) -> Whole | None:
    """The page with what this request did; None for what was no hit."""
    below, path = environ.get("SCRIPT_NAME", ""), environ["PATH_INFO"]
    lessons = drawn_lessons(app, below, LESSONS)
    if cached.value is None or cached.status is not CacheStatus.HIT or lessons is None:
        return None
    trace.finish()
    missed = panel.last_miss(app, f"{path}?")
    more = panel.more_of(escape(below + path))
    reached_by = app.reached_by  # type: ignore[attr-defined]
    parts = panel.drawn(trace, f"GET {path}", 200, more, missed, reached_by)
    parts |= {
        b"worker": panel.worker(),
        b"cached": how_cached(app, cached),
        b"lessons": lessons,
    }
    body = panel.put(_split(cached.value), parts)
    headers = [
        ("Content-Type", HTML),
        ("Content-Length", str(len(body))),
        ("Cache-Status", cache_status(cached)),
        ("Vary", "Accept-Encoding, Cookie"),
        ("Cache-Groups", groups),
        ("No-Vary-Search", ONE_PAGE),
        ("Cache-Control", ASKED_EACH_TIME),
        ("ETag", f'"{hashlib.sha256(body).hexdigest()[:24]}"'),
    ]
    return Whole("200 OK", headers, body)


@lru_cache(maxsize=32)
def _split(rendered: Rendered) -> tuple[bytes, ...]:
    """A page at its marks: to decompress it costs as much as all that is put in."""
    return tuple(rendered.plain.split(panel.BEGIN))
