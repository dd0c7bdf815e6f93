"""What no view answers is counted and logged, under real workers."""

import contextlib
import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.observe.test_logs import lines
from tests.servers import private_engine, until
from tests.serving import GTHREAD, Server, serve

ASKED = "Host: localhost\r\n"
UNREADABLE = {
    "HELLO\r\n\r\n": (400, "-", ""),
    f"GET /{'x' * 5000} HTTP/1.1\r\n{ASKED}\r\n": (414, "-", ""),
    f"GET / HTTP/1.1\r\n{ASKED}X: {'x' * 9000}\r\n\r\n": (431, "-", ""),
    f"POST /leaderboard/ HTTP/1.1\r\n{ASKED}Content-Length: x\r\n\r\n": (400, "POST", "/leaderboard/"),
    f"GET /livez HTTP/1.1\r\n{ASKED}Transfer-Encoding: zip\r\n\r\n": (501, "-", ""),
}  # fmt: skip


@contextlib.contextmanager
def sent(server: Server, text: str) -> Iterator[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as made:
        made.sendall(text.encode())
        yield made


def counted(server: Server) -> dict[tuple[str, str], int]:
    """How many requests without an endpoint, by method and status."""
    text = server.request("/metrics").text
    pattern = r'demo_http_requests_total\{endpoint="none",method="(\w+)",status="(\d+)"\} (\d+)'
    return {(method, status): int(count) for method, status, count in re.findall(pattern, text)}


def logged(server: Server) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in list(server.lines) if line.startswith("{")]
    return [line for line in told if line["logger"] == "demo.requests"]


def is_taken(made: socket.socket) -> bool:
    """Whether the server has read all that was sent to it."""
    ports = f"{made.getpeername()[1]:04X}", f"{made.getsockname()[1]:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, remote, _, queues = line.split()[1:5]
        if (local[-4:], remote[-4:]) == ports:
            return int(queues.partition(":")[2], 16) == 0
    return False


@pytest.mark.parametrize("arguments", ["", GTHREAD], ids=["gevent", "gthread"])
def test_what_the_server_answers_itself_is_counted_and_logged(arguments: str) -> None:
    with (
        private_engine() as engine,
        serve(
            workers=1,
            arguments=f"{arguments} --keep-alive 1",
            REDIS_URL=engine.url,
            DEMO_LOG_FORMAT="json",
            DEMO_PRODUCTS="24",
            DEMO_DB_LATENCY_MS="0",
        ) as server,
    ):
        for text, (status, *_) in UNREADABLE.items():
            with sent(server, text) as made:
                assert made.recv(12) == f"HTTP/1.1 {status}".encode()
        with sent(server, "GET /liv"):
            pass  # the client breaks off
        with sent(server, f"GET /livez HTTP/1.1\r\n{ASKED}") as slow:
            assert slow.recv(1) == b""  # the server does
        with sent(server, ""), sent(server, f"GET /livez HTTP/1.1\r\n{ASKED}\r\n") as idle:
            assert idle.recv(15) == b"HTTP/1.1 200 OK"  # and then nothing: no request breaks off
        until(lambda: sum(line["status"] == 499 for line in logged(server)) == 2)
        expected = [(*rest, status) for status, *rest in UNREADABLE.values()]
        told = [(line["method"], line["path"], line["status"]) for line in logged(server)]
        assert sorted(told) == sorted([*expected, *[("-", "", 499)] * 2])
        assert all(len(line["request_id"]) == 32 and line["ms"] >= 0 for line in logged(server))
        assert {line["client"] for line in logged(server)} == {"127.0.0.x"}
        assert counted(server) == {
            ("other", "400"): 1,
            ("POST", "400"): 1,
            ("other", "414"): 1,
            ("other", "431"): 1,
            ("other", "501"): 1,
            ("other", "499"): 2,
        }
        head = (
            f"POST /sessions/login HTTP/1.1\r\n{ASKED}Content-Length: 9\r\nX-Request-ID: hangs\r\n"
        )
        with sent(server, f"{head}Expect: 100-continue\r\n\r\n") as waiting:
            assert waiting.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            waiting.sendall(b"name")
            until(lambda: is_taken(waiting))  # and the view waits for the rest
            (worker,) = re.findall(r"Booting worker with pid: (\d+)", "".join(server.lines))
            os.kill(int(worker), signal.SIGABRT)  # as gunicorn does with a worker that hangs
            until(lambda: counted(server).get(("POST", "500")))
        # it is counted before its line is read here
        (last,) = until(lambda: [line for line in logged(server) if line["status"] == 500])
        assert (last["path"], last["request_id"]) == ("/sessions/login", "hangs")


def test_what_breaks_before_flask_is_told_as_500(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    app = make_app()

    def broken(*_: Any) -> Any:
        raise OSError

    app.extensions["services"].before_flask.windows.insert(0, broken)
    with pytest.raises(OSError):
        app.test_client().get("/")
    assert [(line["path"], line["status"]) for line in lines(caplog)] == [("/", 500)]
