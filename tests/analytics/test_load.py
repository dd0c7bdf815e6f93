"""What was sent is what is told: over workers that are recycled, and one that is killed."""

import os
import re
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from demo.analytics.unique_visitors import STANDARD_ERROR
from tests.servers import until
from tests.serving import GTHREAD, Server, processes, serve

FULL = bool(os.environ.get("TEST_MANY"))
REQUESTS, VISITORS = (10_000, 200) if FULL else (400, 40)
PRODUCTS = 30
QUIET = {
    "DEMO_PRODUCTS": "100",
    "DEMO_DB_LATENCY_MS": "0",
    "DEMO_TRUSTED_PROXIES": "1",
    "DEMO_REDIS_TIMEOUT_SECONDS": "5",
}
COUNTED = re.compile(
    r'demo_http_requests_total\{endpoint="(?:catalog.product|home.index)",method="GET",status="200"\} (\S+)'
)


BY = re.compile(r"Answered by process (\d+)")


class Crowd:
    """Visitors who look at products, some more than others, and note what they were answered and
    when."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.answered: list[
            tuple[float, int, int]
        ] = []  # when, by which process (0: it does not say), which product
        self.failed = 0
        self._lock = threading.Lock()

    def visit(self, number: int) -> None:
        """One request; one that gets no answer counts as failed, and may have been counted."""
        visitor, product = number % VISITORS, 1 + (number * number) % PRODUCTS
        path = (
            f"/catalog/products/{product}" if number % 4 else f"/catalog/products/{product}?xray=0"
        )
        headers = {
            "X-Forwarded-For": f"203.0.{visitor // 250}.{visitor % 250}",
            "User-Agent": "crowd",
        }
        try:
            answer = self._server.request(path, headers=headers)
        except OSError:
            with self._lock:
                self.failed += 1
            return
        if answer.status != 200:  # no view, whatever the reason
            return
        by = BY.search(answer.text)
        with self._lock:
            self.answered.append((time.monotonic(), int(by[1]) if by else 0, product))

    def send(self, first: int, last: int) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.visit, range(first, last)))


def workers(server: Server) -> list[int]:
    """The workers' processes."""
    found = []
    for pid, command in processes():
        if "gunicorn" in command and pid != server.process.pid:
            with open(f"/proc/{pid}/stat") as stat:
                if int(stat.read().rpartition(")")[2].split()[1]) == server.process.pid:
                    found.append(pid)
    return found


def told(server: Server, after: float = 0.0) -> dict[str, Any]:
    """The dashboard, worked out later than `after`, by the machine's clock, which is Redis' too."""
    found: dict[str, Any] = server.request("/analytics/api/dashboard?resolution=hour").json()
    return found if found["at"] > after else {}


def views_of(found: dict[str, Any]) -> int:
    """The sum of the chart."""
    return sum(bucket["views"] for bucket in found["buckets"])


@pytest.mark.long
@pytest.mark.parametrize(
    "kind", ["", GTHREAD] if FULL else [""], ids=["gevent", "gthread"] if FULL else ["gevent"]
)
def test_views_visitors_products_and_metrics_agree_with_what_was_sent(kind: str) -> None:
    recycled = f"{kind} --max-requests {REQUESTS // 5} --max-requests-jitter 0"
    with serve(workers=2, arguments=recycled, **QUIET) as server:
        crowd = Crowd(server)
        crowd.send(0, REQUESTS // 2)
        victim = until(lambda: workers(server))[0]
        killed_at = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        crowd.send(REQUESTS // 2, REQUESTS)
        settled = time.time() + 2  # a second for what is gathered, one for what is rounded
        found = until(lambda: told(server, settled))
        exported = sum(map(float, COUNTED.findall(server.request("/metrics").text)))
        until(lambda: sum("Worker exiting" in line for line in server.lines) >= 2)
    lost = [
        by for at, by, _ in crowd.answered if abs(at - killed_at + 0.5) <= 0.7 and by in (victim, 0)
    ]
    may_miss, may_exceed = len(lost), crowd.failed
    views = views_of(found)
    sent = len(crowd.answered)
    print(
        f"sent {sent}, told {views}, exported {exported}, may miss {may_miss}, failed {crowd.failed}"
    )
    assert sent >= REQUESTS - 16
    assert sent - may_miss <= views <= sent + may_exceed
    assert sent <= exported <= sent + may_exceed
    assert found["uniques"]["exact_day"] == VISITORS
    assert abs(found["uniques"]["day"] - VISITORS) <= max(1, 4 * STANDARD_ERROR * VISITORS)
    assert found["here_now"] == VISITORS
    model = Counter(str(product) for _, _, product in crowd.answered)
    leaders = {one["member"]: one["count"] for one in found["products"]["day"]}
    assert len(leaders) == 10
    for member, count in leaders.items():
        assert model[member] - may_miss <= count <= model[member] + may_exceed
    assert max(leaders.values()) >= max(model.values()) - may_miss
