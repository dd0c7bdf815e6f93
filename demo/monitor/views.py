"""The monitor's page and its JSON twin, and the probes: /livez for the process, /readyz for what it
needs."""

from pathlib import Path
from typing import Any, Literal

import msgspec
from flask import Blueprint, Flask, Response, current_app, g, render_template, request
from redis.exceptions import NoPermissionError, RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import ServiceUnavailable

from demo.client import permissions, refusals
from demo.client.background import process_name
from demo.client.breaker import BreakerOpen
from demo.client.connections import is_cluster
from demo.client.memory import LESSONS_SHARE, Memory
from demo.client.probe import ask_each
from demo.monitor import (
    columns,
    eviction_views,
    latest,
    lesson_memory_full,
    lesson_monitoring,
    metrics_views,
)
from demo.monitor.history import STEP_SECONDS
from demo.monitor.overview import SPANS, Known, Overview, overview
from demo.monitor.reports import KEPT_SECONDS, Beside, Gathered, Reporter, gather
from demo.monitor.sampler import Sampler
from demo.monitor.server_info import Snapshot
from demo.monitor.server_list import with_reports
from demo.monitor.survey import survey
from demo.monitor.unnamed import unnamed
from demo.observe import metrics
from demo.observe.database_visits import DatabaseVisits
from demo.teach import listing, sketches
from demo.teach.busy_runner import Errand
from demo.teach.house import Figures, Flow, Node
from demo.web import server
from demo.web.budgets import Budgets
from demo.web.documented import documented
from demo.web.formats import size
from demo.web.freshness import KEPT_BY_NOBODY
from demo.web.public import may_see_names
from demo.web.services import (
    Services,
    get_breaker,
    get_database,
    get_protected_redis,
    get_redis,
    part,
    services,
)
from demo.web.validation import read_query

LESSONS = {"memory-full": lesson_memory_full.EXPERIMENT, "monitoring": lesson_monitoring.EXPERIMENT}
TITLE = "Monitor"
LABS = (
    (
        "monitor.eviction.index",
        "Eviction",
        "A full server under each policy: which keys it evicts, and what that costs.",
    ),
)
NOW = {"Cache-Control": KEPT_BY_NOBODY}  # probes ask how things are now
# What this use case sends itself; what its scripts run is read from them.
NEEDS = """
DEL DBSIZE EXPIRE GET HDEL HGET HGETALL HSET LPUSH LRANGE LTRIM PEXPIRE PTTL SET TTL TYPE XADD XRANGE
XREVRANGE XTRIM
"""
bp = Blueprint("monitor", __name__, cli_group=None)
bp.register_blueprint(metrics_views.bp)
bp.register_blueprint(eviction_views.bp)


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"]


class Ready(msgspec.Struct, frozen=True):
    """What is needed: ok, or what is the matter. `memory` says `lessons full` where what is left of
    Redis' memory is kept for sessions and limits; that is no reason to send nobody here.
    `degraded` also names each use case for which
    Redis does not permit the commands in `not_permitted`."""

    redis: str
    database: str
    memory: str
    degraded: list[str]
    not_permitted: dict[str, list[str]]
    stopping: bool


class Asked(msgspec.Struct, frozen=True):
    """How much of the history."""

    span: Literal["hour", "day"] = "hour"


def init(app: Flask, services: Services) -> None:
    """Adds the jobs: each process reports what it has counted, and the elected one samples."""
    client, measured = services.protected_redis, services.metrics
    visits = part(DatabaseVisits, app)

    def beside() -> Beside:
        return Beside(measured.answers(), visits.take(), measured.waited())

    reporter = services.keep(
        Reporter(
            client,
            services.sums,
            process_name,
            measured.use,
            BreakerOpen,
            metrics.limited,
            beside=beside,
        )
    )

    def without() -> list[str]:
        return permissions.missing(client, {"": permissions.OPTIONAL}).get("", [])

    def report() -> float:
        measured.stand()
        return reporter.step()

    services.background.everywhere("reports", report)
    services.background.elect("sampler", Sampler(client, process_name, without=without).step)
    app.register_blueprint(bp)


def errands() -> list[Errand]:
    """What simulated visitors look at."""
    return [Errand("/monitor/")]


def outcomes() -> dict[str, tuple[int, int]]:
    """Of each use case how often it ended well and how often not, by all workers, for the home
    page; nothing where none has reported in the last two minutes."""
    return _told()[1].outcomes


def card(_: object) -> tuple[str, str, str]:
    """The home page's figure and picture."""
    info = _told()[0]
    if info is None:
        return "Memory used", "–", ""
    drawn = sketches.meter(info.memory_bytes / info.maxmemory_bytes) if info.maxmemory_bytes else ""
    return "Memory used", size(info.memory_bytes), drawn


def house() -> Figures | None:
    """What the home page draws: the last ten seconds of all processes, which this one has at hand."""
    found, age_seconds = part(Reporter).kept.look()
    if found is None:
        return None
    return Figures(
        found.at_ms / 1000,
        STEP_SECONDS,
        age_seconds,
        found.processes,
        found.pool_peak,
        found.pool_size,
        found.waited,
        {name: _flow(flow) for name, flow in found.rooms.items()},
        _flow(found.answers),
        _flow(found.visits),
        [Node(each.name, each.role, each.trouble) for each in found.nodes],
        _flow(found.total),
    )


