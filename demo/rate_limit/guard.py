"""The guard: applies RATE_LIMITS before a view runs, and says so in the headers of every limited
answer.

Several limits of one endpoint are asked one after the other. When a later limit refuses, the hits
that earlier limits counted are given back. Without Redis each limit follows its own policy, which
the headers name.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from flask import Flask, Response, g, request

from demo import limits
from demo.limits import RateLimit
from demo.observe import metrics
from demo.rate_limit.caller import body, whom
from demo.rate_limit.limiter import Quota
from demo.rate_limit.refusal import add_headers, refusal
from demo.rate_limit.rules import Outcome, Rule
from demo.web import server
from demo.web.errors import RedisAway
from demo.web.services import Services, part
from demo.web.validation import Invalid


def init(app: Flask, services: Services) -> None:
    """Hooks the guard into the app."""
    services.keep(Guard(app, services.protected_redis))
    app.before_request(_before)
    app.after_request(_after)


class Guard:
    """The rules of an app, made when an endpoint is first asked for."""

    def __init__(self, app: Flask, client: Any) -> None:
        self.workers = server.workers()
        self._client, self._limits = client, app.config["RATE_LIMITS"]
        self._by_endpoint: dict[str, tuple[Rule, ...]] = {}
        self._by_pattern: dict[str, tuple[Rule, ...]] = {}

    def rules(self, endpoint: str) -> tuple[Rule, ...]:
        """What an endpoint falls under; the endpoints of a prefix count together."""
        found = self._by_endpoint.get(endpoint)
        if found is None:
            pattern, settings = limits.covering(self._limits, endpoint)
            found = self._by_pattern.setdefault(pattern, tuple(self._rules(pattern, settings)))
            self._by_endpoint[endpoint] = found
        return found

    def _rules(self, pattern: str, settings: Iterable[RateLimit]) -> Iterable[Rule]:
        taken: Counter[str] = Counter()
        for limit in settings:
            name = pattern if limit.by == "address" else f"{pattern}/{limit.by}"
            taken[name] += 1
            yield self._rule(name if taken[name] == 1 else f"{name}-{taken[name]}", limit)

    def _rule(self, name: str, limit: RateLimit) -> Rule:
        return Rule(
            self._client,
            name,
            *(Quota(quota.limit, quota.window_seconds) for quota in limit.all_quotas()),
            algorithm=limit.algorithm,
            by=limit.by,
            spare=limit.spare,
            cost=limit.cost,
            when_away=limit.when_away,
            workers=self.workers,
            count_refused=limit.count_refused,
            counts=limit.count,
            dry_run=limit.mode == "dry-run",
            block_after=limit.block_after,
            block_seconds=limit.block_seconds,
        )


def _cost(rule: Rule) -> int:
    """What a request takes. Raises Invalid for a list that is longer than the limit: it would never
    fit."""
    if isinstance(rule.cost, int):
        return rule.cost
    name = rule.cost.removeprefix("field:")
    listed = body().get(name)
    cost = max(1, len(listed)) if isinstance(listed, list) else 1
    if cost <= rule.most or rule.dry_run:
        return min(cost, rule.most)
    raise Invalid(
        {name: f"{rule.most} at most in one request, because more never fit into the limit"}
    )


def _before() -> Response | None:
    rules = part(Guard).rules(request.endpoint) if request.endpoint else ()
    if not rules:
        return None
    costs = [_cost(rule) for rule in rules]
    outcomes: list[Outcome] = []
    g.rate_limits = outcomes
    for rule, cost in zip(rules, costs, strict=True):
        identity = whom(rule.by, rule.spare)
        if identity is None:
            continue
        outcome = rule.check(identity, cost)
        metrics.count(metrics.RATE_LIMIT_DECISIONS, rule.name, outcome.name)
        outcomes.append(outcome)
        if outcome.refused or (
            outcome.decision is None and outcome.fallback == "deny" and not rule.dry_run
        ):
            for number, earlier in enumerate(outcomes[:-1]):
                outcomes[number] = earlier.rule.refund(earlier)
            if outcome.error is not None and outcome.decision is None:
                raise RedisAway(outcome.error)
            return refusal(outcome)
    return None


def _after(response: Response) -> Response:
    outcomes: list[Outcome] | None = g.get("rate_limits")
    if outcomes:
        for number, outcome in enumerate(outcomes):
            if outcome.rule.gives_back(response.status_code):
                outcomes[number] = outcome.rule.refund(outcome)
        add_headers(response, outcomes)
    return response
