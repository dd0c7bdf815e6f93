"""The dashboard, its moving part, and the form that makes visits up."""

import random
import re
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, current_app, redirect, render_template, request, url_for
from redis.exceptions import RedisError, ResponseError

from demo.analytics import api_views, unique_visitors
from demo.analytics.batch import Batch
from demo.analytics.cached_dashboard import Asked, Made, collector, forget, read
from demo.analytics.collector import Collector
from demo.analytics.count_visits import PAGES, PRODUCT, Visits
from demo.analytics.dashboard import MADE_UP
from demo.analytics.sample_history import SampleHistory
from demo.client import refusals
from demo.observe import metrics
from demo.teach import listing, pull_the_plug, sketches
from demo.teach.busy_runner import Errand
from demo.web import flash_cookie
from demo.web.errors import RedisAway
from demo.web.services import Services
from demo.web.validation import Invalid, convert

TITLE = "Analytics"
# What this use case sends itself; what its scripts run is read from them.
NEEDS = """
EXPIRE GET HDEL HGETALL HINCRBY HSETNX PFADD PFMERGE PTTL SADD SCARD SET SETBIT UNLINK ZADD ZCOUNT ZINCRBY
ZREMRANGEBYRANK ZREMRANGEBYSCORE
"""
NOT_ALL = "Some of the visits may not have been counted."
HERE = Path(__file__).parent
VISITORS, PRODUCTS = 60, 20
bp = Blueprint("analytics", __name__, url_prefix="/analytics", cli_group=None)
bp.register_blueprint(api_views.bp)


def init(app: Flask, services: Services) -> None:
    """Has every answer told to a collector, which writes what is left when the app is closed."""
    made = services.keep(Collector(services.redis, metrics.ANALYTICS_DROPPED.inc))
    services.request_log.ended.append(Visits(made))
    services.closing.callback(made.close)
    sample = SampleHistory(services.redis, wanted=app.config["SAMPLE_DATA"], clock=made.now)
    services.background.everywhere("sample_history", sample.step)
    app.register_blueprint(bp)


def errands() -> list[Errand]:
    """What simulated visitors look at."""
    return [Errand("/analytics/", 3)]


def card(_: object) -> tuple[str, str, str]:
    """The home page's figure and picture."""
    try:
        here = collector().presence.count(collector().now())
    except RedisError:
        return "Visitors, last 5 minutes", "–", ""
    return "Visitors, last 5 minutes", str(here), sketches.people(here)


@bp.get("/")
def index() -> str:
    """The page."""
    return render_template(
        "analytics/index.html",
        **_figures(),
        error="",
        listings=[
            listing.of_function(Collector.flush),
            listing.of_file(HERE / "active_days.lua"),
        ],
    )


@bp.get("/live")
def live() -> str:
    """The part of the page that moves, by itself."""
    return render_template("analytics/_live.html", **_figures())


@bp.post("/visits")
def visit() -> Any:
    """Makes visits up, marked as such, and writes them at once."""
    try:
        made = convert(request.form, Made)
    except Invalid as error:
        return render_template(
            "analytics/index.html", **_figures(), listings=[], error=str(error.description)
        ), 422
    batch = Batch()
    for _ in range(made.count):
        visitor = int(random.triangular(0, VISITORS, 0))
        product = min(int(random.paretovariate(0.9)), PRODUCTS) if random.random() < 0.7 else None
        batch.note(MADE_UP, f"made up {visitor}", str(product) if product else None)
    try:
        refused = collector().write(batch)
        forget()
    except RedisError as error:
        current_app.logger.warning("analytics: not made up: %s", type(error).__name__)
        raise RedisAway(error) from None
    if refused:
        by = collector().refused_by
        raise RedisAway(by if isinstance(by, RedisError) else ResponseError(), NOT_ALL)
    response = redirect(url_for("analytics.index", resolution=made.resolution), 303)
    flash_cookie.put(
        response,
        "message",
        f"{made.count} made-up visits by {len(batch.visitors)} visitors were added.",
    )
    return response


def path_of(endpoint: str) -> str:
    """The path of a page, with what differs left out; empty where this app has no such page."""
    rules = (
        current_app.url_map.iter_rules(endpoint) if endpoint in current_app.view_functions else ()
    )
    return next((re.sub(r"<[^>]+>", "…", rule.rule) for rule in rules), "")


def _figures() -> dict[str, Any]:
    asked = request.values.get("resolution", "")
    resolution = asked if asked in ("hour", "day") else Asked().resolution
    away = ""
    try:
        found, cached = read(resolution)
    except RedisError as error:
        found, cached, away = None, False, refusals.of(error).sentence
    return {
        "away": away,
        "pulled": bool(pull_the_plug.current().redis),
        "resolution": resolution,
        "found": found,
        "cached": cached,
        "dropped_here": metrics.in_this_process(metrics.ANALYTICS_DROPPED),
        # a process of another build may have kept it, with names that this one does not have
        "pages": [
            (PAGES[one.member], path_of(one.member), one.count)
            for one in (found.pages if found else ())
            if one.member in PAGES
        ],
        "product_endpoint": PRODUCT if PRODUCT in current_app.view_functions else None,
        "error_share": unique_visitors.STANDARD_ERROR,
        "most_exact": unique_visitors.MAX_EXACT,
    }
