"""The guard: applies RATE_LIMITS before a view runs, and says so in the headers of every limited answer.

Several limits of one endpoint are asked one after the other; what the first ones counted is given back when a later one
refuses. Without Redis each limit follows its own policy, which the headers name.
"""

import os
import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec
from flask import Blueprint, Flask, Response, current_app, g, render_template, request, session, url_for
from flask.blueprints import BlueprintSetupState

from demo import limits
from demo.errors import RedisAway, problem, wants_json
from demo.limits import RateLimit
from demo.metrics import RATE_LIMIT_DECISIONS
from demo.rate_limit import headers, identity
from demo.rate_limit.limiter import Quota
from demo.rate_limit.rules import Outcome, Rule
from demo.security import is_own_path
from demo.validation import Invalid

counts = {"refused": 0, "fallback": 0}


def init(bp: Blueprint) -> None:
    """Hooks the guard into the app that registers the blueprint."""
    bp.record_once(_prepare)
    bp.before_app_request(_before)
    bp.after_app_request(_after)


class Guard:
    """The rules of an app, made when an endpoint is first asked for."""

    def __init__(self, app: Flask) -> None:
        workers = os.environ.get("WEB_CONCURRENCY", "")
        self.workers = int(workers) if workers.isdecimal() and int(workers) else 1
        self._client, self._limits = app.extensions["redis"], app.config["RATE_LIMITS"]
        self._by_endpoint: dict[str, tuple[Rule, ...]] = {}
        self._by_pattern: dict[str, tuple[Rule, ...]] = {}

    def rules(self, endpoint: str) -> tuple[Rule, ...]:
        """What an endpoint falls under; the endpoints of a prefix count together."""
        found = self._by_endpoint.get(endpoint)
        if found is None:
            pattern, settings = limits.covering(self._limits, endpoint)
            found = self._by_pattern.setdefault(pattern, tuple(self._rule(pattern, limit) for limit in settings))
            self._by_endpoint[endpoint] = found
        return found

    def _rule(self, pattern: str, limit: RateLimit) -> Rule:
        return Rule(
            self._client,
            pattern if limit.by == "address" else f"{pattern}/{limit.by}",
            *(Quota(quota.limit, quota.window_seconds) for quota in limit.all_quotas()),
            algorithm=limit.algorithm,
            by=limit.by,
            cost=limit.cost,
            when_away=limit.when_away,
            workers=self.workers,
            count_refused=limit.count_refused,
            only_failures=limit.count == "failures",
            dry_run=limit.mode == "dry-run",
            block_after=limit.block_after,
            block_seconds=limit.block_seconds,
        )


def _prepare(state: BlueprintSetupState) -> None:
    state.app.extensions["guard"] = Guard(state.app)  # type: ignore[arg-type]


def caller() -> str:
    """The client's address, as `identity.of_address` writes it."""
    return identity.of_address(request.remote_addr)


def _whom(by: str) -> str:
    return caller() if by == "address" else "+".join(_part(part) for part in by.split("+"))


def _part(by: str) -> str:
    if by == "user" and session.get("user"):
        return f"user:{session['user']}"
    if by == "api_key" and request.authorization and request.authorization.token:
        return f"key:{request.authorization.token}"
    if by.startswith("field:"):
        return f"{by}:{_field(by.removeprefix('field:'))}"
    return caller()


def _field(name: str) -> str:
    """A field of the form, or of a JSON body, written one way: how somebody spells a name must not give a new quota."""
    request.get_data()  # kept, so that reading it as a form leaves it to the view
    given: Any = None if "/api/" in request.path else request.form.get(name)
    if given is None and ("/api/" in request.path or not request.form):
        given = _body().get(name)
    return unicodedata.normalize("NFKC", str(given or "")).strip().casefold()


def _body() -> Mapping[str, Any]:
    try:  # an API takes JSON whatever type the body claims to be: curl -d calls it a form
        body = msgspec.json.decode(request.get_data())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return body if isinstance(body, Mapping) else {}


