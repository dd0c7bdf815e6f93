"""What a limited request is answered: the fields of every answer, and the 429."""

from flask import Response

from demo.rate_limit import headers
from demo.rate_limit.rules import Outcome
from demo.web.errors import page, problem, vary_by_accept, wants_json


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
    members = headers.problem(rule.name, rule.quotas, decision, rule.block_after)
    if wants_json():
        response = problem(429, **members)
    else:
        wait_seconds = headers.retry_after(decision)
        response = page(429, members["detail"], wait_seconds, title="Too many requests")
    vary_by_accept(response)
    return response
