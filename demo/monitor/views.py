"""What the server says of itself, and the probes: /livez for the process, /readyz for what it needs."""

from typing import Any

from flask import Blueprint, Response, current_app, g, render_template
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from demo import metrics, xray
from demo.database import get_database
from demo.monitor.server_info import Snapshot, snapshot
from demo.pool import get_breaker, get_redis

TITLE = "Monitor"
bp = Blueprint("monitor", __name__, cli_group=None)


def card() -> tuple[str, str]:
    """The home page's figure."""
    info = _snapshot()
    return "Memory used", xray.size(info.memory_bytes) if info else "–"


@bp.get("/monitor/")
def index() -> str:
    """The figures of this moment."""
    return render_template(
        "monitor/index.html",
        info=_snapshot(),
        breaker_open=get_breaker().is_open,
        pool_size=current_app.config["POOL_SIZE"],
        embedded=not current_app.config["REDIS_URL"],
        database=get_database().engine.dialect.name,
        latency_ms=get_database().latency_ms,
    )


@bp.get("/livez")
def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@bp.get("/readyz")
def readyz() -> Any:
    """200 when Redis and the database answer, else 503; the body says which does not."""
    state = {"redis": "ok", "database": "ok"}
    try:
        get_redis().ping()
    except RedisError as error:
        state["redis"] = type(error).__name__
    try:
        with get_database().engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        state["database"] = type(error).__name__
    return state, 200 if set(state.values()) == {"ok"} else 503


@bp.get("/metrics")
def metrics_of_all_workers() -> Response:
    """Prometheus' text format."""
    return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)


def engine() -> str:
    """The engine in one line, for the home page."""
    info = _snapshot()
    if info is None:
        return "Redis does not answer"
    most = f" of {xray.size(info.maxmemory_bytes)}" if info.maxmemory_bytes else ""
    return f"{info.engine} {info.version}, {info.mode}, {xray.size(info.memory_bytes)}{most} in use"


def _snapshot() -> Snapshot | None:
    """Asked once in a request, whoever of this room wants to know."""
    if "snapshot" not in g:
        try:
            g.snapshot = snapshot(get_redis())
        except RedisError:
            g.snapshot = None
    found: Snapshot | None = g.snapshot
    return found
