"""Puts the app together: settings, the one pool, the one database, the use cases."""

import importlib
import logging
import signal
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import click
from flask import Flask, Response, current_app, request
from redis.exceptions import RedisError
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from demo import config, limits
from demo.client import explain, permissions, refusals
from demo.client.background import Background
from demo.client.breaker import Breaker
from demo.client.folders import instance_folder
from demo.client.pool import connect
from demo.client.redis_url import AddressError, parse
from demo.client.wire import Client
from demo.config import REPOSITORY, ConfigError
from demo.database import Database, sqlite_url
from demo.observe import logs, opentelemetry, trace
from demo.observe.http_metrics import HttpMetrics
from demo.observe.redis_sums import RedisSums
from demo.observe.request_log import RequestLog
from demo.teach import home, panel, pattern_zip, pull_the_plug, test_pages
from demo.teach.faults import Plugs
from demo.teach.misses import Misses
from demo.web import errors, flash_cookie, openapi, security, static_files, templating
from demo.web.before_flask import BeforeFlask
from demo.web.secret_key import secret_key
from demo.web.services import Services, services

USE_CASES = ("catalog", "sessions", "rate_limit", "leaderboard", "analytics", "monitor")
MAX_BODY_BYTES = 64 * 1024
log = logging.getLogger(__name__)


class App(Flask):
    """Flask, with the x-ray finished after everything else, the saving of the session included."""

    def process_response(self, response: Response) -> Response:
        response = super().process_response(response)
        security.add_headers(response)
        seen = trace.current_trace()
        if seen is not None:
            seen.finish()
            request.environ[trace.TRACE] = seen
            request.environ[trace.ENDPOINT] = request.endpoint
            panel.show(response, seen)
        flash_cookie.clear_taken(response)
        return response


def create_app(
    settings: Mapping[str, Any] | None = None, use_cases: Sequence[str] = USE_CASES
) -> Flask:
    """The app, of these use cases, with `settings` before those of the environment.

    Raises ConfigError with one sentence for what only a person can mend.
    """
    values = config.load(settings)
    logs.init(values["LOG_FORMAT"])
    instance = instance_folder(values["INSTANCE_PATH"])
    app = _flask(values, instance)
    modules = [importlib.import_module(f"demo.{name}.views") for name in use_cases]
    made = _services(app, instance, modules)
    _hooks(app)
    home.init(app, modules)
    for shared in (pull_the_plug, openapi, pattern_zip, test_pages):
        app.register_blueprint(shared.bp)
    try:
        for module in modules:
            module.init(app, made)
        _check_limits(app, set(USE_CASES) - set(use_cases))
    except SQLAlchemyError as error:
        close(app)
        raise ConfigError(
            f"DATABASE_URL: the database does not answer ({type(error).__name__})."
        ) from error
    except ConfigError:
        close(app)
        raise
    made.closing.callback(made.background.close)
    return app


def close(app: Flask) -> None:
    """Ends everything that the app holds, the pool last."""
    services(app).closing.close()


