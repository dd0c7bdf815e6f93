"""Live boards: one subscriber for the whole process, which fans out to all who watch.

Whoever changes a board publishes a hint on its channel. A hint says nothing but "look": the board
is read then, once for all viewers and at most once in `interval_seconds` however many posts there
are, and who sees something new is sent it. So a hint that comes twice, late or not at all does no
harm: every board is also read after each (re)connect, once its channel is confirmed, and every
`again_seconds`, for what nobody publishes: a key that expires, midnight, a server that forgets.

Once a second it is looked who has left, and who has taken nothing for `write_seconds`: neither
keeps a place. When the streams end, whoever is in the middle of a write is cut off, so that a
client that does not read holds no server up.

A stream outlives Redis: viewers are told that it is away, and get what they have missed when it is
back.

The subscriber's connection is its own, made as the client's pool makes them, so that viewers take
none from requests. It begins with the first viewer, which comes after a fork, and ends with the
last one.
"""

import contextvars
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.viewers import Group, Viewer
from demo.leaderboard.watched import Watched

POLL_SECONDS = 0.05
PING_SECONDS = 1.0
RETRY_SECONDS = 0.25
LOOK_SECONDS = 1.0
END_SECONDS = 0.25
REST = 4
log = logging.getLogger(__name__)


class Full(Exception):
    """All places for viewers are taken."""


class Room:
    """A board and a period that somebody watches. `due` is when it has to be read, by the monotonic
    clock; None until its channel is confirmed."""

    def __init__(self, board: Leaderboard, period: str) -> None:
        self.board, self.period = board, period
        self.groups: dict[str, Group] = {}
        self.due: float | None = None
        self.not_before = 0.0
        self.hinted = False


