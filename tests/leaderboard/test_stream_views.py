"""Live boards over HTTP: in this process, and under gunicorn with both kinds of workers."""

import contextlib
import http.client
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from demo.leaderboard.stream import Streams
from demo.leaderboard.stream_views import Line
from demo.web.services import part
from tests.conftest import round_trips
from tests.servers import private_engine, until
from tests.serving import GTHREAD, Server, serve

STREAM = "/leaderboard/api/boards/main/stream"
QUIET = {"DEMO_PRODUCTS": "24", "DEMO_DB_LATENCY_MS": "0", "DEMO_TRUSTED_PROXIES": "1"}
WORKERS = pytest.mark.parametrize("arguments", ["", GTHREAD], ids=["gevent", "gthread"])


def opened(app: Flask) -> int:
    return int(part(Streams, app).viewers)


def board_event(answer: Any) -> Any:
    event = next(part for part in answer.response if b"event: board" in part)
    return json.loads(event.partition(b"data: ")[2])


@pytest.mark.parametrize("player", ["mara", "<script>alert(1)</script>", "a:b{c}/d", "👩‍🚀", '"};'])
def test_a_stream_tells_the_board_and_the_player_and_asks_nothing_of_redis_itself(
    make_app: Callable[..., Flask], player: str
) -> None:
    web = make_app(RATE_LIMITS={}).test_client()
    web.post("/leaderboard/api/boards/main/scores", json={"player": player, "score": 5})
    with web.get(f"{STREAM}?player={quote(player)}&period=day") as answer:
        assert (answer.status_code, answer.mimetype, answer.headers["X-Accel-Buffering"]) == (
            200,
            "text/event-stream",
            "no",
        )
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Content-Length" not in answer.headers and "Set-Cookie" not in answer.headers
        assert round_trips(answer) == 0
        state = board_event(answer)
        assert (state["period"], state["me"]["player"], state["me"]["rank"]) == ("day", player, 1)
        assert opened(web.application) == 1
    assert opened(web.application) == 0


def test_past_the_places_it_is_a_503_that_says_so(make_app: Callable[..., Flask]) -> None:
    app = make_app(STREAM_VIEWERS=1)
    web = app.test_client()
    with web.get(STREAM):
        refused = web.get(STREAM)
        assert (refused.status_code, refused.mimetype) == (503, "application/problem+json")
        assert refused.headers["Retry-After"] == "30"
        assert "at most 1 at a time" in refused.json["detail"]
        assert web.get("/leaderboard/api/boards/main").status_code == 200
        assert web.head(STREAM).status_code == 200
    with web.get(STREAM) as again:
        assert again.status_code == 200


def opening(web: FlaskClient, address: str) -> Any:
    return web.get(STREAM, environ_overrides={"REMOTE_ADDR": address})


@pytest.mark.parametrize(
    ("settings", "mine", "others"),
    [
        ({"STREAM_VIEWERS_PER_ADDRESS": 2}, "203.0.113.7", "203.0.113.8"),
        ({"STREAM_VIEWERS_PER_ADDRESS": 2}, "2001:db8:1:2::7", "2001:db8:1:3::7"),
        ({"STREAM_VIEWERS": 4}, "203.0.113.7", "203.0.113.8"),  # half of them
    ],
)
def test_past_the_places_of_an_address_it_is_a_429_and_others_still_watch(
    make_app: Callable[..., Flask], settings: dict[str, int], mine: str, others: str
) -> None:
    web = make_app(**settings).test_client()
    with opening(web, mine), opening(web, mine), opening(web, others) as other:
        refused = opening(web, mine)
        assert (refused.status_code, refused.mimetype) == (429, "application/problem+json")
        assert refused.headers["Retry-After"] == "30"
        assert "already has 2 open streams" in refused.json["detail"]
        assert other.status_code == 200 and opened(web.application) == 3
    with opening(web, mine) as again:
        assert again.status_code == 200


