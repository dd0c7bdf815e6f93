"""Visitors who are here now: a sorted set by the time they were last seen. When visitors are added,
those who no longer count as present are removed.

They are known by their month's hashes, as those of a day change at midnight, when many are here.
"""

from collections.abc import Collection
from typing import Any

from demo.client.contract import PREFIX, RedisClient, beginning, checked, whole

KEY = f"{beginning(PREFIX, 'analytics')}{{presence}}"
WINDOW_SECONDS = 300
MOST = 50_000


class Presence:
    """Visitors of the last five minutes, on a client of bytes."""

    def __init__(
        self,
        client: RedisClient,
        window_seconds: int = WINDOW_SECONDS,
        *,
        prefix: str = PREFIX,
    ) -> None:
        self._client, self.key = checked(client), f"{beginning(prefix, 'analytics')}{{presence}}"
        self.window_seconds = whole("window_seconds", window_seconds)

    def add(self, pipeline: Any, visitors: Collection[str], at: float) -> None:
        """They were seen at this time, as commands of the caller's pipeline. A late one does not
        put anybody back."""
        if not visitors:
            return
        pipeline.zadd(self.key, dict.fromkeys(visitors, at), gt=True)
        pipeline.zremrangebyscore(self.key, "-inf", f"({at - self.window_seconds}")
        pipeline.zremrangebyrank(self.key, 0, -MOST - 1)
        pipeline.expire(self.key, 2 * self.window_seconds)

    def count(self, now: float) -> int:
        """How many were seen within the window. One round trip; raises RedisError."""
        return int(self._client.zcount(self.key, now - self.window_seconds, "+inf"))
