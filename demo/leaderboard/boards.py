"""The list of boards: a sorted set by the time when a board was last seen in use, to name them by,
and who leads each."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from demo.client.contract import PREFIX, beginning, errors_of
from demo.leaderboard.reading import Reading

MOST = 1000
KEPT_SECONDS = 400 * 86_400


def key_of(prefix: str) -> str:
    """Where the list lies."""
    return f"{beginning(prefix, 'leaderboard')}{{boards}}"


KEY = key_of(PREFIX)


@dataclass(frozen=True)
class Lead:
    """A board, how many play on it, and who is first, if anybody is."""

    board: str
    total: int
    player: str | None = None
    score: int = 0


def remember(client: Any, board: str, *, prefix: str = PREFIX) -> None:
    """Puts a board first. One round trip."""
    key = key_of(prefix)
    pipeline = client.pipeline(transaction=False)
    pipeline.zadd(key, {board: time.time()})
    pipeline.expire(key, KEPT_SECONDS)
    pipeline.execute()


def names(client: Any, count: int = 50, *, prefix: str = PREFIX) -> list[str]:
    """The names of the boards, the last one in use first. One round trip."""
    return [name.decode() for name in client.zrevrange(key_of(prefix), 0, count - 1)]


def count(client: Any, *, prefix: str = PREFIX) -> int:
    """How many are listed. One round trip."""
    return int(client.zcard(key_of(prefix)))


def longest_unused(client: Any, most: int, *, prefix: str = PREFIX) -> list[tuple[str, float]]:
    """Boards and when they were last seen in use, in seconds since 1970, the longest ago first. One
    round trip."""
    found = client.zrange(key_of(prefix), 0, most - 1, withscores=True)
    return [(name.decode(), used_at) for name, used_at in found]


def forget(client: Any, board: str, *, prefix: str = PREFIX) -> bool:
    """Takes a board off the list; whether it was on it. One round trip."""
    return bool(client.zrem(key_of(prefix), board))


def leads(client: Any, boards: Sequence[Reading]) -> list[Lead]:
    """Who leads each board, all of them in one round trip. Of a board that others have written into
    nobody does."""
    pipeline = client.pipeline(transaction=False)
    for board in boards:
        key = board.redis_keys("all")[0]
        pipeline.zcard(key).zrange(key, 0, 0, withscores=True)
    replies = pipeline.execute(raise_on_error=False)
    found, errors = [], errors_of(client)
    for reply in replies:
        if isinstance(reply, errors.all) and "WRONGTYPE" not in str(reply):
            raise reply
    for board, total, first in zip(boards, replies[::2], replies[1::2], strict=True):
        lead = Lead(board.board, total if isinstance(total, int) else 0)
        if isinstance(first, list) and first:
            ((member, stored),) = first
            with suppress(errors.data, OverflowError):
                score = int(stored)
                lead = replace(
                    lead,
                    player=board.name_of(member),
                    score=score if board.lower_is_better else -score,
                )
        found.append(lead)
    return found
