"""The periods of a board: which Redis keys hold each of them, and which day is running.

A period is a running one, or the name of one that is over: `day:2026-11-22`, `week:2026-W47`,
`season:<name>`. Which day is running Redis tells: a script that is asked for another one tells
so, and is asked once more.
"""

import re
import time
from collections.abc import Callable, Collection, Sequence
from datetime import date, timedelta
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from demo.leaderboard.answers import BOARD, DAY_SECONDS, Period, Ranking

PAST = re.compile(
    r"day:[0-9]{4}-[0-9]{2}-[0-9]{2}|week:[0-9]{4}-W[0-9]{2}|season:[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"
)
RUNNING = (Period.WEEK, Period.DAY)
ANOTHER_DAY = -1


class Periods:
    """The keys of one board, and its scripts on the day that Redis has. `client` is a redis-py
    client of bytes. `redis_ms` tells the time in milliseconds in place of Redis, for tests."""

    def __init__(
        self,
        client: Any,
        board: str,
        *,
        lower_is_better: bool = False,
        ranking: str = Ranking.COMPETITION,
        periods: Collection[str] = tuple(Period),
        clock: Callable[[], float] = time.time,
        redis_ms: Callable[[], int] | None = None,
    ) -> None:
        if not BOARD.fullmatch(board):
            raise ValueError("board: lower-case letters, digits and inner hyphens, 40 at most")
        self.board, self.lower_is_better = board, lower_is_better
        self.dense = Ranking(ranking) is Ranking.DENSE
        self.periods = tuple(period for period in Period if period in periods)
        if Period.ALL not in self.periods or len(self.periods) != len(periods):
            raise ValueError("periods: all, and of week and day those that are wanted")
        self._client, self._clock, self._redis_ms = client, clock, redis_ms
        self._ahead_seconds = 0.0
        self._beginning = f"demo:leaderboard:{{{board}}}:"
        self.channel = f"{self._beginning}changes"
        self._sign = 1 if lower_is_better else -1
        self._all_keys = (*self.redis_keys(Period.ALL), f"{self._beginning}metadata")

    def redis_keys(self, period: str) -> tuple[str, str]:
        """The sorted set of a period and the hash of its players."""
        key = self._beginning + self._name(period)
        return key, f"{key}:members"

    def _distinct_keys(self, periods: Sequence[str]) -> list[str]:
        """The distinct scores of some periods, which only dense ranking needs."""
        return (
            [f"{self.redis_keys(period)[0]}:distinct" for period in periods] if self.dense else []
        )

    def _read_keys(self, period: str) -> tuple[str, ...]:
        """Board, members and metadata of a period. A season has metadata of its own."""
        if period == Period.ALL:
            return self._all_keys
        key, members = self.redis_keys(period)
        of_season = period.startswith("season:")
        return key, members, f"{key}:metadata" if of_season else f"{self._beginning}metadata"

    def _name(self, period: str) -> str:
        if period == Period.ALL:
            return "all"
        if period not in RUNNING:
            if not PAST.fullmatch(period):
                raise ValueError(
                    "period: all, week, day, day:<date>, week:<year>-W<week> or season:<name>"
                )
            return str(period)
        if period not in self.periods:
            raise ValueError(f"period: this board keeps no {period}")
        day = date(1970, 1, 1) + timedelta(days=self._day())
        year, week, _ = day.isocalendar()
        return f"week:{year}-W{week:02}" if period == Period.WEEK else f"day:{day}"

    def _day(self) -> int:
        return int((self._clock() + self._ahead_seconds) // DAY_SECONDS)

    def _now(self, now_ms: int | None = None) -> int | str:
        """What the scripts take for now; empty asks Redis."""
        return now_ms if now_ms is not None else self._redis_ms() if self._redis_ms else ""

    def _run_on(
        self, period: str, script: Any, args: Sequence[Any], more: Sequence[str] = ()
    ) -> Any:
        """Runs a script on a period's keys, with `more` before the distinct scores, on the day that
        Redis has."""
        for _ in range(2):
            day = self._day() if period in RUNNING else ""
            keys = [*self._read_keys(period), *more, *self._distinct_keys([period])]
            reply = self._run(script, keys, [day, self._now(), *args])
            if not reply or reply[0] != ANOTHER_DAY:
                return reply
            _, redis_ms = reply
            self._ahead_seconds = redis_ms / 1000 - self._clock()
        raise RedisError("the day turned twice within one call")

    def _run(self, script: Any, keys: Sequence[str], args: Sequence[Any]) -> Any:
        try:
            return self._client.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:  # a server that was restarted is told the script again
            return script(keys=keys, args=args)
