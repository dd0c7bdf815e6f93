"""Puts the app together: settings, the one pool, the one database, the use cases."""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn
from urllib.parse import urlsplit

from flask import Flask, Request, Response, request
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.routing import RequestRedirect

from demo import config, limits
from demo.client import connections, permissions, pool, shared_trip, starting
from demo.client.background import Background
from demo.client.folders import instance_folder
from demo.client.memory import UNBOUNDED_BYTES, Memory
from demo.client.told_again import ToldAgain
from demo.client.wire import OPEN, Guard
from demo.config import REPOSITORY, ConfigError
from demo.database import Database, sqlite_url
from demo.observe import logs, opentelemetry, origins, trace
from demo.observe.database_visits import DatabaseVisits
from demo.observe.http_metrics import HttpMetrics
from demo.observe.redis_sums import RedisSums
from demo.observe.request_log import RequestLog
from demo.teach import (
    busy,
    documents,
    home,
    page_visitor,
    panel,
    pattern_zip,
    pull_the_plug,
    reaching,
    show_me,
    test_pages,
    waiting,
)
from demo.teach.faults import Plugs
from demo.teach.misses import Misses
from demo.teach.pull_the_plug import Waits
from demo.web import (
    bodies,
    command_line,
    cookies,
    errors,
    flash_cookie,
    freshness,
    openapi,
    origin,
    preconditions,
    security,
    server,
    static_files,
    templating,
)
from demo.web.before_flask import BeforeFlask
from demo.web.budgets import budgets
from demo.web.proxies import FORWARDING, Believed, Proxies
from demo.web.secret_key import secret_key
from demo.web.security import SAFE_METHODS
from demo.web.services import Services, part, services
from demo.web.simulated import Simulated

USE_CASES = ("learn", "catalog", "sessions", "rate_limit", "leaderboard", "analytics", "monitor")
MAX_BODY_BYTES = 64 * 1024


