"""Told of each answer as it goes out, those that never reach Flask included: what counts as a view,
and of whom."""

from typing import Any

from flask import Flask

from demo.analytics import salts
from demo.analytics.collector import Collector
from demo.observe.trace import ENDPOINT

QUIET = (
    "static",
    "turns.",
    "monitor.livez",
    "monitor.readyz",
    "monitor.metrics.",
    "analytics.live",
    "analytics.api.",
)
PRODUCT = "catalog.product"
SEEN = (200, 304)


class Visits:
    """Notes a GET of one of the app's own endpoints that was answered with what was asked for.
    Names are the app's, and who sends DNT or Sec-GPC is counted as a view and as nobody."""

    def __init__(self, app: Flask, collector: Collector) -> None:
        self._app, self._collector = app, collector
        self._names: frozenset[str] | None = None

    def __call__(self, environ: dict[str, Any], status: int, seconds: float) -> None:
        """One answer."""
        endpoint = environ.get(ENDPOINT)
        if (
            status not in SEEN
            or environ["REQUEST_METHOD"] != "GET"
            or endpoint not in self._counted()
        ):
            return
        visitor = product = None
        if environ.get("HTTP_DNT") != "1" and environ.get("HTTP_SEC_GPC") != "1":
            visitor = salts.identity(
                environ.get("REMOTE_ADDR", ""), environ.get("HTTP_USER_AGENT", "")
            )
        if endpoint == PRODUCT:
            product = str(int(environ["PATH_INFO"].rpartition("/")[2]))
        self._collector.note(endpoint, visitor, product)

    def _counted(self) -> frozenset[str]:
        if self._names is None:
            self._names = frozenset(
                name for name in self._app.view_functions if not name.startswith(QUIET)
            )
        return self._names
