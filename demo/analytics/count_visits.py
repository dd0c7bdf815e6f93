"""Told of each answer as it goes out, those that never reach Flask included: what counts as a view,
and of whom."""

from typing import Any

from demo.analytics import salts
from demo.analytics.collector import Collector
from demo.analytics.dashboard import MADE_UP
from demo.observe.trace import ENDPOINT
from demo.web.simulated import MARK

PRODUCT = "catalog.product"
# What somebody looks at, each with its title; pictures, streams, probes and answers for programs are
# no pages.
PAGES = {
    "home.index": "Overview",
    "home.show_house": "Live architecture",
    "home.style": "Style",
    "show_me.index": "Show me",
    "learn.index": "Learn",
    "learn.show": "A lesson",
    "learn.result": "A lesson, measured",
    "learn.summary": "Summary of lessons",
    "busy.index": "Make it busy",
    "openapi.page": "API",
    "pattern_zip.index": "Take patterns",
    "documents.index": "Documentation",
    "documents.page": "A page of the documentation",
    "documents.source": "A source file",
    "test_pages.show": "A test",
    "catalog.index": "Catalog",
    PRODUCT: "A product",
    "catalog.lab.index": "Caching strategies",
    "catalog.serializers.index": "Serialization",
    "catalog.hashes.index": "Strings and hashes",
    "catalog.encryption.index": "Encrypted cache",
    "sessions.index": "Sessions",
    "sessions.devices": "Devices",
    "sessions.second": "Second device",
    "sessions.lab": "Race lab",
    "rate_limit.index": "Rate limit",
    "leaderboard.index": "Leaderboard",
    "leaderboard.board": "A board",
    "leaderboard.play_game": "Ten-second game",
    "analytics.index": "Analytics",
    "monitor.index": "Monitor",
    "monitor.eviction.index": "Eviction lab",
}
SEEN = (200, 304)


class Visits:
    """Notes a page that was answered with what was asked for; one that a script fetches again does
    not count again. Names are the app's, and who sends DNT or Sec-GPC is counted as a view and as
    nobody."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def __call__(self, environ: dict[str, Any], status: int, seconds: float) -> None:
        """One answer."""
        endpoint = environ.get(ENDPOINT)
        if (
            status not in SEEN
            or environ["REQUEST_METHOD"] != "GET"
            or endpoint not in PAGES
            or environ.get("HTTP_SEC_FETCH_DEST", "document") != "document"
            or "HTTP_X_XRAY" in environ
        ):
            return
        if MARK in environ:  # seen on the chart, and nobody
            self._collector.note(MADE_UP)
            return
        visitor = product = None
        if environ.get("HTTP_DNT") != "1" and environ.get("HTTP_SEC_GPC") != "1":
            visitor = salts.identity(
                environ.get("REMOTE_ADDR", ""), environ.get("HTTP_USER_AGENT", "")
            )
        if endpoint == PRODUCT:
            product = str(int(environ["PATH_INFO"].rpartition("/")[2]))
        self._collector.note(endpoint, visitor, product)
