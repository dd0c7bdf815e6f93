"""The eviction lab: a run in a process of its own, told of while it goes on."""

import contextlib
import secrets
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import msgspec
from flask import Blueprint, Response, redirect, render_template, request, url_for
from redis.exceptions import RedisError
from werkzeug.exceptions import ServiceUnavailable

from demo.client import children, engine, folders
from demo.monitor import belady, eviction, traces
from demo.monitor.eviction import Options, Outcome, Subject
from demo.teach import labs, listing, waiting
from demo.teach.labs import RUNS, Lab, Run
from demo.web.services import get_redis
from demo.web.validation import Invalid, convert

KEPT_SECONDS = 600
WATCHED_SECONDS = 10
LONGEST_SECONDS = 28.0
REFRESH_SECONDS = 2
PLOT_HEIGHT, LABEL_HEIGHT = 220, 15
COLOURS = dict(
    zip(
        (*eviction.POLICIES, *eviction.NEWER_POLICIES),
        ("redis", "ok", "app", "stale", "bad", "ink", "link"),
        strict=True,
    )
)
TRACES = {
    "zipf": "stable favourites (Zipf)",
    "scan": "favourites, with a scan in the middle third",
    "loop": "a loop larger than memory",
    "shift": "favourites that change twice",
}
SETTINGS = {
    "maxmemory-samples": "Redis samples more keys than by default, so that the result shows the "
    "policy and not the sampling",
    "lfu-log-factor": "the use counter rises after few uses, because a short run does not have millions of them",
    "lfu-decay-time": "the use counter falls by one every minute, the shortest interval: old "
    "favourites hardly fade in one run",
}
bp = Blueprint("eviction", __name__, url_prefix="/monitor/eviction", cli_group=None)


class Kept(msgspec.Struct, frozen=True):
    """What is kept of a run."""

    options: Options
    outcome: Outcome


@bp.get("")
def index() -> Response:
    """The form, and the run that the address names: what it has come to, or how far it is."""
    found, gone = None, False
    name = request.args.get("run", "")
    if len(name) == 16 and set(name) <= set("0123456789abcdef"):
        with contextlib.suppress(RedisError, msgspec.MsgspecError):
            raw = get_redis().get(_key(name))
            found = msgspec.json.decode(raw, type=Kept) if raw else None
            if found and not found.outcome.over:
                get_redis().set(_watched(name), 1, ex=WATCHED_SECONDS)
        gone = found is None
    return _page(found, gone=gone)


@bp.post("")
def run() -> Any:
    """Begins a run, when it is the visitor's turn."""
    try:
        options = convert(request.form, Options)
    except Invalid as error:
        return _page(None, errors=error.errors, given=request.form.to_dict(), status=422)
    _found_binary()
    return waiting.enter(EVICTION, msgspec.json.encode(options).decode())


def _start(what: str, turn: Run) -> Any:
    """Shows the page that tells of the run."""
    _begin(msgspec.json.decode(what, type=Options), _found_binary(), turn)
    return redirect(url_for("monitor.eviction.index", run=turn.id), 303)


EVICTION = labs.add(
    Lab(
        "eviction",
        "Eviction lab",
        RUNS,
        _start,
        page=lambda _, id: url_for("monitor.eviction.index", run=id),
        goes_on=True,
    )
)


def _found_binary() -> str:
    binary = _binary()
    if binary is None:
        raise ServiceUnavailable("The lab cannot run, because no engine is installed here.")
    return binary


def _binary() -> str | None:
    try:
        return engine.find_engine()
    except engine.EngineError:
        return None


def _begin(options: Options, binary: str, turn: Run) -> None:
    """Starts the process and a thread that tells what it says. The turn is kept with each line
    that the process says, so it ends soon should this worker die."""
    client, name = get_redis(), turn.id
    folder: Path | None = None
    try:
        client.set(_watched(name), 1, ex=WATCHED_SECONDS)
        client.set(
            _key(name), msgspec.json.encode(Kept(options, Outcome(0.0, []))), ex=WATCHED_SECONDS
        )
        folders.sweep()
        folder = folders.temporary("eviction")
        process = children.start("demo.monitor.eviction_runner")
    except (OSError, RedisError) as error:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise ServiceUnavailable(
                "This machine has no free capacity for a run now. Try again later."
            ) from error
        raise
    task = msgspec.json.encode({"binary": binary, "folder": str(folder), "options": options})
    shared = get_redis()
    threading.Thread(
        target=_follow, args=(process, task, shared, turn, options, folder), daemon=True
    ).start()


