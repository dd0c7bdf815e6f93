"""A cached page before Flask is asked, with what is this request's and this visitor's own put in.

What all such pages share is compressed once, and each goes out joined from its pieces
(`joined_gzip.py`).
"""

import time
from functools import lru_cache
from html import escape
from typing import Any

from demo.catalog.answering import HTML, ONE_PAGE, cache_status, drawn_lessons, how_cached, taken
from demo.catalog.cache_aside import Cached, CacheStatus
from demo.catalog.rendered import Rendered
from demo.client import shared_trip
from demo.observe.trace import Trace
from demo.teach import page_visitor, panel
from demo.web import cookies, joined_gzip, preconditions
from demo.web.before_flask import Whole
from demo.web.freshness import ASKED_EACH_TIME, PERSONAL
from demo.web.joined_gzip import Fixed
from demo.web.services import services
from demo.web.simulated import seen

LESSONS = "catalog/_product_lessons.html"
VISITOR = b"visitor"
Filling = tuple[str, str]  # a session's id and the x-ray's lessons, each empty where there is none


class Filled:
    """Fills the pages of one app. `app` is a Flask app with `reached_by`."""

    def __init__(self, app: Any) -> None:
        self._app, self._parts = app, services(app).parts
        self._secure = bool(app.config["SESSION_COOKIE_SECURE"])

    def prepare(self, environ: dict[str, Any], *, xray: bool) -> Filling | None:
        """What will be put in; None where Flask would put in more. The session, where its cookie is
        all that was sent, will come with the page."""
        below, sent = environ.get("SCRIPT_NAME", ""), environ.get("HTTP_COOKIE")
        if not preconditions.FIELDS.isdisjoint(environ) or seen.until > time.time():
            return None
        lessons = drawn_lessons(self._app, below, LESSONS) if xray else ""
        if lessons is None:
            return None
        if sent is None:
            return "", lessons
        sid = sent.removeprefix(_beginning(self._secure, below))
        known: page_visitor.Visitor | None = self._parts.get(page_visitor.Visitor)
        command = known.command(sid) if known and sid is not sent else None
        if command is None:
            return None
        shared_trip.offer(command)
        return sid, lessons

    def answer(
        self,
        environ: dict[str, Any],
        filling: Filling,
        cached: Cached[Rendered],
        trace: Trace,
        groups: str,
    ) -> Whole | None:
        """The page; None for what was no hit, and where the visitor's session is no plain one: then
        Flask goes on with the answers that came."""
        below, path = environ.get("SCRIPT_NAME", ""), environ["PATH_INFO"]
        if cached.value is None or cached.status is not CacheStatus.HIT:
            return None
        sid, lessons = filling
        parts: dict[bytes, Fixed | bytes | str]
        parts = {b"worker": panel.worker(), b"xray": "", b"xbar": ""}
        if sid:
            known: page_visitor.Visitor = self._parts[page_visitor.Visitor]
            shown = known.glance(sid)
            if shown is None:
                return None
            parts[VISITOR] = page_visitor.chip(self._app, below + known.path, *shown)
        trace.finish()
        if trace.detailed:
            place = escape(below)
            more = panel.more_of(place + path) + (panel.inside_scripts(place) if sid else "")
            missed = panel.last_miss(self._app, f"{path}?")
            asked, reached_by = f"GET {path}", self._app.reached_by
            parts |= panel.drawn(trace, asked, 200, more, missed, reached_by)
            parts |= {b"cached": how_cached(self._app, cached), b"lessons": _fixed(lessons)}
        pieces: list[Fixed | bytes] = []
        for mark, text in _frame(cached.value, frozenset(parts)):
            part = parts.get(mark, b"")
            pieces += [part.encode() if isinstance(part, str) else part, text]
        packs = "gzip" in taken(environ.get("HTTP_ACCEPT_ENCODING", ""))
        body = joined_gzip.gzipped(pieces) if packs else joined_gzip.plain(pieces)
        headers = [
            ("Content-Type", HTML),
            ("Cache-Status", cache_status(cached)),
            ("Vary", "Accept-Encoding, Cookie"),
            ("Cache-Groups", groups),
            ("No-Vary-Search", ONE_PAGE),
            ("Cache-Control", PERSONAL if sid else ASKED_EACH_TIME),
            ("Content-Length", str(len(body))),
        ]
        if packs:
            headers.append(("Content-Encoding", "gzip"))
        if not sid:
            headers.append(("ETag", f'"{joined_gzip.digest(pieces)}{"-gzip" if packs else ""}"'))
        return Whole("200 OK", headers, body)


@lru_cache(maxsize=8)
def _beginning(secure: bool, below: str) -> str:
    return f"{cookies.named(cookies.SESSION, secure, below)}="


@lru_cache(maxsize=4)
def _fixed(text: str) -> Fixed:
    return joined_gzip.fixed(text.encode())


@lru_cache(maxsize=64)
def _frame(rendered: Rendered, marks: frozenset[bytes]) -> tuple[tuple[bytes, Fixed], ...]:
    """A page cut at the first place of each mark: a mark, and what follows it. Other comments stay.
    To decompress a page costs as much as all that is put in."""
    page = rendered.plain
    if VISITOR in marks:
        page = page_visitor.with_visitor(page, panel.BEGIN + VISITOR + panel.END)
    first, *others = page.split(panel.BEGIN)
    cut, left = [(b"", first)], set(marks)
    for piece in others:
        mark, _, rest = piece.partition(panel.END)
        if mark in left:
            left.remove(mark)
            cut.append((mark, rest))
        else:
            before, text = cut[-1]
            cut[-1] = before, text + panel.BEGIN + piece
    return tuple((mark, joined_gzip.fixed(text)) for mark, text in cut)
