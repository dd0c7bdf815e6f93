"""Answers that no view makes, told as others are: counted on /metrics, with a line in the log.

gunicorn itself answers what it cannot read (400, 414, 431, …). A request that breaks off, or comes
too slowly, before its headers are whole is answered nothing, and told as 499, as nginx calls it.
What a worker had not answered when it was ended because it hung is told as 500.

Two things cannot be logged: requests that were open in a worker that hung and had to be killed, and
requests that break off where gunicorn itself does TLS.
"""

from collections.abc import Callable
from typing import Any

from demo.web.services import services
from demo.web.slow_clients import TimedSocket

BROKEN_OFF = 499


class Answered:
    """A connection, and the status of what is sent over it."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.status = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def sendall(self, data: bytes) -> None:
        """Sends it."""
        self.status = self.status or int(data[9:12])
        self._inner.sendall(data)


def guard(worker: Any) -> Callable[[Any, float], None]:
    """Has a gunicorn worker tell what it answers itself. Gives what is to be told of a request that
    breaks off: from which address, and after how many seconds."""
    log, handle_error = services(worker.app.callable).request_log, worker.handle_error

    def tell_error(request: Any, client: Any, address: Any, error: Exception) -> None:
        if request is not None:  # the app was asked, and has told
            handle_error(request, client, address, error)
            return
        answered, read = Answered(client), getattr(error, "req", None)
        seconds = client.refuse() if isinstance(client, TimedSocket) else 0.0
        handle_error(None, answered, address, error)
        log.unviewed(
            answered.status or BROKEN_OFF,
            seconds,
            _host(address),
            method=getattr(read, "method", None) or "-",
            path=getattr(read, "path", None) or "",
        )

    def tell_broken_off(address: Any, seconds: float) -> None:
        log.unviewed(BROKEN_OFF, seconds, _host(address))

    worker.handle_error = tell_error
    return tell_broken_off


def _host(address: Any) -> str:
    """Of a unix socket nothing."""
    return str(address[0]) if isinstance(address, tuple) else ""


def tell_hung(worker: Any) -> None:
    """Tells what the worker, which ends as it hangs, has not answered. Runs in the handler of a
    signal: should it wait for what that has interrupted, the worker is killed a moment later."""
    if worker.app.callable is not None:
        services(worker.app.callable).request_log.hung()
