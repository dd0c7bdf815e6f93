"""Looking after a leaderboard: taking a player off, keeping only the best, closing a season."""

from pathlib import Path
from typing import Any

from demo.client.contract import RedisClient, text, whole
from demo.leaderboard.answers import BOARD, KEPT_SECONDS, Period, check_player
from demo.leaderboard.reading import Reading

TRIMMED_AT_ONCE = 5_000
HERE = Path(__file__)


class Upkeep(Reading):
    """A board with everything that changes it, except submitting."""

    def __init__(self, client: RedisClient, board: str, **more: Any) -> None:
        super().__init__(client, board, **more)
        self._remove = client.register_script(HERE.with_name("upkeep_remove.lua").read_text())
        self._trim = client.register_script(HERE.with_name("upkeep_trim.lua").read_text())
        self._season = client.register_script(HERE.with_name("upkeep_season.lua").read_text())

    def remove(self, player: str, *, now_ms: int | None = None) -> bool:
        """Takes a player off the running periods. A removed player is gone from all running
        periods, with the metadata, and no other player changes. Returns False when nobody of that
        name was there."""
        player = check_player(player)
        for _ in range(2):
            keys = [
                f"{self._beginning}metadata",
                *(key for period in self.periods for key in self.redis_keys(period)),
            ]
            keys += self._distinct_keys(self.periods)
            args = [player, self._day(), self._now(now_ms), self.channel, len(self.periods)]
            found, redis_ms = self._remove(keys=keys, args=args)
            if found >= 0:
                return bool(found)
            self._ahead_seconds = redis_ms / 1000 - self._clock()
        raise RuntimeError("the day turned twice within one removal")

    def trim(self, keep: int, period: str = Period.ALL) -> int:
        """Keeps the best `keep` of a period, in steps of TRIMMED_AT_ONCE; returns how many were
        removed. A player who is trimmed off the all-time board loses the metadata too."""
        if whole("keep", keep) < 0:
            raise ValueError("keep: must be 0 or more")
        entire = period == Period.ALL or period.startswith("season:")
        args = [keep, TRIMMED_AT_ONCE, self.channel, int(entire)]
        removed = step = int(self._run_on(period, self._trim, args)[0])
        while step == TRIMMED_AT_ONCE:
            step = int(self._run_on(period, self._trim, args)[0])
            removed += step
        return removed

    def season(self, name: str, *, now_ms: int | None = None) -> int:
        """Closes the all-time board into the archive `season:<name>`, which is kept for
        KEPT_SECONDS, and returns how many played in it. The running week and day go on. A player's
        metadata is archived with the season, and stays on the board if the player is in the running
        week or day. Raises ValueError when the name is taken."""
        if not BOARD.fullmatch(text("name", name)):
            raise ValueError("name: must be up to 40 lower-case letters, digits and inner hyphens")
        archive = f"season:{name}"
        for _ in range(2):
            running = [self.redis_keys(period)[0] for period in self.periods[1:]]
            keys = [
                *self._read_keys(Period.ALL),
                *self._read_keys(archive),
                f"{self._beginning}seasons",
                *running,
            ]
            keys += self._distinct_keys([Period.ALL, archive])
            day = self._day() if running else ""
            args = [day, self._now(now_ms), name, KEPT_SECONDS * 1000, self.channel, len(running)]
            total, *redis_ms = self._season(keys=keys, args=args)
            if total != -1:
                break
            self._ahead_seconds = redis_ms[0] / 1000 - self._clock()
        else:
            raise RuntimeError("the day turned twice within one closing")
        if total < 0:
            raise ValueError("name: must be new; a season of this name already exists")
        return int(total)

    def seasons(self) -> list[str]:
        """The names of the closed seasons, the last one first."""
        return [
            name.decode() for name in self._client.zrevrange(f"{self._beginning}seasons", 0, -1)
        ]
