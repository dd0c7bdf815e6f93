"""A block list. A caller that is refused several times in a row is then refused for a while without
asking Redis.

It stands in front of any limiter and has its interface. What it knows is in this process, so each
worker learns by itself. If a caller's requests are spread over workers, each worker blocks the
caller after `after` refusals of its own. The block list is bounded: past `most` identities, it
forgets the one that it has not seen for the longest time.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from demo.rate_limit.limiter import Decision, Limiter

MOST_IDENTITIES = 10_000
V = TypeVar("V")


class BlockList:
    """`after` refusals in a row block an identity for `seconds`. `clock` is a monotonic clock in
    seconds."""

    def __init__(
        self,
        limiter: Limiter,
        *,
        after: int,
        seconds: float,
        most: int = MOST_IDENTITIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if after < 1 or seconds <= 0 or most < 1:
            raise ValueError("after, seconds, most: must be positive")
        self.limiter = limiter
        self._after, self._seconds, self._most, self._clock = after, seconds, most, clock
        self._lock = threading.Lock()
        self._refusals: OrderedDict[str, int] = OrderedDict()
        self._blocked: OrderedDict[str, float] = OrderedDict()

    def hit(self, identity: str, cost: int = 1) -> Decision:
        """As the limiter's, except for a blocked caller. Raises RedisError, ValueError."""
        blocked = self.blocked(identity)
        if blocked:
            return blocked
        decision = self.limiter.hit(identity, cost)
        with self._lock:
            if decision.allowed:
                self._refusals.pop(identity, None)
                return decision
            count = self._refusals.pop(identity, 0) + 1
            if count < self._after:
                self._remember(self._refusals, identity, count)
                return decision
            self._remember(self._blocked, identity, self._clock() + self._seconds)
        return replace(
            decision, retry_after_seconds=max(decision.retry_after_seconds, self._seconds)
        )

    def peek(self, identity: str) -> Decision:
        """As the limiter's, except for a blocked caller. Raises RedisError."""
        return self.blocked(identity) or self.limiter.peek(identity)

    def refund(self, identity: str, cost: int = 1) -> Decision:
        """The limiter's. Raises RedisError, ValueError."""
        return self.limiter.refund(identity, cost)

    def reset(self, identity: str) -> None:
        """Forgets the hits, the refusals and the block. Raises RedisError."""
        self.limiter.reset(identity)
        with self._lock:
            self._refusals.pop(identity, None)
            self._blocked.pop(identity, None)

    def blocked(self, identity: str) -> Decision | None:
        """The refusal of who is blocked, or None. Asks nobody."""
        until = self._blocked.get(identity)
        if until is None:
            return None
        left = until - self._clock()
        if left <= 0:
            with self._lock:
                self._blocked.pop(identity, None)
            return None
        limit = self.limiter.smallest_limit
        return Decision(False, limit, 0, left, left, limit, blocked=True)

    def _remember(self, entries: OrderedDict[str, V], identity: str, value: V) -> None:
        entries[identity] = value
        if len(entries) > self._most:
            entries.popitem(last=False)
