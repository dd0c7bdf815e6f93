"""What all algorithms of this folder share: a quota, a complete answer, and one script call that
gives it.

Several quotas in one limiter ("10 a second and 500 an hour") are checked in the same script. With
several quotas a hit counts in all of them or in none. A script reads Redis' own clock, so all
workers use the same time. Every key that a limiter's script writes expires. Each call of a limiter
is one round trip to Redis, even with several quotas. RedisError is not caught: the caller decides
what to do without Redis.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from demo.client.contract import (
    PREFIX,
    RedisClient,
    beginning,
    checked,
    errors_of,
    number,
    text,
    whole,
)

PLAIN = re.compile(r"[A-Za-z0-9._-]{1,40}")
MOST_QUOTAS = 5


@dataclass(frozen=True)
class Quota:
    """`limit` hits in `window_seconds`; what exactly that promises is told by each algorithm."""

    limit: int
    window_seconds: float

    def __post_init__(self) -> None:
        whole("limit", self.limit)
        number("window_seconds", self.window_seconds)
        if not 1 <= self.limit <= 100_000:
            raise ValueError("limit: must be from 1 to 100000")
        if not 0.001 <= self.window_seconds <= 86_400:
            raise ValueError("window_seconds: must be from 0.001 to 86400")

    @property
    def window_us(self) -> int:
        """The window in microseconds."""
        return round(self.window_seconds * 1_000_000)


@dataclass(frozen=True)
class Decision:
    """One complete answer, all of the same instant.

    `remaining` hits of cost 1 would pass right now; a refused hit would pass after
    `retry_after_seconds`; after `reset_after_seconds` without a hit the whole quota is free; `used`
    is what is taken of it, this hit included if it was counted. Of several quotas it is the
    tightest, and `by_quota` holds the answer of each. `blocked` tells that nobody was asked,
    because the identity is on a block list.
    """

    allowed: bool
    limit: int
    remaining: int
    retry_after_seconds: float
    reset_after_seconds: float
    used: int
    by_quota: tuple["Decision", ...] = ()
    blocked: bool = False


Told = Callable[[str, Decision], None]


class Limiter:
    """A limiter under `<prefix>:rate_limit:{<name>:<identity>}`, the name being its alone. `client`
    is a client of redis-py or valkey-py; `count_refused` makes a refused hit count too, so that who
    keeps trying stays out. `on_allowed` and `on_refused` hear of each hit's identity and decision.
    Subclasses name their Lua file."""

    lua: ClassVar[Path]

    def __init__(
        self,
        client: RedisClient,
        name: str,
        *quotas: Quota,
        count_refused: bool = False,
        prefix: str = PREFIX,
        on_allowed: Told | None = None,
        on_refused: Told | None = None,
    ) -> None:
        if not 1 <= len(quotas) <= MOST_QUOTAS:
            raise ValueError(f"quotas: must be from 1 to {MOST_QUOTAS}")
        if not all(isinstance(quota, Quota) for quota in quotas):
            raise TypeError("quotas: must each be a Quota")
        self.quotas = quotas
        self.smallest_limit = min(quota.limit for quota in quotas)
        self._client, self._no_script = checked(client), errors_of(client).no_script
        self._beginning = f"{beginning(prefix, 'rate_limit')}{{{_plain(text('name', name))}:"
        self._on_allowed, self._on_refused = on_allowed, on_refused
        self._is_told = bool(on_allowed or on_refused)
        numbers = [
            int(count_refused),
            *(number for quota in quotas for number in (quota.limit, quota.window_us)),
        ]
        self._arguments = tuple(str(number).encode() for number in numbers)
        self._script = client.register_script(self.lua.read_text())
        self._sha = self._script.sha.encode()

    def hit(self, identity: str, cost: int = 1, *, now_us: int | None = None) -> Decision:
        """Counts a hit if it fits. Raises ValueError for a cost that never fits."""
        if cost.__class__ is not int or not 1 <= cost <= self.smallest_limit:
            raise _wrong_cost(cost, self.smallest_limit)
        decision = self._ask(identity, cost, now_us)
        if self._is_told:
            told = self._on_allowed if decision.allowed else self._on_refused
            if told:
                told(identity, decision)
        return decision

    def peek(self, identity: str, *, now_us: int | None = None) -> Decision:
        """The state without counting anything; `allowed` and `retry_after_seconds` are those of a
        hit of cost 1."""
        return self._ask(identity, 0, now_us)

    def refund(self, identity: str, cost: int = 1, *, now_us: int | None = None) -> Decision:
        """Gives back a hit that was counted, for example because what it paid for failed; then as
        `peek`."""
        if cost.__class__ is not int or not 1 <= cost <= self.smallest_limit:
            raise _wrong_cost(cost, self.smallest_limit)
        return self._ask(identity, -cost, now_us)

    def reset(self, identity: str) -> None:
        """Forgets all hits of an identity."""
        self._client.unlink(*self.redis_keys(identity))

    def redis_keys(self, identity: str) -> list[str]:
        """One key a quota, all in one slot of a cluster. What is not plain, whatever a caller
        typed, is hashed."""
        if not isinstance(identity, str):
            text("identity", identity)
        first = f"{self._beginning}{_plain(identity)}}}"
        if len(self.quotas) == 1:
            return [first]
        return [first, *(f"{first}:{number}" for number in range(2, len(self.quotas) + 1))]

    def check_cost(self, cost: int) -> None:
        """Raises TypeError or ValueError for a cost that never fits."""
        if cost.__class__ is not int or not 1 <= cost <= self.smallest_limit:
            raise _wrong_cost(cost, self.smallest_limit)

    def call(
        self, identity: str, cost: int, now_us: int | None
    ) -> tuple[list[str], tuple[Any, ...]]:
        """Keys and arguments of the script."""
        keys = self.redis_keys(identity)
        return keys, (cost, *self._arguments) if now_us is None else (
            cost,
            *self._arguments,
            now_us,
        )

    def _ask(self, identity: str, cost: int, now_us: int | None) -> Decision:
        keys = self.redis_keys(identity)
        args = (cost, *self._arguments) if now_us is None else (cost, *self._arguments, now_us)
        try:
            reply = self._client.execute_command("EVALSHA", self._sha, len(keys), *keys, *args)
        except self._no_script:  # a server that was restarted is told the script again
            reply = self._script(keys=keys, args=args)
        if len(keys) == 1:
            return _decision(self.smallest_limit, reply)
        return answered(self.quotas, reply)


def answered(quotas: Sequence[Quota], reply: Sequence[int]) -> Decision:
    """The answer of a script to one hit."""
    if len(quotas) == 1:
        return _decision(quotas[0].limit, reply)
    return tightest(
        [_decision(quota.limit, reply[4 * i : 4 * i + 4]) for i, quota in enumerate(quotas)]
    )


def _wrong_cost(cost: object, most: int) -> ValueError | TypeError:
    if not isinstance(cost, int) or isinstance(cost, bool):
        return TypeError(f"cost: must be a whole number, not {type(cost).__name__}")
    return ValueError(f"cost: must be from 1 to the limit, {most}")


def tightest(answers: Sequence[Decision]) -> Decision:
    """One answer for several quotas: of the one that refuses longest, or that has least left; it
    passes when all do."""
    worst = min(
        answers, key=lambda answer: (answer.allowed, -answer.retry_after_seconds, answer.remaining)
    )
    return replace(
        worst,
        retry_after_seconds=max(answer.retry_after_seconds for answer in answers),
        by_quota=tuple(answers),
    )


def _decision(limit: int, reply: Sequence[int]) -> Decision:
    allowed, used, retry_us, reset_us = reply
    return Decision(
        allowed == 1,
        limit,
        limit - used if used < limit else 0,
        retry_us / 1e6,
        reset_us / 1e6,
        used,
    )


def _plain(part: str) -> str:
    return (
        part
        if PLAIN.fullmatch(part)
        else "~" + hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    )
