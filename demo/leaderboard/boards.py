"""The list of boards: a sorted set by the time of a board's first score, so that a page can name them."""

import time
from typing import Any

KEY = "demo:leaderboard:{boards}"
MOST = 1000
KEPT_SECONDS = 400 * 86_400


def remember(client: Any, board: str) -> None:
    """Adds a board; past MOST the oldest are no longer listed. One round trip."""
    pipeline = client.pipeline(transaction=False)
    pipeline.zadd(KEY, {board: time.time()}, nx=True)
    pipeline.zremrangebyrank(KEY, 0, -MOST - 1)
    pipeline.expire(KEY, KEPT_SECONDS)
    pipeline.execute()


def names(client: Any, count: int = 50) -> list[str]:
    """The names of the newest boards. One round trip."""
    return [name.decode() for name in client.zrevrange(KEY, 0, count - 1)]
