"""Clients that send a byte now and then, on real workers with four places."""

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from demo.web import slow_clients
from demo.web.slow_clients import BYTES_A_SECOND, BodyTooSlow, TimedSocket
from tests.servers import until
from tests.serving import Server, serve

PLACES = 4
KINDS = {
    "gevent": f"--worker-connections {PLACES}",
    "gthread": f"--worker-class gthread --threads {PLACES}",
}
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
LONG = "Content-Length: 5000\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serve(
        workers=1,
        arguments=f"{KINDS[request.param]} --keep-alive 1",
        DEMO_BODY_SECONDS="0.3",
        DEMO_RATE_LIMITS="{}",
        DEMO_PRODUCTS="30",
        DEMO_DB_LATENCY_MS="0",
    ) as running:
        yield running


class Trickle:
    """A connection that sends its head, and then a piece each time that nothing has come back for a
    moment, until the server has ended it."""

    def __init__(self, server: Server, head: str, piece: bytes) -> None:
        host, port = server.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.settimeout(0.05)
        self.piece, self.got, self.pieces = piece, b"", 0
        self.socket.sendall(head.encode())

    def until_the_end(self) -> bytes:
        """All that the server answered. Fails when it never ends the connection."""
        until(self._ended, 30)
        return self.got

    def _ended(self) -> bool:
        try:
            came = self.socket.recv(65_536)
        except TimeoutError:
            with contextlib.suppress(OSError):  # what has been sent may still lie there
                self.socket.sendall(self.piece)
            self.pieces += 1
            return False
        except OSError:
            return True
        self.got += came
        return not came


@contextlib.contextmanager
def trickling(server: Server, head: str, piece: bytes = b"x") -> Iterator[Any]:
    """More of them than the server has places, each in a thread; gives what each was answered."""
    tricklers = [Trickle(server, head, piece) for _ in range(PLACES + 2)]
    with ThreadPoolExecutor(len(tricklers)) as pool:
        try:
            yield pool.map(Trickle.until_the_end, tricklers)
        finally:
            pool.shutdown()
            for each in tricklers:
                each.socket.close()


@pytest.mark.parametrize(
    ("headers", "piece"),
    [
        (LONG, b"x"),
        (CHUNKED, b"1\r\nx\r\n"),
        (CHUNKED, b"0"),  # the size of a chunk
        (f"{CHUNKED}Trailer: X\r\n", b"0\r\n" + b"X: y\r\n"),
    ],
    ids=["length", "chunks", "size", "trailers"],
)
@pytest.mark.parametrize(
    "path", ["/sessions/login", "/leaderboard/api/boards/main/scores", "/catalog/api/invalidations"]
)
def test_a_body_that_trickles_is_answered_408_and_others_are_served(
    server: Server, path: str, headers: str, piece: bytes
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{FORM}{headers}\r\n"
    with trickling(server, head, piece) as answers:
        assert server.request("/livez").status == 200
        for answer in answers:
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            assert b"\r\nConnection: close\r\n" in answer
            assert b"arrived too slowly" in answer


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        ("GET /livez", "", 200),
        ("GET /nowhere", "", 404),
        ("POST /nowhere", "", 404),
        ("POST /livez", "", 405),
        ("POST /sessions/login", "Sec-Fetch-Site: cross-site\r\n", 403),
    ],
)
def test_a_body_that_nobody_reads_holds_no_place_either(
    server: Server, line: str, headers: str, status: int
) -> None:
    head = f"{line} HTTP/1.1\r\nHost: localhost\r\n{FORM}{LONG}{headers}\r\n"
    with trickling(server, head) as answers:
        assert server.request("/livez").status == 200
        for answer in answers:
            assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
            assert answer.count(b"HTTP/1.1 ") == 1  # what came after is no request


FIRST = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "answered"),
    [
        ("GET /livez HTTP/1.1\r\nX: ", 0),
        ("", 0),  # the request line
        (f"{FIRST}GET /livez HTTP/1.1\r\nX: ", 1),
        (FIRST, 1),
    ],
    ids=["headers", "line", "pipelined", "second"],
)
def test_headers_that_trickle_are_cut(server: Server, head: str, answered: int) -> None:
    with trickling(server, head, b"G") as answers:
        assert server.request("/livez").status == 200
        for answer in answers:
            assert answer.count(b"HTTP/1.1 200 ") == answer.count(b"HTTP/1.1 ") == answered