class App(Flask):
    """Flask, with the x-ray finished after everything else, the saving of the session included."""

    reached_by = ""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """No function of ours is a coroutine; that would be looked up a dozen times a request."""
        return func

    def raise_routing_exception(self, request: Request) -> NoReturn:
        """A redirect to an address of ours names no host: that of a request is its client's word."""
        error = request.routing_exception
        if isinstance(error, RequestRedirect):
            to = urlsplit(error.new_url)
            error.new_url = "/" + to.path.lstrip("/") + (f"?{to.query}" if to.query else "")
        super().raise_routing_exception(request)

    def process_response(self, response: Response) -> Response:
        response = super().process_response(response)
        environ, endpoint = request.environ, request.endpoint
        seen = trace.current_trace()
        if seen is not None:
            seen.finish()
            environ[trace.TRACE], environ[trace.ENDPOINT] = seen, endpoint
            panel.show(response, seen, self.reached_by)
        flash_cookie.clear_taken(response)
        freshness.complete(self, response, environ, endpoint)
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
    for shared in (
        busy,
        command_line,
        documents,
        pull_the_plug,
        openapi,
        pattern_zip,
        show_me,
        test_pages,
        waiting,
    ):
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
        SESSION_COOKIE_NAME=cookies.SESSION,
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
    sums = RedisSums()
    bounded = not values["REDIS_URL"]  # the engine's memory is known before it is asked
    memory = Memory(values["ENGINE_MAXMEMORY_MB"] << 20 if bounded else UNBOUNDED_BYTES)
    waits = Waits(lambda: server.of(app).open_answers // 2)
    plugs = Plugs(values["REDIS_TIMEOUT_SECONDS"], values["BREAKER_SECONDS"], memory, waits)
    around = (shared_trip.lend, trace.around, sums.around, plugs.around)
    needs = {
        module.bp.name: permissions.needs(Path(module.__file__ or "").parent, module.NEEDS)
        for module in modules
    }
    client, url, breaker = starting.connect(values, instance, around, needs)
    if not values["PUBLIC"]:  # strangers are told no server's address
        app.reached_by = escape(reaching.line(url))
    # a cluster's guards stand before its servers
    guard = breaker if isinstance(breaker, Guard) else OPEN
    around_protected = (shared_trip.collect, trace.around, sums.around)
    protected = pool.beside(client, around_protected, guard)
    hosts = origins.hosts(values["ORIGIN"]) if values["ORIGIN"] else ()
    before_flask = BeforeFlask(app.wsgi_app, breaker, security.headers(values), hosts)
    before_flask.simulated = Simulated(str(app.secret_key))
    request_log, metrics = RequestLog(before_flask), HttpMetrics(client, breaker)
    request_log.ended.append(metrics)
    made = Services(
        redis=client,
        protected_redis=protected,
        redis_url=url,
        breaker=breaker,
        sums=sums,
        database=_database(values, instance, waits),
        background=Background(protected, elects=values["BACKGROUND"] == "web"),
        told_again=ToldAgain(protected),
        metrics=metrics,
        request_log=request_log,
        before_flask=before_flask,
        look=static_files.init(app),
        titles={module.bp.name: module.TITLE for module in modules},
        needs=needs,
    )
    made.background.elect("told_again", made.told_again.step, lead="sampler")
    made.keep(plugs)
    visits = made.keep(DatabaseVisits(lambda: bool(pull_the_plug.current().database)))
    event.listen(made.database, "after_visit", visits.after_visit)
    made.keep(memory)
    made.keep(budgets(memory, server.workers()))
    # on a client of its own, as nobody is shown that
    watching = pool.beside(client, (), guard)
    made.background.everywhere("memory", lambda: memory.look(watching))
    memory.wake = lambda: made.background.wake("memory")
    made.keep(Misses())
    made.closing.callback(connections.disconnect, client)
    made.closing.callback(breaker.close)
    made.closing.callback(made.database.engine.dispose)
    spans = opentelemetry.from_environment()
    if spans:
        request_log.ended.append(spans)
        made.closing.callback(spans.close)
    app.extensions["services"] = made
    app.wsgi_app = request_log  # type: ignore[method-assign]
    hops = values["TRUSTED_PROXIES"]
    made.keep(Proxies(hops))
    if hops:
        app.wsgi_app = Believed(request_log, hops)  # type: ignore[method-assign]
    return made


def _database(values: Mapping[str, Any], instance: Path, waits: Waits) -> Database:
    database = Database(values["DATABASE_URL"] or sqlite_url(instance), values["DB_LATENCY_MS"])
    event.listen(database, "before_visit", waits.before_visit)
    event.listen(database, "after_visit", trace.visited)
    return database


def _hooks(app: App) -> None:
    errors.init(app)
    app.before_request(partial(_begin, app))
    app.after_request(panel.fill)
    app.teardown_request(_end)


def _check_limits(app: Flask, left_out: set[str]) -> None:
    pattern = limits.without_target(app.config["RATE_LIMITS"], app.view_functions, left_out)
    if pattern is not None:
        raise ConfigError(
            f"DEMO_RATE_LIMITS: the endpoint {pattern} does not exist, so this limit would protect nothing."
        )


def _begin(app: Flask) -> None:
    """All that comes before a view, in one place: a hook of Flask's costs more than most of these."""
    config, environ = app.config, request.environ
    is_change = environ["REQUEST_METHOD"] not in SAFE_METHODS
    if config["BACKGROUND"] != "none":
        services(app).background.start()
    begun = environ.get(trace.TRACE)
    if begun is None:
        begun = trace.begin_trace(detailed=panel.wanted())
    else:
        trace.resume_trace(begun, detailed=panel.wanted())
    # a page does without what is late; a change had better be late than refused
    begun.timeout_ms = math.inf if is_change else 1000 * config["REDIS_TIMEOUT_SECONDS"]
    pull_the_plug.begin()
    if "HTTP_COOKIE" in environ:
        page_visitor.expect()
    if not FORWARDING.isdisjoint(environ):
        part(Proxies, app).notice(environ)
    if config["ORIGIN"]:
        origin.refuse_other_hosts()
    if is_change:
        security.refuse_cross_site()
        security.ask_for_key()
    if not bodies.CODED.isdisjoint(environ):
        bodies.prepare()
    if "HTTP_IF_MATCH" in environ:
        preconditions.refuse_unmatched()


def _end(_: BaseException | None) -> None:
    trace.end_trace()
    if shared_trip.offered.get():
        shared_trip.withdraw()
    pull_the_plug.end()
