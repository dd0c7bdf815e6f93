"""Counts each answer for /metrics, and as it goes out how this worker stands with Redis."""

from typing import Any

from flask import Flask

from demo import metrics
from demo.front import ENDPOINT, TRACE
from demo.xray import Trace

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Measured:
    """Told of each answer of an app by `observed`."""

    def __init__(self, app: Flask) -> None:
        client = app.extensions["redis"]
        self._breaker, self._pool = client.breaker, getattr(client, "connection_pool", None)
        self._open: bool | None = None
        self._most = app.config["POOL_SIZE"]

    def __call__(self, environ: dict[str, Any], status: int, seconds: float) -> None:
        """One answer."""
        if self._open is None:  # not at the start: gauges belong to the process that serves
            metrics.POOL_SIZE.set(self._most)
        endpoint, method = environ.get(ENDPOINT) or "none", environ["REQUEST_METHOD"]
        metrics.count(metrics.REQUESTS, endpoint, method if method in METHODS else "other", str(status))
        metrics.observe(metrics.LATENCY, seconds, endpoint)
        trace: Trace | None = environ.get(TRACE)
        if trace:
            metrics.observe(metrics.ROUND_TRIPS, trace.round_trips, endpoint)
        if self._open != self._breaker.is_open:
            self._open = self._breaker.is_open
            metrics.BREAKERS_OPEN.set(int(self._open))
        free = getattr(self._pool, "pool", None)
        if free is not None:
            metrics.POOL_IN_USE.set(self._most - free.qsize())
