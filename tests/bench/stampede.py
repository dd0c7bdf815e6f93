"""Two hundred requests for one cold key at the same moment, a query of 300 ms, two workers: how
many queries, how long."""

import contextlib
import selectors
import socket
import statistics
import time
from urllib.parse import urlsplit

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

        tried = (
            ("ours", server.url + PAGE, None),
            ("Flask-Caching", stock + "/flask-caching", loads_of_peers),
            ("dogpile.cache", stock + "/dogpile-local", loads_of_peers),
            ("dogpile.cache with its Redis lock", stock + "/dogpile", loads_of_peers),
            ("the limit: a view that sleeps as long", stock + "/slow", lambda: 0),
        )
        found: dict[str, list[tuple[int, float, int]]] = {name: [] for name, *_ in tried}
        for number in range(RUNS + 1):  # in turns; the first is for those that still start
            for name, url, loads in tried:
                forget()
                times, statuses, errors = _burst(url)
                queries = loads() if loads else sum("fwd=" in status for status in statuses)
                tail = statistics.quantiles(times, n=100)[98] if len(times) > 1 else float("nan")
                if number:
                    found[name].append((queries, tail, errors))
        client.close()
    for name, runs in found.items():
        _tell(name, *map(list, zip(*runs, strict=True)))


def _tell(name: str, queries: list[int], tails: list[float], errors: list[int]) -> None:
    if sum(errors):
        say(f"  {name}: {sum(errors)} errors")
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
    """All at once, from one thread: as many threads of Python's own client take longer than the
    server does."""
    place = urlsplit(url)
    ask = f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n\r\n"
    times: list[float] = []
    statuses: list[str] = []
    errors = 0
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as opened:
        for _ in range(READERS):
            began = time.perf_counter()
            reader = opened.enter_context(socket.create_connection((place.hostname, place.port)))
            reader.sendall(ask.encode())
            selector.register(reader, selectors.EVENT_READ, (reader, began, bytearray()))
        while selector.get_map():
            ready = selector.select(30)
            if not ready:
                return times, statuses, len(selector.get_map())
            for key, _ in ready:
                reader, began, answer = key.data
                if more := reader.recv(1 << 16):
                    answer += more
                    continue
                selector.unregister(reader)
                times.append((time.perf_counter() - began) * 1000)
                head = answer.partition(b"\r\n\r\n")[0].decode()
                errors += " 200 " not in head.partition("\r\n")[0]
                statuses.append(head.partition("\r\nCache-Status: ")[2].partition("\r\n")[0])
    return times, statuses, errors
