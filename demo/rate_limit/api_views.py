"""The limiter for programs: a quota of the caller's own choice."""

from functools import lru_cache
from typing import Annotated

import msgspec
from flask import Blueprint, Response

from demo.client.wire import Client
from demo.limits import Algorithm
from demo.rate_limit import headers
from demo.rate_limit.algorithms import ALGORITHMS, bytes_of
from demo.rate_limit.caller import caller
from demo.rate_limit.limiter import Decision, Limiter, Quota
from demo.web.budgets import Budgets, network
from demo.web.documented import documented
from demo.web.errors import problem
from demo.web.freshness import KEPT_BY_NOBODY
from demo.web.services import get_redis, part
from demo.web.validation import Invalid, read_json, read_query

bp = Blueprint("api", __name__, url_prefix="/api", cli_group=None)


class Answer(msgspec.Struct, frozen=True):
    """The state of a quota; times in seconds."""

    allowed: bool
    limit: int
    remaining: int
    retry_after_seconds: float
    reset_after_seconds: float
    algorithm: Algorithm


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to count, on which quota."""

    identity: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    algorithm: Algorithm = "sliding_window_log"
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    window_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 10.0


class Hit(Question, frozen=True, forbid_unknown_fields=True):
    """One hit."""

    cost: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1


@bp.post("/hits")
@documented(
    body=Hit,
    answer=Answer,
    example=Hit("me", limit=5, window_seconds=10),
    errors=(400, 413, 429, 503),
)
def hit() -> Response:
    """Counts a hit. Each caller has its own identities, so no caller can use up another's
    limit."""
    wanted = read_json(Hit)
    if wanted.cost > wanted.limit:
        raise Invalid({"cost": f"at most the limit, {wanted.limit}"})
    limiter, identity = _limiter(wanted), _identity(wanted)
    part(Budgets).limits.take(
        network(),
        limiter.redis_keys(identity)[0],
        bytes_of(wanted.algorithm, wanted.limit),
        2 * wanted.window_seconds,
    )
    return _answer(wanted, limiter, limiter.hit(identity, wanted.cost))


@bp.get("/hits")
@documented(query=Question, answer=Answer, example={"identity": "me"}, errors=(503,))
def peek() -> Response:
    """The state of a limit. Nothing is counted."""
    wanted = read_query(Question)
    limiter = _limiter(wanted)
    response = _answer(wanted, limiter, limiter.peek(_identity(wanted)), status=200)
    response.headers["Cache-Control"] = KEPT_BY_NOBODY  # it is the caller's, and of this moment
    return response


def _answer(wanted: Question, limiter: Limiter, decision: Decision, status: int = 429) -> Response:
    body = Answer(
        decision.allowed,
        decision.limit,
        decision.remaining,
        decision.retry_after_seconds,
        decision.reset_after_seconds,
        wanted.algorithm,
    )
    if decision.allowed or status == 200:
        response = Response(msgspec.json.encode(body), mimetype="application/json")
    else:
        response = problem(
            429, **headers.problem("api", limiter.quotas, decision), **msgspec.to_builtins(body)
        )
        response.headers["Retry-After"] = str(headers.retry_after(decision))
    response.headers["RateLimit-Policy"] = headers.policy("api", limiter.quotas)
    response.headers["RateLimit"] = headers.state("api", limiter.quotas, decision)
    return response


def _identity(wanted: Question) -> str:
    return f"{caller()} {wanted.identity}"


def _limiter(wanted: Question) -> Limiter:
    return _made(get_redis(), wanted.algorithm, wanted.limit, wanted.window_seconds)


@lru_cache(maxsize=256)
def _made(client: Client, algorithm: str, limit: int, window_seconds: float) -> Limiter:
    # The name holds the quota, so that two quotas never share a count.
    name = f"api-{limit}-{window_seconds:.15g}" + (
        "" if algorithm == "sliding_window_log" else f"-{algorithm}"
    )
    return ALGORITHMS[algorithm](client, name, Quota(limit, window_seconds))
