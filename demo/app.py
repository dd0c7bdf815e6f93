"""Puts the app together: settings, the one pool, the one database, the use cases."""

import importlib
import logging
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import click
from flask import Flask, Response, current_app, request
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from demo import (
    choices,
    config,
    errors,
    front,
    home,
    limits,
    logs,
    observed,
    oneshot,
    openapi,
    panel,
    proofs,
    security,
    static_files,
    take,
    tracing,
    xray,
    xray_panel,
)
from demo.background import Background
from demo.config import REPOSITORY, ConfigError
from demo.database import Database, sqlite_url
from demo.folders import instance_folder
from demo.measured import Measured
from demo.misses import Misses
from demo.pool import Client, check, connect

USE_CASES = ("catalog", "sessions", "rate_limit", "leaderboard", "analytics", "monitor")
MAX_BODY_BYTES = 64 * 1024
log = logging.getLogger(__name__)


class App(Flask):
    """Flask, with the x-ray finished after everything else, the saving of the session included."""

    def process_response(self, response: Response) -> Response:
        response = super().process_response(response)
        security.add_headers(response)
        trace = xray.current()
        if trace is not None:
            trace.finish()
            request.environ[front.TRACE], request.environ[front.ENDPOINT] = trace, request.endpoint
            panel.show(response, trace)
        oneshot.clear_taken(response)
        return response


