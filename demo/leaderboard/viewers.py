"""The viewers of a live board: a group for all who watch the same, and for each viewer an endless
answer.

A viewer has no queue. It remembers what it was sent last and takes the newest event when it is its
turn. A slow viewer gets fewer events, delays nobody and costs no more memory.
"""

import math
import random
import threading
import time
from collections.abc import Callable

from demo.leaderboard.watched import Event

# Whose streams end together, as a server's end ends them, do not come again together.
RETRY_MS = 1000, 3000
# Neither of the two ends in an empty line: some clients take each empty line for an event's end.
RETRY = "retry: {}\n"
HEARTBEAT = b":\n"
AWAY = b"event: away\ndata: {}\n\n"


class Group:
    """All who watch the same player of the same board and period. `turn` grows with each change,
    which one thread alone makes; `changed` is set then, and another takes its place. A viewer that
    takes it before looking at the turn misses nothing."""

    def __init__(self) -> None:
        self.changed = threading.Event()
        self.viewers = self.turn = 0
        self.event: Event | None = None
        self.away = self.over = False

    def show(self, event: Event) -> None:
        """Wakes the viewers, if this is new to them."""
        if self.away or self.event is None or self.event.id != event.id:
            self.event, self.away = event, False
            self._wake()

    def lose(self) -> None:
        """Tells the viewers that Redis is away."""
        if not self.away:
            self.away = True
            self._wake()

    def stir(self) -> None:
        """Has the viewers look whether their clients are there."""
        before, self.changed = self.changed, threading.Event()
        before.set()

    def end(self) -> None:
        """Lets the viewers go."""
        self.over = True
        self._wake()

    def _wake(self) -> None:
        self.turn += 1
        self.stir()


class Viewer:
    """One answer, as WSGI iterates over it: events when there are any, a comment when there are
    none for a while. `gone` tells whether the client has left, `cut` ends its connection, even in
    the middle of a write, `leave` is called once, at the end. At `until`, by the monotonic clock,
    it has to come again."""

    def __init__(
        self,
        group: Group,
        last_event_id: str,
        heartbeat_seconds: float,
        gone: Callable[[], bool],
        cut: Callable[[], None],
        leave: Callable[["Viewer"], None],
        until: float = math.inf,
    ) -> None:
        self.group, self.gone, self.cut, self.until = group, gone, cut, until
        self._sent, self._told_away, self._turn = last_event_id, False, -1
        self._heartbeat_seconds, self._leave = heartbeat_seconds, leave
        self.retry = RETRY.format(random.randint(*RETRY_MS)).encode()
        self._taken = 0.0
        self._closed = False

    def __iter__(self) -> "Viewer":
        return self

    def __next__(self) -> bytes:
        self._taken = 0.0
        event = self._next()
        self._taken = time.monotonic()
        return event

    def writes_for(self, now: float) -> float:
        """How many seconds ago, by the monotonic clock, it took what it is still writing; 0 while
        it waits."""
        return now - self._taken if self._taken else 0.0

    def _next(self) -> bytes:
        if self._turn < 0:
            self._turn = 0
            return self.retry
        group = self.group
        changed = group.changed
        if group.turn == self._turn and not group.over:
            changed.wait(self._heartbeat_seconds)
        self._turn = group.turn  # first: what changes while the rest is read comes again
        event, away = group.event, group.away
        if group.over or self._closed or time.monotonic() >= self.until or self.gone():
            raise StopIteration
        if away:
            if not self._told_away:
                self._told_away = True
                return AWAY
        elif event and (self._told_away or event.id != self._sent):
            self._sent, self._told_away = event.id, False
            return event.text
        return HEARTBEAT

    def close(self) -> None:
        """Gives the place back; WSGI servers call this at the end, for whatever reason."""
        if not self._closed:
            self._closed = True
            self._leave(self)
