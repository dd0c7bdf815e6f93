"""Who the visitor is, as the header of every page shows it: read with the page where that is known
before, and put into bytes that hold nothing of anybody."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from flask import Flask, current_app, request
from jinja2 import Template

from demo.client import shared_trip
from demo.client.wire import Args
from demo.teach import pull_the_plug
from demo.web import cookies
from demo.web.services import services

VISITOR, VISITOR_END = b"<!--visitor-->", b"<!--/visitor-->"


@dataclass(frozen=True)
class Visitor:
    """What a page's header shows of a visitor with a session: the user's name, and how many pieces
    the cart holds. It leads to `path`. `command` is the one that will read the session of an id;
    `glance` tells both of an id whose session came with the page, None where more is due."""

    user: Callable[[], str | None]
    pieces: Callable[[], int]
    path: str
    command: Callable[[str], Args | None]
    glance: Callable[[str], tuple[str | None, int] | None]


def expect() -> None:
    """The header of a page reads the visitor's session, so it may come with the page's own MGET."""
    if (
        request.environ["REQUEST_METHOD"] != "GET"
        or "/api/" in request.path
        or pull_the_plug.current() is not pull_the_plug.NONE
        or shared_trip.offered.get()
    ):
        return
    sent, known = cookies.sent(cookies.SESSION), services().parts.get(Visitor)
    command = known.command(sent[0]) if known and len(sent) == 1 else None
    if command:
        shared_trip.offer(command)


def put_into(body: bytes) -> bytes:
    """The page with who is signed in, where it has a place for that."""
    known: Visitor | None = services().parts.get(Visitor)
    if VISITOR not in body:
        return body
    if known is None:
        return with_visitor(body, b"")
    count = known.pieces()  # which reads the session, and so who it is
    below = request.script_root + known.path
    return with_visitor(body, chip(current_app, below, known.user(), count))


def with_visitor(body: bytes, told: bytes) -> bytes:
    """The page with this in the place of its visitor."""
    before, _, rest = body.partition(VISITOR)
    return before + told + rest.partition(VISITOR_END)[2]


def chip(app: Flask, href: str, user: str | None, count: int) -> bytes:
    """Who the visitor is, and how many pieces the cart holds, as a page's header shows them."""
    return _chip(app.jinja_env.get_template("_visitor.html"), href, user, count)


@lru_cache(maxsize=256)
def _chip(template: Template, href: str, user: str | None, count: int) -> bytes:
    return template.render(href=href, user=user, count=count).encode()
