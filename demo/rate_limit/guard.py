"""The guard: applies RATE_LIMITS before a view runs, and says so in the headers.

Headers by draft-ietf-httpapi-ratelimit-headers-10: RateLimit-Policy and RateLimit are structured fields (RFC 9651).
Retry-After stands on refusals only, rounded up, so that a hit after it passes.
"""

import math
from collections.abc import Mapping

from flask import Blueprint, Response, current_app, g, render_template, request
from flask.blueprints import BlueprintSetupState
from redis.exceptions import RedisError

from demo.config import RateLimit
from demo.errors import RedisAway, problem, wants_json
from demo.rate_limit.sliding_window import Decision, Quota, SlidingWindowLog

PROBLEM_TYPE = "https://iana.org/assignments/http-problem-types#quota-exceeded"
refused_count = {"refused": 0, "passed": 0, "fallback": 0}


def init(bp: Blueprint) -> None:
    """Hooks the guard into the app that registers the blueprint."""
    bp.record_once(_prepare)
    bp.before_app_request(_before)
    bp.after_app_request(_after)


def _prepare(state: BlueprintSetupState) -> None:
    limits: Mapping[str, RateLimit] = state.app.config["RATE_LIMITS"]
    state.app.extensions["rate_limiters"] = {
        endpoint: SlidingWindowLog(state.app.extensions["redis"], endpoint, Quota(limit.limit, limit.window_seconds))
        for endpoint, limit in limits.items()
    }


def caller() -> str:
    """Whom the guard counts: the client's address."""
    return request.remote_addr or "unknown"


def _before() -> Response | None:
    limiter: SlidingWindowLog | None = current_app.extensions["rate_limiters"].get(request.endpoint or "")
    if limiter is None or request.endpoint is None:
        return None
    rule: RateLimit = current_app.config["RATE_LIMITS"][request.endpoint]
    try:
        decision = limiter.hit(caller())
    except RedisError:
        refused_count["fallback"] += 1
        g.rate_limit = (request.endpoint, limiter.quota, None, rule.when_away)
        if rule.when_away == "deny":
            raise RedisAway() from None
        return None
    g.rate_limit = (request.endpoint, limiter.quota, decision, rule.when_away)
    refused_count["passed" if decision.allowed else "refused"] += 1
    return None if decision.allowed else refusal(request.endpoint, decision)


def _after(response: Response) -> Response:
    if "rate_limit" in g:
        name, quota, decision, when_away = g.rate_limit
        response.headers.update(headers(name, quota, decision, when_away))
    return response


def headers(name: str, quota: Quota, decision: Decision | None, when_away: str = "allow") -> dict[str, str]:
    """The fields of one answer. Without a decision, Redis being away, the policy that was followed is named."""
    policy = f'"{name}";q={quota.limit};w={math.ceil(quota.window_seconds)}'
    if decision is None:
        return {"RateLimit-Policy": f'{policy};fallback="{when_away}"'}
    wait = decision.reset_after_seconds if decision.allowed else decision.retry_after_seconds
    fields = {"RateLimit-Policy": policy, "RateLimit": f'"{name}";r={decision.remaining};t={math.ceil(wait)}'}
    if not decision.allowed:
        fields["Retry-After"] = str(max(1, math.ceil(decision.retry_after_seconds)))
    return fields


def refusal(name: str, decision: Decision) -> Response:
    """The 429: a problem of type quota-exceeded, or a page that says when to come back."""
    seconds = max(1, math.ceil(decision.retry_after_seconds))
    detail = f"At most {decision.limit} in this window. Try again in {seconds} s."
    if wants_json():
        more = {"type": PROBLEM_TYPE, "title": "Quota exceeded", "violated-policies": [name]}
        return problem(429, detail, **more)
    page = render_template("error.html", status=429, title="Too many requests", detail=detail, errors={})
    return Response(page, 429)
