"""A circuit breaker: after a failure to reach Redis nobody waits for it again until a single probe
has come back.

Closed: calls pass. A connection error or a timeout opens it: for `open_seconds` calls fail at once.
Then half-open: one call may try, and its outcome closes or opens again. Of the errors that Redis
itself answers, most (wrong type, read-only, out of memory) prove that it is there and leave the
breaker alone; those of a server that answers nothing else, such as one that is still loading, open
it. Which do is told in `refusals.py`.
Idea: M. Nygard, Release It!, "Circuit Breaker".
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ConnectionError, RedisError

from demo.client import refusals
from demo.client.wire import NotSent, Send, Trip


class BreakerOpen(NotSent, ConnectionError):
    """Redis failed a moment ago. `retry_in_seconds` says when the next try is due."""

    def __init__(self, retry_in_seconds: float) -> None:
        super().__init__(f"not sent: the breaker is open for another {retry_in_seconds:.1f} s")
        self.retry_in_seconds = retry_in_seconds


class Breaker:
    """One per process and pool. `clock` is a monotonic clock in seconds."""

    def __init__(self, open_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.open_seconds = open_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._open_until: float | None = None
        self._probing_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether Redis counts as away."""
        return self._open_until is not None

    def around(self, trip: Trip, send: Send) -> list[Any]:
        """Sends the trip unless the breaker is open, and learns from what becomes of it."""
        self.before()
        try:
            replies = send(trip)
        except NotSent:  # this process' own matter: Redis was not asked
            raise
        except RedisError as error:
            self._learn([error])
            raise
        self._learn(replies)
        return replies

    def _learn(self, replies: Sequence[Any]) -> None:
        for reply in replies:
            if isinstance(reply, RedisError) and refusals.of(reply).away:
                return self.failed()
        return self.succeeded()

    def before(self) -> None:
        """Raises BreakerOpen unless this call may go out."""
        if self._open_until is None:
            return
        with self._lock:
            if self._open_until is None:
                return
            now = self._clock()
            due = max(self._open_until, self._probing_until)
            if now < due:
                raise BreakerOpen(due - now)
            # A probe that never reports back (its thread was killed) must not keep the breaker open
            # for ever.
            self._probing_until = now + self.open_seconds

    def succeeded(self) -> None:
        """The call came back: closed."""
        if self._open_until is not None:
            with self._lock:
                self._open_until = None
                self._probing_until = 0.0

    def failed(self) -> None:
        """The call did not reach Redis, or Redis did not answer in time: open."""
        with self._lock:
            self._open_until = self._clock() + self.open_seconds
            self._probing_until = 0.0
