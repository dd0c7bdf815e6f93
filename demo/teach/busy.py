"""Make it busy: simulated visitors for a minute, so that the monitor, analytics and boards move.

They are a process of their own and ask the app over HTTP as anybody does. One run goes on at a time
for all workers, in the line of the labs, so that no lab measures it. It stops by itself, when
somebody stops it, and with the worker that began it. Nothing is left that does not expire.
"""

import contextlib
import subprocess
import threading
import time
from typing import Annotated, Any
from urllib.parse import urlsplit

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
from werkzeug import Response as AnyResponse
from werkzeug.exceptions import Conflict, ServiceUnavailable

from demo.client import children
from demo.teach import labs, waiting
from demo.teach.busy_runner import Errand, Task, Told
from demo.teach.home import Home
from demo.teach.labs import RUNS, Lab, Run
from demo.web import flash_cookie, server
from demo.web.services import get_protected_redis, part
from demo.web.simulated import Simulated
from demo.web.validation import Invalid, convert

KEY = "demo:busy:{run}"
RUN_SECONDS, LEAVE_SECONDS, KEPT_SECONDS, ALIVE_SECONDS = 60, 15, 600, 10
REFRESH_SECONDS = 2
HOME = Errand("/", 4)
NO_ADDRESS = "The server that runs this app does not report its own address, so visitors cannot be simulated."
bp = Blueprint("busy", __name__, url_prefix="/busy", cli_group=None)


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form: how many visitors."""

    visitors: Annotated[int, msgspec.Meta(ge=1, le=50)] = 20


class Busy(msgspec.Struct, frozen=True):
    """What everybody is told of a run."""

    run: str
    visitors: int
    until: float
    told: Told


@bp.get("/")
def index() -> Response:
    """The form, and the run that goes on or was the last."""
    return _page({})


@bp.post("/")
def begin() -> AnyResponse:
    """Begins a run, when it is its turn."""
    try:
        options = convert(request.form, Options)
    except Invalid as error:
        return _page(error.errors, request.form.to_dict(), 422)
    if _address() is None:
        raise Conflict(NO_ADDRESS)
    found = _found()
    if found and not found.told.over:
        response = redirect(url_for("busy.index"), 303)
        flash_cookie.put(
            response,
            "message",
            "Simulated visitors are already here. Only one run is active at a time.",
        )
        return response
    return waiting.enter(BUSY, str(options.visitors))


@bp.post("/stop")
def stop() -> AnyResponse:
    """Ends the run within a second or two, even if another worker began it."""
    get_protected_redis().delete(KEY)
    response = redirect(url_for("busy.index"), 303)
    flash_cookie.put(response, "message", "The simulated visitors are leaving.")
    return response


def _begin(what: str, turn: Run) -> AnyResponse:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    visitors, client = int(what), get_protected_redis()
    until = int(time.time()) + RUN_SECONDS + LEAVE_SECONDS
    simulated = Simulated(str(app.secret_key))
    task = Task(
        _address() or "",
        urlsplit(app.config["ORIGIN"]).netloc or "localhost",
        [simulated.header(number, until) for number in range(visitors)],
        [HOME, *(errand for module in part(Home).modules for errand in _errands(module))],
        app.config["PRODUCTS"],
        float(RUN_SECONDS),
    )
    beginning = Busy(turn.id, visitors, time.time() + RUN_SECONDS, Told(0.0, 0, 0, 0, None))
    try:
        keep(client, beginning)
        process = children.start("demo.teach.busy_runner")
    except OSError as error:
        client.delete(KEY)
        raise ServiceUnavailable(
            "This machine has no free capacity for simulated visitors now. Try again later."
        ) from error
    threading.Thread(
        target=_follow, args=(app, process, task, client, turn, beginning), daemon=True
    ).start()
    return redirect(url_for("busy.index"), 303)


BUSY = labs.add(
    Lab(
        "busy",
        "Make it busy",
        RUNS,
        _begin,
        page=lambda _, __: url_for("busy.index"),
        kept=False,
        goes_on=True,
    )
)


def _follow(
    app: Flask,
    process: subprocess.Popen[bytes],
    task: Task,
    client: Any,
    turn: Run,
    busy: Busy,
) -> None:
    """Tells each second how far it is, until it is over, was stopped, or the turn is lost; then has
    the use cases put away what is left."""
    assert process.stdin and process.stdout
    late = threading.Timer(RUN_SECONDS + LEAVE_SECONDS, process.kill)
    late.start()
    over = False
    try:
        process.stdin.write(msgspec.json.encode(task) + b"\n")
        process.stdin.flush()
        for line in process.stdout:
            told = msgspec.json.decode(line, type=Told)
            over = told.over
            # Only over what is there: who stops it takes the key away.
            stands = keep(client, msgspec.structs.replace(busy, told=told), xx=True)
            if not over and not (stands and turn.keep()):
                break
    except (OSError, RedisError, msgspec.MsgspecError):
        over = False
    finally:
        _end(process)
        late.cancel()
        with app.app_context(), contextlib.suppress(RedisError):
            if not over:
                client.delete(KEY)
            for module in part(Home).modules:
                getattr(module, "after_busy", lambda: None)()
        turn.leave()


def keep(client: Any, busy: Busy, *, xx: bool = False) -> bool:
    """Tells everybody how far a run is; with `xx` only where it has been told of before. One round
    trip. Raises RedisError."""
    seconds = KEPT_SECONDS if busy.told.over else ALIVE_SECONDS
    return bool(client.set(KEY, msgspec.json.encode(busy), ex=seconds, xx=xx))


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin and process.stdout
    with contextlib.suppress(OSError):
        process.stdin.close()  # the process takes this as the word to end
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _errands(module: Any) -> list[Errand]:
    return module.errands() if hasattr(module, "errands") else []


def _address() -> tuple[str, int] | str | None:
    """Where this app can be asked: what its own server has told, never what a request says."""
    told = server.of(current_app).address
    if told is None and "werkzeug.socket" in request.environ:  # flask run
        told = server.address_of(request.environ["werkzeug.socket"])
    return told


def _found() -> Busy | None:
    try:
        raw = get_protected_redis().get(KEY)
        return msgspec.json.decode(raw, type=Busy) if raw else None
    except msgspec.MsgspecError:
        return None


def _page(
    errors: dict[str, str], given: dict[str, str] | None = None, status: int = 200
) -> Response:
    found, away = None, False
    try:
        found = _found()
    except RedisError:
        away = True
    goes_on = found is not None and not found.told.over
    body = render_template(
        "busy.html",
        found=found,
        goes_on=goes_on,
        away=away,
        errors=errors,
        visitors=(given or {}).get("visitors", Options().visitors),
        seconds=RUN_SECONDS,
        possible=_address() is not None,
        no_address=NO_ADDRESS,
        left=max(0, round(found.until - time.time())) if found else 0,
    )
    response = Response(body, status)
    if goes_on:
        response.headers["Refresh"] = str(REFRESH_SECONDS)
        response.cache_control.no_store = True
    return response
