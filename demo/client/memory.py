"""How full Redis is, and who may still have it grow: what only teaches stops first, so that what
protects never finds it full.

Above CACHES_SHARE of its memory nothing more is cached, above LESSONS_SHARE no lesson keeps anything
more, above BOARDS_SHARE no board; sessions and limits go on. What is refused is refused as by a
server without memory, in the process, before it is sent; reads and deletions pass.

A server without `maxmemory` is never full, and one that evicts makes room by itself. If INFO is not
permitted, no server counts as full. Of a cluster the fullest server counts.
"""

import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import (
    OutOfMemoryError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from demo.client.connections import is_cluster
from demo.client.wire import Trip

CACHES_SHARE, LESSONS_SHARE, BOARDS_SHARE = 0.5, 0.7, 0.8
CACHES, BOARDS = "demo:catalog:", "demo:leaderboard:"
AGAIN_SECONDS, SHORT_SECONDS, IDLE_SECONDS, REFUSED_SECONDS = 0.2, 2.0, 10.0, 60.0
UNBOUNDED_BYTES = 1 << 30  # what a server without a limit counts as where shares are given out
SCRIPTS = ("EVAL", "EVALSHA")


class LessonsFull(OutOfMemoryError):
    """Redis has room, which is kept for sessions and limits."""


class Memory:
    """What is known of it in this process. `share` is what is used, 0 to 1; `maxmemory_bytes` what
    there is; `is_bounded` whether it has a limit and evicts nothing. Anyone who sends what may be
    refused calls `use` unless it is `used` already. Then it is looked at again soon, and `wake`
    begins that look where the next one is not due for long."""

    def __init__(
        self, maxmemory_bytes: int = UNBOUNDED_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.share, self.maxmemory_bytes = 0.0, maxmemory_bytes
        self.is_short, self.is_bounded, self.used = False, False, True
        self.wake: Callable[[], None] = lambda: None
        self._clock, self._due, self._rests = clock, float("-inf"), False

    def use(self) -> None:
        """Something is sent."""
        self.used = True
        if self._rests:
            self._rests = False
            self.wake()

    def look(self, client: Any) -> float:
        """Asks Redis where it is time to. In how many seconds to look again. Raises nothing: a
        server that does not answer does not count as full."""
        now = self._clock()
        self._rests = now < self._due  # before the look at `used`: who sets it after that wakes
        if self._rests and not self.used:
            return self._due - now
        self._rests, self.used, self._due = False, False, now + SHORT_SECONDS
        try:
            told = _told(client)
        except ResponseError:  # not permitted, most likely, and each try stands in ACL LOG
            return REFUSED_SECONDS
        except (RedisError, RedisClusterException):
            return AGAIN_SECONDS
        bounded = [each for each in told if each.get("maxmemory")]
        self.maxmemory_bytes = sum(each["maxmemory"] for each in bounded) or UNBOUNDED_BYTES
        self.is_bounded = bool(bounded) and not any(map(_evicts, told))
        self.share = max(map(_share, bounded), default=0.0)
        self.is_short = self.share >= CACHES_SHARE
        if not self.is_short:
            self._due = now + IDLE_SECONDS
        return AGAIN_SECONDS

    def refuses(self, trip: Trip) -> bool:
        """Whether nothing that makes Redis grow may be sent for what this trip is of."""
        if self.share < LESSONS_SHARE:
            return self.is_short and _first_key(trip).startswith(CACHES)
        return self.share >= BOARDS_SHARE or not _first_key(trip).startswith(BOARDS)


def _evicts(told: dict[str, Any]) -> bool:
    return bool(told.get("maxmemory_policy", "noeviction") != "noeviction")


def _share(told: dict[str, Any]) -> float:
    if _evicts(told):
        return 0.0
    used = told["used_memory"] - told.get("mem_not_counted_for_evict", 0)
    return float(used / told["maxmemory"])


def _told(client: Any) -> list[dict[str, Any]]:
    if not is_cluster(client):
        return [client.info("memory")]
    return [client.info("memory", target_nodes=node) for node in client.get_primaries()]


def _first_key(trip: Trip) -> str:
    args = trip.commands[0]
    place = 3 if args[0] in SCRIPTS else 1
    key = args[place] if len(args) > place else ""
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
