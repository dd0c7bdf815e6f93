"""The lab that runs one workload against each strategy, in a process of its own."""

import contextlib
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    redirect,
    render_template,
    request,
    url_for,
)
from redis.exceptions import RedisError

from demo.catalog import conclusions, workload
from demo.catalog.strategies import NAMES
from demo.catalog.workload import Options, Outcome
from demo.catalog.write_behind import WriteBehind
from demo.catalog.write_through import WriteThrough
from demo.client import children
from demo.client.folders import scratch
from demo.teach import labs, listing, waiting
from demo.teach.labs import RUNS, Lab, Run
from demo.web.services import get_redis, services
from demo.web.validation import Invalid, convert

KEPT_SECONDS = 600
LONGEST_SECONDS = 25
KEEP_SECONDS = 1
REFRESH_SECONDS = 1
RUN = re.compile(r"[0-9a-f]{16}")
FAILURES = {
    "none": "nothing",
    "redis": "Redis is away for the middle third",
    "database": "the database is away for the middle third",
    "memory": "Redis loses all data once",
    "worker": "the write-behind worker is killed",
}
bp = Blueprint("lab", __name__, url_prefix="/lab", cli_group=None)


class Kept(msgspec.Struct, frozen=True):
    """What is kept of a run: while it goes on, of the strategies that are done; `over` without all
    of them when it could not be finished."""

    options: Options
    outcomes: list[Outcome]
    over: bool = True


@bp.get("/")
def index() -> Response:
    """The form, and the run that the address names."""
    found, gone = None, False
    name = request.args.get("run", "")
    if RUN.fullmatch(name):
        try:
            raw = get_redis().get(_key(name))
            found = msgspec.json.decode(raw, type=Kept) if raw else None
        except (RedisError, msgspec.MsgspecError):
            found = None
        gone = found is None
    return _page(found, gone=gone)


@bp.post("/")
def run() -> Any:
    """Runs it, when it is the visitor's turn."""
    try:
        options = convert(request.form, Options)
    except Invalid as error:
        return _page(None, errors=error.errors, given=request.form.to_dict(), status=422)
    # Without Redis there is nothing to compare, and that is said before the work.
    get_redis().ping()
    return waiting.enter(STRATEGIES, msgspec.json.encode(options).decode())


def _begin(what: str, turn: Run) -> Any:
    """Begins the run beside the request, and shows the page that tells of it."""
    options = msgspec.json.decode(what, type=Options)
    _keep(turn, Kept(options, [], over=False))
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    threading.Thread(target=_go_on, args=(app, options, turn), daemon=True).start()
    return redirect(url_for("catalog.lab.index", run=turn.id), 303)


def _go_on(app: Flask, options: Options, turn: Run) -> None:
    """Keeps the outcome for ten minutes; the turn is left last, so who finds it free finds a run that
    is over."""
    with app.app_context(), contextlib.suppress(RedisError):
        try:
            _keep(turn, Kept(options, _run(options, turn)))
        finally:
            turn.leave()


def _keep(turn: Run, kept: Kept) -> None:
    # one that broke off is not told as one that goes on for longer than it could
    seconds = KEPT_SECONDS if kept.over else int(LONGEST_SECONDS) + 5
    get_redis().set(_key(turn.id), msgspec.json.encode(kept), ex=seconds)


STRATEGIES = labs.add(
    Lab(
        "strategies",
        "Caching strategies",
        RUNS,
        _begin,
        page=lambda _, id: url_for("catalog.lab.index", run=id),
        goes_on=True,
    )
)


def _run(options: Options, turn: Run) -> list[Outcome]:
    """The outcomes of the strategies; those that were done when the run had to end."""
    found: list[Outcome] = []
    try:
        with scratch("lab") as folder:
            task = {
                "redis_url": services().redis_url,
                "run": f"lab-{turn.id[:8]}",
                "folder": str(folder),
                "options": options,
            }
            for line in _lines(msgspec.json.encode(task), turn):
                found = msgspec.json.decode(line, type=list[Outcome])
                if len(found) < len(NAMES):
                    with contextlib.suppress(RedisError):  # the outcome is still to come
                        _keep(turn, Kept(options, found, over=False))
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
        current_app.logger.warning("lab: %s", type(error).__name__)
    return found


def _lines(task: bytes, turn: Run) -> Iterator[bytes]:
    """What the run's process says, line by line; it is killed when it takes too long, or the turn is
    lost. Raises OSError, SubprocessError."""
    process = children.start("demo.catalog.workload_runner")
    assert process.stdin and process.stdout
    over = threading.Event()
    keeper = threading.Thread(target=_end_in_time, args=(process, turn, over), daemon=True)
    try:
        process.stdin.write(task + b"\n")
        process.stdin.flush()
        keeper.start()
        yield from process.stdout
        if process.wait(KEEP_SECONDS):
            raise subprocess.CalledProcessError(process.returncode, process.args)
    finally:
        over.set()
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()


def _end_in_time(process: subprocess.Popen[bytes], turn: Run, over: threading.Event) -> None:
    until = time.monotonic() + LONGEST_SECONDS
    while not over.wait(min(KEEP_SECONDS, LONGEST_SECONDS)):
        if time.monotonic() > until or not _kept(turn):
            process.kill()
            break


def _kept(turn: Run) -> bool:
    try:
        return turn.keep()
    except RedisError:
        return False


def _page(
    found: Kept | None,
    *,
    gone: bool = False,
    errors: dict[str, str] | None = None,
    given: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    options = msgspec.to_builtins(found.options if found else Options(seed=secrets.randbelow(1000)))
    outcomes = found.outcomes if found else []
    broken = found is not None and found.over and len(outcomes) < len(NAMES)
    body = render_template(
        "catalog/strategies.html",
        options={**options, **(given or {})},
        outcomes=outcomes,
        runs=found is not None and not found.over,
        broken=broken,
        conclusion=conclusions.conclusion(outcomes, found.options) if found else [],
        parts={outcome.kind: conclusions.parts(outcome) for outcome in outcomes},
        seconds=(workload.SECONDS_AT_MOST, LONGEST_SECONDS),
        gone=gone,
        errors=errors or {},
        names=NAMES,
        failures=FAILURES,
        minutes=KEPT_SECONDS // 60,
        listings=[
            listing.of_function(WriteThrough.update),
            listing.of_function(WriteBehind.flush),
            listing.of_file(Path(__file__).with_name("write_behind.lua")),
        ],
    )
    response = Response(body, 503 if broken and not outcomes else status)
    if found and not found.over:
        response.headers["Refresh"] = str(REFRESH_SECONDS)
    return response


def _key(name: str) -> str:
    return f"demo:catalog:{{run:{name}}}"