def test_a_body_in_two_parts_is_read_and_a_small_unread_one_keeps_the_connection(
    server: Server,
) -> None:
    unread = f"POST /nowhere HTTP/1.1\r\nHost: localhost\r\n{FORM}Content-Length: 3\r\n\r\nabc"
    read = (
        f"POST /sessions/login HTTP/1.1\r\nHost: localhost\r\n{FORM}Content-Length: 6\r\n\r\nname"
    )
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        for head, rest, status in ((unread, b"", 404), (read, b"=x", 422), (FIRST, b"", 200)):
            connection.sendall(head.encode())
            connection.sendall(rest)
            assert _answer(connection).startswith(f"HTTP/1.1 {status} ".encode())


def _answer(connection: socket.socket) -> bytes:
    """One whole answer, by its length."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(1)
    head = got.lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    while length:
        came = connection.recv(length)
        assert came
        got, length = got + came, length - len(came)
    return got


class Connection:
    """As gthread has them."""

    def __init__(self, goes_on: object) -> None:
        self.sock, self.goes_on, self.closed = socket.socket(), goes_on, []

    def close(self, graceful: bool = False) -> None:
        self.closed.append(graceful)
        self.sock.close()


class Worker:
    """A gthread worker, whose main thread closes what `handle` does not keep."""

    tpool = None

    class cfg:
        keepalive, is_ssl = 5, False

    def handle(self, connection: Connection) -> object:
        assert isinstance(connection.sock, TimedSocket)
        return connection.goes_on


def test_gthreads_main_thread_has_nothing_left_to_close() -> None:
    """It would wait two seconds for the client's own end, and accept nobody meanwhile."""
    worker, ended, kept = Worker(), Connection(False), Connection(object())
    slow_clients.guard(worker)
    assert worker.handle(ended) is False
    assert ended.closed == [True]
    ended.close(graceful=True)
    assert ended.closed == [True]
    assert worker.handle(kept) is kept.goes_on
    once = kept.sock
    assert worker.handle(kept) is kept.goes_on
    assert kept.closed == [] and kept.sock is once
    kept.close()
    assert kept.closed == [False]


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Sends:
    """A socket on which so many bytes come each time, after so many seconds."""

    def __init__(self, clock: Clock, size: int, seconds: float) -> None:
        self.clock, self.size, self.seconds = clock, size, seconds
        self.timeout: float | None = None

    def gettimeout(self) -> float | None:
        return self.timeout

    def settimeout(self, seconds: float | None) -> None:
        self.timeout = seconds

    def recv(self, size: int) -> bytes:
        if self.timeout is not None and self.timeout < self.seconds:
            self.clock.now += self.timeout
            raise TimeoutError
        self.clock.now += self.seconds
        return b"x" * min(self.size, size)


class Request:
    closes = False

    def force_close(self) -> None:
        self.closes = True


@pytest.mark.parametrize(("rate", "whole"), [(BYTES_A_SECOND, True), (BYTES_A_SECOND // 4, False)])
def test_a_large_body_has_as_long_as_it_comes_fast_enough(
    monkeypatch: pytest.MonkeyPatch, rate: int, whole: bool
) -> None:
    clock, request = Clock(), Request()
    monkeypatch.setattr(slow_clients, "time", clock)
    timed = TimedSocket(Sends(clock, rate, 1.0), 5)
    timed.begin_body(request, 2)
    wanted, got = 1_000_000, 0
    with contextlib.suppress(BodyTooSlow):
        while got < wanted:
            got += len(timed.recv(min(1_000_000, wanted - got)))
    assert (got == wanted) is whole
    assert request.closes is not whole
    assert timed.gettimeout() is None  # answers are written without it


def test_somebody_elses_shorter_wait_stays_his(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, request = Clock(), Request()
    monkeypatch.setattr(slow_clients, "time", clock)
    timed = TimedSocket(Sends(clock, 1, 9.0), 5)
    timed.begin_body(request, 20)
    timed.settimeout(1.0)
    with pytest.raises(TimeoutError) as caught:
        timed.recv(1)
    assert type(caught.value) is TimeoutError
    assert (request.closes, timed.gettimeout(), clock.now) == (False, 1.0, 101.0)


def test_headers_that_are_late_are_a_connection_that_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(slow_clients, "time", clock)
    timed = TimedSocket(Sends(clock, 1, 2.0), 5)
    assert [timed.recv(9) for _ in range(4)] == [b"x", b"x", b"", b""]
    timed.begin_headers()
    assert timed.recv(9) == b"x"
