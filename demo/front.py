"""In front of Flask: whole answers from the cache for who needs nothing of his own in them.

Flask, its session and its hooks cost more than a cached answer does. So a GET that a use case knows how to answer in full,
and that no limit counts, is answered before Flask is asked. Everything else passes on: what is not there, what failed,
and what a visitor's cookie makes his own. An answer that was looked for here is handed on with its trace, so that
nothing is asked twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flask import Flask

from demo import security, xray
from demo.panel import server_timing
from demo.pool import get_breaker

OUTCOME, TRACE, ENDPOINT = "demo.outcome", "demo.trace", "demo.endpoint"
WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass(frozen=True)
class Whole:
    """An answer that can go out: status line, headers and body."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


Window = Callable[[dict[str, Any]], Callable[[], Whole | None] | None]


class Front:
    """WSGI middleware. A window looks at the environment and returns, for a request that is its own, what answers it;
    that returns None when Flask has to, and leaves the outcome in the environment."""

    def __init__(self, app: Flask, inner: WSGI) -> None:
        self._app, self._inner = app, inner
        self.windows: list[Window] = []
        self._static = list(security.headers(app))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answers, or passes on."""
        if environ["REQUEST_METHOD"] == "GET" and "HTTP_X_XRAY" not in environ:
            for window in self.windows:
                answer = window(environ)
                if answer is not None and not get_breaker(self._app).is_open:
                    trace = xray.begin(detailed=False)
                    whole = answer()
                    environ[TRACE] = trace
                    if whole is None:
                        break
                    xray.end()
                    timing = ("Server-Timing", server_timing(trace))
                    start_response(whole.status, [*whole.headers, timing, *self._static])
                    return [whole.body]
        return self._inner(environ, start_response)
