"""Show me: what the app is about in a minute, a step at a time, each measured as it is shown.

A use case brings steps of its own. Each runs when it is the visitor's turn, under keys and with a plug of its
own, and comes to times and counts; the sentence is made of them. What was measured so far travels in
the page's address, signed: nothing is stored, so who is sent the address sees the same figures, and
Redis may be away meanwhile. Played, a page leads to the next by itself, without a script.
"""

import contextvars
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from flask import Blueprint, Response, redirect, render_template, request, url_for
from itsdangerous import BadData
from redis.exceptions import RedisClusterException, RedisError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug import Response as AnyResponse
from werkzeug.exceptions import NotFound, ServiceUnavailable

from demo.client import refusals
from demo.observe.trace import begin_trace
from demo.teach import labs, waiting
from demo.teach.home import Home
from demo.teach.labs import TRIES, Lab, Run
from demo.web import signed
from demo.web.services import part
from demo.web.validation import Invalid, convert

LINK_SECONDS, RUN_SECONDS, PAGE_SECONDS = 7 * 86_400, 600, 9
LEAST_MS, DECADES = 0.1, 5
MOST_TIMES, LONG_MS = 50, 3000
DATABASE_AWAY = "The database is away, and this step needs it."
TOO_SLOW = "The database is too slow now for this step."
bp = Blueprint("show_me", __name__, url_prefix="/show-me", cli_group=None)


class Row(msgspec.Struct, array_like=True):
    """One line on the axis: what was measured, each time that it took in ms, and its colour."""

    name: str
    ms: list[float]
    colour: Literal["redis", "db", "ok", "bad", "stale", "app"]

    def __post_init__(self) -> None:
        self.ms = [float(f"{each:.3g}") for each in self.ms[:MOST_TIMES]]

    @property
    def median(self) -> float:
        """Half of the times were no longer."""
        return statistics.median(self.ms) if self.ms else 0.0


class Measured(msgspec.Struct, array_like=True):
    """What a step has come to; with `cannot`, why it could not be shown."""

    name: str
    rows: list[Row] = []
    counts: dict[str, float] = {}
    cannot: str = ""


@dataclass(frozen=True)
class Step:
    """One thing to show. `order` says where it stands among the others; `about` what is tried, in one
    sentence; `tell` makes the sentence of what `measure` found, and is never asked about what could
    not be shown."""

    order: int
    name: str
    title: str
    about: str
    measure: Callable[[], tuple[list[Row], dict[str, float]]]
    tell: Callable[[Measured], str]


@dataclass
class Clock:
    """Times in ms since it was made, noted in lists by name."""

    began: float = field(default_factory=time.perf_counter)

    def now(self) -> float:
        """Milliseconds since the beginning."""
        return (time.perf_counter() - self.began) * 1000

    def times(self, do: Callable[[], Any], count: int) -> list[float]:
        """How long it takes, so many times one after the other, but no more once LONG_MS are over."""
        found, first = list[float](), self.now()
        while len(found) < count and (not found or self.now() - first < LONG_MS):
            began = self.now()
            do()
            found.append(self.now() - began)
        return found


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form: what was measured so far, and whether it plays by itself."""

    token: str = ""
    play: Literal["", "1"] = ""


def steps() -> list[Step]:
    """Those of the use cases that this app has, in their order."""
    found = [step for module in part(Home).modules for step in getattr(module, "STEPS", ())]
    return sorted(found, key=lambda step: step.order)


def told(ms: float) -> str:
    """A time as it is read: with as many digits as tell something, in seconds from one on."""
    if ms >= 1000:
        return f"{ms / 1000:.1f} s"
    return f"{ms:.2f} ms" if ms < 1 else f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"


def at(ms: float) -> float:
    """Where a time stands on the axis, in per cent: each power of ten takes the same room."""
    return min(100.0, max(0.0, 100 * math.log10(max(ms, LEAST_MS) / LEAST_MS) / DECADES))


@bp.get("/")
def index() -> str:
    """What there is to be seen, and the buttons that begin it."""
    return render_template("show_me/index.html", steps=steps(), minute=PAGE_SECONDS * len(steps()))


@bp.post("/")
def measure() -> AnyResponse:
    """Measures the next step, when it is the visitor's turn; the first without any before."""
    wanted = convert(request.form, Wanted)
    if not steps():
        raise NotFound("None of the installed use cases has a step to show.")
    try:
        _read(wanted.token, RUN_SECONDS)
    except BadData:
        raise Invalid(
            {"token": "must come from this page and be at most ten minutes old"}
        ) from None
    return waiting.enter(SHOW_ME, f"{wanted.play or '0'} {wanted.token}")


