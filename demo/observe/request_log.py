"""Around everything: each request gets its id, its line in the log, and its span where traces are
sent."""

import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.wsgi import ClosingIterator

from demo.observe import logs
from demo.observe.addresses import shorten
from demo.observe.trace import ENDPOINT, TRACE, Trace

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
QUIET = ("/livez", "/readyz", "/metrics")
WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]
Ended = Callable[[dict[str, Any], int, float], None]


class RequestLog:
    """WSGI middleware. `ended` are told of each answer when its head goes out: environment, status,
    seconds; and of those that nobody behind this makes."""

    def __init__(self, inner: WSGI) -> None:
        self._inner = inner
        self.ended: list[Ended] = [log_line]
        self._open: dict[int, tuple[dict[str, Any], float, logs.Context]] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Passes on."""
        began = time.perf_counter()
        request_id = environ.get("HTTP_X_REQUEST_ID", "")
        if not REQUEST_ID.fullmatch(request_id):
            request_id = secrets.token_hex(16)
        parent = TRACEPARENT.fullmatch(environ.get("HTTP_TRACEPARENT", ""))
        context = logs.Context(request_id, parent[1] if parent else "")
        logs.context.set(context)
        self._open[id(environ)] = environ, began, context

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            headers.append(("X-Request-ID", request_id))
            answer = start_response(status, headers, *more)
            self._open.pop(id(environ), None)
            self._tell(environ, int(status[:3]), time.perf_counter() - began)
            return answer

        try:
            return ClosingIterator(self._inner(environ, start), _forget)
        except Exception:
            if self._open.pop(id(environ), None):
                self._tell(environ, 500, time.perf_counter() - began)
            raise

    def _tell(self, environ: dict[str, Any], status: int, seconds: float) -> None:
        for tell in self.ended:
            tell(environ, status, seconds)

    def unviewed(
        self, status: int, seconds: float, address: str, *, method: str = "-", path: str = ""
    ) -> None:
        """An answer of the server's own, to what may have been no request."""
        logs.context.set(logs.Context(secrets.token_hex(16)))
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "REMOTE_ADDR": address}
        self._tell(environ, status, seconds)
        _forget()

    def hung(self) -> None:
        """Nobody will answer what is open now."""
        now = time.perf_counter()
        while self._open:
            environ, began, context = self._open.popitem()[1]
            logs.context.set(context)
            self._tell(environ, 500, now - began)


def _forget() -> None:
    logs.context.set(None)


def log_line(environ: dict[str, Any], status: int, seconds: float) -> None:
    """One line: what was asked, without its query, what was answered, what it took, and from which
    network."""
    path = (
        environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace")[:200]
    )
    level = logging.DEBUG if path in QUIET and status < 500 else logging.INFO
    if not logs.requests.isEnabledFor(level):
        return
    trace: Trace | None = environ.get(TRACE)
    figures: dict[str, Any] = {
        "method": environ["REQUEST_METHOD"][:16],
        "path": path,
        "status": status,
        "ms": round(seconds * 1000, 2),
        "client": shorten(environ.get("REMOTE_ADDR", "")),
    }
    if environ.get(ENDPOINT):
        figures["endpoint"] = environ[ENDPOINT]
    if trace:
        figures |= {
            "redis_trips": trace.round_trips,
            "redis_ms": round(trace.redis_ms, 2),
            "db_visits": trace.visits,
            "db_ms": round(trace.database_ms, 2),
        }
    trips = f", {trace.round_trips} round trips {figures['redis_ms']} ms" if trace else ""
    text = f"{status} {figures['method']} {json.dumps(path)} {figures['ms']} ms{trips}, {figures['client']}"
    logs.requests.log(level, "%s", text, extra={"figures": figures})
