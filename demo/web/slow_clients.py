"""A client that sends slowly holds no place for ever: headers and bodies each have an end.

gunicorn bounds the wait for headers under gevent alone, and that for a body nowhere: under each, a
byte now and then held a place as long as its sender liked. So each connection is read through a
socket that knows until when. What comes too late for headers ends the connection; a body that
comes too late is answered 408, or, where the view never asked for it, not waited for any longer.
"""

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

BYTES_A_SECOND = 16_384
UNREAD_BYTES = 2 * 1024 * 1024
UNREAD_SECONDS = 1.0


class BodyTooSlow(TimeoutError):
    """The body did not come in time. Answered 408; the connection is not used again."""


class TimedSocket:
    """A connection's socket, of which only `recv` differs: it ends at a moment, not after a silence.

    Headers have `header_seconds` from the first wait for them. A body has so many seconds as
    `begin_body` is told, and one more for each BYTES_A_SECOND that came. Raises BodyTooSlow, or
    returns the b"" of a connection that ended, which is what headers that are too late are.
    `broken_off` is told of headers that had begun to come and ended so, after how many seconds.
    """

    def __init__(
        self,
        inner: Any,
        header_seconds: float,
        broken_off: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._inner, self._header_seconds = inner, header_seconds
        self._broken_off, self._has_begun, self._is_over = broken_off, False, False
        self._ends: float | None = None
        self._began = 0.0
        self._request: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def sendall(self, data: bytes) -> None:
        """Passed on: found here, as it is asked for with every answer."""
        self._inner.sendall(data)

    def begin_body(self, request: Any, seconds: float) -> None:
        """What is read from now on is the body of this request of gunicorn's."""
        self._request, self._ends = request, time.monotonic() + seconds
        self._has_begun = False

    def hurry(self, seconds: float) -> None:
        """No more than this for what is left of the body."""
        assert self._ends is not None
        self._ends = min(self._ends, time.monotonic() + seconds)

    def begin_headers(self) -> None:
        """What is read from now on is the next request, once somebody waits for it."""
        self._request = self._ends = None
        self._has_begun = False

    def recv(self, size: int, flags: int = 0) -> bytes:
        """What has come, up to `size` bytes. A look that does not wait is passed on."""
        if flags:
            return bytes(self._inner.recv(size, flags))
        now, before = time.monotonic(), self._inner.gettimeout()
        if self._ends is None:
            self._ends, self._began = now + self._header_seconds, now
        left = self._ends - now
        if left <= 0:
            return self._late()
        self._inner.settimeout(left if before is None else min(left, before))
        try:
            came = bytes(self._inner.recv(size))
        except TimeoutError:
            if before is not None and before < left:
                raise  # the wait of somebody else, who knows what to do
            return self._late()
        except BaseException:  # the client's reset, or the server's own end of a wait
            self._break_off()
            raise
        finally:
            self._inner.settimeout(before)
        if self._request is not None:
            self._ends += len(came) / BYTES_A_SECOND
        elif came:
            self._has_begun = True
        else:
            self._break_off()
        return came

    def refuse(self) -> float:
        """The connection ends: what still comes of these headers does not break off. The seconds
        that they took."""
        self._is_over = True
        return time.monotonic() - self._began

    def _break_off(self) -> None:
        if self._has_begun and not self._is_over:
            self._broken_off(self.refuse())

    def _late(self) -> bytes:
        if self._request is None:
            self._break_off()
            return b""
        self._request.force_close()
        raise BodyTooSlow


def guard(worker: Any, broken_off: Callable[[Any, float], None] = lambda *_: None) -> None:
    """Times all that a worker of gunicorn's reads; `broken_off` is told of headers that were not
    whole, with the client's address and their seconds. A gthread worker closes a connection in the
    thread that had it: its main thread, which waits up to two seconds for the client's own end,
    would accept nobody meanwhile."""
    handle, seconds = worker.handle, worker.cfg.keepalive or 5

    def gthread(connection: Any) -> Any:
        if not isinstance(connection.sock, TimedSocket):
            connection.sock = TimedSocket(
                connection.sock, seconds, lambda took: broken_off(connection.client, took)
            )
        goes_on = handle(connection)
        if not goes_on:
            connection.close(graceful=True)
            connection.close = lambda graceful=False: None
        return goes_on

    def others(listener: Any, client: Any, address: Any) -> Any:
        told = partial(broken_off, address)
        return handle(listener, TimedSocket(client, seconds, told), address)

    if not worker.cfg.is_ssl:  # TLS wraps the socket that it is given
        worker.handle = gthread if hasattr(worker, "tpool") else others
        worker.timeout_ctx = contextlib.nullcontext  # gevent's: one bound for headers is enough


def begin(request: Any, seconds: float) -> None:
    """The headers are there: a body has so many seconds."""
    timed = request.unreader.sock
    if not isinstance(timed, TimedSocket):
        timed = request.unreader.sock = TimedSocket(timed, seconds)
    timed.begin_body(request, seconds)


def end(request: Any, answer: Any) -> None:
    """The answer is out: what the view left of the body is taken off the connection if it is there,
    and the connection given up if it is not."""
    timed = request.unreader.sock
    if answer is None or answer.status is None or answer.should_close():
        return
    timed.hurry(UNREAD_SECONDS)
    left = UNREAD_BYTES
    nothing = getattr(request.body.reader, "length", None) == 0
    try:
        while not nothing and left > 0 and (came := request.body.read(1024)):
            left -= len(came)
    except Exception:  # malformed or late: where the next request would begin is not known
        left = 0
    if left <= 0:
        request.body.failed = True
    timed.begin_headers()
