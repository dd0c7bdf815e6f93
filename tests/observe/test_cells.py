"""Counting in place, in the files that several processes count in: nothing is lost, be it that
threads count at once, that the file grows, that a process forks, or that it is killed."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from demo.observe import metrics
from tests.servers import REPOSITORY

LABELS = 1500  # far more than the 64 kB that a file begins with
COUNTS = f"""
import os, signal, sys, threading
from demo.observe import metrics

def count(name, each):
    metrics.count(metrics.REQUESTS, name, "GET", "200")
    metrics.observe(metrics.ROUND_TRIPS, each, name)

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=lambda: [count("threads", 2) for _ in range(500)]) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.setswitchinterval(0.005)
for number in range({LABELS}):
    count(f"label {{number}}", 1)
count("label 0", 1)
metrics.STREAMS_OPEN.set(7)
metrics.STREAMS_OPEN.inc()
metrics.STREAMS_OPEN.dec(2)
metrics.GIVEN_UP.labels("row").inc(4)
child = os.fork()
if not child:
    count("label 0", 1)
    count("of the child", 1)
    assert metrics.in_this_process(metrics.REQUESTS) == 2, metrics.in_this_process(metrics.REQUESTS)
    metrics.STREAMS_OPEN.inc(3)
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
count("label 0", 1)
assert metrics.in_this_process(metrics.REQUESTS, endpoint="threads") == 3000
assert metrics.in_this_process(metrics.REQUESTS, endpoint="label*") == {LABELS} + 2
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_counted_is_there_to_the_last_whatever_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    ended = subprocess.run(
        [sys.executable, "-c", COUNTS], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(list(tmp_path.glob("counter_*.db"))) == 2
    text = metrics.exposition().decode()
    told = {
        (name, label): float(value)
        for name, label, value in re.findall(
            r'^(\w+)\{endpoint="([^"]*)".*?\} ([\d.]+)$', text, re.MULTILINE
        )
        if not name.endswith("_bucket")
    }
    counted, summed = "demo_http_requests_total", "demo_redis_round_trips_sum"
    assert (told[counted, "threads"], told[summed, "threads"]) == (3000, 6000)
    assert told[counted, "label 0"] == told[summed, "label 0"] == 4
    assert told[counted, "of the child"] == 1
    assert all(told[counted, f"label {number}"] == 1 for number in range(1, LABELS))
    assert 'demo_redis_round_trips_bucket{endpoint="threads",le="2.0"} 3000.0' in text
    assert 'demo_redis_round_trips_bucket{endpoint="threads",le="1.0"} 0.0' in text
    assert 'demo_leaderboard_given_up_total{what="row"} 4.0' in text
    assert "demo_streams_open 9.0" in text  # 6 of the one, 3 of the other


def test_one_process_counts_for_itself_as_ever() -> None:
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
    before = metrics.in_this_process(metrics.REQUESTS, endpoint="alone")
    metrics.count(metrics.REQUESTS, "alone", "GET", "200")
    assert metrics.in_this_process(metrics.REQUESTS, endpoint="alone") == before + 1
