"""Live boards: one subscriber for the whole process, which sends what is new to all viewers.

Each change of a board publishes a hint on its channel. A hint only says "look". A board is read
once for all its viewers, and at most once in `interval_seconds`, however many scores are posted.
Then each viewer is sent what is new to it. So a hint that comes twice, late or not at all does no
harm. After each connect and reconnect, every board is read as soon as Redis has confirmed the
subscription. Every `again_seconds` each board is read again, for changes that nobody publishes.
Such changes are a key that expires, midnight, and a server that lost data. Where the server does
not permit a subscription, every board is read once a second instead.

A viewer that has left, or that has read nothing for `write_seconds`, loses its place: the process
looks for such viewers once a second. Every stream ends after `life_seconds` at most. A client that
is still there connects again. So a client that is dead and does not show it, as behind a proxy,
loses its place too. When the streams end, a client in the middle of a write is disconnected, so a
client that does not read does not hold up the server.

A stream stays open while Redis is away: viewers are told so, and get what they have missed when
Redis is back.

The subscriber begins with the first viewer, which comes after a fork, and ends with the last one.
"""

import contextvars
import logging
import os
import random
import threading
import time
from collections.abc import Callable

from demo.client.contract import RedisClient, checked, errors_of
from demo.leaderboard.places import Full, Origin, Places
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.rooms import Leave, Rooms
from demo.leaderboard.subscription import Subscription
from demo.leaderboard.viewers import Group, Viewer
from demo.leaderboard.watched import Watched

POLL_SECONDS = 0.05
RETRY_SECONDS = 0.25
LOOK_SECONDS = UNTOLD_SECONDS = 1.0
END_SECONDS = 0.25
REST = 4
log = logging.getLogger(__name__)


class Streams:
    """The live boards of a process. `places` bounds the viewers, `write_seconds` how long one may
    take to read an event, `life_seconds` how long a stream lasts. `stopping` is asked all the
    time and ends every stream; `counted` gets the number of viewers."""

    def __init__(
        self,
        client: RedisClient,
        *,
        places: Places | None = None,
        interval_seconds: float = 0.075,
        again_seconds: float = 5.0,
        heartbeat_seconds: float = 10.0,
        write_seconds: float = 10.0,
        life_seconds: float = 900.0,
        stopping: Callable[[], bool] = lambda: False,
        counted: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._client, self._watched = checked(client), Watched(client)
        all_errors = (*errors_of(client).all, ValueError, TypeError)
        self._unreadable: tuple[type[Exception], ...] = all_errors
        self.places = places or Places(1000)
        self._rooms = Rooms(self.places, counted)
        self._interval_seconds = interval_seconds
        self._again_seconds, self._heartbeat_seconds = again_seconds, heartbeat_seconds
        self._write_seconds, self._life_seconds = write_seconds, life_seconds
        self._stopping = stopping
        self._closed = False
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._looked = 0.0

    @property
    def viewers(self) -> int:
        """How many there are."""
        return self._rooms.count

    def open(
        self,
        board: Leaderboard,
        period: str,
        player: str = "",
        *,
        origin: Origin = Origin(),  # noqa: B008 - frozen
        last_event_id: str = "",
        gone: Callable[[], bool] = lambda: False,
        cut: Callable[[], None] = lambda: None,
    ) -> Viewer:
        """A viewer of a board and, with a name, of a player on it. Raises Full; ValueError for a
        period that is none."""

        def make(group: Group, leave: Leave) -> Viewer:
            group.over = group.over or self._is_over()
            # Not all at once: who came together after a restart does not come together again.
            until = time.monotonic() + self._life_seconds * random.uniform(0.75, 1)
            return Viewer(group, last_event_id, self._heartbeat_seconds, gone, cut, leave, until)

        board.redis_keys(period)
        with self._rooms.lock:  # the thread does not end between the two
            try:
                viewer = self._rooms.enter(board, period, player, origin, make)
            except Full:
                if not self._take_back():
                    raise
                viewer = self._rooms.enter(board, period, player, origin, make)
            if self._pid != os.getpid() or self._thread is None:
                self._start()
        return viewer

    def _take_back(self) -> bool:
        """The places of all whose clients have left, before somebody is refused: who reloads a page
        comes sooner than it is looked who has left. Whether there were any."""
        gone = [viewer for viewer in self._rooms.viewers() if viewer.gone()]
        for viewer in gone:
            viewer.close()
            viewer.group.stir()
        return bool(gone)

    def _start(self) -> None:
        nothing = contextvars.Context()  # not what the first viewer's request has in its own
        self._pid = os.getpid()
        self._thread = threading.Thread(
            target=nothing.run, args=(self._run,), name="live-boards", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Ends every stream and the subscription, and returns when it has ended."""
        self._closed = True
        thread = self._thread
        if thread and self._pid == os.getpid():
            thread.join()

    def _is_over(self) -> bool:
        return self._closed or self._stopping()

    def _goes_on(self) -> bool:
        """Whether this thread does: once it is told no it is no longer the one, and the next viewer
        starts another."""
        with self._rooms.lock:
            over, mine = self._is_over(), self._thread is threading.current_thread()
            if mine and self._rooms.count and not over:
                return True
            if mine:
                self._thread = None
            groups = self._rooms.groups() if over else []
        for group in groups:
            group.end()
        return False

    def _cut_off(self) -> None:
        """A viewer that has not left END_SECONDS after its end is in the middle of a write."""
        deadline = time.monotonic() + END_SECONDS
        while self._rooms.count and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for viewer in self._rooms.viewers():
            viewer.cut()

    def _look_after(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        left: set[Group] = set()
        for viewer in self._rooms.viewers():
            writes, gone = viewer.writes_for(now), viewer.gone()
            if writes > self._write_seconds or (writes and gone):
                viewer.cut()
            elif gone or now >= viewer.until:
                left.add(viewer.group)
        for group in left:
            group.stir()

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
                self._rooms.lose()
                time.sleep(RETRY_SECONDS)
        if self._is_over():
            self._cut_off()

    def _listen(self) -> None:
        subscription = Subscription(self._client)
        try:
            subscription.connect()
            while self._goes_on():
                self._look_after()
                subscription.follow(self._rooms.channels())
                self._rooms.begin(subscription.confirmed)
                again_seconds = UNTOLD_SECONDS if subscription.refused else self._again_seconds
                self._read_what_is_due(again_seconds)
                # Confirmations and hints both say that a board has to be read.
                told = subscription.hear(self._pause())
                self._rooms.hint(told, time.monotonic())
        finally:
            subscription.close()

    def _pause(self) -> float:
        now = time.monotonic()
        return max(0.0, min(POLL_SECONDS, self._rooms.next_due(now + POLL_SECONDS) - now))

    def _read_what_is_due(self, again_seconds: float) -> None:
        for room, groups in self._rooms.take_due(time.monotonic(), again_seconds):
            began = time.monotonic()
            try:
                before = {player: group.event for player, group in groups.items()}
                events = self._watched.read(room.board, room.period, before)
            except self._unreadable as error:  # away, or not written by us
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
