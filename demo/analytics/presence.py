"""Who is here now: a sorted set of visitors by when they were seen last, those of long ago removed
as others come.

They are known by their month's hashes, as those of a day change at midnight, when many are here.
"""

from collections.abc import Collection
from typing import Any

KEY = "demo:analytics:{presence}"
WINDOW_SECONDS = 300
MOST = 50_000


class Presence:
    """Visitors of the last five minutes, on a redis-py client of bytes."""

    def __init__(self, client: Any, window_seconds: int = WINDOW_SECONDS) -> None:
        self._client = client
        self.window_seconds = window_seconds

    def add(self, pipeline: Any, visitors: Collection[str], at: float) -> None:
        """They were seen at this time, as commands of the caller's pipeline. A late one does not
        put anybody back."""
        if not visitors:
            return
        pipeline.zadd(KEY, dict.fromkeys(visitors, at), gt=True)
        pipeline.zremrangebyscore(KEY, "-inf", f"({at - self.window_seconds}")
        pipeline.zremrangebyrank(KEY, 0, -MOST - 1)
        pipeline.expire(KEY, 2 * self.window_seconds)

    def count(self, now: float) -> int:
        """How many were seen within the window. One round trip; raises RedisError."""
        return int(self._client.zcount(KEY, now - self.window_seconds, "+inf"))
