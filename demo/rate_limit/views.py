"""The playground, the table of the app's limits, and the guard of the whole app."""

import hashlib
import json
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from flask import Blueprint, Flask, current_app, redirect, render_template, request, url_for
from redis.exceptions import RedisError

from demo.client import refusals
from demo.client.wire import Client
from demo.limits import Algorithm
from demo.observe import metrics
from demo.rate_limit import api_views, guard, headers, lesson_windows, limits_table, show_me
from demo.rate_limit.algorithms import ALGORITHMS, bytes_of
from demo.rate_limit.caller import caller
from demo.rate_limit.limiter import Decision, Quota
from demo.rate_limit.playground import Lane, Pattern, Playground
from demo.rate_limit.rules import Policy, Rule
from demo.rate_limit.timeline import Timeline
from demo.teach import home, listing, sketches
from demo.teach.busy_runner import Errand
from demo.web import flash_cookie
from demo.web.budgets import Budgets, network
from demo.web.freshness import PERSONAL
from demo.web.services import Services, get_redis, part
from demo.web.validation import Invalid, convert, read_query

STEPS = show_me.STEPS
LESSONS = {"windows": lesson_windows.EXPERIMENT}
TITLE = "Rate limit"
# What this use case sends itself; what its scripts run is read from them.
NEEDS = "LTRIM PEXPIRE PTTL RPUSH TYPE UNLINK"
MAX_BURST = 30
SKEW_WINDOWS = 1.1
POLICIES: tuple[Policy, ...] = ("allow", "deny", "local")
bp = Blueprint("rate_limit", __name__, url_prefix="/rate-limit", cli_group=None)
bp.register_blueprint(api_views.bp)
bp.cli.add_command(limits_table.command)


def init(app: Flask, services: Services) -> None:
    """Puts the guard before every view."""
    app.register_blueprint(bp)
    guard.init(app, services)


class Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The quota and the switches of the playground."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=50)] = 5
    window_seconds: Annotated[int, msgspec.Meta(ge=1, le=60)] = 10
    count_refused: bool = False
    skew: bool = False
    code: Algorithm = "sliding_window_log"
    xray: str = ""

    def query(self) -> dict[str, Any]:
        """What differs from the defaults, for an address."""
        switches = {name: 1 for name in ("count_refused", "skew") if getattr(self, name)}
        return {"limit": self.limit, "window_seconds": self.window_seconds, **switches}


class Burst(Chosen, frozen=True, forbid_unknown_fields=True):
    """The playground's form: what to send."""

    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_BURST)] = 1
    pattern: Pattern = "burst"


def errands() -> list[Errand]:
    """What simulated visitors send: now and then more than they may."""
    hit: dict[str, str | int] = {"identity": "{visitor}", "limit": 2, "window_seconds": 20}
    return [Errand("/rate-limit/api/hits", 25, body=hit), Errand("/rate-limit/", 2)]


def card(told: tuple[int, int] | None) -> tuple[str, str, str]:
    """The home page's figure and picture."""
    passed, refused, scope = home.scoped(told, metrics.limited())
    return (
        f"Requests refused by the app’s own limits, {scope}",
        str(refused),
        sketches.verdicts(passed, refused),
    )


@bp.get("/")
def index() -> Any:
    """The lanes of this visitor."""
    try:
        page = _page(read_query(Chosen), {})
        return page, {"Cache-Control": PERSONAL}  # by address, of which no cache knows
    except Invalid as error:
        return _page(Chosen(), error.errors), 422


@bp.post("/")
def fire() -> Any:
    """Sends a burst or a pattern through all lanes; without Redis, through the three policies."""
    try:
        burst = convert(request.form, Burst)
    except Invalid as error:
        return _page(Chosen(), error.errors), 422
    response = redirect(url_for("rate_limit.index", **burst.query()), 303)
    playground = _playground(burst)
    sizes = (bytes_of(name, burst.limit) for name in ALGORITHMS)
    part(Budgets).limits.take(
        network(),
        playground.redis_keys(_visitor())[0],
        sum(sizes) + playground.history_bytes,
        playground.life_seconds,
    )
    try:
        playground.play(_visitor(), burst.pattern, burst.count)
    except RedisError:
        flash_cookie.put(
            response, "policies", {policy: _without_redis(burst, policy) for policy in POLICIES}
        )
    return response


