"""What the server says of itself, and the probes: /livez for the process, /readyz for what it needs."""

from typing import Any, Literal

import msgspec
from flask import Blueprint, current_app, render_template
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from demo import xray
from demo.database import get_database
from demo.monitor import metrics_views
from demo.monitor.server_info import Snapshot, snapshot
from demo.openapi import documented
from demo.pool import get_breaker, get_redis

TITLE = "Monitor"
bp = Blueprint("monitor", __name__, cli_group=None)
bp.register_blueprint(metrics_views.bp)


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"]


class Ready(msgspec.Struct, frozen=True):
    """What is needed: ok, or the name of the error."""

    redis: str
    database: str


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
@documented(answer=Alive)
def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@bp.get("/readyz")
@documented(answer=Ready, also={503: Ready})
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


def _snapshot() -> Snapshot | None:
    try:
        return snapshot(get_redis())
    except RedisError:
        return None
