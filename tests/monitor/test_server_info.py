from collections.abc import Callable
from dataclasses import fields

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis.exceptions import RedisError
from sqlalchemy import create_engine

from demo.client.wire import Client
from demo.monitor.server_info import Snapshot
from demo.monitor.server_list import snapshot
from demo.observe.trace import begin_trace, end_trace
from demo.web.server import Server
from demo.web.services import services
from tests.clients import connect
from tests.conftest import round_trips
from tests.seen import seen
from tests.servers import private_engine, until


@pytest.fixture
def client(wired: Client) -> Client:
    """The app's kind, whose wire these tests look at."""
    return wired


READY = {
    "redis": "ok",
    "database": "ok",
    "memory": "ok",
    "degraded": [],
    "not_permitted": {},
    "stopping": False,
}


def test_a_process_that_is_about_to_end_is_not_ready(app: Flask, web: FlaskClient) -> None:
    services(app).keep(Server(ends=lambda: True))
    answer = web.get("/readyz")
    assert (answer.status_code, answer.json) == (503, {**READY, "stopping": True})
    assert web.get("/livez").status_code == 200


def test_a_snapshot_tells_the_server_as_it_is() -> None:
    import redis

    with private_engine("--maxmemory", "5mb", "--maxmemory-policy", "allkeys-lru") as engine:
        client = redis.Redis.from_url(engine.url)
        assert snapshot(client).hit_ratio is None
        client.set("a", 1)
        client.get("a")
        client.get("b")
        info = snapshot(client)
        assert (info.engine, info.mode, info.keys) in (
            ("Valkey", "standalone", 1),
            ("Redis", "standalone", 1),
        )
        assert (info.hit_ratio, info.maxmemory_bytes, info.eviction_policy) == (
            0.5,
            5 * 1024 * 1024,
            "allkeys-lru",
        )
        assert info.memory_bytes > 100_000
        assert info.clients >= 1
        client.close()


def test_a_snapshot_of_any_server_holds_numbers(client: Client) -> None:
    client.set("demo:monitor:{test}", 1, ex=9)
    info = snapshot(client)
    assert info.keys >= 1
    assert info.version[0].isdigit()
    client.unlink("demo:monitor:{test}")


def test_the_page_costs_one_round_trip(web: FlaskClient) -> None:
    page = web.get("/monitor/")
    assert page.status_code == 200
    assert round_trips(page) == 1
    assert "No problems" in page.text


def test_the_probes(web: FlaskClient, away: Flask) -> None:
    assert web.get("/livez").json == {"status": "ok"}
    assert (web.get("/readyz").status_code, web.get("/readyz").json) == (200, READY)
    without = away.test_client()
    assert without.get("/livez").status_code == 200
    answer = without.get("/readyz")
    assert answer.status_code == 503
    assert answer.json["database"] == "ok" and answer.json["redis"] != "ok"
    page = without.get("/monitor/")
    assert (page.status_code, "Redis does not answer" in page.text) == (200, True)


def test_readiness_names_a_database_that_is_away(app: Flask, web: FlaskClient) -> None:
    services(app).database.engine.dispose()
    services(app).database.engine = create_engine("postgresql+psycopg://x@127.0.0.1:1/x")
    answer = web.get("/readyz")
    assert (answer.status_code, answer.json["redis"], answer.json["database"]) == (
        503,
        "ok",
        "OperationalError",
    )


def test_every_figure_has_the_type_that_it_says(client: Client) -> None:
    info = snapshot(client)
    for field in fields(Snapshot):
        value = getattr(info, field.name)
        kinds = {
            "str": str,
            "int": int,
            "float": float,
            "bool": bool,
            "float | None": (float, type(None)),
        }[str(getattr(field.type, "__name__", field.type))]
        assert isinstance(value, kinds) and isinstance(value, bool) == (kinds is bool), field.name
    assert info.engine in ("Redis", "Valkey") and info.mode in ("standalone", "cluster", "sentinel")
    assert info.memory_bytes > 0 and info.uptime_seconds >= 0 and info.clients >= 1
    assert info.hit_ratio is None or 0 <= info.hit_ratio <= 1
    assert info.eviction_policy in ("noeviction",) or info.eviction_policy.startswith(
        ("allkeys-", "volatile-")
    )


def test_a_snapshot_is_one_round_trip_and_raises_when_nobody_answers(client: Client) -> None:
    trace = begin_trace()
    snapshot(client)
    assert trace.round_trips == 1
    end_trace()
    with connect(
        "redis://127.0.0.1:1", pool_size=1, timeout_seconds=0.2, open_seconds=0.2
    ) as nobody:
        with pytest.raises(RedisError):
            snapshot(nobody)


def test_the_page_shows_the_figures_of_the_server(web: FlaskClient, client: Client) -> None:
    info, page = snapshot(client), seen(web.get("/monitor/").text)
    assert f"{info.engine} {info.version}" in page
    assert f"<small>{info.eviction_policy}</small>" in page
    assert "breaker closed" in page


def test_a_server_that_was_never_read_from_has_no_hit_ratio_and_still_a_page(
    make_app: Callable[..., Flask],
) -> None:
    with private_engine() as engine:
        web = make_app(("monitor",), RATE_LIMITS={}, REDIS_URL=engine.url).test_client()
        assert [web.get(path).status_code for path in ("/monitor/", "/")] == [200, 200]


def test_the_probe_of_the_process_asks_nobody(web: FlaskClient) -> None:
    answer = web.get("/livez")
    assert round_trips(answer) == 0 and 'desc="0 visits"' in answer.headers["Server-Timing"]
    assert round_trips(web.get("/readyz")) == 1


def test_readiness_names_both_parts_and_tells_no_address(away: Flask) -> None:
    services(away).database.engine.dispose()
    services(away).database.engine = create_engine(
        "postgresql+psycopg://user:hunter2@127.0.0.1:1/x"
    )
    answer = away.test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json["degraded"] == ["redis", "database"]
    assert "ok" not in (answer.json["redis"], answer.json["database"])
    assert "127.0.0.1" not in answer.text and "hunter2" not in answer.text
    assert away.test_client().get("/livez").status_code == 200


def test_readiness_returns_with_redis(make_app: Callable[..., Flask]) -> None:
    with private_engine() as engine:
        web = make_app(
            REDIS_URL=engine.url, REDIS_TIMEOUT_SECONDS=0.25, BREAKER_SECONDS=0.01
        ).test_client()
        assert web.get("/readyz").status_code == 200
        engine.kill()
        assert web.get("/readyz").status_code == 503
        engine.start()
        until(lambda: web.get("/readyz").status_code == 200, 5)
