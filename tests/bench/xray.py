"""What the x-ray costs a page, and how soon the first byte of the home page comes."""

import http.client
import statistics
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from demo.app import close, create_app
from demo.teach import panel, xray_panel
from tests.bench.measure import on_one_core, ratio, report, say
from tests.bench.pages import call, serve_peers
from tests.serving import serve

PAGES = {
    "home": "/",
    "catalog": "/catalog/",
    "product": "/catalog/products/42",
    "sessions": "/sessions/",
    "rate limit": "/rate-limit/",
    "board": "/leaderboard/boards/main",
    "analytics": "/analytics/",
    "monitor": "/monitor/",
}
REQUESTS, ROUNDS = 50, 9


def x_ray() -> None:
    """In the process, on one core; then home over HTTP."""
    with on_one_core() as (url, folder):
        settings = {
            "REDIS_URL": url,
            "INSTANCE_PATH": folder,
            "PRODUCTS": 500,
            "DB_LATENCY_MS": 0,
            "SECRET_KEY": "bench",
        }
        app = create_app({**settings, "RATE_LIMITS": {}, "BACKGROUND": "none"})
        say(
            "\nA page with its x-ray, in times of the same page of the same app where the panel is not drawn:"
        )
        for name, path in PAGES.items():
            page = call(app, path)
            page()
            report(name, ratio(_undrawn(page), page), most=1.1)
        say(
            "In times of `?xray=0`, which leaves out the lessons and the code too, and lets out cached bytes as they are:"
        )
        for name, path in PAGES.items():
            report(name, ratio(call(app, path + "?xray=0"), call(app, path)))
        close(app)
    _home()


def _undrawn(page: Callable[[], object]) -> Callable[[], object]:
    """The page without what the x-ray adds to it at its end."""

    def nothing(*_: object) -> str:
        return ""

    def without() -> None:
        drawn = xray_panel.draw, xray_panel.bar, panel.more_of
        xray_panel.draw = xray_panel.bar = panel.more_of = nothing
        try:
            page()
        finally:
            xray_panel.draw, xray_panel.bar, panel.more_of = drawn

    return without


def _home() -> None:
    with (
        serve(DEMO_PRODUCTS="500", DEMO_RATE_LIMITS="{}") as ours,
        serve_peers(ours, ours.request("/").text) as stock,
    ):
        say(
            "\nThe first byte of home over HTTP, in times of a stock app’s page of the same bytes, in turns:"
        )
        rounds = []
        for _ in range(ROUNDS):
            constant, home = _first_byte(stock + "/constant"), _first_byte(ours.url + "/")
            rounds.append(2 * home / (constant + _first_byte(stock + "/constant")))
        low, median, high = statistics.quantiles(rounds, n=4)
        report("home", (median, low, high), most=3.0)


def _first_byte(url: str) -> float:
    """Seconds, the median of some requests on one connection."""
    parts, took = urlsplit(url), []
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port)
    for _ in range(REQUESTS):
        began = time.perf_counter()
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        took.append(time.perf_counter() - began)
        answer.read()
    connection.close()
    return statistics.median(took)