@pytest.mark.parametrize("form", ["203.0.113.{}", "2001:db8:1:{}::7"])
def test_many_addresses_of_one_network_are_bounded_too(
    make_app: Callable[..., Flask], form: str
) -> None:
    web = make_app(STREAM_VIEWERS_PER_ADDRESS=2).test_client()
    with contextlib.ExitStack() as all_of_them:
        for number in range(1, 5):
            answer = all_of_them.enter_context(opening(web, form.format(number)))
            assert answer.status_code == 200
        refused = opening(web, form.format(5))
        assert refused.status_code == 429 and "already has 4 open streams" in refused.json["detail"]
        assert all_of_them.enter_context(opening(web, "198.51.100.1")).status_code == 200


def test_a_connection_whose_client_vanished_is_dead_within_half_a_minute() -> None:
    """Linux would go on trying for a quarter of an hour: what is not acknowledged ends it sooner.
    The heartbeats see to it that there is something to acknowledge."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            Line({"gunicorn.socket": accepted})
            told_ms = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert 10_000 < told_ms <= 20_000


def test_a_line_on_a_unix_socket_is_as_good() -> None:
    one, other = socket.socketpair()
    with one:
        line = Line({"gunicorn.socket": one})
        assert not line.is_dead()
        other.close()
        assert line.is_dead()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("period=year", "period"),
        ("period=day:x", "period"),
        ("player=%00", "player"),
        ("player=" + "x" * 65, "player"),
    ],
)
def test_what_cannot_be_watched_names_its_field_and_takes_no_place(
    web: FlaskClient, query: str, field: str
) -> None:
    answer = web.get(f"{STREAM}?{query}")
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field)
    assert web.get("/leaderboard/api/boards/A/stream").status_code == 422
    assert web.post(STREAM).status_code == 405
    assert "streams" not in web.application.extensions


def test_an_id_that_is_none_of_ours_is_no_harm(web: FlaskClient) -> None:
    for last in ("x" * 5000, "é", '"'):
        with web.get(STREAM, headers={"Last-Event-ID": last}) as answer:
            assert board_event(answer)["total"] == 0


def test_who_has_taken_redis_away_for_himself_is_told_so(web: FlaskClient) -> None:
    web.post("/choices", data={"redis": "refused"})
    assert web.get(STREAM).status_code == 503


class Watching:
    """A client of a stream under a real server."""

    def __init__(self, server: Server, query: str = "", last: str = "", address: str = "") -> None:
        host = urlsplit(server.url)
        self.connection = http.client.HTTPConnection(str(host.hostname), host.port, timeout=15)
        sent = {"Last-Event-ID": last, "X-Forwarded-For": address}
        headers = {name: value for name, value in sent.items() if value}
        self.connection.request("GET", STREAM + query, headers=headers)
        self.answer = self.connection.getresponse()
        self.status = self.answer.status

    def lines(self) -> Iterator[str]:
        while line := self.answer.readline():
            yield line.decode().rstrip("\n")

    def until(self, text: str) -> None:
        assert any(text in line for line in self.lines()), text

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


@contextlib.contextmanager
def watching(server: Server, count: int) -> Iterator[list[Watching]]:
    made = [Watching(server, address=f"203.0.{number}.7") for number in range(count)]
    try:
        yield made
    finally:
        for viewer in made:
            viewer.close()


def post(server: Server, score: int) -> int:
    return server.request(
        "/leaderboard/api/boards/main/scores", "POST", {"player": "mara", "score": score}
    ).status


def streams_open(server: Server) -> float:
    lines = server.request("/metrics").text.splitlines()
    return sum(
        float(line.rpartition(" ")[2]) for line in lines if line.startswith("demo_streams_open")
    )


@WORKERS
def test_streams_go_on_without_redis_and_end_within_two_seconds_of_term(arguments: str) -> None:
    with (
        private_engine() as engine,
        serve(workers=1, arguments=arguments, REDIS_URL=engine.url, **QUIET) as server,
    ):
        with watching(server, 3) as viewers, redis.Redis.from_url(engine.url) as client:
            assert [viewer.status for viewer in viewers] == [200] * 3
            for viewer in viewers:
                viewer.until("event: board")
            post(server, 5)
            for viewer in viewers:
                viewer.until('"score":5')
            assert len(client.client_list(_type="pubsub")) in (
                1,
                2,
            )  # one for each worker that has a viewer
            engine.kill()
            for viewer in viewers:
                viewer.until("event: away")
            engine.start()
            until(lambda: post(server, 6) == 201)
            for viewer in viewers:
                viewer.until('"score":6')
            assert streams_open(server) == 3
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            for viewer in viewers:
                assert "event: board" not in list(viewer.lines())
            assert time.monotonic() - began < 2
            assert server.process.wait(10) == 0
        assert "Traceback" not in "".join(server.lines)


def test_a_worker_of_threads_keeps_half_of_them_for_requests_and_gives_places_back() -> None:
    with serve(workers=1, arguments=GTHREAD, **QUIET) as server:
        with watching(server, 6) as viewers:
            assert [viewer.status for viewer in viewers] == [200] * 4 + [503] * 2
            assert viewers[4].answer.headers["Retry-After"] == "30"
            assert viewers[4].answer.headers["Content-Type"] == "application/problem+json"
            assert server.request("/leaderboard/boards/main").status == 200
            viewers[0].close()
            post(server, 5)  # whatever is sent next finds that the client has left
            until(lambda: streams_open(server) == 3)
            with contextlib.closing(Watching(server)) as again:
                assert again.status == 200


@WORKERS
def test_one_address_leaves_half_of_a_workers_places_to_others(arguments: str) -> None:
    with (
        serve(
            workers=1,
            arguments=arguments,
            DEMO_STREAM_VIEWERS="4",
            **QUIET,
        ) as server,
        contextlib.ExitStack() as closing,
    ):

        def statuses(address: str) -> list[int]:
            made = [Watching(server, address=address) for _ in range(4)]
            for viewer in made:
                closing.callback(viewer.close)
            return [viewer.status for viewer in made]

        assert statuses("2001:db8:1:1::7") == [200, 200, 429, 429]
        assert statuses("2001:db8:1:2::7") == [200, 429, 429, 429]
        assert statuses("203.0.113.7") == [200, 503, 503, 503]


@WORKERS
def test_a_client_that_does_not_read_holds_little_and_keeps_no_server_from_ending(
    arguments: str,
) -> None:
    with serve(workers=1, arguments=arguments, DEMO_RATE_LIMITS="{}", **QUIET) as server:
        for number in range(12):
            body = {"player": f"p{number}", "score": number, "metadata": {"v": "x" * 990}}
            server.request("/leaderboard/api/boards/main/scores", "POST", body)
        host = urlsplit(server.url)
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            stalled.connect((host.hostname, host.port))
            stalled.sendall(f"GET {STREAM}?player=p5 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert stalled.recv(15) == b"HTTP/1.1 200 OK"
            with watching(server, 1) as (other,):
                for score in range(100, 120):  # each some 18 kB for the one that does not read
                    post(server, score)
                    other.until(f'"score":{score}')
            assert streams_open(server) >= 1
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(10) == 0
            assert time.monotonic() - began < 2.5
            left = 0
            with contextlib.suppress(ConnectionResetError):
                while part := stalled.recv(65_536):
                    left += len(part)
            assert left < 200_000
        assert "Traceback" not in "".join(server.lines)


def test_one_who_reloads_four_times_locks_nobody_out() -> None:
    with serve(workers=1, arguments=GTHREAD, DEMO_RATE_LIMITS="{}", **QUIET) as server:
        for _ in range(4):
            with contextlib.closing(Watching(server)) as viewer:
                viewer.until("event: board")
        began = time.monotonic()
        until(lambda: streams_open(server) == 0)
        assert time.monotonic() - began < 3