def create_app(settings: Mapping[str, Any] | None = None, use_cases: Sequence[str] = USE_CASES) -> Flask:
    """The app, of these use cases, with `settings` before those of the environment.

    Raises ConfigError with one sentence for what only a person can mend.
    """
    values = config.load(settings)
    logs.init(values["LOG_FORMAT"])
    instance = instance_folder(values["INSTANCE_PATH"])
    app = App(
        "demo",
        root_path=str(REPOSITORY),
        template_folder="templates",
        static_folder=None,
        instance_path=str(instance.resolve()),
    )
    app.config.update(values)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.secret_key = values["SECRET_KEY"] or config.secret_key(instance)
    secure = values["SECURE_COOKIES"]
    app.config.update(
        SESSION_COOKIE_NAME="__Host-session" if secure else "session",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    _connect_redis(app, instance)
    app.extensions["database"] = Database(values["DATABASE_URL"] or sqlite_url(instance), values["DB_LATENCY_MS"])
    app.extensions["front"] = front.Front(app, app.wsgi_app)
    app.extensions["closers"], app.extensions["scraped"] = [], []
    app.extensions["misses"] = Misses()
    app.extensions["observed"] = observed.Observed(app.extensions["front"])
    app.wsgi_app = app.extensions["observed"]  # type: ignore[method-assign]
    if values["TRUSTED_PROXIES"]:
        hops = values["TRUSTED_PROXIES"]
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    static_files.init(app)
    errors.init(app)
    app.before_request(_begin)
    app.before_request(security.refuse_cross_site)
    app.before_request(security.ask_for_key)
    app.before_request(_bound_body)
    app.after_request(panel.fill)
    app.teardown_request(_end)
    app.jinja_env.globals.update(patterns_of=take.of_paths, proof=proofs.link)
    app.jinja_env.filters.update(euros=_euros, bytes=xray.size, ms=xray_panel.ms, number=_number, utc=_utc)
    app.extensions["measured"] = Measured(app)
    app.extensions["observed"].ended.append(app.extensions["measured"])
    spans = tracing.from_environment()
    if spans:
        app.extensions["observed"].ended.append(spans)
        app.extensions["closers"].append(spans.close)
    modules = [importlib.import_module(f"demo.{name}.views") for name in use_cases]
    app.context_processor(
        lambda: {
            "nav": [(f"{module.bp.name}.index", module.TITLE) for module in modules],
            "use_cases": use_cases,
        }
    )
    app.register_blueprint(home.bp)
    app.register_blueprint(choices.bp)
    app.register_blueprint(openapi.bp)
    app.register_blueprint(take.bp)
    app.register_blueprint(proofs.bp)
    app.extensions["use_cases"], app.extensions["home"] = modules, {}
    app.extensions["background"] = background = Background(app.extensions["redis"], elects=values["BACKGROUND"] == "web")
    app.extensions["closers"].insert(0, background.close)
    try:
        for module in modules:
            app.register_blueprint(module.bp)
        _check_limits(app, set(USE_CASES) - set(use_cases))
    except SQLAlchemyError as error:
        close(app)
        raise ConfigError(f"DATABASE_URL: the database does not answer ({type(error).__name__}).") from error
    except ConfigError:
        close(app)
        raise
    return app


def close(app: Flask) -> None:
    """Lets go of everything that the app holds: what its use cases have put into `closers`, the database, the pool."""
    for closer in app.extensions["closers"]:
        closer()
    app.extensions["database"].engine.dispose()
    app.extensions["redis"].close()


def _check_limits(app: Flask, left_out: set[str]) -> None:
    pattern = limits.without_target(app.config["RATE_LIMITS"], app.view_functions, left_out)
    if pattern is not None:
        raise ConfigError(f"DEMO_RATE_LIMITS: there is no endpoint {pattern}, the limit would protect nothing.")


def _connect_redis(app: Flask, instance: Path) -> None:
    values = app.config
    url = values["REDIS_URL"]
    if not url:
        from demo import engine

        try:
            url = engine.start(instance, keep=values["KEEP_DATA"], maxmemory_mb=values["ENGINE_MAXMEMORY_MB"])
        except engine.EngineError as error:
            raise ConfigError(str(error)) from None
    client = connect(
        url,
        pool_size=values["POOL_SIZE"],
        timeout_seconds=values["REDIS_TIMEOUT_SECONDS"],
        open_seconds=values["BREAKER_SECONDS"],
    )
    away = check(client, url)
    if away:
        log.warning("%s The app starts without it.", away)
    else:
        _load_scripts(client)
    app.extensions["redis"], app.extensions["redis_url"] = client, url


def _load_scripts(client: Client) -> None:
    """So that not even the first call of a script pays for telling Redis its text; where it cannot be done now, the first
    call does it."""
    try:
        for script in sorted((REPOSITORY / "demo").rglob("*.lua")):
            client.script_load(script.read_text())
    except RedisError as error:
        log.warning("Scripts are not loaded yet: %s", type(error).__name__)


def _begin() -> None:
    if current_app.config["BACKGROUND"] != "none":
        current_app.extensions["background"].start()
    trace = request.environ.get(front.TRACE)
    if trace is None:
        xray.begin(detailed=panel.wanted())
    else:
        xray.resume(trace, detailed=panel.wanted())
    choices.begin()


def _bound_body() -> None:
    """A body that comes in chunks is refused when it is too large, as one that tells its length is: werkzeug cuts it off."""
    most = request.max_content_length
    if most is None or "HTTP_TRANSFER_ENCODING" not in request.environ:
        return
    request.max_content_length = most + 1
    if len(request.get_data()) > most:
        raise RequestEntityTooLarge()


def _end(_: BaseException | None) -> None:
    xray.end()
    choices.end()


def _euros(cents: int) -> str:
    return f"€ {cents // 100:,}.{cents % 100:02}".replace(",", "\u202f")


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)) if seconds > 0 else "–"


@home.bp.cli.command("check", help="Check the settings, Redis and the database, and make the catalog if there is none.")
def check_command() -> None:
    """Getting here means that all is well: making the app has checked it."""
    click.echo("ok")


@home.bp.cli.command("worker", help="Do what one process does for all, until TERM; see DEMO_BACKGROUND.")
def worker_command() -> None:
    """Takes part in every election, serves nobody."""
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    background: Background = current_app.extensions["background"]
    background.elects = True
    background.start()
    over.wait()
    close(cast(App, current_app._get_current_object()))  # type: ignore[attr-defined]
