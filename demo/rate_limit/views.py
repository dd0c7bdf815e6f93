"""The playground, its API, and the guard of the whole app."""

import hashlib
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from flask import Blueprint, Response, current_app, redirect, render_template, request, url_for
from redis.exceptions import RedisError

from demo import oneshot, source
from demo.errors import RedisAway, problem
from demo.pool import Client, get_redis
from demo.rate_limit import guard
from demo.rate_limit.sliding_window import Decision, Quota, SlidingWindowLog
from demo.validation import Invalid, convert, read_json

TITLE = "Rate limit"
HERE = Path(__file__).parent
MAX_BURST = 30
bp = Blueprint("rate_limit", __name__, url_prefix="/rate-limit", cli_group=None)
guard.init(bp)


class Hit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One hit on a quota of the caller's choice."""

    identity: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    algorithm: Literal["sliding_window_log"] = "sliding_window_log"
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    window_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 10.0
    cost: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1


class Burst(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The playground's form."""

    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_BURST)] = 1
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5
    window_seconds: Annotated[int, msgspec.Meta(ge=1, le=60)] = 10


def card() -> tuple[str, str]:
    """The home page's figure."""
    return "Refused by this worker", str(guard.refused_count["refused"])


@bp.get("/")
def index() -> str:
    """What is left for this visitor, and what the last burst met."""
    given = oneshot.take("burst")
    burst = convert({key: given[key] for key in ("count", "limit", "window_seconds")}, Burst) if given else Burst()
    return _page(burst, given["hits"] if given else [], {})


@bp.post("/")
def fire() -> Any:
    """Fires a burst at the visitor's own quota; what each hit met goes along to the page."""
    try:
        burst = convert(request.form, Burst)
    except Invalid as error:
        return _page(Burst(), [], error.errors), 422
    limiter, name = _limiter("playground", burst.limit, burst.window_seconds), _visitor()
    try:
        decisions = [limiter.hit(name) for _ in range(burst.count)]
    except RedisError:
        raise RedisAway() from None
    response = redirect(url_for("rate_limit.index"), 303)
    hits = [[decision.allowed, decision.remaining, round(decision.retry_after_seconds, 3)] for decision in decisions]
    oneshot.put(response, "burst", {**msgspec.structs.asdict(burst), "hits": hits})
    return response


@bp.post("/reset")
def reset() -> Any:
    """Forgets this visitor's hits."""
    burst = convert(request.form, Burst)
    _limiter("playground", burst.limit, burst.window_seconds).reset(_visitor())
    return redirect(url_for("rate_limit.index"), 303)


@bp.post("/api/hits")
def hit() -> Response:
    """Counts a hit on a quota that the caller names."""
    wanted = read_json(Hit)
    if wanted.cost > wanted.limit:
        raise Invalid({"cost": f"at most the limit, {wanted.limit}"})
    limiter = _limiter("api", wanted.limit, wanted.window_seconds)
    decision = limiter.hit(wanted.identity, wanted.cost)
    body = {
        "allowed": decision.allowed,
        "limit": decision.limit,
        "remaining": decision.remaining,
        "retry_after_seconds": decision.retry_after_seconds,
        "reset_after_seconds": decision.reset_after_seconds,
        "algorithm": wanted.algorithm,
    }
    if decision.allowed:
        response = Response(msgspec.json.encode(body), mimetype="application/json")
    else:
        more = {"type": guard.PROBLEM_TYPE, "title": "Quota exceeded", "violated-policies": ["api"], **body}
        response = problem(429, "The quota of this identity is used up.", **more)
    response.headers.update(guard.headers("api", limiter.quota, decision))
    return response


def _page(burst: Burst, hits: list[list[Any]], errors: dict[str, str]) -> str:
    limiter, visitor = _limiter("playground", burst.limit, burst.window_seconds), _visitor()
    state: Decision | None = None
    try:
        state = limiter.peek(visitor)
    except RedisError:
        current_app.logger.warning("rate limit: the page is shown without figures")
    return render_template(
        "rate_limit/index.html",
        burst=burst,
        hits=hits,
        errors=errors,
        state=asdict(state) if state else None,
        key=limiter.redis_key(visitor),
        caller=visitor,
        answer_headers=guard.headers("playground", limiter.quota, state) if state else {},
        limits=current_app.config["RATE_LIMITS"],
        listings=[source.of_file(HERE / "sliding_window.lua"), source.of_function(SlidingWindowLog.hit)],
        max_burst=MAX_BURST,
    )


def _limiter(name: str, limit: int, window_seconds: float) -> SlidingWindowLog:
    return _made(get_redis(), name, limit, window_seconds)


@lru_cache(maxsize=256)
def _made(client: Client, name: str, limit: int, window_seconds: float) -> SlidingWindowLog:
    # A quota of one's own choice: the name holds it, so that two quotas never share a log.
    return SlidingWindowLog(client, f"{name}-{limit}-{window_seconds:.15g}", Quota(limit, window_seconds))


def _visitor() -> str:
    return "v-" + hashlib.sha256(guard.caller().encode()).hexdigest()[:8]
