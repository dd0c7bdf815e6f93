"""The lab that runs one workload against each strategy, in a process of its own."""

import contextlib
import re
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, redirect, render_template, request, url_for
from redis.exceptions import RedisError
from werkzeug.exceptions import ServiceUnavailable

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
KEEP_SECONDS = 3
RUN = re.compile(r"[0-9a-f]{16}")
FAILURES = {
    "none": "nothing",
    "redis": "Redis is gone for the middle third",
    "database": "the database is gone for the middle third",
    "memory": "Redis forgets everything, once",
    "worker": "the worker of write-behind is killed",
}
bp = Blueprint("lab", __name__, url_prefix="/lab", cli_group=None)


class Kept(msgspec.Struct, frozen=True):
    """What is kept of a run."""

    options: Options
    outcomes: list[Outcome]


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
    """Keeps the outcome for ten minutes, and shows it."""
    options = msgspec.json.decode(what, type=Options)
    kept = Kept(options, _run(options, turn))
    get_redis().set(_key(turn.id), msgspec.json.encode(kept), ex=KEPT_SECONDS)
    return redirect(url_for("catalog.lab.index", run=turn.id, _anchor="outcome"), 303)


STRATEGIES = labs.add(
    Lab(
        "strategies",
        "Caching strategies",
        RUNS,
        _begin,
        page=lambda _, id: url_for("catalog.lab.index", run=id),
    )
)


def _run(options: Options, turn: Run) -> list[Outcome]:
    try:
        with scratch("lab") as folder:
            task = {
                "redis_url": services().redis_url,
                "run": f"lab-{turn.id[:8]}",
                "folder": str(folder),
                "options": options,
            }
            told = _told(msgspec.json.encode(task), turn)
        return msgspec.json.decode(told, type=list[Outcome])
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
        current_app.logger.warning("lab: %s", type(error).__name__)
        raise ServiceUnavailable("The run could not be finished. Please try again.") from error


def _told(task: bytes, turn: Run) -> bytes:
    """What the run's process says, which is less than its pipe holds; it is killed when it takes
    too long, or the turn is lost. Raises OSError, SubprocessError."""
    process = children.start("demo.catalog.workload_runner")
    assert process.stdin and process.stdout
    until = time.monotonic() + LONGEST_SECONDS
    try:
        process.stdin.write(task + b"\n")
        process.stdin.flush()
        while process.poll() is None:
            left = until - time.monotonic()
            try:
                process.wait(min(KEEP_SECONDS, max(left, 0)))
            except subprocess.TimeoutExpired:
                if left <= KEEP_SECONDS or not turn.keep():
                    raise
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        return process.stdout.read()
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()


def _page(
    found: Kept | None,
    *,
    gone: bool = False,
    errors: dict[str, str] | None = None,
    given: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    options = msgspec.to_builtins(found.options if found else Options(seed=secrets.randbelow(1000)))
    body = render_template(
        "catalog/strategies.html",
        options={**options, **(given or {})},
        outcomes=found.outcomes if found else [],
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
    return Response(body, status)


def _key(name: str) -> str:
    return f"demo:catalog:{{run:{name}}}"
