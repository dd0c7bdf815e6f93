"""What gunicorn's answers are, done once, is what gunicorn would have sent."""

import time
from typing import Any

import pytest
from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import wsgi
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.web import quick_server
from demo.web.quick_server import Answer

STOCK = wsgi.Response
PLAIN = [("Content-Type", "text/html"), ("X-Content-Type-Options", "nosniff")]
NAMES = st.sampled_from(
    ["ETag", "Vary", "Content-Length", "content-length", "Connection", "Upgrade", "Keep-Alive"]
    + ["Transfer-Encoding", "Set-Cookie", "X-Request-ID", "Bad Name", "X:", "é", ""]
)
VALUES = st.sampled_from(
    [
        "5",
        " 5\t",
        "upgrade",
        "websocket",
        "Upgrade",
        "chunked",
        "a\r\nb: c",
        "\x00",
        "é",
        "€",
        "x",
        "",
    ]
)


class Wire:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)


class Request:
    version = (1, 1)

    def __init__(self, method: str) -> None:
        self.method = method

    def should_close(self) -> bool:
        return False


def sent(
    kind: Any, headers: Any, bodies: list[Any], method: str = "GET", status: str = "200 OK"
) -> tuple[list[bytes], Any]:
    """What goes over the wire, and what was raised."""
    wire = Wire()
    answer, raised = kind(Request(method), wire, Config()), None
    try:
        answer.start_response(status, headers)
        for body in bodies:
            answer.write(body)
        answer.close()
    except Exception as error:
        raised = type(error), str(error)
    return wire.sent, (raised, answer.should_close() if raised is None else None, answer.upgrade)


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_server._known.clear()
    monkeypatch.setattr(time, "time", lambda: 1_764_455_123.4567)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.lists(st.binary(max_size=7), max_size=3))
def test_the_same_bytes_go_out_the_first_time_and_the_next(
    headers: list[tuple[str, str]], bodies: list[bytes]
) -> None:
    theirs, told = sent(STOCK, headers, bodies)
    for _ in range(2):
        ours, ours_told = sent(Answer, headers, bodies)
        assert (b"".join(ours), ours_told) == (b"".join(theirs), told)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified", "999"])
@pytest.mark.parametrize("bodies", [[b"hello"], [b"he", b"llo"], [b"hello!"], [b""], [], ["hello"]])
def test_whatever_the_body_is(method: str, status: str, bodies: list[Any]) -> None:
    for headers in (PLAIN, [*PLAIN, ("Content-Length", "5")], [["Vary", "a"]]):
        theirs, told = sent(STOCK, headers, bodies, method, status)
        ours, ours_told = sent(Answer, headers, bodies, method, status)
        assert (b"".join(ours), ours_told) == (b"".join(theirs), told)


def test_a_whole_body_goes_out_with_its_head() -> None:
    headers = [*PLAIN, ("Content-Length", "5")]
    assert len(sent(STOCK, headers, [b"hello"])[0]) == 2
    assert len(sent(Answer, headers, [b"hello"])[0]) == 1


def test_a_pair_is_judged_once_and_what_is_somebodys_own_is_not_kept() -> None:
    own = [("Set-Cookie", "secret=1"), ("X-Request-ID", "a"), ("Server-Timing", "b")]
    sent(Answer, [*PLAIN, *own, ("Content-Length", "0")], [])
    assert quick_server._known == set(PLAIN)
    for number in range(2 * quick_server.MOST_KNOWN):
        sent(Answer, [("ETag", f'"{number}"')], [])
        assert len(quick_server._known) <= quick_server.MOST_KNOWN


def test_the_date_is_that_of_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in (0.0, 1_764_455_123.9999, 1_764_455_124.0):
        monkeypatch.setattr(time, "time", lambda now=seconds: now)
        assert quick_server.http_date() == util.http_date() == quick_server.http_date(seconds)
