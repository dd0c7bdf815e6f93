"""Learn: questions that a measurement answers. A visitor predicts, runs, sees, reads and takes.

The result of a run travels in the address of its page, signed. So nothing is stored, nobody sees
another visitor's figures, and a reader of a shared address sees the same ones.
"""

import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from flask import Blueprint, Flask, Response, redirect, render_template, request, url_for
from itsdangerous import BadData
from werkzeug import Response as AnyResponse
from werkzeug.exceptions import NotFound

from demo.learn import api_views, lesson_atomic, lesson_pools, notebook
from demo.learn.notebook import Note, Notes
from demo.learn.reader import Lesson, lessons, lines_of
from demo.teach import experiments, labs, listing, waiting
from demo.teach.busy_runner import Errand
from demo.teach.experiments import Experiment, Found
from demo.teach.home import Home
from demo.teach.labs import TRIES, Lab, Run
from demo.web import signed
from demo.web.freshness import PERSONAL
from demo.web.services import Services, get_redis, part
from demo.web.validation import Invalid, convert

TITLE = "Learn"
LESSONS = {"atomic": lesson_atomic.EXPERIMENT, "pools": lesson_pools.EXPERIMENT}
# What this use case sends itself; what its scripts run is read from them.
NEEDS = "GET INCR PEXPIRE SET UNLINK UNWATCH WATCH"
LINK_SECONDS = 30 * 86_400
PEERS = Path(__file__).with_name("peers.json")
bp = Blueprint("learn", __name__, url_prefix="/learn", cli_group=None)
bp.register_blueprint(api_views.bp)


class Measured(msgspec.Struct, array_like=True):
    """What the address of a run holds."""

    lesson: str
    found: Found
    engine: str = ""
    seconds: float = 0.0


class Predicted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form of a prediction."""

    option: str
    present: str = ""


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form of a run."""

    present: str = ""


def init(app: Flask, services: Services) -> None:
    """Adds the pages."""
    lessons()  # a file that is wrong ends the start
    app.register_blueprint(bp)


def errands() -> list[Errand]:
    """What simulated visitors read."""
    return [Errand("/learn/", 2), Errand("/learn/recipe/", 3)]


def card(_: object) -> tuple[str, str, str]:
    """The home page's figure and picture."""
    return "Lessons, each with an experiment", str(len(lessons())), ""


@bp.get("/")
def index() -> Response:
    """All lessons, and how far this visitor is."""
    notes = notebook.read()
    return _personal(render_template("learn/index.html", lessons=lessons().values(), notes=notes))


@bp.get("/summary")
def summary() -> Response:
    """What this visitor has predicted and measured, as a sheet to print."""
    notes = notebook.read()
    body = render_template(
        "learn/summary.html", lessons=lessons().values(), notes=notes, now=time.time()
    )
    return _personal(body)


@bp.post("/forget")
def forget() -> AnyResponse:
    """Takes all notes of this visitor back."""
    response = redirect(url_for("learn.summary"), 303)
    notebook.forget(response)
    return response


@bp.get("/<lesson>/")
def show(lesson: str) -> Response:
    """A lesson that has not been run."""
    return _page(_known(lesson), notebook.read())


@bp.post("/<lesson>/predict")
def predict(lesson: str) -> AnyResponse:
    """Keeps a prediction for this visitor."""
    known, given = _known(lesson), convert(request.form, Predicted)
    if given.option not in known.options:
        raise Invalid({"option": "one of " + ", ".join(known.options)})
    notes = notebook.read()
    notebook.predict(notes, lesson, given.option)
    response = redirect(_address(lesson, given.present, "run"), 303)
    notebook.write(response, notes)
    return response


@bp.post("/<lesson>/run")
def run(lesson: str) -> AnyResponse:
    """Runs the experiment, when it is the visitor's turn."""
    known, given = _known(lesson), convert(request.form, Wanted)
    _experiment(known)
    return waiting.enter(LESSON, f"{lesson} {'1' if given.present == '1' else ''}")


