"""What operators read, counted over all workers."""

import json
import logging
import math
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from demo.client import connections
from demo.observe import metric_files, metrics
from demo.web.services import services
from tests.clients import connect
from tests.servers import REPOSITORY, cluster_node, private_engine, until
from tests.serving import Server, serve

MakeApp = Callable[..., Flask]
LIMITS = {"monitor.readyz": {"limit": 5, "window_seconds": 600}}
OUTCOME = re.compile(
    r'demo_rate_limit_decisions_total\{limit="monitor.readyz",outcome="(\w+)"\} ([\d.]+)'
)


def counted(server: Server) -> dict[str, float]:
    answer = server.request("/metrics")
    found = {name: float(value) for name, value in OUTCOME.findall(answer.text)}
    assert found, (answer.status, answer.text[:2000])
    return found


def test_every_worker_tells_the_sum_of_all_and_none_is_lost_when_they_are_replaced() -> None:
    with serve(
        workers=3, DEMO_RATE_LIMITS=json.dumps(LIMITS), DEMO_PRODUCTS="50", DEMO_DB_LATENCY_MS="0"
    ) as server:
        codes = [server.request("/readyz").status for _ in range(12)]
        assert codes == [200] * 5 + [429] * 7
        told = {json.dumps(counted(server), sort_keys=True) for _ in range(20)}
        assert told == {json.dumps({"passed": 5.0, "refused": 7.0})}
        before = len(server.lines)
        old = re.findall(r"Booting worker with pid: (\d+)", "\n".join(server.lines))
        (folder,) = server.instance.glob("metrics-*")
        assert len(old) == 3 and any((folder / f"counter_{pid}.db").exists() for pid in old)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: sum("Booting worker" in line for line in server.lines[before:]) == 3, 30)
        # theirs is added to the common file, unless a scrape reads at that moment: nobody asks now
        until(lambda: not any((folder / f"counter_{pid}.db").exists() for pid in old), 30)
        assert counted(server) == {"passed": 5.0, "refused": 7.0}
        assert server.request("/readyz").status == 429
        assert counted(server) == {"passed": 5.0, "refused": 8.0}
        instance = server.instance
    assert not list(instance.glob("metrics-*"))


def test_what_a_killed_run_has_left_is_swept_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    runs = [runpy.run_path(str(REPOSITORY / "gunicorn.conf.py")) for _ in range(2)]
    left = tmp_path / "metrics-left"
    left.mkdir()
    (left / "alive.lock").touch()
    (tmp_path / "metrics-begun").mkdir()  # by a start that has not come to its lock yet
    runs[0]["_start_metrics"](tmp_path)
    mine = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    assert mine.exists() and not left.exists()
    runs[1]["_start_metrics"](tmp_path)  # another run in the same place
    assert mine.exists()
    assert len(list(tmp_path.glob("metrics-*"))) == 3
    for run in runs:
        for held in run["_held"]:
            held.close()


def test_workers_that_share_the_load_are_not_replaced_at_once() -> None:
    settings = runpy.run_path(str(REPOSITORY / "gunicorn.conf.py"))
    assert settings["max_requests_jitter"] >= settings["max_requests"]


COUNTS = """
import sys
from demo.observe import metrics
for number in range(int(sys.argv[1])):
    metrics.count(metrics.REQUESTS, "of the test", "GET", sys.argv[1])
    metrics.observe(metrics.ROUND_TRIPS, number / 4, "of the test")
"""


def test_what_dead_workers_have_counted_lies_in_one_file_and_is_the_same_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

    def work(count: int) -> None:
        subprocess.run([sys.executable, "-c", COUNTS, str(count)], cwd=REPOSITORY, check=True)

    def scrape() -> list[str]:
        return sorted(
            line
            for line in metrics.exposition().decode().splitlines()
            if 'endpoint="of the test"' in line
        )

    work(3)
    (counted,) = tmp_path.glob("counter_*.db")
    alive = tmp_path / f"counter_{os.getpid()}.db"
    shutil.copy(counted, alive)
    for count in (5, 5):
        work(count)
    before = scrape()
    totals = [line for line in before if line.startswith("demo_http_requests_total")]
    assert [line.rpartition("status=")[2] for line in totals] == ['"3"} 6.0', '"5"} 10.0']
    held = metric_files.reading(tmp_path)
    assert held
    with held:
        metric_files.fold(tmp_path)
        assert len(list(tmp_path.glob("histogram_*.db"))) == 3  # not while somebody reads
    for _ in range(2):
        metric_files.fold(tmp_path)
        assert scrape() == before
        files = {path.name for path in [*tmp_path.glob("counter_*"), *tmp_path.glob("histogram_*")]}
        assert files == {"counter_folded.db", "histogram_folded.db", alive.name}
    work(7)
    before = scrape()
    metric_files.fold(tmp_path)
    assert scrape() == before
    assert len(list(tmp_path.glob("histogram_*.db"))) == 1


def test_a_file_of_a_dead_worker_that_cannot_be_read_does_not_end_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    nobody = 2**22 + 1  # beyond the highest number that Linux gives a process
    (tmp_path / f"counter_{nobody}.db").write_bytes(b"\x40\0\0\0\0\0\0\0" + b"\x7f" * 56)
    ended = runpy.run_path(str(REPOSITORY / "gunicorn.conf.py"))["child_exit"]
    ended(SimpleNamespace(log=logging.getLogger("of the test")), SimpleNamespace(pid=nobody))
    assert "not folded" in caplog.text