@bp.post("/reset")
def reset() -> Any:
    """Forgets this visitor's hits."""
    chosen = convert(request.form, Burst)
    _playground(chosen).reset(_visitor())
    return redirect(url_for("rate_limit.index", **chosen.query()), 303)


def _page(chosen: Chosen, errors: dict[str, str]) -> str:
    lanes: list[Lane] = []
    timeline: Timeline | None = None
    away = ""
    try:
        hits, lanes, now_us = _playground(chosen).look(_visitor())
        timeline = Timeline(hits, now_us, chosen.window_seconds)
    except RedisError as error:
        away = refusals.of(error).sentence
        current_app.logger.warning("rate limit: the page is shown without figures")
    quota = Quota(chosen.limit, chosen.window_seconds)
    log = lanes[0] if lanes else None
    refused = log is not None and not log.state.allowed
    return render_template(
        "rate_limit/index.html",
        chosen=chosen,
        errors=errors,
        lanes=lanes,
        away=away,
        timeline=timeline,
        policies=flash_cookie.take("policies"),
        answer=_answer(quota, log.state) if log else None,
        refused=refused,
        caller=caller(),
        remote=request.environ.get("werkzeug.proxy_fix.orig", request.environ).get(
            "REMOTE_ADDR", ""
        ),
        forwarded=request.headers.get("X-Forwarded-For", "")[:200],
        hops=current_app.config["TRUSTED_PROXIES"],
        limits=limits_table.rows(),
        keys=_playground(chosen).redis_keys(_visitor()),
        fallbacks=_counted("fallback_*"),
        listings=[
            listing.of_file(ALGORITHMS[chosen.code].lua),
            listing.of_function(Rule.check),
        ],
        max_burst=MAX_BURST,
    )


def _answer(quota: Quota, state: Decision) -> dict[str, str]:
    """The fields, and for a refusal the body, of an answer under the exact log as it stands."""
    fields = {
        "RateLimit-Policy": headers.policy("playground", [quota]),
        "RateLimit": headers.state("playground", [quota], state),
    }
    if state.allowed:
        return fields
    body = {"status": 429, **headers.problem("playground", [quota], state)}
    fields["Retry-After"] = str(headers.retry_after(state))
    return {**fields, "Content-Type": "application/problem+json", "": json.dumps(body, indent=2)}


def _playground(chosen: Chosen) -> Playground:
    return _made(
        get_redis(), Quota(chosen.limit, chosen.window_seconds), chosen.count_refused, chosen.skew
    )


@lru_cache(maxsize=64)
def _made(client: Client, quota: Quota, count_refused: bool, skew: bool) -> Playground:
    skew_seconds = SKEW_WINDOWS * quota.window_seconds if skew else 0.0
    return Playground(client, quota, count_refused=count_refused, skew_seconds=skew_seconds)


def _without_redis(burst: Burst, policy: Policy) -> str:
    """What each hit of a burst meets under one policy, as the guard applies it: a mark each."""
    workers = part(guard.Guard).workers
    rule = _local_rule(get_redis(), policy, burst.limit, burst.window_seconds, workers)
    outcomes = [
        rule.check(_visitor())
        for _ in range(burst.count if burst.pattern == "burst" else 2 * burst.limit)
    ]
    return "".join(
        str(int(outcome.decision.allowed if outcome.decision else outcome.fallback == "allow"))
        for outcome in outcomes
    )


@lru_cache(maxsize=256)
def _local_rule(
    client: Client, policy: Policy, limit: int, window_seconds: int, workers: int
) -> Rule:
    return Rule(
        client, "playground", Quota(limit, window_seconds), when_away=policy, workers=workers
    )


def _counted(outcome: str) -> int:
    return metrics.in_this_process(metrics.RATE_LIMIT_DECISIONS, outcome=outcome)


def _visitor() -> str:
    return "v-" + hashlib.sha256(caller().encode()).hexdigest()[:8]
