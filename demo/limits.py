"""What the setting RATE_LIMITS may say, and which of its entries an endpoint falls under. A request
is allowed or refused in `rate_limit/guard.py`."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

Algorithm = Literal[
    "sliding_window_log", "sliding_window_counter", "fixed_window", "token_bucket", "gcra"
]
_ONE = r"(address|network|user|api_key|everyone|field:[a-z_]{1,40}|device:[a-z_]{1,40})"
BY = re.compile(rf"{_ONE}(\+{_ONE})*")
DEVICE = re.compile(r"device:[a-z_]{1,40}")
COST = re.compile(r"field:[a-z_]{1,40}")
PATTERN = re.compile(r"(\w+\.)*(\w+|\*)")


# What is limited where RATE_LIMITS is not set.
DEFAULTS: dict[str, Any] = {
    "sessions.login": [
        {"limit": 10, "window_seconds": 60},
        {
            "quotas": [
                {"limit": 10, "window_seconds": 60},
                {"limit": 20, "window_seconds": 3600},
            ],
            "by": "field:name+address",
            "count": "failures",
            "spare": "device:name",
        },
        {
            "limit": 100,
            "window_seconds": 3600,
            "by": "field:name",
            "count": "failures",
            "spare": "device:name",
        },
        {"limit": 10, "window_seconds": 600, "by": "device:name", "count": "failures"},
    ],
    "sessions.sign_up": [
        {"limit": 5, "window_seconds": 60},
        {"limit": 10, "window_seconds": 86_400, "count": "successes"},
        {"limit": 100, "window_seconds": 3600, "by": "everyone", "count": "successes"},
    ],
    "sessions.change_password": {
        "quotas": [
            {"limit": 5, "window_seconds": 60},
            {"limit": 20, "window_seconds": 3600},
        ],
        "by": "user",
    },
    "sessions.take": {"limit": 10, "window_seconds": 60},
    "leaderboard.post_score": {"limit": 600, "window_seconds": 60},
    "leaderboard.submit_score": {
        "limit": 1200,
        "window_seconds": 60,
        "cost": "field:scores",
    },
    "leaderboard.add_players": {"limit": 6, "window_seconds": 60},
    "leaderboard.start_game": {"limit": 120, "window_seconds": 60},
    "leaderboard.answer_game": {"limit": 120, "window_seconds": 60},
    "leaderboard.stream": {"limit": 300, "window_seconds": 60},
    "busy.begin": [
        {"limit": 3, "window_seconds": 600},
        {"limit": 20, "window_seconds": 3600, "by": "everyone"},
    ],
    "show_me.measure": {"limit": 30, "window_seconds": 60},
    "learn.run": {"limit": 20, "window_seconds": 60},
    "show_me.go_on": {"limit": 30, "window_seconds": 60},
    "catalog.trials.burst": {"limit": 10, "window_seconds": 60},
    "catalog.lab.run": {"limit": 10, "window_seconds": 60},
    "catalog.serializers.run_pickle": {"limit": 10, "window_seconds": 60},
    "sessions.run_race": {"limit": 10, "window_seconds": 60},
    "monitor.eviction.run": {"limit": 10, "window_seconds": 60},
}


class QuotaSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `limit` hits in `window_seconds`."""

    limit: int
    window_seconds: float

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= 10_000:
            raise ValueError("limit must be from 1 to 10000")
        if not 0.1 <= self.window_seconds <= 86_400:
            raise ValueError("window_seconds must be from 0.1 to 86400")


class RateLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One limit: of one quota, or of several `quotas` at once.

    `by` names whom it counts: address, network (a /24 of IPv4, a /48 of IPv6), user, api_key,
    everyone, field:<name of a form or JSON
    field>, device:<name of a field>, or several joined by +. A device is one that has signed in
    before to the account that the field names; others are not counted by it, and `spare` leaves out
    those that are. `cost` is a number, or field:<name of a JSON field>: as many as
    the list has members, 1 where there is no list. `count` failures gives a hit back unless the
    answer was a 4xx, successes where it was an error. `mode` dry-run counts and reports, and
    refuses nobody. `block_after` refusals in a row shut a caller out for `block_seconds`.
    """

    limit: int | None = None
    window_seconds: float | None = None
    when_away: Literal["allow", "deny", "local"] = "allow"
    quotas: tuple[QuotaSetting, ...] = ()
    algorithm: Algorithm = "sliding_window_log"
    by: str = "address"
    cost: int | str = 1
    count: Literal["all", "failures", "successes"] = "all"
    count_refused: bool = False
    mode: Literal["enforce", "dry-run", "exempt"] = "enforce"
    block_after: int = 0
    block_seconds: float = 60.0
    spare: str = ""

    def __post_init__(self) -> None:
        if not BY.fullmatch(self.by):
            raise ValueError(
                "by must be address, network, user, api_key, everyone, field:<name>, device:<name>, "
                "or several joined by +"
            )
        if self.spare and not DEVICE.fullmatch(self.spare):
            raise ValueError("spare must be device:<name>")
        self._check_quotas()
        self._check_cost()
        if not 0 <= self.block_after <= 1000 or not 0.1 <= self.block_seconds <= 86_400:
            raise ValueError("block_after must be from 0 to 1000, block_seconds from 0.1 to 86400")

    def _check_quotas(self) -> None:
        one = self.limit is not None or self.window_seconds is not None
        if self.mode == "exempt" and (one or self.quotas):
            raise ValueError("what is exempt has no quota")
        if self.mode != "exempt" and one == bool(self.quotas):
            raise ValueError("limit and window_seconds must be given, or quotas in their place")
        if one and (self.limit is None or self.window_seconds is None):
            raise ValueError("limit and window_seconds go together")
        if len(self.quotas) > 5:
            raise ValueError("at most 5 quotas go together")
        if len({quota.window_seconds for quota in self.quotas}) < len(self.quotas):
            raise ValueError("each of the quotas has a window of its own")
        if one:
            self.all_quotas()

    def _check_cost(self) -> None:
        if isinstance(self.cost, str):
            if not COST.fullmatch(self.cost):
                raise ValueError("cost must be a number or field:<name>")
        elif self.mode != "exempt" and not 1 <= self.cost <= min(
            quota.limit for quota in self.all_quotas()
        ):
            raise ValueError("cost must be from 1 to the limit")

    def all_quotas(self) -> tuple[QuotaSetting, ...]:
        """The quotas, however they were written."""
        if self.limit is None or self.window_seconds is None:
            return self.quotas
        return (QuotaSetting(self.limit, self.window_seconds),)


Limits: TypeAlias = Mapping[str, RateLimit | list[RateLimit]]


def covering(limits: Limits, endpoint: str) -> tuple[str, tuple[RateLimit, ...]]:
    """The pattern that an endpoint falls under and its limits: its own name, else the longest
    `prefix.*`, else `*`; with none the pattern is empty. What is exempt has no limits."""
    parts = endpoint.split(".")
    patterns = [
        endpoint,
        *(".".join([*parts[:length], "*"]) for length in range(len(parts) - 1, -1, -1)),
    ]
    for pattern in patterns:
        if pattern in limits:
            found = limits[pattern]
            together = tuple(found) if isinstance(found, list) else (found,)
            return pattern, tuple(limit for limit in together if limit.mode != "exempt")
    return "", ()


def without_target(limits: Limits, endpoints: Iterable[str], left_out: set[str]) -> str | None:
    """A pattern that no endpoint falls under, or None; `left_out` are use cases that the app goes
    without."""
    known = list(endpoints)
    for pattern in limits:
        if not PATTERN.fullmatch(pattern):
            return pattern
        prefix = pattern.removesuffix("*")
        met = (
            any(name.startswith(prefix) for name in known)
            if pattern.endswith("*")
            else pattern in known
        )
        if not met and pattern.partition(".")[0] not in left_out:
            return pattern
    return None
