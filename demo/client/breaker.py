"""A circuit breaker. After a failure to reach Redis, calls fail at once and send nothing until a
probe gets a reply.

Closed: calls pass. A connection error opens the breaker, and so does a late answer. If other
replies came back just before, a late answer does not open the breaker. Then only that answer is
late, not Redis. While the breaker is open, calls fail at once, and a probe is sent beside them, the
first one immediately. If the server answers the first probe, calls fail for a moment only, not for
`open_seconds`. If the first probe gets no reply, it is sent again at once. After that it is sent
every `open_seconds`, or as soon as it is late itself. Without a probe, the first call after
`open_seconds` takes its place.

Most errors that Redis itself answers (wrong type, read-only, out of memory) prove that it is there,
so they do not open the breaker. If a server answers every command with an error, the breaker opens.
That is so when a cluster is down, and while a server loads its data. `refusals.py` has the list. On
a cluster each server has a breaker. Idea: M. Nygard, Release It!, "Circuit Breaker".
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from redis.exceptions import ConnectionError, RedisError, TimeoutError

from demo.client import refusals
from demo.client.wire import Guard, NotSent

JUST_NOW_SECONDS = 0.05
log = logging.getLogger(__name__)


class BreakerOpen(NotSent, ConnectionError):
    """Redis failed a moment ago. `retry_in_seconds` says when the next try is due."""

    def __init__(self, retry_in_seconds: float) -> None:
        super().__init__(f"not sent: the breaker is open for another {retry_in_seconds:.1f} s")
        self.retry_in_seconds = retry_in_seconds


class Breaker(Guard):
    """One per process and server. `clock` is a monotonic clock in seconds. `probe` asks for a sign
    of life: what it returns or raises is judged like what becomes of a call."""

    def __init__(
        self,
        open_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        probe: Callable[[], Any] | None = None,
    ) -> None:
        self.open_seconds = open_seconds
        self.probe = probe
        self._clock = clock
        self._lock = threading.Lock()
        self._open_until: float | None = None
        self._probing_until = 0.0
        self._came_back_at = float("-inf")
        self._prober: tuple[int, threading.Event] | None = None  # of which process, and its end

    @property
    def is_open(self) -> bool:
        """Whether Redis counts as away."""
        return self._open_until is not None

    def learn(self, replies: Sequence[Any]) -> None:
        """Judges what has become of a trip: replies, or the error that kept them away."""
        if not _is_away(replies):
            self._came_back_at = self._clock()
            if self._open_until is not None:
                self.succeeded()
        elif not (
            isinstance(replies[0], TimeoutError)
            and self._clock() - self._came_back_at < JUST_NOW_SECONDS
        ):
            self.failed()

    def before(self) -> None:
        """Raises BreakerOpen unless this call may go out."""
        if self._open_until is None:
            return
        with self._lock:
            if self._open_until is None:
                return
            now = self._clock()
            due = max(self._open_until, self._probing_until)
            if now < due or self._is_probed():
                raise BreakerOpen(max(due - now, 0.0))
            # A probe that never reports back (its thread was killed) must not keep the breaker open
            # for ever.
            self._probing_until = now + self.open_seconds

    def succeeded(self) -> None:
        """The call came back: closed."""
        if self._open_until is not None:
            with self._lock:
                self._close()

    def failed(self) -> None:
        """The call did not reach Redis, or Redis did not answer in time: open."""
        with self._lock:
            self._open_until = self._clock() + self.open_seconds
            self._probing_until = 0.0
            if self.probe is None or self._is_probed():
                return
            end = threading.Event()
            self._prober = os.getpid(), end
        try:
            threading.Thread(
                target=self._ask, args=(self.probe, end), name="probe", daemon=True
            ).start()
        except RuntimeError:  # no thread is begun any more as the process ends
            self._prober = None

    def close(self) -> None:
        """Ends the asking: the client is used no more."""
        with self._lock:
            self.probe = None
            if self._prober:
                self._prober[1].set()

    def _ask(self, probe: Callable[[], Any], end: threading.Event) -> None:
        """Asks until something comes back, or a call that was under way has told that it does."""
        replies: list[Any] = []
        again_at_once = True  # one connection may be lost where the next is not
        while not end.is_set():
            try:
                replies = [probe()]
            except RedisError as error:
                replies = [error]
            except (
                Exception
            ) as error:  # whatever it is: without who asks nothing closes the breaker
                log.warning("a probe failed: %r", error)
                replies = [ConnectionError(type(error).__name__)]
            with self._lock:
                if not end.is_set() and not _is_away(replies):
                    self._close()
                elif not end.is_set():
                    self._open_until = self._clock() + self.open_seconds
            if not (again_at_once or isinstance(replies[0], TimeoutError)):
                end.wait(self.open_seconds)
            again_at_once = False

    def _is_probed(self) -> bool:
        return self._prober is not None and self._prober[0] == os.getpid()

    def _close(self) -> None:
        self._open_until, self._probing_until = None, 0.0
        if self._prober:
            self._prober[1].set()
            self._prober = None


class Breakers:
    """A breaker for each server of a client, by its name; a client for one server has one, named
    with no word. `probe` asks one of them for a sign of life, `names` tells which there are."""

    def __init__(self, open_seconds: float) -> None:
        self.open_seconds = open_seconds
        self.probe: Callable[[str], Any] | None = None
        self.names: Callable[[], Collection[str]] = lambda: [""]
        self._breakers: dict[str, Breaker] = {}

    def of(self, name: str) -> Breaker:
        """That of a server."""
        found = self._breakers.get(name)
        if found is None:
            found = self._breakers.setdefault(name, Breaker(self.open_seconds))
        if found.probe is None and self.probe is not None:
            found.probe = partial(self.probe, name)
        return found

    def probe_by(self, probe: Callable[[str], Any]) -> None:
        """Servers are asked for a sign of life by this from now on."""
        self.probe = probe
        for name in list(self._breakers):
            self.of(name)

    @property
    def is_open(self) -> bool:
        """Whether any of Redis counts as away."""
        return bool(self.open)

    @property
    def open(self) -> list[str]:
        """The names of the servers that count as away; of a cluster that was never there, none of
        whose names are known, one without a word."""
        return [name for name in self.names() or [""] if self.of(name).is_open]

    def close(self) -> None:
        """Ends the asking of all: the client is used no more."""
        self.probe = None
        for breaker in list(self._breakers.values()):
            breaker.close()

    def succeeded(self) -> None:
        """Closes all."""
        for breaker in list(self._breakers.values()):
            breaker.succeeded()


def _is_away(replies: Sequence[Any]) -> bool:
    # a generator would cost each round trip more than what it looks at
    for reply in replies:  # noqa: SIM110
        if isinstance(reply, RedisError) and refusals.of(reply).away:
            return True
    return False
