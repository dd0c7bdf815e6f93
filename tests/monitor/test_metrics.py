"""What operators read, counted over all workers."""

import json
import os
import re
import runpy
import signal
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.serving import REPOSITORY, Server, serve, until

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


def test_what_a_killed_run_has_left_is_swept_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    runs = [runpy.run_path(str(REPOSITORY / "gunicorn.conf.py")) for _ in range(2)]
    left = tmp_path / "metrics-left"
    left.mkdir()
    (left / "alive.lock").touch()
    runs[0]["_start_metrics"](tmp_path)
    mine = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    assert mine.exists() and not left.exists()
    runs[1]["_start_metrics"](tmp_path)  # another run in the same place
    assert mine.exists()
    assert len(list(tmp_path.glob("metrics-*"))) == 2
    for run in runs:
        for held in run["_held"]:
            held.close()


def test_the_text_is_prometheus_own(web: FlaskClient) -> None:
    answer = web.get("/metrics")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert "# TYPE demo_rate_limit_decisions_total counter" in answer.text
    assert "X-Request" not in answer.headers and "Set-Cookie" not in answer.headers
