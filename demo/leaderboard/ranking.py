"""A leaderboard on sorted sets: all-time, ISO week and day at once, in one script and one round trip.

- The best score of a player counts. Scores are integers within ±(2^53 − 1), which a sorted set holds exactly.
- Equal scores share a rank (competition ranking: 1, 1, 3); among them, who reached the score first is listed first.
- Periods are UTC by Redis' clock. Keys have to be named before the script runs, so the caller names those of the day
  that it believes in, and the script refuses when that is another one; then the caller asks again, once, with the day
  that Redis told. Keys of a past day live on for a week, of a past week for four.

How ties are kept in order: the member is "<sequence>:<player>" and the score is stored negated, so the sorted set's own
order (by score, then by bytes) is highest first, then earliest first. A hash leads from the player to the member.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

MAX_SCORE = 2**53 - 1
MAX_PLAYER_CHARACTERS = 64
MAX_METADATA_BYTES = 1024
MAX_ROWS = 100
JOINERS = "\u200d\ufe0f"  # inside of emoji
BOARD = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
DAY_SECONDS = 86_400
KEPT_SECONDS = 400 * DAY_SECONDS
HERE = Path(__file__)


class Period(StrEnum):
    """What a ranking spans."""

    ALL = "all"
    WEEK = "week"
    DAY = "day"


LIFE_SECONDS = {Period.ALL: KEPT_SECONDS, Period.WEEK: 35 * DAY_SECONDS, Period.DAY: 8 * DAY_SECONDS}


@dataclass(frozen=True)
class Standing:
    """A player's place in one period after a submission. `previous_rank` is None for a newcomer; `percentile` is the
    share of players, in percent, whose rank is not better."""

    best: int
    rank: int
    previous_rank: int | None
    total: int
    percentile: float
    is_best: bool


@dataclass(frozen=True)
class Submission:
    """The complete answer to one submitted score: the standings after it, by period."""

    board: str
    player: str
    score: int
    standings: dict[Period, Standing]


@dataclass(frozen=True)
class Entry:
    """One row: a 1-based rank, shared by equal scores. `metadata` is the JSON text that came with a score, or None."""

    rank: int
    player: str
    score: int
    metadata: str | None


@dataclass(frozen=True)
class Page:
    """Rows of one period, highest first, and how many players there are in all."""

    period: Period
    total: int
    offset: int
    entries: tuple[Entry, ...]


class Leaderboard:
    """One board. `client` is a redis-py client of bytes; each method is one round trip (a submission that meets
    midnight two) and raises RedisError. Raises ValueError for names and scores that it does not take."""

    def __init__(self, client: Any, board: str, *, clock: Callable[[], float] = time.time) -> None:
        if not BOARD.fullmatch(board):
            raise ValueError("board: lower-case letters, digits and inner hyphens, 40 at most")
        self.board = board
        self._clock = clock
        self._ahead_seconds = 0.0
        self._submit = client.register_script(HERE.with_suffix(".lua").read_text())
        self._page = client.register_script(HERE.with_name("ranking_page.lua").read_text())

    def submit(self, player: str, score: int, *, metadata: str | None = None, now_ms: int | None = None) -> Submission:
        """Submits a score; the best one of the player counts in each period."""
        check_player(player)
        if isinstance(score, bool) or not isinstance(score, int) or not -MAX_SCORE <= score <= MAX_SCORE:
            raise ValueError("score: a whole number within ±(2^53 − 1)")
        if metadata is not None and len(metadata.encode()) > MAX_METADATA_BYTES:
            raise ValueError(f"metadata: {MAX_METADATA_BYTES} bytes at most")
        reply = self._try_submit(player, score, metadata, now_ms)
        if not reply[0]:
            self._ahead_seconds = reply[1] / 1000 - self._clock()
            reply = self._try_submit(player, score, metadata, now_ms)
            if not reply[0]:
                raise RuntimeError("the day turned twice within one submission")
        return Submission(self.board, player, score, {period: _standing(reply, i) for i, period in enumerate(Period)})

    def top(self, count: int, period: Period = Period.ALL) -> Page:
        """The first `count` rows."""
        return self.page(0, count, period)

    def page(self, offset: int, count: int, period: Period = Period.ALL) -> Page:
        """`count` rows from `offset` on, MAX_ROWS at most."""
        if offset < 0 or not 0 <= count <= MAX_ROWS:
            raise ValueError(f"offset has to be 0 or more, count from 0 to {MAX_ROWS}")
        page = self._read("", offset, count, period)
        assert page is not None
        return page

    def around(self, player: str, radius: int, period: Period = Period.ALL) -> Page | None:
        """The player's row with up to `radius` neighbours on each side; None when the player is not on the board."""
        check_player(player)
        if not 0 <= radius <= MAX_ROWS // 2:
            raise ValueError(f"radius has to be from 0 to {MAX_ROWS // 2}")
        return self._read(player, radius, radius, period)

    def rank(self, player: str, period: Period = Period.ALL) -> Entry | None:
        """The player's own row."""
        page = self.around(player, 0, period)
        return page.entries[0] if page else None

    def redis_keys(self, period: Period) -> tuple[str, str]:
        """The sorted set and the hash of members of the running period."""
        key = f"demo:leaderboard:{{{self.board}}}:{self._name(period)}"
        return key, f"{key}:members"

    def _common_keys(self) -> list[str]:
        return [f"demo:leaderboard:{{{self.board}}}:{part}" for part in ("sequence", "metadata")]

    def _day(self) -> int:
        return int((self._clock() + self._ahead_seconds) // DAY_SECONDS)

    def _name(self, period: Period) -> str:
        day = date(1970, 1, 1) + timedelta(days=self._day())
        year, week, _ = day.isocalendar()
        return {Period.ALL: "all", Period.WEEK: f"week:{year}-W{week:02}", Period.DAY: f"day:{day}"}[period]

    def _try_submit(self, player: str, score: int, metadata: str | None, now_ms: int | None) -> list[Any]:
        keys = self._common_keys() + [key for period in Period for key in self.redis_keys(period)]
        lives = [KEPT_SECONDS * 1000, *(LIFE_SECONDS[period] * 1000 for period in Period)]
        args = [player, score, self._day(), metadata or "", "" if now_ms is None else now_ms, *lives]
        reply: list[Any] = self._submit(keys=keys, args=args)
        return reply

    def _read(self, player: str, before: int, after: int, period: Period) -> Page | None:
        keys = [*self.redis_keys(period), self._common_keys()[1]]
        total, first, rank, *rows = self._page(keys=keys, args=[player, before, after])
        if first < 0:
            return None
        entries: list[Entry] = []
        for place, (member, negated, metadata) in enumerate(zip(*[iter(rows)] * 3, strict=True), start=first + 1):
            score = -int(float(negated))
            if entries:
                rank = entries[-1].rank if score == entries[-1].score else place
            entries.append(Entry(rank, member.partition(b":")[2].decode(), score, metadata.decode() or None))
        return Page(period, total, first, tuple(entries))


def check_player(player: str) -> None:
    """Raises ValueError unless it is a name: 1 to 64 characters, none of them for control, no space at the ends."""
    if not 1 <= len(player) <= MAX_PLAYER_CHARACTERS:
        raise ValueError(f"player: 1 to {MAX_PLAYER_CHARACTERS} characters")
    if player != player.strip() or any(not c.isprintable() and c not in JOINERS for c in player):
        raise ValueError("player: no control characters, no space at the ends")
    if not player.strip(JOINERS):
        raise ValueError("player: nothing in it can be seen")


def _standing(reply: list[Any], index: int) -> Standing:
    best, rank, previous, total, is_best = reply[2 + index * 5 : 7 + index * 5]
    return Standing(int(best), rank, previous or None, total, 100 * (total - rank + 1) / total, bool(is_best))
