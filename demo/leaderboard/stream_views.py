"""A board as a stream of server-sent events. It holds neither a connection of the pool nor a
session of the database."""

import contextlib
import socket
import threading
from collections.abc import Mapping
from typing import Annotated, Any, cast

import msgspec
from flask import Flask, Response, current_app, request

from demo.client.wire import NotSent
from demo.leaderboard.answers import check_player
from demo.leaderboard.board_access import bp, known, leaderboard
from demo.leaderboard.bodies import PERIOD
from demo.leaderboard.places import Crowded, Full, Origin, Places
from demo.leaderboard.stream import Streams
from demo.leaderboard.viewers import Viewer
from demo.observe import addresses
from demo.observe.metrics import STREAMS_OPEN
from demo.teach import pull_the_plug
from demo.web import server
from demo.web.documented import Header, documented
from demo.web.errors import RedisAway, TryLater
from demo.web.services import services
from demo.web.validation import Invalid, read_query

# Proxies are to pass each event on: nginx is told so by its own header, others by the IETF's.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Incremental": "?1"}
EVENT_ID_CHARACTERS = 64
SEND_BYTES = 32 * 1024  # two of the largest events fit in, as Linux doubles it
# A client that vanished without a word acknowledges no heartbeat. Left to itself Linux tries for a
# quarter of an hour before it calls such a connection dead.
UNACKNOWLEDGED_SECONDS = 20
RETRY_SECONDS = 30
LAST = Header(
    "Last-Event-ID",
    "the last event that the client has received, so that it is not sent again",
    rf"^.{{0,{EVENT_ID_CHARACTERS}}}$",
    "0",
)
_making = threading.Lock()


class Wanted(msgspec.Struct, frozen=True):
    """What to watch."""

    period: Annotated[str, msgspec.Meta(pattern=PERIOD)] = "all"
    player: str = ""


class Line:
    """The connection of a request, where gunicorn gives access to it. It tells whether the client
    has left, which a write finds out too late. It can hang up, so that an ending server does not
    wait for a next request, and it can cut the connection. What lies there unread is bounded: it
    grows to megabytes else; so is the time for which it is not acknowledged."""

    def __init__(self, environ: dict[str, Any]) -> None:
        given = environ.get("gunicorn.socket")
        self._socket = getattr(
            given, "_sock", given
        )  # gevent's would wait where this one is to look
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
            most_ms = UNACKNOWLEDGED_SECONDS * 1000
            with contextlib.suppress(AttributeError, OSError):  # Linux, and not on a unix socket
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, most_ms)

    def is_dead(self) -> bool:
        """Whether the client has closed it."""
        if self._socket is None:
            return False
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def hang_up(self) -> None:
        """Reads nothing more from it."""
        self._shut(socket.SHUT_RD)

    def cut(self) -> None:
        """Writes nothing more to it either: a write that waits fails."""
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        if self._socket is not None:
            try:
                self._socket.shutdown(how)
            except OSError:
                return


class Answer:
    """A viewer's events on its line."""

    def __init__(self, viewer: Viewer, line: Line) -> None:
        self._viewer, self._line = viewer, line

    def __iter__(self) -> Viewer:
        return self._viewer

    def close(self) -> None:
        """Called by the server at the end."""
        self._viewer.close()
        self._line.hang_up()


@bp.get("/api/boards/<board>/stream")
@documented(
    query=Wanted,
    answer=str,
    path={"board": "main"},
    errors=(429, 503),
    headers=(LAST,),
    media="text/event-stream",
)
def stream(board: str) -> Response:
    """The top ten and, with a player, that player's row and neighbours: now, and after each
    change."""
    name, wanted = known(board, field=True), read_query(Wanted)
    player = wanted.player
    if player:
        try:
            player = check_player(player)
        except ValueError as error:
            raise Invalid({"player": str(error).removeprefix("player: ")}) from None
    if pull_the_plug.current().redis:
        raise RedisAway(NotSent())
    if request.method == "HEAD":
        # A length of 0 would be that of the stream; what is no list has none.
        return Response(iter(()), mimetype="text/event-stream", headers=HEADERS)
    streams, line = _streams(), Line(request.environ)
    last = request.headers.get("Last-Event-ID", "")[:EVENT_ID_CHARACTERS]
    try:
        viewer = streams.open(
            leaderboard(name),
            wanted.period,
            player,
            origin=Origin(
                addresses.identity(request.remote_addr), addresses.network(request.remote_addr)
            ),
            last_event_id=last,
            gone=line.is_dead,
            cut=line.cut,
        )
    except Crowded as error:
        raise TryLater(
            429,
            f"Your address or its network already has {error.most} open streams in this process, "
            "the maximum. Read the board instead.",
            RETRY_SECONDS,
        ) from None
    except Full:
        raise TryLater(
            503,
            f"No stream is free: this process serves at most {streams.places.most} at a time. "
            "Read the board instead.",
            RETRY_SECONDS,
        ) from None
    return Response(
        Answer(viewer, line), mimetype="text/event-stream", headers=HEADERS, direct_passthrough=True
    )


def _streams() -> Streams:
    app = cast(Flask, current_app._get_current_object())  # type: ignore[attr-defined]
    with _making:
        shared = services(app)
        made: Streams | None = shared.parts.get(Streams)
        if made is None:
            told = server.of(app)
            made = shared.keep(
                Streams(
                    shared.redis,
                    places=_places(app.config, told.open_answers),
                    stopping=lambda: not told.goes_on(),
                    counted=STREAMS_OPEN.set,
                )
            )
            shared.closing.callback(made.close)
    return made


def _places(config: Mapping[str, Any], open_answers: int) -> Places:
    """The places of this process. However few places there are, one address holds at most half, a
    network three quarters, so others find a place too."""
    most = min(config["STREAM_VIEWERS"], open_answers)
    of_address = config["STREAM_VIEWERS_PER_ADDRESS"]
    return Places(
        most,
        min(of_address, max(most // 2, 1)),
        min(2 * of_address, max(3 * most // 4, 1)),
    )