def _follow(
    process: subprocess.Popen[bytes],
    task: bytes,
    client: Any,
    turn: Run,
    options: Options,
    folder: Path,
) -> None:
    """Keeps each line that the process says, until it is over, the turn is lost or nobody has
    looked for WATCHED_SECONDS; then ends it."""
    assert process.stdin and process.stdout
    name = turn.id
    over = False
    held = folders.lock(folder / "alive.lock", exclusive=False)
    late = threading.Timer(LONGEST_SECONDS, process.kill)
    late.start()
    try:
        process.stdin.write(task + b"\n")
        process.stdin.flush()
        for line in process.stdout:
            outcome = msgspec.json.decode(line, type=Outcome)
            over = outcome.over
            kept = msgspec.json.encode(Kept(options, outcome))
            client.set(_key(name), kept, ex=KEPT_SECONDS if over else WATCHED_SECONDS)
            if not over and not (turn.keep() and client.exists(_watched(name))):
                break
    except (OSError, RedisError, msgspec.MsgspecError):
        over = False
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()  # The process takes this as the word to end.
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        late.cancel()
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)
        if held:
            held.close()
        with contextlib.suppress(RedisError):
            client.delete(_watched(name), *([] if over else [_key(name)]))
        turn.leave()  # Last: who finds the turn free finds nothing of a run that broke off.


def _page(
    found: Kept | None,
    *,
    gone: bool = False,
    errors: dict[str, str] | None = None,
    given: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    options = msgspec.to_builtins(found.options if found else Options(seed=secrets.randbelow(1000)))
    outcome = found.outcome if found else None
    series = _series(outcome) if outcome and outcome.results else []
    requests = found.options.requests if found else 0
    body = render_template(
        "monitor/eviction.html",
        options={**options, **(given or {})},
        outcome=outcome,
        results=eviction.ranked(outcome.results) if outcome else [],
        verdict=eviction.verdict(outcome) if outcome and outcome.over else "",
        series=series,
        steps=[requests * (part + 1) // eviction.POINTS for part in range(eviction.POINTS)],
        ends=_ends(series),
        height=PLOT_HEIGHT,
        gone=gone,
        errors=errors or {},
        traces=TRACES,
        settings=[(name, value, SETTINGS[name]) for name, value in eviction.SETTINGS.items()],
        facts=eviction,
        engine_there=_binary() is not None,
        minutes=KEPT_SECONDS // 60,
        listings=[listing.of_function(each) for each in (Subject.ask, belady.hits, traces.trace)],
    )
    answer = Response(body, status)
    if outcome and not outcome.over:
        answer.headers["Refresh"] = str(REFRESH_SECONDS)
    return answer


def _series(outcome: Outcome) -> list[tuple[str, str, list[float | None]]]:
    lines = [(found.policy, COLOURS[found.policy], found.points) for found in outcome.results]
    return [*lines, ("optimum", "db", outcome.optimum_points)] if outcome.over else lines


def _ends(series: list[tuple[str, str, list[float | None]]]) -> list[tuple[str, str, int]]:
    """Where each line's name stands, beside its end, in pixels from the top, and never one on
    another."""
    lasts = {
        name: [value for value in values if value is not None][-1:] for name, _, values in series
    }
    placed: list[tuple[str, str, int]] = []
    for name, colour, _ in sorted(series, key=lambda line: lasts[line[0]], reverse=True):
        wanted = round(PLOT_HEIGHT * (1 - (lasts[name] or [0.0])[0]))
        highest = placed[-1][2] + LABEL_HEIGHT if placed else LABEL_HEIGHT
        lowest = PLOT_HEIGHT - LABEL_HEIGHT * (len(series) - len(placed) - 1)
        placed.append((name, colour, min(max(wanted, highest), lowest)))
    return placed


def _key(name: str) -> str:
    return f"demo:monitor:{{run:{name}}}"


def _watched(name: str) -> str:
    return f"{_key(name)}:watched"
