"""A worker that is killed under load: what clients got is in the metrics to the last, and in the log
but for what it had handed over in its last moment."""

import http.client
import json
import os
import re
import signal
import threading
from collections import Counter

from tests.servers import until
from tests.serving import serve

CLIENTS, EACH = 4, 40
COUNTED = re.compile(
    r'demo_http_requests_total\{endpoint="catalog.product",method="GET",status="200"\} ([\d.]+)'
)
WORKER = re.compile(r"Answered by process (\d+)")


def test_log_metrics_and_clients_agree_when_a_worker_is_killed() -> None:
    with serve(
        workers=2,
        DEMO_LOG_FORMAT="json",
        DEMO_PRODUCTS="24",
        DEMO_DB_LATENCY_MS="0",
        DEMO_RATE_LIMITS="{}",
    ) as server:
        got: list[list[tuple[str, int]]] = [[] for _ in range(CLIENTS)]  # ids, and who answered
        broken: list[str] = []
        killed = threading.Event()

        def ask(number: int) -> None:
            after = 0
            for count in range(100_000):
                name = f"client-{number}-{count}"
                try:
                    answer = server.request("/catalog/products/7", headers={"X-Request-ID": name})
                except (OSError, http.client.HTTPException):
                    broken.append(name)
                    continue
                assert answer.status == 200
                got[number].append((name, int(WORKER.findall(answer.text)[0])))
                after += killed.is_set()
                if after == EACH:
                    return

        clients = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()

        def answered_by() -> Counter[int]:
            return Counter(pid for mine in list(got) for _, pid in list(mine))

        until(lambda: len(answered_by()) == 2 and min(answered_by().values()) > EACH, 60)
        victim = answered_by().most_common(1)[0][0]
        os.kill(victim, signal.SIGKILL)
        killed.set()
        for client in clients:
            client.join(60)
            assert not client.is_alive()
        answered = {name: pid for mine in got for name, pid in mine}
        survivors = {name for name, pid in answered.items() if pid != victim}

        def lines() -> Counter[str]:
            told = (json.loads(line) for line in list(server.lines) if line.startswith("{"))
            return Counter(line["request_id"] for line in told if "path" in line)

        until(lambda: survivors <= set(lines()), 20)
        told = lines()
        assert set(told.values()) == {1}
        asked = set(answered) | set(broken)
        assert {name for name in told if name.startswith("client-")} <= asked
        for mine in got:  # the lines that are missing are the last of the victim's
            those = [name in told for name, pid in mine if pid == victim]
            assert those == sorted(those, reverse=True)
        assert any(pid == victim and name in told for name, pid in answered.items())
        counted = int(float(COUNTED.findall(server.request("/metrics").text)[0]))
        assert len(answered) <= counted <= len(asked)