class Streams:
    """The live boards of a process. `most` bounds the viewers, `write_seconds` how long one may
    take to take an event, `stopping` is asked all the time and ends every stream, `counted` is
    told how many viewers there are."""

    def __init__(
        self,
        client: Any,
        *,
        most: int = 1000,
        interval_seconds: float = 0.075,
        again_seconds: float = 5.0,
        heartbeat_seconds: float = 10.0,
        write_seconds: float = 10.0,
        stopping: Callable[[], bool] = lambda: False,
        counted: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._client, self._watched = client, Watched(client)
        self.most, self._interval_seconds = most, interval_seconds
        self._again_seconds, self._heartbeat_seconds = again_seconds, heartbeat_seconds
        self._write_seconds, self._stopping, self._counted = write_seconds, stopping, counted
        self._lock = threading.Lock()
        self._rooms: dict[tuple[str, str], Room] = {}
        self._closed = False
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._confirmed: set[str] = set()
        self._viewers: set[Viewer] = set()
        self._looked = 0.0

    @property
    def viewers(self) -> int:
        """How many there are."""
        return len(self._viewers)

    def open(
        self,
        board: Leaderboard,
        period: str,
        player: str = "",
        *,
        last_event_id: str = "",
        gone: Callable[[], bool] = lambda: False,
        cut: Callable[[], None] = lambda: None,
    ) -> Viewer:
        """A viewer of a board and, with a name, of a player on it. Raises Full; ValueError for a
        period that is none."""

        def leave(viewer: Viewer) -> None:
            self._leave(viewer, room, player)

        board.redis_keys(period)
        with self._lock:
            if self.viewers >= self.most:
                raise Full
            room = self._rooms.setdefault((board.board, period), Room(board, period))
            group = room.groups.get(player)
            if group is None:
                group = room.groups[player] = Group()
                room.due = None if room.due is None else min(room.due, room.not_before)
            group.over = group.over or self._is_over()
            group.viewers += 1
            viewer = Viewer(group, last_event_id, self._heartbeat_seconds, gone, cut, leave)
            self._viewers.add(viewer)
            self._counted(self.viewers)
            if self._pid != os.getpid() or self._thread is None:
                self._pid, nothing = (
                    os.getpid(),
                    contextvars.Context(),
                )  # not what the first viewer's request has in its own
                self._thread = threading.Thread(
                    target=nothing.run, args=(self._run,), name="live-boards", daemon=True
                )
                self._thread.start()
        return viewer

    def close(self) -> None:
        """Ends every stream and the subscription, and returns when it has ended."""
        self._closed = True
        thread = self._thread
        if thread and self._pid == os.getpid():
            thread.join()

    def _leave(self, viewer: Viewer, room: Room, player: str) -> None:
        with self._lock:
            self._viewers.discard(viewer)
            self._counted(self.viewers)
            viewer.group.viewers -= 1
            if not viewer.group.viewers:
                del room.groups[player]
            if not room.groups:
                del self._rooms[room.board.board, room.period]

    def _is_over(self) -> bool:
        return self._closed or self._stopping()

    def _goes_on(self) -> bool:
        """Whether this thread does: once it is told no it is no longer the one, and the next viewer
        starts another."""
        with self._lock:
            over, mine = self._is_over(), self._thread is threading.current_thread()
            if mine and self._rooms and not over:
                return True
            if mine:
                self._thread = None
            groups = self._groups() if over else []
        for group in groups:
            group.end()
        return False

    def _cut_off(self) -> None:
        """Who has not left within END_SECONDS of being let go is in the middle of a write."""
        deadline = time.monotonic() + END_SECONDS
        while self._viewers and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        with self._lock:
            viewers = list(self._viewers)
        for viewer in viewers:
            viewer.cut()

    def _look_after(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        with self._lock:
            viewers = list(self._viewers)
        left: set[Group] = set()
        for viewer in viewers:
            writes, gone = viewer.writes_for(now), viewer.gone()
            if writes > self._write_seconds or (writes and gone):
                viewer.cut()
            elif gone:
                left.add(viewer.group)
        for group in left:
            group.stir()

    def _groups(self) -> list[Group]:
        return [group for room in self._rooms.values() for group in room.groups.values()]

    def _run(self) -> None:
        said = ""
        while self._goes_on():
            self._look_after()
            try:
                self._listen()
            except Exception as error:  # whatever it is, viewers wait for what comes after it
                if said != type(error).__name__:
                    log.warning("live boards: no subscription: %s", type(error).__name__)
                said = type(error).__name__
                self._lose()
                time.sleep(RETRY_SECONDS)
        if self._is_over():
            self._cut_off()

    def _lose(self) -> None:
        with self._lock:
            groups = self._groups()
            for room in self._rooms.values():
                room.due = None
        for group in groups:
            group.lose()

    def _listen(self) -> None:
        connection = _own_connection(self._client)
        subscribed: set[str] = set()
        self._confirmed.clear()
        try:
            connection.connect()
            heard = time.monotonic()
            while self._goes_on():
                self._look_after()
                subscribed = self._subscribe(connection, subscribed)
                self._read_what_is_due()
                if connection.can_read(timeout=self._pause()):
                    self._hear(connection)
                    heard = time.monotonic()
                elif (
                    time.monotonic() - heard > PING_SECONDS
                ):  # a connection that died in silence answers no more
                    connection.send_command("PING")
                    self._hear(connection)
                    heard = time.monotonic()
        finally:
            connection.disconnect()

    def _subscribe(self, connection: Any, subscribed: set[str]) -> set[str]:
        with self._lock:
            wanted = {room.board.channel for room in self._rooms.values()}
        if wanted - subscribed:
            connection.send_command("SUBSCRIBE", *wanted - subscribed)
        if subscribed - wanted:
            connection.send_command("UNSUBSCRIBE", *subscribed - wanted)
        self._confirmed &= wanted
        with self._lock:
            for room in self._rooms.values():
                if room.due is None and room.board.channel in self._confirmed:
                    room.due = 0.0
        return wanted

    def _hear(self, connection: Any) -> None:
        """Takes what has arrived: confirmations and hints both say that a board has to be read."""
        told: set[str] = set()
        answer = connection.read_response(push_request=True)
        while True:
            if isinstance(answer, list) and answer[0] in (b"message", b"subscribe"):
                told.add(answer[1].decode())
                self._confirmed.add(answer[1].decode())
            if not connection.can_read(timeout=0):
                break
            answer = connection.read_response(push_request=True)
        now = time.monotonic()
        with self._lock:
            for room in self._rooms.values():
                if room.board.channel in told:
                    soonest = max(now, room.not_before)
                    room.due = soonest if room.due is None else min(room.due, soonest)
                    room.hinted = True

    def _pause(self) -> float:
        now = time.monotonic()
        with self._lock:
            due = min(
                (room.due for room in self._rooms.values() if room.due is not None),
                default=now + POLL_SECONDS,
            )
        return max(0.0, min(POLL_SECONDS, due - now))

    def _read_what_is_due(self) -> None:
        now = time.monotonic()
        with self._lock:
            rooms = [
                room for room in self._rooms.values() if room.due is not None and room.due <= now
            ]
            for room in rooms:
                room.due = now + self._again_seconds
            watched = [(room, dict(room.groups)) for room in rooms]
        for room, groups in watched:
            began = time.monotonic()
            try:
                before = {player: group.event for player, group in groups.items()}
                events = self._watched.read(room.board, room.period, before)
            except (RedisError, ValueError, TypeError) as error:  # away, or not written by us
                log.info(
                    "live boards: %s cannot be read: %s", room.board.board, type(error).__name__
                )
                room.due = time.monotonic() + RETRY_SECONDS
                for group in groups.values():
                    group.lose()
                continue
            # Where many players are watched, reading takes longer, and is done less often. One that
            # nobody asked for does not keep the next one waiting.
            took = time.monotonic() - began
            room.not_before = began + (
                max(self._interval_seconds, REST * took) if room.hinted else 0
            )
            room.hinted = False
            for player, group in groups.items():
                group.show(events[player])


def _own_connection(client: Any) -> Any:
    """A connection to the client's server that is not one of its pool's; in a cluster any node
    hears of every message."""
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        pool = client.get_redis_connection(client.get_random_node()).connection_pool
    return pool.connection_class(**pool.connection_kwargs)
