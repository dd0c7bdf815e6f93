"""The sliding-window log: exactly `limit` hits in any window, wherever it begins.

Each admitted hit is a member of a sorted set, scored by Redis' own clock. One script trims what left the window, counts,
admits and expires, so no two workers can both take the last place. Refused hits are not counted: who keeps trying gets
in as soon as an old hit leaves. Memory: about 22 bytes a hit times `limit`, per identity, and every key expires.

Source: "Rate limiting", https://redis.io/glossary/rate-limiting/ (there in several calls, here in one script).
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLAIN = re.compile(r"[A-Za-z0-9._-]{1,40}")


@dataclass(frozen=True)
class Quota:
    """At most `limit` hits in any `window_seconds`."""

    limit: int
    window_seconds: float

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= 100_000 or not 0.001 <= self.window_seconds <= 86_400:
            raise ValueError("a limit is from 1 to 100000 hits, a window from 0.001 to 86400 seconds")


@dataclass(frozen=True)
class Decision:
    """One complete answer, all of the same instant.

    `remaining` hits would pass right now; a refused one would pass after `retry_after_seconds`; after
    `reset_after_seconds` without a hit the whole quota is free; `used` counts this hit if it was admitted.
    """

    allowed: bool
    limit: int
    remaining: int
    retry_after_seconds: float
    reset_after_seconds: float
    used: int


class SlidingWindowLog:
    """A limiter under `demo:rate_limit:{<name>:<identity>}`. `client` is a redis-py client. One round trip a call;
    RedisError is the caller's to handle."""

    def __init__(self, client: Any, name: str, quota: Quota) -> None:
        self.quota = quota
        self._name = _plain(name)
        self._client = client
        self._script = client.register_script(Path(__file__).with_suffix(".lua").read_text())

    def hit(self, identity: str, cost: int = 1, *, now_us: int | None = None) -> Decision:
        """Counts a hit if it fits. Raises ValueError for a cost that never fits."""
        if not 1 <= cost <= self.quota.limit:
            raise ValueError(f"cost has to be from 1 to the limit, {self.quota.limit}")
        return self._ask(identity, cost, now_us)

    def peek(self, identity: str, *, now_us: int | None = None) -> Decision:
        """The state without counting anything; `allowed` and `retry_after_seconds` are those of a hit of cost 1."""
        return self._ask(identity, 0, now_us)

    def reset(self, identity: str) -> None:
        """Forgets all hits of an identity."""
        self._client.unlink(self.redis_key(identity))

    def redis_key(self, identity: str) -> str:
        """The key in Redis. What is not plain, whatever a caller typed, is hashed."""
        return f"demo:rate_limit:{{{self._name}:{_plain(identity)}}}"

    def _ask(self, identity: str, cost: int, now_us: int | None) -> Decision:
        limit = self.quota.limit
        window_us = round(self.quota.window_seconds * 1_000_000)
        args = [limit, window_us, cost, secrets.token_hex(4), "" if now_us is None else now_us]
        allowed, used, retry_us, reset_us = self._script(keys=[self.redis_key(identity)], args=args)
        return Decision(bool(allowed), limit, max(0, limit - used), retry_us / 1e6, reset_us / 1e6, used)


def _plain(part: str) -> str:
    return part if PLAIN.fullmatch(part) else "~" + hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:32]
