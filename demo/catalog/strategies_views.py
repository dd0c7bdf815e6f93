"""The lab that runs one workload against each strategy, in a process of its own."""

import re
import secrets
import subprocess
import sys
import threading
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
from demo.client.folders import scratch
from demo.config import REPOSITORY
from demo.teach import listing
from demo.web.services import get_redis, services
from demo.web.validation import Invalid, convert

KEPT_SECONDS = 600
LONGEST_SECONDS = 25
RUN = re.compile(r"[0-9a-f]{16}")
FAILURES = {
    "none": "nothing",
    "redis": "Redis is gone for the middle third",
    "database": "the database is gone for the middle third",
    "memory": "Redis forgets everything, once",
    "worker": "the worker of write-behind is killed",
}
bp = Blueprint("lab", __name__, url_prefix="/lab", cli_group=None)
_running = threading.Lock()


class Run(msgspec.Struct, frozen=True):
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
            found = msgspec.json.decode(raw, type=Run) if raw else None
        except (RedisError, msgspec.MsgspecError):
            found = None
        gone = found is None
    return _page(found, gone=gone)


@bp.post("/")
def run() -> Any:
    """Runs it, keeps the outcome for ten minutes, and shows it."""
    try:
        options = convert(request.form, Options)
    except Invalid as error:
        return _page(None, errors=error.errors, given=request.form.to_dict(), status=422)
    # Without Redis there is nothing to compare, and that is said before the work.
    get_redis().ping()
    if not _running.acquire(blocking=False):
        raise ServiceUnavailable(
            "Another run is under way in this worker. Please try again in a few seconds."
        )
    try:
        outcomes = _run(options)
    finally:
        _running.release()
    name = secrets.token_hex(8)
    get_redis().set(_key(name), msgspec.json.encode(Run(options, outcomes)), ex=KEPT_SECONDS)
    return redirect(url_for("catalog.lab.index", run=name, _anchor="outcome"), 303)


def _run(options: Options) -> list[Outcome]:
    try:
        with scratch("lab") as folder:
            task = {
                "redis_url": services().redis_url,
                "run": f"lab-{secrets.token_hex(4)}",
                "folder": str(folder),
                "options": options,
            }
            done = subprocess.run(
                [sys.executable, "-m", "demo.catalog.workload_runner"],
                input=msgspec.json.encode(task),
                capture_output=True,
                cwd=REPOSITORY,
                timeout=LONGEST_SECONDS,
                check=True,
            )
        return msgspec.json.decode(done.stdout, type=list[Outcome])
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
        current_app.logger.warning("lab: %s", type(error).__name__)
        raise ServiceUnavailable("The run could not be finished. Please try again.") from error


def _page(
    found: Run | None,
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
