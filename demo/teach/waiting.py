"""Who runs an experiment of a lab, and who waits for it: the door between `turns.py` and the labs.

A lab hands over what a visitor wants to run. If it is the visitor's turn, the run begins within
this request. Otherwise the visitor gets a page that says how many are ahead and asks again by
itself. The first of its requests that finds the turn come begins the run. So nobody who waits holds
a thread, a connection or a lock.
"""

import threading
from typing import Any

from flask import Blueprint, Response, redirect, render_template, url_for
from itsdangerous import BadData
from redis.exceptions import RedisError
from werkzeug import Response as AnyResponse
from werkzeug.exceptions import NotFound

from demo.client.memory import LESSONS_SHARE, LessonsFull, Memory
from demo.teach import listing
from demo.teach.labs import LABS, RUNS, TRIES, Lab, Run, who
from demo.teach.turns import HERE, State, Turn, Turns
from demo.web import flash_cookie, signed
from demo.web.errors import TryLater
from demo.web.services import part

TOKEN_SECONDS = 3600
ANOTHER = (
    "This is the run that you already have. Each visitor can have one run at a time; without a "
    "session, each address can."
)
LAPSED = "Your place in the line has expired: its run has ended, or the page did not ask in time. Start a new run."
bp = Blueprint("turns", __name__, url_prefix="/turns", cli_group=None)


_alone = {line.name: threading.BoundedSemaphore(line.at_once) for line in (RUNS, TRIES)}


def enter(lab: Lab, what: str = "") -> AnyResponse:
    """Begins a run if it is the visitor's turn, else redirects to the waiting page. Raises
    RedisError, and TryLater when there is no free place."""
    turns, visitor = lab.line.turns(), who()
    try:
        if part(Memory).share >= LESSONS_SHARE:
            raise LessonsFull("what is left of Redis' memory is kept for sessions and limits")
        turn = turns.join(visitor, f"{lab.name} {what}")
    except RedisError:
        if not lab.without_redis:
            raise
        return _without_redis(lab, what)
    _refuse(turn)
    response = _begin(turn, turns) if turn.state is State.BEGINS else _forth(turn)
    if not turn.new:
        flash_cookie.put(response, "message", ANOTHER)
    return response


@bp.get("/<token>")
def show(token: str) -> Any:
    """Where a visitor stands in the line; begins the run when its turn has come."""
    lab, id, back = _read(token)
    turns = lab.line.turns()
    try:
        turn = turns.look(id)
    except RedisError:
        return _page(lab, back, None)
    if turn.state is State.BEGINS:
        return _begin(turn, turns)
    if turn.state is State.GONE or (turn.state is State.RUNS and lab.goes_on):
        response = redirect(back, 303)
        if not lab.kept:
            flash_cookie.put(response, "message", LAPSED)
        return response
    return _page(lab, back, turn)


def _begin(turn: Turn, turns: Turns) -> AnyResponse:
    name, _, what = turn.what.partition(" ")
    run, lab = Run(turns, turn.id), LABS[name]
    try:
        response = lab.begin(what, run)
    except BaseException:
        run.leave()
        raise
    if not lab.goes_on:
        run.leave()
    return response


def _without_redis(lab: Lab, what: str) -> AnyResponse:
    if not _alone[lab.line.name].acquire(blocking=False):
        raise TryLater(
            503,
            "Other visitors are running this now, and there is no waiting line "
            "without Redis. Nothing was started. Try again.",
            2,
        )
    try:
        return lab.begin(what, Run(None, ""))
    finally:
        _alone[lab.line.name].release()


def _refuse(turn: Turn) -> None:
    if turn.state is State.FULL:
        raise TryLater(
            503,
            f"The line is full: {turn.before} visitors are waiting. Nothing was started. Try again later.",
            30,
        )
    if turn.state in (State.ADDRESS, State.NETWORK):
        raise TryLater(
            429,
            f"{turn.before} visitors from your {turn.state} are running or waiting, which is the "
            "maximum. Nothing was started.",
            30,
        )


def _page(lab: Lab, back: str, turn: Turn | None) -> Response:
    turns = lab.line.turns()
    body = render_template(
        "turn.html",
        lab=lab,
        home=back.partition("?")[0],
        turn=turn,
        runs=turn is not None and turn.state is State.RUNS,
        wait_seconds=int(turns.wait_seconds),
        listings=[
            listing.of_function(Turns.join),
            listing.of_file(HERE.with_suffix(".lua")),
        ],
    )
    response = Response(body, 503 if turn is None else 200)
    response.headers["Refresh"] = str(lab.line.again_seconds)
    response.cache_control.no_store = True
    if turn is None:
        response.headers["Retry-After"] = str(lab.line.again_seconds)
    return response


def _forth(turn: Turn) -> AnyResponse:
    name, _, what = turn.what.partition(" ")
    token = _signer().dumps([name, turn.id, LABS[name].page(what, turn.id)])
    return redirect(url_for("turns.show", token=token), 303)


def _read(token: str) -> tuple[Lab, str, str]:
    """The lab, the place and the page of the lab that an address names. Signed, so that nobody
    renews a place that it was not given."""
    try:
        name, id, back = _signer().loads(token, max_age=TOKEN_SECONDS)
        return LABS[name], id, back
    except (BadData, KeyError, ValueError):
        raise NotFound("This place in the line does not exist.") from None


def _signer() -> Any:
    return signed.serializer("turn")
