"""Around everything: each request gets its id, its line in the log, and its span where traces are
sent."""

import json
import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from demo.observe import logs
from demo.observe.addresses import shorten
from demo.observe.trace import ENDPOINT, TRACE, Trace

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
QUIET = ("/livez", "/readyz", "/metrics")
WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]
_random = random.Random()  # of each process its own
os.register_at_fork(after_in_child=_random.seed)
quoted = lru_cache(maxsize=1024)(json.dumps)
Ended = Callable[[dict[str, Any], int, float], None]


def _new_id() -> str:
    # 128 random bits are unique; nothing rests on their being secret
    return f"{_random.getrandbits(128):032x}"


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
        request_id = environ.get("HTTP_X_REQUEST_ID")
        if request_id is None or not REQUEST_ID.fullmatch(request_id):
            request_id = _new_id()
        told = environ.get("HTTP_TRACEPARENT")
        parent = told and TRACEPARENT.fullmatch(told)
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
            answer = self._inner(environ, start)
        except BaseException:  # the server may end what takes too long
            if self._open.pop(id(environ), None):
                self._tell(environ, 500, time.perf_counter() - began)
            raise
        if type(answer) is list:  # it is whole: nothing runs any more that could have a line
            logs.context.set(None)
            return answer
        return _Body(answer)

    def _tell(self, environ: dict[str, Any], status: int, seconds: float) -> None:
        for tell in self.ended:
            tell(environ, status, seconds)

    def unviewed(
        self, status: int, seconds: float, address: str, *, method: str = "-", path: str = ""
    ) -> None:
        """An answer of the server's own, to what may have been no request."""
        logs.context.set(logs.Context(_new_id()))
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "REMOTE_ADDR": address}
        self._tell(environ, status, seconds)
        logs.context.set(None)

    def hung(self) -> None:
        """Nobody will answer what is open now."""
        now = time.perf_counter()
        while self._open:
            environ, began, context = self._open.popitem()[1]
            logs.context.set(context)
            self._tell(environ, 500, now - began)


class _Body:
    """An answer's body, whose end is the end of its request."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Iterable[bytes]) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._inner)

    def close(self) -> None:
        try:
            if hasattr(self._inner, "close"):
                self._inner.close()
        finally:
            logs.context.set(None)


def log_line(environ: dict[str, Any], status: int, seconds: float) -> None:
    """One line: what was asked, without its query, what was answered, what it took, and from which
    network."""
    path = environ.get("PATH_INFO", "")[:600]  # a character may be three of them
    if not path.isascii():
        path = path.encode("latin-1", "replace").decode("utf-8", "replace")
    path = path[:200]
    method, ms = environ["REQUEST_METHOD"][:16], round(seconds * 1000, 2)
    client = shorten(environ.get("REMOTE_ADDR", ""))
    trace: Trace | None = environ.get(TRACE)
    trips = f", {trace.round_trips} round trips {round(trace.redis_ms, 2)} ms" if trace else ""

    def figures() -> logs.Figures:
        told = {"method": method, "path": path, "status": status, "ms": ms, "client": client}
        if environ.get(ENDPOINT):
            told["endpoint"] = environ[ENDPOINT]
        if trace:
            told["redis_trips"], told["redis_ms"] = trace.round_trips, round(trace.redis_ms, 2)
            told["db_visits"], told["db_ms"] = trace.visits, round(trace.database_ms, 2)
        return told

    quiet = path in QUIET and status < 500
    logs.tell(
        logging.DEBUG if quiet else logging.INFO,
        f"{status} {method} {quoted(path)} {ms} ms{trips}, {client}",
        figures,
    )
