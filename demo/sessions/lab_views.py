"""The lab: the same two requests, forced to interleave, on stock Flask-Session and on ours."""

import re
from typing import Any

import msgspec
from flask import redirect, render_template, request, url_for
from redis.exceptions import RedisError

from demo.sessions import races
from demo.sessions.observed_race import Outcome
from demo.sessions.visitor import bp
from demo.teach import labs, listing, waiting
from demo.teach.labs import TRIES, Lab, Run
from demo.web.services import get_redis
from demo.web.validation import Invalid

LANES = {
    "lost-update": (
        "Lost update",
        ("Tab 1", "Tab 2"),
        "Two tabs each add one to the cart. Both read the cart before either of them writes.",
    ),
    "revived": (
        "Ended session comes back",
        ("Running request", "Sign-out"),
        "A request reads its session. The visitor signs out in another tab. Then the request saves a change.",
    ),
    "fixation": (
        "Session fixation",
        ("Attacker", "Visitor"),
        "An attacker plants the id of the attacker’s own session, and waits until the visitor signs in with it.",
    ),
}


KEPT_SECONDS = 600
RUN = re.compile(r"[0-9a-f]{16}")


class Kept(msgspec.Struct, frozen=True):
    """What is kept of a run."""

    race: str
    outcomes: list[Outcome]


@bp.get("/lab")
def lab() -> str:
    """The choice of races, and the run that the address names."""
    name = request.args.get("run", "")
    found = _kept(name) if RUN.fullmatch(name) else None
    return render_template(
        "sessions/lab.html",
        races=LANES,
        name=found.race if found else "",
        outcomes=found.outcomes if found else [],
        gone=bool(name) and found is None,
        listings=[listing.of_function(races.RACES[found.race if found else "lost-update"])],
    )


@bp.post("/lab")
def run_race() -> Any:
    """Runs a race on both, when it is the visitor's turn."""
    race = request.form.get("race", "")
    if race not in LANES:
        raise Invalid({"race": "one of " + ", ".join(LANES)})
    return waiting.enter(RACE, race)


def _race(race: str, run: Run) -> Any:
    """Keeps the outcome for ten minutes, and shows it."""
    kept = Kept(race, races.run(race, get_redis()))
    get_redis().set(_key(run.id), msgspec.json.encode(kept), ex=KEPT_SECONDS)
    return redirect(url_for("sessions.lab", run=run.id, _anchor="outcome"), 303)


RACE = labs.add(
    Lab("race", "Race lab", TRIES, _race, page=lambda _, id: url_for("sessions.lab", run=id))
)


def _kept(name: str) -> Kept | None:
    try:
        raw = get_redis().get(_key(name))
        return msgspec.json.decode(raw, type=Kept) if raw else None
    except (RedisError, msgspec.MsgspecError):
        return None


def _key(name: str) -> str:
    return f"demo:sessions:{{run:{name}}}"
