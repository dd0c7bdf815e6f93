from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine

from demo.monitor.server_info import snapshot
from demo.pool import Client
from tests.conftest import round_trips
from tests.servers import private_engine


def test_a_snapshot_tells_the_server_as_it_is() -> None:
    import redis

    with private_engine("--maxmemory", "5mb", "--maxmemory-policy", "allkeys-lru") as engine:
        client = redis.Redis.from_url(engine.url)
        assert snapshot(client).hit_ratio is None
        client.set("a", 1)
        client.get("a")
        client.get("b")
        info = snapshot(client)
        assert (info.engine, info.mode, info.keys) in (("Valkey", "standalone", 1), ("Redis", "standalone", 1))
        assert (info.hit_ratio, info.maxmemory_bytes, info.eviction_policy) == (0.5, 5 * 1024 * 1024, "allkeys-lru")
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
    assert "Redis answers" in page.text


def test_the_probes(web: FlaskClient, away: Flask) -> None:
    assert web.get("/livez").json == {"status": "ok"}
    assert (web.get("/readyz").status_code, web.get("/readyz").json) == (200, {"redis": "ok", "database": "ok"})
    without = away.test_client()
    assert without.get("/livez").status_code == 200
    answer = without.get("/readyz")
    assert answer.status_code == 503
    assert answer.json["database"] == "ok" and answer.json["redis"] != "ok"
    page = without.get("/monitor/")
    assert (page.status_code, "Redis does not answer" in page.text) == (200, True)


def test_readiness_names_a_database_that_is_away(app: Flask, web: FlaskClient) -> None:
    app.extensions["database"].engine.dispose()
    app.extensions["database"].engine = create_engine("postgresql+psycopg://x@127.0.0.1:1/x")
    answer = web.get("/readyz")
    assert (answer.status_code, answer.json["redis"], answer.json["database"]) == (503, "ok", "OperationalError")
