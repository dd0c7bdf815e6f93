"""What gives way when memory is short: boards that nobody has used for days, the longest unused
first, then the last rows of the longest boards.

A board's first players are what it is for, so each keeps its best KEEP, of each period. What goes
was acknowledged: how much is told. Nothing is removed while there is room, except boards beyond the
MOST that are listed.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from demo.leaderboard import boards
from demo.leaderboard.answers import Period
from demo.leaderboard.ranking import Leaderboard

SHORT_SHARE = 0.6
UNUSED_SECONDS = 2 * 86_400
AT_ONCE = 20
KEEP, LEAST_KEPT = 1000, 50
SHORT_STEP_SECONDS, STEP_SECONDS = 1.0, 60.0


class MakingRoom:
    """`share` tells how full Redis is, 0 to 1; `board` makes a board of a name; `told` hears how many
    boards and rows went. `kept` are boards that are never dropped. `clock` is in seconds since 1970."""

    def __init__(
        self,
        client: Any,
        *,
        share: Callable[[], float],
        board: Callable[[str], Leaderboard],
        told: Callable[[int, int], None],
        kept: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client, self._share, self._board, self._told = client, share, board, told
        self._kept, self._clock, self._keep = set(kept), clock, KEEP

    def step(self, _: int = 0) -> float:
        """Makes some room if it is short. In how many seconds to look again. Raises RedisError."""
        short = self._share() >= SHORT_SHARE
        dropped = [name for name in self._to_drop(short) if self._drop(name)]
        rows = 0
        if short and not dropped:
            rows = self._trim()
        if not short:
            self._keep = KEEP
        if dropped or rows:
            self._told(len(dropped), rows)
        return SHORT_STEP_SECONDS if short or dropped else STEP_SECONDS

    def _to_drop(self, short: bool) -> list[str]:
        last = boards.longest_unused(self._client, AT_ONCE + len(self._kept))
        over = boards.count(self._client) - boards.MOST
        long_ago = self._clock() - UNUSED_SECONDS
        return [
            name
            for place, (name, used_at) in enumerate(last)
            if name not in self._kept and (place < over or (short and used_at < long_ago))
        ][:AT_ONCE]

    def _drop(self, name: str) -> bool:
        """First from the list: who posts to it meanwhile puts it back."""
        if not boards.forget(self._client, name):
            return False
        board = self._board(name)
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        days = [today - timedelta(days=ago) for ago in range(-1, 10)]
        weeks = {
            day.isocalendar()[:2] for day in (today - timedelta(weeks=n) for n in range(-1, 7))
        }
        periods = [
            Period.ALL,
            *(f"day:{day}" for day in days),
            *(f"week:{year}-W{week:02d}" for year, week in sorted(weeks)),
            *(f"season:{season}" for season in board.seasons()),
        ]
        self._client.unlink(*board.all_keys(periods))
        return True

    def _trim(self) -> int:
        """Rows that went. Where none are over it, fewer are kept the next time."""
        names = boards.names(self._client, boards.MOST)
        leads = boards.leads(self._client, [self._board(name) for name in names])
        long = [lead.board for lead in leads if lead.total > self._keep]
        rows = sum(
            self._board(name).trim(self._keep, period)
            for name in long[:AT_ONCE]
            for period in self._board(name).periods
        )
        if not rows:
            self._keep = max(LEAST_KEPT, self._keep // 2)
        return rows