@bp.get("/<token>/next")
def go_on(token: str) -> AnyResponse:
    """The same, for a page that plays."""
    try:
        _read(token, RUN_SECONDS)
    except BadData:
        return redirect(url_for("show_me.show", token=token), 303)
    return waiting.enter(SHOW_ME, f"1 {token}")


@bp.get("/<token>")
def show(token: str) -> Response:
    """What was measured, on one axis. Played, it goes on by itself after a while."""
    try:
        done, at_seconds = _read(token, LINK_SECONDS)
    except BadData:
        raise NotFound(
            "This address has no measurements from the last week. Play all steps to measure again."
        ) from None
    there = steps()
    shown = [(step, found) for step in there for found in done if found.name == step.name]
    if not shown:
        raise NotFound("This address has no measurements. Play all steps to measure again.")
    text = request.args.get("step", "")
    place = int(text) if text.isascii() and text.isdecimal() and len(text) < 3 else len(shown)
    place = min(max(place, 1), len(shown))
    is_last, is_over = place == len(shown), len(shown) == len(there)
    goes_on = is_last and not is_over and time.time() - at_seconds < RUN_SECONDS
    plays = request.args.get("play") == "1" and goes_on
    body = render_template(
        "show_me/step.html",
        token=token,
        shown=shown,
        place=place,
        steps=there,
        plays=plays,
        goes_on=goes_on,
        is_over=is_over,
        seconds=PAGE_SECONDS,
        at_seconds=at_seconds,
        at=at,
        told=told,
        ticks=[(at(LEAST_MS * 10**n), told_tick(LEAST_MS * 10**n)) for n in range(DECADES + 1)],
    )
    response = Response(body)
    if plays:
        response.headers["Refresh"] = f"{PAGE_SECONDS}; url={url_for('show_me.go_on', token=token)}"
        response.cache_control.no_store = True
    return response


def told_tick(ms: float) -> str:
    """A power of ten."""
    return f"{ms / 1000:g} s" if ms >= 1000 else f"{ms:g} ms"


def _begin(what: str, run: Run) -> AnyResponse:
    play, _, token = what.partition(" ")
    try:
        done, _at = _read(token, RUN_SECONDS)
    except BadData:
        raise NotFound("This run has ended.") from None
    known = {found.name for found in done}
    following = next((step for step in steps() if step.name not in known), None)
    if following is not None:
        done = [*done, _measured(following)]
        token = _signer().dumps(msgspec.to_builtins(done))
    return redirect(url_for("show_me.show", token=token, play=play if play == "1" else None), 303)


SHOW_ME = labs.add(
    Lab(
        "show-me",
        "Show me",
        TRIES,
        _begin,
        page=lambda what, _: _page_of(what.partition(" ")[2]),
        without_redis=True,
    )
)


def _page_of(token: str) -> str:
    return url_for("show_me.show", token=token) if token else url_for("show_me.index")


def _measured(step: Step) -> Measured:
    """In a trace of its own: a page does without what is late, and this has it late on purpose."""

    def run() -> tuple[list[Row], dict[str, float]]:
        begin_trace(detailed=False).timeout_ms = math.inf
        return step.measure()

    try:
        rows, counts = contextvars.copy_context().run(run)
    except (RedisError, RedisClusterException) as error:
        why = refusals.of(error).sentence if isinstance(error, RedisError) else "Redis is away."
        return Measured(step.name, cannot=why)
    except SQLAlchemyError:
        return Measured(step.name, cannot=DATABASE_AWAY)
    except ServiceUnavailable as error:
        return Measured(step.name, cannot=str(error.description))
    return Measured(step.name, rows, counts)


def _read(token: str, max_age: int) -> tuple[list[Measured], float]:
    """What was measured, and when the last of it. Raises BadData."""
    if not token:
        return [], time.time()
    try:
        given, made = _signer().loads(token, max_age=max_age, return_timestamp=True)
        return msgspec.convert(given, list[Measured]), made.timestamp()
    except (msgspec.ValidationError, UnicodeError):
        raise BadData("none of ours") from None


def _signer() -> Any:
    return signed.serializer("show-me")