def _flow(told: latest.Flow) -> Flow:
    return Flow(told.count / STEP_SECONDS, told.p95_us / 1000 if told.count else None)


@bp.get("/monitor/")
def index() -> str:
    """The figures of this moment and of the last hour, or of a day."""
    span = request.args.get("span", "hour")
    span = span if span in SPANS else "hour"
    try:
        seen, told = _overview(span), ""
    except RedisError as error:
        seen, told = None, _why(error)
    return render_template(
        "monitor/index.html",
        seen=seen,
        verdict=verdict(seen) if seen else told,
        titles=services().titles,
        lines=columns.of(seen.points) if seen else None,
        span=span,
        breaker_open=get_breaker().is_open,
        lost=permissions.OPTIONAL,
        background=current_app.config["BACKGROUND"],
        embedded=not current_app.config["REDIS_URL"],
        named=may_see_names(),
        budgets=part(Budgets),
        database=get_database().engine.dialect.name,
        latency_ms=get_database().latency_ms,
        listings=[
            listing.of_function(survey),
            listing.of_file(Path(__file__).with_name("history.lua")),
        ],
    )


def verdict(seen: Overview) -> str:
    """Is all well? In one sentence."""
    acts, heeds = (
        sum(finding.weight == weight for finding in seen.findings) for weight in ("act", "heed")
    )
    if acts:
        return f"{acts} problem{'s' * (acts > 1)} to fix now"
    if heeds:
        return f"No problems, {heeds} warning{'s' * (heeds > 1)}"
    return "No problems found"


@bp.get("/monitor/api/snapshot")
@documented(answer=dict[str, Any], query=Asked, errors=(503,))
def api_snapshot() -> Response:
    """The figures of the monitor page; `?span=day` for a day of history."""
    try:
        seen = _overview(read_query(Asked).span)
    except RedisError as error:
        raise ServiceUnavailable(f"{_why(error)}, so there are no figures.") from None
    return Response(msgspec.json.encode(columns.twin(seen)), mimetype="application/json")


@bp.get("/livez")
@documented(answer=Alive)
def livez() -> Any:
    """The process answers."""
    return {"status": "ok"}, NOW


@bp.get("/readyz")
@documented(answer=Ready, also={503: Ready})
def readyz() -> Any:
    """200 if the process can serve requests, else 503. It can if Redis, each server of a cluster
    and the database answer, and the process is not stopping. The body names what is wrong."""
    state, missing = {"redis": "ok", "database": "ok"}, dict[str, list[str]]()
    try:
        client = get_protected_redis()
        if is_cluster(client):
            state["redis"] = _each_answers(ask_each(client))
        missing = permissions.missing(client, services().needs)
    except RedisError as error:
        if state["redis"] == "ok":
            state["redis"] = refusals.of(error).name
    share = part(Memory).share
    if state["redis"] == "ok" and share >= 1:
        state["redis"] = refusals.FULL.name
    try:
        with get_database().engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        state["database"] = type(error).__name__
    degraded = [name for name, told in state.items() if told != "ok"]
    stopping = server.of(current_app).ends()
    ready = not degraded and not stopping
    told = {
        **state,
        "memory": refusals.LESSONS_FULL.name if share >= LESSONS_SHARE else "ok",
        "degraded": [*degraded, *missing],
        "not_permitted": missing,
        "stopping": stopping,
    }
    return told, 200 if ready else 503, NOW


def _each_answers(told: dict[str, Any]) -> str:
    """ok, or what is the matter with the first server that is away, and of how many."""
    kinds = [refusals.of(answer) for answer in told.values() if isinstance(answer, Exception)]
    away = [kind.name for kind in kinds if kind.away or kind is refusals.NOT_SENT]
    return f"{away[0]} ({len(away)} of {len(told)} servers)" if away else "ok"


def _overview(span: str) -> Overview:
    names = tuple(services().titles)
    config = current_app.config
    known = Known(
        names,
        config["POOL_SIZE"],
        server.workers(),
        not config["REDIS_URL"],
    )
    seen = overview(get_redis(), known, span=span)
    return seen if may_see_names() else unnamed(seen)


def _why(error: RedisError) -> str:
    return (
        "Redis does not permit INFO"
        if isinstance(error, NoPermissionError)
        else "Redis does not answer"
    )


def engine() -> str:
    """The engine in one line, for the home page."""
    info = _told()[0]
    if info is None:
        return _why(g.no_snapshot)
    most = f" of {size(info.maxmemory_bytes)}" if info.maxmemory_bytes else ""
    return f"{info.engine} {info.version}, {info.mode}, {size(info.memory_bytes)}{most} in use"


def _told() -> tuple[Snapshot | None, Gathered]:
    """The server and the reports of all workers, asked once in a request for all that need them."""
    if "snapshot" not in g:
        g.snapshot = None
        reported: list[Any] = []
        try:
            g.snapshot, reported = with_reports(get_redis())
        except RedisError as error:
            g.no_snapshot = error
        g.gathered = gather(reported, KEPT_SECONDS)
    return g.snapshot, g.gathered
