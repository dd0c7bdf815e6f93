"""Boards to look at on a fresh start: made-up players, on boards of their own that say so.

They are posted as any program posts scores, once, where there is no board yet; where they are not
wanted they go. No real score is ever among them, nor one of them on another board.
"""

import random
from collections.abc import Callable
from typing import Any

from demo.leaderboard import boards, play
from demo.leaderboard.answers import Period

NAMES = ("sample-arcade", "sample-marathon")
PLAYERS = 40
Post = Callable[[str, list[dict[str, Any]]], bool]


class SampleBoards:
    """`client` is a redis-py client of bytes, `post` sends a batch of scores to a board and tells
    whether it was taken, `board` gives the Leaderboard of a name."""

    def __init__(
        self, client: Any, post: Post, board: Callable[[str], Any], *, wanted: bool
    ) -> None:
        self._client, self._post, self._board, self._wanted = client, post, board, wanted
        self._done = False

    def once(self) -> None:
        """Posts them, or takes them away, the first time that it is called. Raises RedisError."""
        if self._done:
            return
        if not self._wanted:
            self._take_away()
        elif not boards.names(self._client, 1):
            for number, name in enumerate(NAMES):
                self._post(name, made_up(random.Random(number)))
        self._done = True

    def _take_away(self) -> None:
        for name in NAMES:
            self._client.unlink(*self._board(name).all_keys(tuple(Period)))
            boards.forget(self._client, name)


def made_up(dice: random.Random) -> list[dict[str, Any]]:
    """The scores of one board, each of a player whose name says that it is none."""
    numbers = dice.sample(range(100, 1000), PLAYERS)
    return [
        {
            "player": f"bot {dice.choice(play.FIRST)} {number}",
            "score": int(dice.lognormvariate(8, 0.8)),
            "metadata": {"made_up": True},
        }
        for number in numbers
    ]
