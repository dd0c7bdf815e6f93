"""Two hundred requests for one cold key at the same moment, a query of 300 ms, two workers: how
many queries, how long."""

import statistics
import threading
import time
import urllib.request
from collections.abc import Callable

import redis

from tests.bench.measure import say
from tests.bench.pages import PAGE, serve_peers
from tests.serving import serve

READERS, LATENCY_MS, RUNS, GOAL = 200, 300, 5, 1.25


def stampede() -> None:
    """Ours, then Flask-Caching and dogpile.cache, on the same engine."""
    say(
        f"\n{READERS} readers of one cold page, a query of {LATENCY_MS} ms, 2 workers; median of {RUNS} runs (worst):"
    )
    settings = {"DEMO_PRODUCTS": "500", "DEMO_DB_LATENCY_MS": str(LATENCY_MS), "DEMO_XRAY": "false"}
    with serve(**settings) as server, serve_peers(server, "x", LATENCY_MS) as stock:
        client = redis.Redis(unix_socket_path=str(next(server.temporary.glob("*/redis.sock"))))

        def forget() -> None:
            for pattern in ("demo:catalog:*", "flask_cache_*", "page*", "_lock*", "bench:*"):
                for key in client.scan_iter(pattern):
                    client.unlink(key)

        def loads_of_peers() -> int:
            return int(client.get("bench:loads") or 0)

        _run("ours", server.url + PAGE, forget, None)
        _run("Flask-Caching", stock + "/flask-caching", forget, loads_of_peers)
        _run("dogpile.cache", stock + "/dogpile-local", forget, loads_of_peers)
        _run("dogpile.cache with its Redis lock", stock + "/dogpile", forget, loads_of_peers)
        _run("the limit: a view that sleeps as long", stock + "/slow", forget, lambda: 0)
        client.close()


def _run(name: str, url: str, forget: Callable[[], None], loads: Callable[[], int] | None) -> None:
    queries, tails = [], []
    for _ in range(RUNS):
        forget()
        times, statuses, errors = _burst(url)
        queries.append(loads() if loads else sum("fwd=" in status for status in statuses))
        tails.append(statistics.quantiles(times, n=100)[98] if len(times) > 1 else float("nan"))
        if errors:
            say(f"  {name}: {errors} errors")
    p99 = statistics.median(tails)
    print(
        f"  {name:<40} {statistics.median(queries):4.0f} queries ({max(queries)})   p99 {p99:5.0f} ms ({max(tails):.0f})"
        f"   {p99 / LATENCY_MS:.2f} × the query{_judged(name, p99 / LATENCY_MS)}",
        flush=True,
    )


def _judged(name: str, times: float) -> str:
    if name != "ours":
        return ""
    return f"   at most {GOAL}: {'met' if times <= GOAL else 'MISSED'}"


def _burst(url: str) -> tuple[list[float], list[str], int]:
    times: list[float] = []
    statuses: list[str] = []
    errors: list[Exception] = []
    gate = threading.Barrier(READERS)

    def read() -> None:
        gate.wait()
        began = time.perf_counter()
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                answer.read()
                statuses.append(answer.headers.get("Cache-Status", ""))
            times.append((time.perf_counter() - began) * 1000)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, statuses, len(errors)
