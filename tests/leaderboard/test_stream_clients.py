"""Live boards as programs read them: httpx-sse and sseclient-py, directly and through proxies."""

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import httpx
import httpx_sse
import pytest
import requests
import sseclient
from flask.testing import FlaskClient

from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.stream import Streams
from demo.leaderboard.viewers import HEARTBEAT, RETRY_MS
from tests.leaderboard.test_stream import make  # noqa: F401 - a fixture
from tests.leaderboard.test_stream_views import QUIET, STREAM, post
from tests.proxies import PROXIES
from tests.servers import Client
from tests.serving import serve


def by_httpx(pieces: Iterator[bytes]) -> Iterator[Any]:
    answer = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=pieces)
    return httpx_sse.EventSource(answer).iter_sse()


def by_sseclient(pieces: Iterator[bytes]) -> Iterator[Any]:
    return sseclient.SSEClient(pieces).events()  # type: ignore[arg-type]


READERS = [by_httpx, by_sseclient]


@pytest.mark.parametrize("read", READERS)
def test_heartbeats_and_the_time_to_come_again_are_no_events(
    client: Client,
    make: Callable[..., Streams],  # noqa: F811
    read: Callable[[Iterator[bytes]], Iterator[Any]],
) -> None:
    """httpx-sse 0.4 makes an event of each empty line, once it has seen an id."""
    board = Leaderboard(client, "beats")
    board.submit("mara", 5)
    viewer, pieces = make().open(board, "all"), []

    def sent() -> Iterator[bytes]:
        for piece in viewer:
            pieces.append(piece)
            if pieces.count(HEARTBEAT) == 5:
                board.submit("mara", 6)
            yield piece

    seen = list(islice(read(sent()), 2))
    assert pieces.count(HEARTBEAT) >= 5
    assert [event.event for event in seen] == ["board", "board"]
    assert [json.loads(event.data)["entries"][0]["score"] for event in seen] == [5, 6]
    assert RETRY_MS[0] <= int(seen[0].retry) <= RETRY_MS[1]


def test_who_is_sent_away_together_does_not_come_again_together(
    client: Client,
    make: Callable[..., Streams],  # noqa: F811
) -> None:
    hub, board = make(), Leaderboard(client, "jitter")
    told = {hub.open(board, "all").retry for _ in range(50)}
    assert len(told) > 10


def test_a_head_has_the_headers_of_the_stream_and_no_length(web: FlaskClient) -> None:
    head = web.head(STREAM)
    with web.get(STREAM) as answer:
        for name in ("Content-Type", "Cache-Control", "X-Accel-Buffering", "Incremental"):
            assert head.headers[name] == answer.headers[name]
    assert head.headers["Incremental"] == "?1"
    assert "Content-Length" not in head.headers and head.data == b""


def test_streams_go_through_proxies_to_real_clients() -> None:
    with serve(workers=1, DEMO_RATE_LIMITS="{}", **QUIET) as server:
        posted = iter(range(1, 100))
        for open_proxy in (contextlib.nullcontext, *PROXIES.values()):
            with open_proxy(server.url) as url:
                connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
                with contextlib.closing(connection):
                    for _ in range(2):  # on one connection
                        connection.request("HEAD", STREAM)
                        head = connection.getresponse()
                        assert (head.status, head.headers["Content-Length"]) == (200, None)
                        head.read()
                with (
                    httpx.Client(timeout=20) as client,
                    httpx_sse.connect_sse(client, "GET", url + STREAM) as by_httpx_sse,
                    requests.get(url + STREAM, stream=True, timeout=20) as answer,
                ):
                    each = by_httpx_sse.iter_sse(), sseclient.SSEClient(answer).events()
                    before = [next(events) for events in each]
                    score = next(posted)
                    assert post(server, score) == 201
                    after = [next(events) for events in each]
                    assert [event.event for event in before + after] == ["board"] * 4
                    assert [scores(event) for event in after] == [[score]] * 2
        assert "Traceback" not in "".join(server.lines)


def scores(event: Any) -> list[int]:
    return [entry["score"] for entry in json.loads(event.data)["entries"]]
