"""1,000 viewers of a live board over two workers: how soon all of them see a post, what one costs
in memory, what requests beside them feel, and a Redis that is killed under them. The viewers are
bare sockets in a process of their own.
"""

import http.client
import multiprocessing
import os
import select
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from tests.bench.measure import say
from tests.servers import PrivateEngine, until
from tests.serving import Server, processes, serve

PAUSE_SECONDS = 0.3
VIEWERS, POSTS, REQUESTS, ROUNDS = 1000, 40, 250, 5

STREAM = "/leaderboard/api/boards/main/stream"


def streams() -> None:
    """Half of the viewers watch a player of their own, as they do on a page."""
    say(
        f"\n{VIEWERS} viewers of a live board over 2 gevent workers, half of them with a player of their own:"
    )
    quiet = {"DEMO_PRODUCTS": "24", "DEMO_DB_LATENCY_MS": "0", "DEMO_RATE_LIMITS": "{}"}
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        engine = PrivateEngine(Path(folder))
        with (
            serve(workers=2, REDIS_URL=engine.url, **quiet) as server,
            redis.Redis.from_url(engine.url) as client,
        ):
            for number in range(VIEWERS):
                _post(server, f"p{number}", number)
            base = [_speed(server) for _ in range(ROUNDS)]
            before = _memory(server)
            with _viewers(server) as ask:
                assert ask("open") == VIEWERS
                kilobytes = (_memory(server) - before) / VIEWERS
                subscribers = len(client.client_list(_type="pubsub"))
                say(
                    f"  {kilobytes:.1f} kB a viewer (resident, both workers)   at most 30: {_verdict(kilobytes < 30)}"
                )
                say(
                    f"  {subscribers} connections that subscribe, for 2 processes: {_verdict(subscribers == 2)}"
                )
                _updates(server, ask)
                beside = [_speed(server) for _ in range(ROUNDS)]
                _killed(server, engine, ask)
            base += [_speed(server) for _ in range(ROUNDS)]
        engine.kill()
    ratio = statistics.median(beside) / statistics.median(base)
    say(
        f"  a request beside them takes {ratio:.2f} × what it takes without viewers (medians of rounds)"
    )


def _updates(server: Server, ask: Any) -> None:
    told: list[float] = []
    for number in range(POSTS):
        time.sleep(PAUSE_SECONDS)
        ask("mark")
        began = time.monotonic()
        _post(server, "leader", 10_000 + number)
        arrived = ask("arrived", f'"player":"leader","score":{10_000 + number},')
        assert len(arrived) == VIEWERS
        told += [(at - began) * 1000 for at in arrived]
    cuts = statistics.quantiles(told, n=100)
    say(
        f"  {POSTS} posts, {len(told)} events, from the post's start to the viewer: median {cuts[49]:.1f} ms,"
    )
    say(f"  p99 {cuts[98]:.1f} ms   under 100: {_verdict(cuts[98] < 100)}")


def _killed(server: Server, engine: PrivateEngine, ask: Any) -> None:
    ask("mark")
    engine.kill()
    away = len(ask("arrived", "event: away"))
    ask("mark")
    engine.start()
    until(lambda: _post(server, "phoenix", 1) == 201)
    back, still = len(ask("arrived", '"player":"phoenix","score":1,')), ask("open")
    say(
        f"  Redis killed: {away} told, {still} open after its return, {back} caught up: {_verdict(back == VIEWERS)}"
    )


def _post(server: Server, player: str, score: int) -> int:
    return server.request(
        "/leaderboard/api/boards/main/scores", "POST", {"player": player, "score": score}
    ).status


def _speed(server: Server) -> float:
    """Milliseconds of a request, the median of some on one connection each."""
    host, took = urlsplit(server.url), []
    for _ in range(4):
        connection = http.client.HTTPConnection(str(host.hostname), host.port)
        for _ in range(REQUESTS // 4):
            began = time.perf_counter()
            connection.request("GET", "/leaderboard/api/boards/main?limit=10")
            connection.getresponse().read()
            took.append((time.perf_counter() - began) * 1000)
        connection.close()
    return statistics.median(took)


def _memory(server: Server) -> float:
    """Resident kB of the workers: the master's children that serve."""
    children = (
        Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    )
    pids = [pid for pid, command in processes() if str(pid) in children and "gunicorn" in command]
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(float(text.split("VmRSS:")[1].split()[0]) for text in texts)


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


@contextmanager
def _viewers(server: Server) -> Iterator[Any]:
    host = urlsplit(server.url)
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(
        target=_watch, args=(str(host.hostname), host.port, theirs), daemon=True
    )
    process.start()

    def ask(*words: str) -> Any:
        ours.send(words)
        return ours.recv()

    try:
        yield ask
    finally:
        process.kill()
        process.join()


def _watch(host: str, port: int, pipe: Connection) -> None:
    """Holds the viewers, and answers: how many are open; from now on; when did each see this text,
    after the mark."""
    viewers: dict[int, socket.socket] = {}
    ready = select.epoll()
    for number in range(VIEWERS):
        viewer = socket.create_connection((host, port))
        player = f"?player=p{number}" if number % 2 else ""
        viewer.sendall(f"GET {STREAM}{player} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        viewers[viewer.fileno()] = viewer
        ready.register(viewer, select.EPOLLIN)
    texts = dict.fromkeys(viewers, b"")
    last: dict[int, float] = {}
    while not all(b"event: board" in text for text in texts.values()):
        _read(ready, texts, last)
    wanted = b""
    while True:
        _read(ready, texts, last)
        if not wanted and pipe.poll():
            word, *more = pipe.recv()
            if word == "arrived":
                wanted = more[0].encode()
                continue
            if word == "mark":
                texts = dict.fromkeys(texts, b"")
            pipe.send(len(texts))
        if wanted and all(wanted in text for text in texts.values()):
            pipe.send([last[number] for number in texts])
            wanted = b""


def _read(ready: select.epoll, texts: dict[int, bytes], last: dict[int, float]) -> None:
    """What has arrived is put behind what was there; the times are those of now."""
    for number, _ in ready.poll(0.002):
        piece = os.read(number, 65536)
        last[number] = time.monotonic()
        texts[number] += piece
        if not piece:
            ready.unregister(number)
            del texts[number]