def test_the_text_is_prometheus_own(web: FlaskClient) -> None:
    answer = web.get("/metrics")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert "# TYPE demo_rate_limit_decisions_total counter" in answer.text
    assert "X-Request" not in answer.headers and "Set-Cookie" not in answer.headers


def figures(web: FlaskClient) -> dict[str, float]:
    lines = [
        line.rpartition(" ")
        for line in web.get("/metrics").text.splitlines()
        if not line.startswith("#")
    ]
    return {name: float(value) for name, _, value in lines}


def test_requests_their_time_their_trips_and_the_caches_outcomes_are_counted(
    web: FlaskClient,
) -> None:
    before = figures(web)
    for path in (
        "/catalog/products/42",
        "/catalog/products/42",
        "/catalog/products/42?xray=0",
        "/no-such-page",
    ):
        web.get(path)
    web.open("/livez", method="FOO")
    after = figures(web)
    grew = {
        name: value - before.get(name, 0)
        for name, value in after.items()
        if value != before.get(name, 0)
    }
    product = 'endpoint="catalog.product"'
    assert grew[f'demo_http_requests_total{{{product},method="GET",status="200"}}'] == 3
    assert grew['demo_http_requests_total{endpoint="none",method="GET",status="404"}'] == 1
    assert grew['demo_http_requests_total{endpoint="none",method="other",status="405"}'] == 1
    assert grew[f"demo_http_request_seconds_count{{{product}}}"] == 3
    assert grew[f"demo_http_request_seconds_sum{{{product}}}"] > 0
    assert grew[f'demo_redis_round_trips_bucket{{{product},le="1.0"}}'] == 2
    assert grew[f"demo_redis_round_trips_sum{{{product}}}"] == 5
    assert grew['demo_cache_outcomes_total{cache="catalog",outcome="MISS"}'] == 1
    assert grew['demo_cache_outcomes_total{cache="catalog",outcome="HIT"}'] == 2
    assert after["demo_breakers_open"] == 0
    assert after["demo_pool_connections_max"] == web.application.config["POOL_SIZE"]


def test_an_open_breaker_is_told(away: Flask) -> None:
    web = away.test_client()
    web.get("/catalog/products/42")
    web.get("/livez")
    assert figures(web)["demo_breakers_open"] == 1


def test_a_quiet_process_tells_too_when_redis_is_back(make_app: MakeApp) -> None:
    with private_engine() as engine:
        app = make_app(
            REDIS_URL=engine.url,
            REDIS_TIMEOUT_SECONDS=0.25,
            BREAKER_SECONDS=0.05,
            BACKGROUND="worker",
        )
        engine.kill()
        app.test_client().get("/catalog/products/42")
        assert b"demo_breakers_open 1.0" in metrics.exposition()
        engine.start()
        until(lambda: b"demo_breakers_open 0.0" in metrics.exposition())


def test_use_of_the_pools_is_told_for_a_cluster() -> None:
    with cluster_node() as port:
        client = connect(
            f"redis+cluster://127.0.0.1:{port}", pool_size=4, timeout_seconds=5.0, open_seconds=0.0
        )
        pool = client.get_nodes()[0].redis_connection.connection_pool  # type: ignore[attr-defined]
        assert connections.use(client) == (0, 4)
        taken = pool.get_connection()
        assert connections.use(client) == (1, 4)
        pool.release(taken)
        client.close()


def test_what_the_caches_were_not_told_of_is_told_also_while_redis_is_away(away: Flask) -> None:
    web = away.test_client()
    assert figures(web)["demo_outbox_pending"] == 0
    for price in (7, 8):
        assert web.patch("/catalog/api/products/42", json={"price_cents": price}).status_code == 200
    assert figures(web)["demo_outbox_pending"] == 2


def test_without_a_database_nobody_knows_what_waits(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(**_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(services(app).database, "read", gone)
    assert math.isnan(figures(app.test_client())["demo_outbox_pending"])


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("203.0.113.7", {}, 403),
        ("", {}, 403),
        ("nonsense", {}, 403),
        ("203.0.113.7", {"Authorization": "Bearer token-of-tests"}, 200),
        ("203.0.113.7", {"Authorization": "Bearer token-of-test"}, 403),
        ("203.0.113.7", {"Authorization": "Bearer \u00e9"}, 403),
        ("203.0.113.7", {"X-Forwarded-For": "127.0.0.1"}, 403),
    ],
)
def test_only_operators_may_read_them(
    make_app: MakeApp, address: str, headers: dict[str, str], status: int
) -> None:
    web = make_app(METRICS_TOKEN="token-of-tests").test_client()
    answer = web.get("/metrics", headers=headers, environ_overrides={"REMOTE_ADDR": address})
    assert answer.status_code == status
    assert ("demo_http_requests" in answer.text) == (status == 200)


def test_without_a_token_none_will_do(make_app: MakeApp) -> None:
    web = make_app(METRICS_ALLOW=[]).test_client()
    for given in ("Bearer ", "Bearer", ""):
        assert web.get("/metrics", headers={"Authorization": given}).status_code == 403