@bp.get("/<lesson>/<token>")
def result(lesson: str, token: str) -> Response:
    """A lesson with what a run of it has come to."""
    known = _known(lesson)
    try:
        given, made = _signer().loads(token, max_age=LINK_SECONDS, return_timestamp=True)
        measured = msgspec.convert(given, Measured)
    except (BadData, UnicodeError, msgspec.ValidationError):
        measured = Measured("", Found())
    if measured.lesson != lesson:
        raise NotFound("Nothing was measured under this address in the last month.")
    return _page(known, notebook.read(), measured, made.timestamp())


def _begin(what: str, turn: Run) -> AnyResponse:
    name, _, present = what.partition(" ")
    lesson = _known(name)
    experiment, began = _experiment(lesson), time.perf_counter()
    found, engine = experiments.run(experiment, get_redis())
    measured = Measured(name, found, engine, round(time.perf_counter() - began, 2))
    token = _signer().dumps(msgspec.to_builtins(measured))
    address = url_for(
        "learn.result", lesson=name, token=token, present=present or None, _anchor="see"
    )
    response = redirect(address, 303)
    notes, shown = notebook.read(), experiment.verdict(found)
    notebook.note_run(notes, name, shown, _told(experiment, found), engine)
    notebook.write(response, notes)
    return response


def experiments_there() -> dict[str, Experiment]:
    """Those of the use cases that this app has, by "use_case.name"."""
    return {
        f"{module.bp.name}.{name}": experiment
        for module in part(Home).modules
        for name, experiment in getattr(module, "LESSONS", {}).items()
    }


def _known(name: str) -> Lesson:
    if name not in lessons():
        raise NotFound("There is no such lesson.")
    return lessons()[name]


def _experiment(lesson: Lesson) -> Experiment:
    found = experiments_there().get(lesson.experiment)
    if found is None:
        raise NotFound(f"This app was started without {lesson.use_case}, which measures this.")
    return found


def _told(experiment: Experiment, found: Found) -> str:
    return experiment.tell(found) or " ".join(found.cannot) or "This run has shown nothing."


def _page(
    lesson: Lesson, notes: Notes, measured: Measured | None = None, at_seconds: float = 0.0
) -> Response:
    experiment = experiments_there().get(lesson.experiment)
    found = measured.found if measured else None
    presents = request.args.get("present") == "1"
    order = list(lessons().values())
    place = order.index(lesson)
    body = render_template(
        "learn/lesson.html",
        lesson=lesson,
        experiment=experiment,
        measured=measured,
        found=found,
        told=_told(experiment, found) if experiment and found else "",
        shown=experiment.verdict(found) if experiment and found else "",
        at_seconds=at_seconds,
        note=notes.get(lesson.name, Note()),
        place=place + 1,
        count=len(order),
        before=order[place - 1] if place else None,
        after=lessons().get(lesson.next),
        present="1" if presents else None,
        listings=[listing.of_lines(*lines_of(where)) for where in lesson.read],
        peers=_peers().get(lesson.peers),
        seconds=experiments.RUN_SECONDS,
    )
    return _personal(body)


def _personal(body: str) -> Response:
    """A page that depends on the visitor's notes, which nobody else may be shown."""
    response = Response(body)
    response.vary.add("Cookie")
    if notebook.are_there():
        response.headers["Cache-Control"] = PERSONAL
    return response


@cache
def _peers() -> dict[str, Any]:
    """What was measured of other libraries, when, and with which versions."""
    return dict(json.loads(PEERS.read_text()))


def _page_of(what: str, _: str) -> str:
    """Where a visitor who waits is led back to."""
    name, _space, present = what.partition(" ")
    return _address(name, present, "run")


def _address(lesson: str, present: str, anchor: str) -> str:
    return url_for("learn.show", lesson=lesson, present=present or None, _anchor=anchor)


def _signer() -> Any:
    return signed.serializer("lesson")


LESSON = labs.add(
    Lab("lesson", "Learn", TRIES, _begin, page=_page_of, kept=False, without_redis=True)
)
