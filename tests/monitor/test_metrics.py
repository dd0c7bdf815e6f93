"""What operators read, counted over all workers."""

import json
import re
import signal

from flask.testing import FlaskClient

from tests.serving import Server, serve, until

LIMITS = {"monitor.readyz": {"limit": 5, "window_seconds": 600}}
OUTCOME = re.compile(r'demo_rate_limit_decisions_total\{limit="monitor.readyz",outcome="(\w+)"\} ([\d.]+)')


def counted(server: Server) -> dict[str, float]:
    return {name: float(value) for name, value in OUTCOME.findall(server.request("/metrics").text)}


def test_every_worker_tells_the_sum_of_all_and_none_is_lost_when_they_are_replaced() -> None:
    with serve(workers=3, DEMO_RATE_LIMITS=json.dumps(LIMITS), DEMO_PRODUCTS="50", DEMO_DB_LATENCY_MS="0") as server:
        codes = [server.request("/readyz").status for _ in range(12)]
        assert codes == [200] * 5 + [429] * 7
        told = {json.dumps(counted(server), sort_keys=True) for _ in range(20)}
        assert told == {json.dumps({"passed": 5.0, "refused": 7.0})}
        before = len(server.lines)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: sum("Booting worker" in line for line in server.lines[before:]) == 3, 30)
        until(lambda: sum("Worker exiting" in line for line in server.lines[before:]) == 3, 30)
        assert counted(server) == {"passed": 5.0, "refused": 7.0}
        assert server.request("/readyz").status == 429
        assert counted(server) == {"passed": 5.0, "refused": 8.0}
        folders = list(server.instance.glob("metrics-*"))
        assert len(folders) == 1
        instance = server.instance
    assert not list(instance.glob("metrics-*"))


def test_what_a_killed_run_has_left_is_swept_by_the_next() -> None:
    quiet = {"DEMO_PRODUCTS": "50", "DEMO_DB_LATENCY_MS": "0"}
    with serve(workers=1, **quiet) as first:
        left = first.instance / "metrics-left"
        left.mkdir()
        (left / "alive.lock").touch()
        mine = [path for path in first.instance.glob("metrics-*") if path != left]
        with serve(workers=1, instance=first.instance, **quiet):
            assert not left.exists()
            assert all(path.exists() for path in mine)


def test_the_text_is_prometheus_own(web: FlaskClient) -> None:
    answer = web.get("/metrics")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert "# TYPE demo_rate_limit_decisions_total counter" in answer.text
    assert "X-Request" not in answer.headers and "Set-Cookie" not in answer.headers
