"""The playground, the table of the app's limits, and the guard of the whole app."""

import hashlib
import json
from functools import lru_cache
from typing import Annotated, Any

import click
import msgspec
from flask import Blueprint, current_app, redirect, render_template, request, url_for
from redis.exceptions import RedisError

from demo import oneshot, source
from demo.limits import Algorithm, covering
from demo.pool import Client, get_redis
from demo.rate_limit import api_views, guard, headers
from demo.rate_limit.algorithms import ALGORITHMS
from demo.rate_limit.limiter import Decision, Quota
from demo.rate_limit.playground import Lane, Pattern, Playground
from demo.rate_limit.rules import Policy, Rule
from demo.rate_limit.timeline import Timeline
from demo.validation import Invalid, convert, read_query

TITLE = "Rate limit"
MAX_BURST = 30
SKEW_WINDOWS = 1.1
POLICIES: tuple[Policy, ...] = ("allow", "deny", "local")
bp = Blueprint("rate_limit", __name__, url_prefix="/rate-limit", cli_group=None)
guard.init(bp)
bp.register_blueprint(api_views.bp)


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


def card() -> tuple[str, str]:
    """The home page's figure."""
    return "Refused by this worker", str(guard.counts["refused"])


@bp.get("/")
def index() -> Any:
    """The lanes of this visitor."""
    try:
        return _page(read_query(Chosen), {})
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
    try:
        _playground(burst).play(burst.pattern, burst.count)
    except RedisError:
        oneshot.put(response, "policies", {policy: _without_redis(burst, policy) for policy in POLICIES})
    return response


@bp.post("/reset")
def reset() -> Any:
    """Forgets this visitor's hits."""
    chosen = convert(request.form, Burst)
    _playground(chosen).reset()
    return redirect(url_for("rate_limit.index", **chosen.query()), 303)


@bp.cli.command("limits", help="List what is limited where, by whose count.")
def limits_command() -> None:
    """One line for each limit of each endpoint."""
    for row in _limits():
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, (34, 34, 22, 22, 8, 0), strict=True)).rstrip())


def _page(chosen: Chosen, errors: dict[str, str]) -> str:
    lanes: list[Lane] = []
    timeline: Timeline | None = None
    try:
        hits, lanes, now_us = _playground(chosen).look()
        timeline = Timeline(hits, now_us, chosen.window_seconds)
    except RedisError:
        current_app.logger.warning("rate limit: the page is shown without figures")
    quota = Quota(chosen.limit, chosen.window_seconds)
    log = lanes[0] if lanes else None
    refused = log is not None and not log.remaining
    return render_template(
        "rate_limit/index.html",
        chosen=chosen,
        errors=errors,
        lanes=lanes,
        timeline=timeline,
        policies=oneshot.take("policies"),
        answer=_answer(quota, log) if log else None,
        refused=refused,
        caller=guard.caller(),
        remote=request.environ.get("werkzeug.proxy_fix.orig", request.environ).get("REMOTE_ADDR", ""),
        forwarded=request.headers.get("X-Forwarded-For", "")[:200],
        hops=current_app.config["TRUSTED_PROXIES"],
        limits=_limits(),
        keys=_keys(chosen),
        fallbacks=guard.counts["fallback"],
        listings=[
            source.of_file(ALGORITHMS[chosen.code].lua),
            source.of_function(Rule.check),
        ],
        max_burst=MAX_BURST,
    )


def _answer(quota: Quota, lane: Lane) -> dict[str, str]:
    """The fields, and for a refusal the body, of an answer under the exact log as it stands."""
    allowed = lane.remaining > 0
    decision = Decision(
        allowed,
        quota.limit,
        lane.remaining,
        lane.retry_after_seconds,
        lane.reset_after_seconds,
        quota.limit - lane.remaining,
    )
    fields = {
        "RateLimit-Policy": headers.policy("playground", [quota]),
        "RateLimit": headers.state("playground", [quota], decision),
    }
    if allowed:
        return fields
    problem = {
        "type": headers.QUOTA_EXCEEDED,
        "title": "Quota exceeded",
        "status": 429,
        "detail": f"At most {quota.limit} in this window. Try again in {headers.retry_after(decision)} s.",
        "violated-policies": ["playground"],
    }
    fields["Retry-After"] = str(headers.retry_after(decision))
    return {**fields, "Content-Type": "application/problem+json", "": json.dumps(problem, indent=2)}


def _limits() -> list[tuple[str, ...]]:
    """Endpoint, limit, algorithm, whom it counts, what without Redis, mode."""
    rows: list[tuple[str, ...]] = [("endpoint", "limit", "algorithm", "counts by", "away", "mode")]
    settings = current_app.config["RATE_LIMITS"]
    for endpoint in sorted(current_app.view_functions):
        for limit in covering(settings, endpoint)[1]:
            quotas = ", ".join(f"{quota.limit} in {quota.window_seconds:g} s" for quota in limit.all_quotas())
            only = ", failures only" if limit.count == "failures" else ""
            block = f", blocked after {limit.block_after}" if limit.block_after else ""
            rows.append((endpoint, quotas + only + block, limit.algorithm, limit.by, limit.when_away, limit.mode))
    return rows


def _playground(chosen: Chosen) -> Playground:
    quota = Quota(chosen.limit, chosen.window_seconds)
    skew_seconds = SKEW_WINDOWS * chosen.window_seconds if chosen.skew else 0.0
    return Playground(get_redis(), _visitor(), quota, count_refused=chosen.count_refused, skew_seconds=skew_seconds)


def _keys(chosen: Chosen) -> list[str]:
    return [limiter.redis_keys(_visitor())[0] for limiter in _playground(chosen).lanes.values()]


def _without_redis(burst: Burst, policy: Policy) -> str:
    """What each hit of a burst meets under one policy, as the guard applies it: a mark each."""
    workers = current_app.extensions["guard"].workers
    rule = _local_rule(get_redis(), policy, burst.limit, burst.window_seconds, workers)
    outcomes = [rule.check(_visitor()) for _ in range(burst.count if burst.pattern == "burst" else 2 * burst.limit)]
    return "".join(
        str(int(outcome.decision.allowed if outcome.decision else outcome.fallback == "allow")) for outcome in outcomes
    )


@lru_cache(maxsize=256)
def _local_rule(client: Client, policy: Policy, limit: int, window_seconds: int, workers: int) -> Rule:
    return Rule(client, "playground", Quota(limit, window_seconds), when_away=policy, workers=workers)


def _visitor() -> str:
    return "v-" + hashlib.sha256(guard.caller().encode()).hexdigest()[:8]
