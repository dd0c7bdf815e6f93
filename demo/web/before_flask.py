"""In front of Flask: whole answers from the cache. Cached answers contain nothing about the visitor
for whom they were made.

Flask, its session and its hooks cost more than a cached answer does. So a GET is answered here,
before Flask runs, if a use case knows how to answer it in full. A request that a rate limit counts
always goes to Flask, so the limit counts it. So does a request without an answer in the cache, one
whose lookup failed, and one with cookies that the use case does not know how to answer. If the
lookup finds no answer, Flask gets this outcome with the request, so nothing is looked up twice.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from demo.client.breaker import Breaker, Breakers
from demo.observe.trace import TRACE, begin_trace, end_trace
from demo.web.simulated import IN_ENVIRON, Simulated

OUTCOME = "demo.outcome"
ELSEWHERE = frozenset(("HTTP_X_XRAY", "HTTP_IF_MATCH", "HTTP_IF_UNMODIFIED_SINCE"))
WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass(frozen=True)
class Whole:
    """An answer that can go out: status line, headers and body."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


Window = Callable[[dict[str, Any]], Callable[[], Whole | None] | None]


class BeforeFlask:
    """WSGI middleware. A window looks at the environment and returns, for a request that is its
    own, what answers it; that returns None when Flask has to, and leaves the outcome in the
    environment. Every answer has `headers`. Of another host than `hosts`, where they are given,
    nothing is answered here."""

    def __init__(
        self,
        inner: WSGI,
        breaker: Breaker | Breakers,
        headers: Iterable[tuple[str, str]],
        hosts: Collection[str] = (),
    ) -> None:
        self.inner, self._breaker, self._headers = inner, breaker, list(headers)
        self._hosts = hosts
        self.windows: list[Window] = []
        self.simulated: Simulated | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answers, or passes on."""
        if IN_ENVIRON in environ and self.simulated:
            self.simulated.mark(environ)
        if (
            environ["REQUEST_METHOD"] == "GET"
            and ELSEWHERE.isdisjoint(environ)
            and (not self._hosts or environ.get("HTTP_HOST", "").lower() in self._hosts)
        ):
            for window in self.windows:
                answer = window(environ)
                if answer is not None and not self._breaker.is_open:
                    trace = begin_trace(detailed=False)
                    whole = answer()
                    environ[TRACE] = trace
                    if whole is None:
                        break
                    end_trace()
                    timing = ("Server-Timing", trace.server_timing())
                    start_response(whole.status, [*whole.headers, timing, *self._headers])
                    return [whole.body]

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, *self._headers], *more)

        return self.inner(environ, start)