def _cost(rule: Rule) -> int:
    """What a request takes. Raises Invalid for a list that is longer than the limit: it would never fit."""
    if isinstance(rule.cost, int):
        return rule.cost
    name = rule.cost.removeprefix("field:")
    listed = _body().get(name)
    cost = max(1, len(listed)) if isinstance(listed, list) else 1
    if cost <= rule.most or rule.dry_run:
        return min(cost, rule.most)
    raise Invalid({name: f"{rule.most} at once at most: more never fit into the limit"})


def _before() -> Response | None:
    guard: Guard = current_app.extensions["guard"]
    rules = guard.rules(request.endpoint) if request.endpoint else ()
    if not rules:
        return None
    costs = [_cost(rule) for rule in rules]
    outcomes: list[Outcome] = []
    g.rate_limits = outcomes
    for rule, cost in zip(rules, costs, strict=True):
        outcome = rule.check(_whom(rule.by), cost)
        RATE_LIMIT_DECISIONS.labels(rule.name, outcome.name).inc()
        counts["fallback"] += outcome.fallback is not None
        outcomes.append(outcome)
        if outcome.refused or (outcome.decision is None and outcome.fallback == "deny" and not rule.dry_run):
            for number, earlier in enumerate(outcomes[:-1]):
                outcomes[number] = earlier.rule.refund(earlier)
            if outcome.decision is None:
                raise RedisAway()
            counts["refused"] += 1
            return refusal(outcome)
    return None


def _after(response: Response) -> Response:
    outcomes: list[Outcome] | None = g.get("rate_limits")
    if outcomes:
        if response.status_code < 400:
            outcomes = [outcome.rule.refund(outcome) if outcome.rule.only_failures else outcome for outcome in outcomes]
        add_headers(response, outcomes)
    return response


def add_headers(response: Response, outcomes: list[Outcome]) -> None:
    """Puts what the limits say beside what a view has said of its own."""
    for outcome in outcomes:
        rule, decision = outcome.rule, outcome.decision
        quotas = rule.local.quotas if outcome.fallback == "local" else rule.quotas
        more = f';demo-fallback="{outcome.fallback}"' if outcome.fallback else ""
        more += ";demo-dry-run" if rule.dry_run else ""
        response.headers.add("RateLimit-Policy", headers.policy(rule.name, quotas, more))
        if decision is not None:
            response.headers.add("RateLimit", headers.state(rule.name, quotas, decision))
        if decision is not None and outcome.refused:
            response.headers["Retry-After"] = str(headers.retry_after(decision))
    for name in ("RateLimit-Policy", "RateLimit"):
        together = response.headers.getlist(name)
        if len(together) > 1:
            response.headers[name] = ", ".join(together)


def refusal(outcome: Outcome) -> Response:
    """The 429: a problem of type quota-exceeded, or a page that counts down."""
    rule, decision = outcome.rule, outcome.decision
    assert decision is not None
    seconds = headers.retry_after(decision)
    if decision.blocked:
        detail = f"Refused {rule.block_after} times in a row, and shut out for a while. Try again in {seconds} s."
    else:
        detail = f"At most {decision.limit} in this window. Try again in {seconds} s."
    if wants_json():
        response = problem(
            429,
            detail,
            type=headers.ABNORMAL_USAGE if decision.blocked else headers.QUOTA_EXCEEDED,
            title="Abnormal usage detected" if decision.blocked else "Quota exceeded",
            **{"violated-policies": headers.violated(rule.name, rule.quotas, decision)},
        )
    else:
        back = request.full_path.rstrip("?") if request.method == "GET" else _page_before()
        page = render_template("rate_limit/refused.html", detail=detail, seconds=seconds, back=back)
        response = Response(page, 429)
    response.vary.add("Accept")
    return response


def _page_before() -> str:
    """Where a refused form was filled in, if that was one of our pages."""
    before = request.referrer or ""
    path = before.removeprefix(request.host_url[:-1]) if before.startswith(request.host_url) else ""
    return path if is_own_path(path) else url_for("home.index")
