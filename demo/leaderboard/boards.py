"""The list of boards: a sorted set by the time when a board was last seen in use, to name them by,
and who leads each."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from redis.exceptions import DataError, RedisError

from demo.leaderboard.reading import Reading, name_of

KEY = "demo:leaderboard:{boards}"
MOST = 1000
KEPT_SECONDS = 400 * 86_400


@dataclass(frozen=True)
class Lead:
    """A board, how many play on it, and who is first, if anybody is."""

    board: str
    total: int
    player: str | None = None
    score: int = 0


def remember(client: Any, board: str) -> None:
    """Puts a board first. One round trip."""
    pipeline = client.pipeline(transaction=False)
    pipeline.zadd(KEY, {board: time.time()})
    pipeline.expire(KEY, KEPT_SECONDS)
    pipeline.execute()


def names(client: Any, count: int = 50) -> list[str]:
    """The names of the boards, the last one in use first. One round trip."""
    return [name.decode() for name in client.zrevrange(KEY, 0, count - 1)]


def count(client: Any) -> int:
    """How many are listed. One round trip."""
    return int(client.zcard(KEY))


def longest_unused(client: Any, most: int) -> list[tuple[str, float]]:
    """Boards and when they were last seen in use, in seconds since 1970, the longest ago first. One
    round trip."""
    found = client.zrange(KEY, 0, most - 1, withscores=True)
    return [(name.decode(), used_at) for name, used_at in found]


def forget(client: Any, board: str) -> bool:
    """Takes a board off the list; whether it was on it. One round trip."""
    return bool(client.zrem(KEY, board))


def leads(client: Any, boards: Sequence[Reading]) -> list[Lead]:
    """Who leads each board, all of them in one round trip. Of a board that others have written into
    nobody does."""
    pipeline = client.pipeline(transaction=False)
    for board in boards:
        key = board.redis_keys("all")[0]
        pipeline.zcard(key).zrange(key, 0, 0, withscores=True)
    replies = pipeline.execute(raise_on_error=False)
    found = []
    for reply in replies:
        if isinstance(reply, RedisError) and "WRONGTYPE" not in str(reply):
            raise reply
    for board, total, first in zip(boards, replies[::2], replies[1::2], strict=True):
        lead = Lead(board.board, total if isinstance(total, int) else 0)
        if isinstance(first, list) and first:
            ((member, stored),) = first
            with suppress(DataError, OverflowError):
                score = int(stored)
                lead = replace(
                    lead, player=name_of(member), score=score if board.lower_is_better else -score
                )
        found.append(lead)
    return found
