"""Server settings. What stands here can be overruled by GUNICORN_CMD_ARGS, e.g. "--worker-class
gthread --threads 8"."""

import contextlib
import gc
import importlib
import os
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any


def _number(name: str, default: int, most: int) -> int:
    """A setting of the server's own. A wrong one ends the start with one sentence."""
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= most):
        sys.exit(f"{name} must be from 1 to {most}.")
    return int(text)


bind = f"0.0.0.0:{_number('PORT', 8000, 65_535)}"
wsgi_app = "wsgi:app"
workers = _number("WEB_CONCURRENCY", 2, 256)
_maxmemory_mb = _number("DEMO_ENGINE_MAXMEMORY_MB", 64, 1_000_000)
# gevent led every interleaved measurement and carries streams; the app is right on gthread too.
worker_class = "gevent"
worker_connections = 3000
graceful_timeout = 8
timeout = 30
keepalive = 5
max_requests = 20_000
# As large as the number itself: workers that share the load evenly would be replaced at the same
# time.
max_requests_jitter = max_requests
limit_request_line = 4094
# It would write into $HOME, and fail on a read-only root.
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
# Whose X-Forwarded-* count is the app's decision, by DEMO_TRUSTED_PROXIES.
forwarded_allow_ips = ""
accesslog = None
if os.environ.get("DEMO_LOG_FORMAT") == "json":
    # Its own lines look like the app's, and go where they go.
    logconfig_dict = {
        "formatters": {"json": {"()": "demo.observe.logs.Json"}},
        "handlers": {
            "stdout": {
                "class": "demo.observe.log_batches.Batches",
                "formatter": "json",
                "stream": "ext://sys.stdout",
            }
        },
        "root": {"level": "INFO", "handlers": ["stdout"]},
        "loggers": {"gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True}},
    }
_instance = ""
_held: list[Any] = []


def on_starting(server: Any) -> None:
    """Once, before the workers: the settings are read, the embedded engine is started, then one
    process checks Redis and database and makes the catalog. What is wrong is said in one sentence,
    and ends the start with exit code 1."""
    from demo import config

    global _instance
    try:
        config.load()
    except config.ConfigError as error:
        sys.exit(str(error))
    _instance = os.environ.get("DEMO_INSTANCE_PATH") or str(
        Path(__file__).resolve().parent / "instance"
    )
    from demo.client.folders import instance_folder

    _instance = str(instance_folder(_instance))
    _start_metrics(Path(_instance))
    wait = _begin_engine(_instance) if not os.environ.get("REDIS_URL") else lambda: None
    # before the app is made, which divides by it; again in each worker, as it may have changed
    os.environ["WEB_CONCURRENCY"] = str(server.cfg.workers)
    if server.cfg.reload:  # a worker that has to load new code must not find the old
        wait()
        if not _checks():
            _stop_engine()
            sys.exit(1)
        return
    _import(server.cfg.worker_class_str)  # while the engine starts
    wait()
    try:
        _make(server.app.app_uri)
    except BaseException:
        _stop_engine()
        raise


def post_fork(server: Any, worker: Any) -> None:
    """What divides something among the workers has to know how many there are, however that was
    set."""
    from demo.web import quick_server

    os.environ["WEB_CONCURRENCY"] = str(server.cfg.workers)
    quick_server.use(worker)


def post_worker_init(worker: Any) -> None:
    """The app is told of its server; templates are looked up before the first request: beside
    requests a compiler would hold up gevent's hub, and replies of Redis would count as late."""
    from demo.observe import logs
    from demo.web import forks, server, slow_clients, unviewed
    from demo.web.services import services

    app = worker.app.wsgi()
    logs.in_batches()
    forks.take(app)
    server.tell(app, worker)
    slow_clients.guard(worker, unviewed.guard(worker))
    _look_up_templates(app)
    # what is there by now stays: the collector need not look at it while somebody waits
    gc.freeze()
    if app.config["BACKGROUND"] != "none":
        services(app).background.start()


def pre_request(worker: Any, request: Any) -> None:
    """The headers are read: the body has its time from now."""
    from demo.web import slow_clients

    slow_clients.begin(request, worker.app.callable.config["BODY_SECONDS"])


def post_request(worker: Any, request: Any, environment: Any, answer: Any) -> None:
    """The answer is out, whether the view has read the body or not."""
    from demo.web import slow_clients

    slow_clients.end(request, answer)


def worker_abort(worker: Any) -> None:
    """The worker hangs, and ends: what it has not answered is told."""
    from demo.web import unviewed

    unviewed.tell_hung(worker)


def worker_exit(server: Any, worker: Any) -> None:
    """The worker's last act: what it has gathered is written, what it has opened is closed."""
    if worker.app.callable is not None:
        from demo.app import close

        close(worker.app.callable)


def child_exit(server: Any, worker: Any) -> None:
    """What a worker has counted stays; what it was just now goes with it."""
    from prometheus_client import multiprocess

    from demo.observe import metric_files

    multiprocess.mark_process_dead(worker.pid)
    try:
        metric_files.fold(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    except (
        Exception
    ) as error:  # a file that a killed worker left half written must not end the server
        server.log.warning("metrics: not folded: %s", error)


def when_ready(server: Any) -> None:
    """Says where to look, and notes it for programs on this machine."""
    host, port = server.LISTENERS[0].sock.getsockname()[:2]
    address = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    server.log.info("Redis in practice: %s", address)
    with contextlib.suppress(OSError):
        (Path(_instance) / "address").write_text(address)
    if not host.startswith(("127.", "::1", "/")) and _unsafe():
        server.log.warning(
            "Others can reach this address, and %d settings are not for strangers: "
            "flask --app wsgi check --public names them.",
            _unsafe(),
        )


def _unsafe() -> int:
    """How many settings are not for a public host."""
    from demo import config
    from demo.web import public

    return len(list(public.unsafe(config.load())))


def on_exit(server: Any) -> None:
    """The master's last act: the engine ends now, not a moment after."""
    with contextlib.suppress(OSError):
        (Path(_instance) / "address").unlink(missing_ok=True)
    _stop_engine()
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)


def _start_metrics(instance: Path) -> None:
    """A folder of this run where all workers count; what an earlier run was killed in is swept."""
    from demo.client.folders import is_alive, lock

    for old in instance.glob("metrics-*"):
        if (old / "alive.lock").exists() and not is_alive(old):  # without one it is just being made
            shutil.rmtree(old, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix="metrics-", dir=instance)
    _held.append(lock(Path(folder) / "alive.lock", exclusive=False))
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder


def _import(worker_class: str) -> None:
    """Imports the app's modules and looks its patterns through here, once for all workers, which are
    forked from this process; an app is made by each for itself. For gevent's workers the modules
    have to find gevent's locks and sockets; this process goes on forking and reaping as it would
    without."""
    gc.disable()  # all of it stays, there is nothing to collect
    if worker_class.startswith("gevent"):
        from gevent import monkey

        # gevent asks for plugins 25 times, here and in each worker: each time all packages are read
        metadata.entry_points = metadata.entry_points().select  # type: ignore[method-assign]
        monkey.patch_all(os=False, subprocess=False, signal=False)
        warnings.filterwarnings("ignore", category=monkey.MonkeyPatchWarning)
    from demo.app import USE_CASES
    from demo.teach import pattern_zip, scripts

    for name in USE_CASES:
        importlib.import_module(f"demo.{name}.views")
    pattern_zip.with_scripts()
    scripts.learn_all()
    gc.freeze()
    gc.enable()


def _make(uri: str) -> None:
    """The app, where gunicorn's workers will find it: they import the module that is loaded already.
    Where it cannot be shared, or another one is served, it was only tried, and each makes its own."""
    gc.disable()
    from demo.app import close
    from demo.web import forks

    forks.prepare()
    made = importlib.import_module("wsgi")
    if uri == wsgi_app and forks.can_share(made.app):
        forks.let_go(made.app)
        _look_up_templates(made.app)
    else:
        close(made.app)
        del sys.modules["wsgi"]
    gc.freeze()  # without a collection, which would take longer than what it finds is worth
    gc.enable()


def _look_up_templates(app: Any) -> None:
    environment = app.jinja_env
    for name in environment.list_templates(extensions=["html"]):
        environment.get_template(name)


def _checks() -> bool:
    """Whether the app can be made: tried in a process of its own, which makes the catalog too."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    from demo.app import close, create_app
    from demo.config import ConfigError

    code = 1
    try:
        close(create_app())
        code = 0
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _begin_engine(instance: str) -> Callable[[], object]:
    """Gives what waits until the engine is there."""
    from demo.client import engine

    keep = os.environ.get("DEMO_KEEP_DATA", "true") != "false"
    begin = partial(engine.begin, Path(instance), keep=keep, maxmemory_mb=_maxmemory_mb)
    return partial(_or_exit, _or_exit(begin))


def _or_exit(step: Callable[[], Any]) -> Any:
    from demo.client import engine

    try:
        return step()
    except engine.EngineError as error:
        sys.exit(str(error))


def _stop_engine() -> None:
    from demo.client import engine

    engine.release(Path(_instance), wait_seconds=3)
