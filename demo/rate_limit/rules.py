"""One limit as it is applied: the limiter of its algorithm, its block list, and its policy for
while Redis is away."""

import logging
import re
from dataclasses import dataclass
from typing import Any, Literal

from demo.client.contract import PREFIX, RedisClient, errors_of
from demo.rate_limit.algorithms import ALGORITHMS
from demo.rate_limit.block_list import BlockList
from demo.rate_limit.limiter import Decision, Limiter, Quota
from demo.rate_limit.local_limiter import LocalLimiter

log = logging.getLogger(__name__)
Policy = Literal["allow", "deny", "local"]
Counts = Literal["all", "failures", "successes"]


@dataclass(frozen=True)
class Outcome:
    """What one limit said of one request. `fallback` names the policy that stood in for Redis;
    without a decision nobody counted: `allow` let the request through, `deny` has to refuse it;
    `error` is what was the matter with Redis."""

    rule: "Rule"
    identity: str
    decision: Decision | None
    fallback: Policy | None = None
    cost: int = 1
    error: Any = None

    @property
    def refused(self) -> bool:
        """Whether the request must not go on."""
        return self.decision is not None and not self.decision.allowed and not self.rule.dry_run

    @property
    def name(self) -> str:
        """The outcome in a word, for metrics."""
        if self.decision is None:
            return f"fallback_{self.fallback}"
        passed = (
            "passed" if self.decision.allowed else "blocked" if self.decision.blocked else "refused"
        )
        if self.fallback:
            return f"fallback_local_{passed}"
        return "would_refuse" if self.rule.dry_run and not self.decision.allowed else passed


class Rule:
    """A limiter under a name of its own. `cost` is a number, or names the field whose members are
    counted. `workers` share what `local` admits; `block_after` refusals in a row block for
    `block_seconds`; `dry_run` counts and refuses nobody; `counts` says for which answers a hit
    stays counted; `spare` names the field of an account whose known devices are left out."""

    def __init__(
        self,
        client: RedisClient,
        name: str,
        *quotas: Quota,
        algorithm: str = "sliding_window_log",
        by: str = "address",
        spare: str = "",
        cost: int | str = 1,
        when_away: Policy = "allow",
        workers: int = 1,
        count_refused: bool = False,
        counts: Counts = "all",
        dry_run: bool = False,
        block_after: int = 0,
        block_seconds: float = 60.0,
        prefix: str = PREFIX,
    ) -> None:
        if algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm: must be one of {', '.join(ALGORITHMS)}")
        self._errors = errors_of(client).all
        self.name, self.by, self.cost, self.when_away = name, by, cost, when_away
        self.algorithm, self.dry_run, self.counts = algorithm, dry_run, counts
        self.spare, self.block_after, self.block_seconds, self.quotas = (
            spare,
            block_after,
            block_seconds,
            quotas,
        )
        key = re.sub(r"[^A-Za-z0-9._-]", "-", name.replace("*", "all"))
        key += "" if algorithm == "sliding_window_log" else f".{algorithm}"
        limiter = ALGORITHMS[algorithm](
            client, key, *quotas, count_refused=count_refused, prefix=prefix
        )
        self.limiter: Limiter | BlockList = limiter
        if block_after and not dry_run:
            self.limiter = BlockList(limiter, after=block_after, seconds=block_seconds)
        self.local = LocalLimiter(*quotas, workers=workers, count_refused=count_refused)

    @property
    def most(self) -> int:
        """What a request may cost at most: more would never fit."""
        return min(quota.limit for quota in self.quotas)

    def gives_back(self, status: int) -> bool:
        """Whether a request that was answered so is not to count. A 5xx is no failure of who asked,
        and tells nothing of what was sent."""
        if self.counts == "all":
            return False
        return status >= 400 if self.counts == "successes" else not 400 <= status < 500

    def check(self, identity: str, cost: int = 1) -> Outcome:
        """Counts a request. Never raises: without Redis the policy answers."""
        try:
            return Outcome(self, identity, self.limiter.hit(identity, cost), cost=cost)
        except self._errors as error:
            log.warning(
                "rate limit %s: %s stands in: %s", self.name, self.when_away, type(error).__name__
            )
            decision = self.local.hit(identity, cost) if self.when_away == "local" else None
            return Outcome(self, identity, decision, self.when_away, cost, error)

    def refund(self, outcome: Outcome) -> Outcome:
        """Gives back what a request was counted for; `outcome` as it was where that cannot be done."""
        if outcome.decision is None or not outcome.decision.allowed:
            return outcome
        if outcome.fallback:
            left = self.local.refund(outcome.identity, outcome.cost)
            return Outcome(self, outcome.identity, left, outcome.fallback, outcome.cost)
        try:
            given_back = self.limiter.refund(outcome.identity, outcome.cost)
        except self._errors as error:
            log.warning("rate limit %s: not given back: %s", self.name, type(error).__name__)
            return outcome
        return Outcome(self, outcome.identity, given_back, cost=outcome.cost)