def _flask(values: Mapping[str, Any], instance: Path) -> App:
    app = App(
        "demo",
        root_path=str(REPOSITORY),
        template_folder="templates",
        static_folder=None,
        instance_path=str(instance.resolve()),
    )
    secure = values["SECURE_COOKIES"]
    app.config.update(
        values,
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        SESSION_COOKIE_NAME="__Host-session" if secure else "session",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    app.secret_key = values["SECRET_KEY"] or secret_key(instance)
    app.jinja_options = templating.OPTIONS | {"bytecode_cache": templating.Kept()}
    app.jinja_env.globals.update(patterns_of=pattern_zip.of_paths, link_to_test=test_pages.link)
    app.jinja_env.filters.update(templating.FILTERS)
    return app


def _services(app: App, instance: Path, modules: Sequence[ModuleType]) -> Services:
    """Connects to Redis and the database, and puts the middleware around the app."""
    values = app.config
    breaker, sums = Breaker(values["BREAKER_SECONDS"]), RedisSums()
    plugs = Plugs(values["REDIS_TIMEOUT_SECONDS"], values["BREAKER_SECONDS"])
    around = (trace.around, sums.around, plugs.around, breaker.around)
    needs = {module.bp.name: _needs(module) for module in modules}
    client, url = _connect(values, instance, around, needs)
    before_flask = BeforeFlask(app.wsgi_app, breaker, security.headers(values))
    request_log, metrics = RequestLog(before_flask), HttpMetrics(client, breaker)
    request_log.ended.append(metrics)
    made = Services(
        redis=client,
        redis_url=url,
        breaker=breaker,
        sums=sums,
        database=_database(values, instance),
        background=Background(client, elects=values["BACKGROUND"] == "web"),
        metrics=metrics,
        request_log=request_log,
        before_flask=before_flask,
        look=static_files.init(app),
        titles={module.bp.name: module.TITLE for module in modules},
        needs=needs,
    )
    made.keep(plugs)
    made.keep(Misses())
    made.closing.callback(client.close)
    made.closing.callback(made.database.engine.dispose)
    spans = opentelemetry.from_environment()
    if spans:
        request_log.ended.append(spans)
        made.closing.callback(spans.close)
    app.extensions["services"] = made
    app.wsgi_app = request_log  # type: ignore[method-assign]
    hops = values["TRUSTED_PROXIES"]
    if hops:
        app.wsgi_app = ProxyFix(request_log, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    return made


def _database(values: Mapping[str, Any], instance: Path) -> Database:
    database = Database(values["DATABASE_URL"] or sqlite_url(instance), values["DB_LATENCY_MS"])
    event.listen(database, "before_visit", pull_the_plug.before_visit)
    event.listen(database, "after_visit", trace.visited)
    return database


def _connect(
    values: Mapping[str, Any],
    instance: Path,
    around: Sequence[Any],
    needs: Mapping[str, Sequence[str]],
) -> tuple[Client, str]:
    url = values["REDIS_URL"]
    try:
        if not url:
            from demo.client import engine

            keep, memory = values["KEEP_DATA"], values["ENGINE_MAXMEMORY_MB"]
            try:
                url = engine.start(instance, keep=keep, maxmemory_mb=memory)
            except engine.EngineError as error:
                raise ConfigError(str(error)) from None
        client = connect(
            url,
            pool_size=values["POOL_SIZE"],
            timeout_seconds=values["REDIS_TIMEOUT_SECONDS"],
            around=around,
        )
        away = explain.check(client, parse(url), values["REDIS_TIMEOUT_SECONDS"])
    except AddressError as error:
        raise ConfigError(str(error)) from None
    if away:
        log.warning("%s The app starts without it.", away)
    else:
        _load_scripts(client)
        _say_what_is_missing(client, needs)
    return client, url


def _needs(module: ModuleType) -> tuple[str, ...]:
    return permissions.needs(Path(str(module.__file__)).parent, tuple(module.NEEDS.split()))


def _say_what_is_missing(client: Client, needs: Mapping[str, Sequence[str]]) -> None:
    try:
        missing = permissions.missing(client, needs)
    except RedisError as error:
        log.warning("What Redis permits is not known: %s", refusals.of(error).name)
        return
    for part, commands in missing.items():
        log.warning("%s: Redis does not permit %s.", part, ", ".join(commands))


def _load_scripts(client: Client) -> None:
    """Tells Redis all scripts, in one round trip but on a cluster, where each node has to know them,
    so that no first call pays for it; a script it lacks is sent when called."""
    clustered = hasattr(client, "get_node_from_key")
    told: Any = client if clustered else client.pipeline(transaction=False)
    try:
        for script in _scripts():
            told.script_load(script)
        if not clustered:
            told.execute()
    except RedisError as error:
        log.info("Scripts are sent as they are called: %s", refusals.of(error).name)


@cache
def _scripts() -> list[str]:
    return [path.read_text() for path in sorted((REPOSITORY / "demo").rglob("*.lua"))]


def _hooks(app: App) -> None:
    errors.init(app)
    app.before_request(_begin)
    app.before_request(security.refuse_cross_site)
    app.before_request(security.ask_for_key)
    app.before_request(_bound_body)
    app.after_request(panel.fill)
    app.teardown_request(_end)


def _check_limits(app: Flask, left_out: set[str]) -> None:
    pattern = limits.without_target(app.config["RATE_LIMITS"], app.view_functions, left_out)
    if pattern is not None:
        raise ConfigError(
            f"DEMO_RATE_LIMITS: there is no endpoint {pattern}, the limit would protect nothing."
        )


def _begin() -> None:
    if current_app.config["BACKGROUND"] != "none":
        services().background.start()
    begun = request.environ.get(trace.TRACE)
    if begun is None:
        trace.begin_trace(detailed=panel.wanted())
    else:
        trace.resume_trace(begun, detailed=panel.wanted())
    pull_the_plug.begin()


def _bound_body() -> None:
    """Refuses a chunked body that is too large, as one that tells its length is: werkzeug cuts it
    off."""
    most = request.max_content_length
    if most is None or "HTTP_TRANSFER_ENCODING" not in request.environ:
        return
    request.max_content_length = most + 1
    if len(request.get_data()) > most:
        raise RequestEntityTooLarge()


def _end(_: BaseException | None) -> None:
    trace.end_trace()
    pull_the_plug.end()


def explained() -> list[str]:
    """What each server of REDIS_URL says, a sentence each, also where the app cannot be made. Empty
    where the URL itself is wrong, or where there is none."""
    try:
        values = config.load()
        address = parse(values["REDIS_URL"])
    except (ConfigError, AddressError):
        return []
    return [str(told) for told in explain.each(address, values["REDIS_TIMEOUT_SECONDS"])]


@home.bp.cli.command(
    "check",
    help="Check the settings, Redis and the database, and make the catalog if there is none.",
)
@click.option("--explain", "ask_each", is_flag=True, help="Ask each server of REDIS_URL by itself.")
def check_command(ask_each: bool) -> None:
    """Says ok: the app was made, so all of it was checked. Asked to explain, it ends with exit code
    1 when a server does not answer or a use case lacks a command, which end no start."""
    if ask_each:
        lines = [*explained(), *_permitted(services())]
        click.echo("\n".join(lines))
        if any(line.startswith("no ") for line in lines):
            raise click.exceptions.Exit(1)
    click.echo("ok")


def _permitted(made: Services) -> list[str]:
    """What Redis does not permit, and what is lost by it."""
    try:
        missing = permissions.missing(made.redis, {**made.needs, "": permissions.OPTIONAL})
    except RedisError as error:
        return [f"no   what Redis permits cannot be asked: {refusals.of(error).sentence}"]
    optional = missing.pop("", [])
    return [
        *(f"no   {part} needs {', '.join(names)}" for part, names in missing.items()),
        *(f"--   {name} is not permitted; lost: {permissions.OPTIONAL[name]}" for name in optional),
        *([] if missing else ["ok   every use case is permitted its commands"]),
    ]


@home.bp.cli.command(
    "worker", help="Do what one process does for all, until TERM; see DEMO_BACKGROUND."
)
def worker_command() -> None:
    """Takes part in every election and serves nobody."""
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    background = services().background
    background.elects = True
    background.start()
    over.wait()
    close(cast(App, current_app._get_current_object()))  # type: ignore[attr-defined]
