"""Counts each answer for /metrics, and how this process stands with Redis."""

from functools import lru_cache
from typing import Any

from demo.client import connections
from demo.client.breaker import Breaker, Breakers
from demo.observe import metrics
from demo.observe.trace import ENDPOINT, TRACE, Trace

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class HttpMetrics:
    """Told of each answer of an app by the request log."""

    def __init__(self, client: Any, breaker: Breaker | Breakers) -> None:
        self._client, self._breaker = client, breaker
        self._use = connections.usage(client)
        # not at the start: gauges belong to the process that serves
        self._told: tuple[bool, int, int] | None = None
        self._answered: dict[int, int] = {}

    def __call__(self, environ: dict[str, Any], status: int, seconds: float) -> None:
        """One answer."""
        method = environ["REQUEST_METHOD"]
        endpoint = environ.get(ENDPOINT) or "none"
        answered, took = _of(endpoint, method if method in METHODS else "other", status)
        answered(1)
        took(seconds)
        trace: Trace | None = environ.get(TRACE)
        if trace:
            metrics.observer(metrics.ROUND_TRIPS, endpoint)(trace.round_trips)
        self.stand()

    def stand(self) -> None:
        """Sets the gauges: as an answer goes out, and now and then, as a quiet process has them
        too."""
        used, most = self._use()
        told = self._breaker.is_open, most, used
        if self._told != told:
            self._told = told
            metrics.BREAKERS_OPEN.set(int(told[0]))
            metrics.POOL_SIZE.set(most)
            metrics.POOL_IN_USE.set(used)

    def use(self) -> tuple[int, int]:
        """How many connections were out at once at most since this was asked last, and how many
        there may be; of a cluster the sums of all nodes."""
        peaks = [pool.peak() for pool in connections.pools(self._client)]
        return sum(peaks), self._use()[1]

    def waited(self) -> int:
        """How often a call found no connection free since this was asked last."""
        return sum(pool.waited() for pool in connections.pools(self._client))

    def answers(self) -> dict[int, int]:
        """How many answers this process gave since this was asked last, by the microseconds that they
        took at most. Read from the histogram, so that no request pays for it."""
        now = metrics.by_bound(metrics.LATENCY)
        before, self._answered = self._answered, now
        return {
            bound: n - before.get(bound, 0) for bound, n in now.items() if n > before.get(bound, 0)
        }


@lru_cache(maxsize=4096)
def _of(endpoint: str, method: str, status: int) -> tuple[metrics.Add, metrics.Add]:
    # looked up once: what takes an answer, and what its seconds
    return (
        metrics.adder(metrics.REQUESTS, endpoint, method, str(status)),
        metrics.observer(metrics.LATENCY, endpoint),
    )
