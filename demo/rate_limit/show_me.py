"""What "Show me" shows of rate limits: hits of one caller of the run's own, until they are refused."""

import secrets
from contextlib import suppress

from redis.exceptions import RedisError

from demo.rate_limit.limiter import Decision, Quota
from demo.rate_limit.sliding_window import SlidingWindowLog
from demo.teach.show_me import Clock, Measured, Row, Step, told
from demo.web.services import get_redis

QUOTA, HITS = Quota(5, 10), 8


def hits() -> tuple[list[Row], dict[str, float]]:
    """More hits than the limit, one after the other."""
    limiter, caller = (
        SlidingWindowLog(get_redis(), "show-me", QUOTA),
        f"show-{secrets.token_hex(6)}",
    )
    clock, found = Clock(), list[tuple[float, Decision]]()
    try:
        for _ in range(HITS):
            began = clock.now()
            decision = limiter.hit(caller)
            found.append((clock.now() - began, decision))
    finally:
        with suppress(RedisError):
            limiter.reset(caller)
    passed = [ms for ms, decision in found if decision.allowed]
    refused = [ms for ms, decision in found if not decision.allowed]
    counts = {
        "passed": len(passed),
        "refused": len(refused),
        "retry_s": found[-1][1].retry_after_seconds,
    }
    return [Row("Allowed", passed, "ok"), Row("Refused", refused, "bad")], counts


def _tell(found: Measured) -> str:
    passed, refused = found.rows
    counts = found.counts
    return (
        f"Of {HITS} requests, {counts['passed']:.0f} were allowed and {counts['refused']:.0f} refused, each within "
        f"{told(max(passed.ms + refused.ms))}. The next request is allowed in {counts['retry_s']:.1f} s."
    )


STEPS = (
    Step(
        5,
        "limit",
        "Hit a rate limit",
        f"Sends {HITS} requests against a limit of {QUOTA.limit} in {QUOTA.window_seconds:.0f} s.",
        hits,
        _tell,
    ),
)
