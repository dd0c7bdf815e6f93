"""What a limited answer says of its limits, so that clients can pace themselves.

RateLimit-Policy and RateLimit are lists of structured fields (RFC 9651) by
draft-ietf-httpapi-ratelimit-headers-11 (May 2026). RateLimit-Policy has a policy's quota `q` and
its window `w`. RateLimit has what remains, `r`, and after how many seconds, `t`, the quota is whole
again or this request would pass. Times in the headers are whole seconds, rounded up, so a caller
that waits `t` seconds is admitted. Only refusals have a Retry-After header, which is never shorter
than the `t` of RateLimit. Parameters of our own have a prefix, as the draft asks.
"""

import math
from collections.abc import Iterable
from typing import Any

from demo.rate_limit.limiter import Decision, Quota

PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types#"
QUOTA_EXCEEDED = PROBLEM_TYPES + "quota-exceeded"
ABNORMAL_USAGE = PROBLEM_TYPES + "abnormal-usage-detected"


def policy(name: str, quotas: Iterable[Quota], more: str = "") -> str:
    """The items of one limit in RateLimit-Policy; `more` are parameters of our own."""
    together = tuple(quotas)
    return ", ".join(
        f'"{item(name, quota, len(together))}";q={quota.limit};w={math.ceil(quota.window_seconds)}{more}'
        for quota in together
    )


def state(name: str, quotas: Iterable[Quota], decision: Decision) -> str:
    """The items of one limit in RateLimit."""
    together = tuple(quotas)
    answers = decision.by_quota or (decision,) * len(together)
    return ", ".join(
        f'"{item(name, quota, len(together))}";r={answer.remaining};t={whole_seconds(answer)}'
        for quota, answer in zip(together, answers, strict=True)
    )


def item(name: str, quota: Quota, count: int) -> str:
    """A name for one of `count` quotas of a limit."""
    return name if count == 1 else f"{name}-{quota.window_seconds:g}s"


def whole_seconds(decision: Decision) -> int:
    """When to come back, for who was refused; when all is free, for who passed."""
    return math.ceil(
        decision.reset_after_seconds if decision.allowed else decision.retry_after_seconds
    )


def retry_after(decision: Decision) -> int:
    """Whole seconds for a refusal, one at least."""
    return max(1, math.ceil(decision.retry_after_seconds))


def problem(
    name: str, quotas: Iterable[Quota], decision: Decision, block_after: int = 0
) -> dict[str, Any]:
    """The members of a refusal's problem (RFC 9457), its status aside."""
    seconds = retry_after(decision)
    if decision.blocked:
        kind, title = ABNORMAL_USAGE, "Abnormal usage detected"
        detail = f"You were refused {block_after} times in a row, so you are blocked. Try again in {seconds} s."
    else:
        kind, title = QUOTA_EXCEEDED, "Quota exceeded"
        detail = f"The limit is {decision.limit} in this window. Try again in {seconds} s."
    return {
        "type": kind,
        "title": title,
        "detail": detail,
        "violated-policies": violated(name, quotas, decision),
    }


def violated(name: str, quotas: Iterable[Quota], decision: Decision) -> list[str]:
    """The policies that a refused request went against."""
    together = tuple(quotas)
    answers = decision.by_quota or (decision,) * len(together)
    names = [
        item(name, quota, len(together))
        for quota, answer in zip(together, answers, strict=True)
        if not answer.allowed
    ]
    return names or [name]
