"""Reading a leaderboard: the top, the neighbours of a player, pages, and friends. Each read of a
board takes one round trip and includes the metadata.

A period is a running one, or the name of one that is over: `day:2026-11-22`, `week:2026-W47`,
`season:<name>`. Redis' clock decides which day is running. If a reader's date differs from Redis',
the script says so, and the reader asks once more with Redis' date.
"""

import re
import time
from collections.abc import Callable, Collection, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from msgspec import DecodeError
from msgspec.msgpack import decode

from demo.client.contract import PREFIX, RedisClient, beginning, checked, errors_of, text, whole
from demo.leaderboard.answers import (
    BOARD,
    DAY_SECONDS,
    MAX_ROWS,
    Entry,
    Page,
    Period,
    Ranking,
    check_player,
    percentile,
)

PAST = re.compile(
    r"day:[0-9]{4}-[0-9]{2}-[0-9]{2}|week:[0-9]{4}-W[0-9]{2}|season:[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"
)
RUNNING = (Period.WEEK, Period.DAY)
ANOTHER_DAY = -1
SEQUENCE = 12  # hex digits: a member is "<sequence>:<player>"
CURSOR = re.compile(r"(-?[0-9]{1,16})\.([0-9a-f]{12})")
NOT_UTF8 = "a name that is not UTF-8: others have written into this board"
HERE = Path(__file__)


class Periods:
    """The keys of one board, `<prefix>:leaderboard:{<board>}:…`, and its scripts on the day that
    Redis has. `client` is a client of redis-py or valkey-py that takes bytes. `redis_ms` replaces
    Redis' time, in milliseconds, for tests."""

    def __init__(
        self,
        client: RedisClient,
        board: str,
        *,
        lower_is_better: bool = False,
        ranking: str = Ranking.COMPETITION,
        periods: Collection[str] = tuple(Period),
        clock: Callable[[], float] = time.time,
        redis_ms: Callable[[], int] | None = None,
        prefix: str = PREFIX,
    ) -> None:
        if not BOARD.fullmatch(text("board", board)):
            raise ValueError("board: must be up to 40 lower-case letters, digits and inner hyphens")
        self.board, self.lower_is_better = board, lower_is_better
        self.dense = Ranking(ranking) is Ranking.DENSE
        self.periods = tuple(period for period in Period if period in periods)
        if Period.ALL not in self.periods or len(self.periods) != len(periods):
            raise ValueError("periods: must be all, and of week and day those that are wanted")
        self._client, self._clock, self._redis_ms = checked(client), clock, redis_ms
        self._errors = errors_of(client)
        self._ahead_seconds = 0.0
        self._beginning = f"{beginning(prefix, 'leaderboard')}{{{board}}}:"
        self.channel = f"{self._beginning}changes"
        self._sign = 1 if lower_is_better else -1
        self._all_keys = (*self.redis_keys(Period.ALL), f"{self._beginning}metadata")

    def redis_keys(self, period: str) -> tuple[str, str]:
        """The sorted set of a period and the hash of its players."""
        key = self._beginning + self._name(period)
        return key, f"{key}:members"

    def all_keys(self, periods: Sequence[str]) -> list[str]:
        """Every key of the board that has no short life of its own, of these periods."""
        beginning = self._beginning
        keys = [f"{beginning}{name}" for name in ("sequence", "metadata", "seasons")]
        for period in periods:
            key, members = self.redis_keys(period)
            keys += [key, members, f"{key}:distinct", f"{key}:metadata"]
        return keys

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
            if not isinstance(period, str) or not PAST.fullmatch(period):
                raise ValueError(
                    "period: must be all, week, day, day:<date>, week:<year>-W<week> or season:<name>"
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
        raise self._errors.all[0]("the day turned twice within one call")

    def _run(self, script: Any, keys: Sequence[str], args: Sequence[Any]) -> Any:
        try:
            return self._client.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
        except self._errors.no_script:  # a server that was restarted is told the script again
            return script(keys=keys, args=args)


class Reading(Periods):
    """The reads of one board. Each method is one round trip, two when it believes in another day
    than Redis, and raises RedisError, also for rows that others have written; ValueError for what
    it does not take."""

    def __init__(self, client: RedisClient, board: str, **more: Any) -> None:
        super().__init__(client, board, **more)
        self._page = client.register_script(HERE.with_suffix(".lua").read_text())
        self._players = client.register_script(HERE.with_name("reading_players.lua").read_text())

    def top(self, count: int, period: str = Period.ALL) -> Page:
        """The first `count` rows."""
        return self.page(0, count, period)

    def page(
        self, offset: int, count: int, period: str = Period.ALL, *, cursor: str | None = None
    ) -> Page:
        """`count` rows, MAX_ROWS at most: from `offset` on, or those that follow a page's `cursor`.
        By cursor every row that stays where it is comes exactly once, however the others move."""
        if not isinstance(offset, int) or not isinstance(count, int):
            whole("offset", offset)
            whole("count", count)
        if offset < 0 or not 0 <= count <= MAX_ROWS:
            raise ValueError(f"offset, count: must be 0 or more, and count at most {MAX_ROWS}")
        found = CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
        if cursor is not None and not found:
            raise ValueError("cursor: must be as a page before gave it")
        page, _ = self._read("", offset, count, period, found.groups() if found else ())
        assert page is not None
        return page

    def around(self, player: str, radius: int, period: str = Period.ALL) -> Page | None:
        """The player's row with up to `radius` neighbours on each side; None when the player is not
        on the board."""
        player = check_player(player)
        if not isinstance(radius, int):
            whole("radius", radius)
        if not 0 <= radius <= MAX_ROWS // 2:
            raise ValueError(f"radius: must be from 0 to {MAX_ROWS // 2}")
        page, _ = self._read(player, radius, radius, period)
        return page

    def rank(self, player: str, period: str = Period.ALL) -> Entry | None:
        """The player's own row."""
        page = self.around(player, 0, period)
        return page.entries[0] if page else None

    def percentile(self, player: str, period: str = Period.ALL) -> float | None:
        """The share of players, in percent, whose rank is not better."""
        page, rank = self._read(check_player(player), 0, 0, period)
        return percentile(rank, page.total) if page else None

    def for_players(self, players: Sequence[str], period: str = Period.ALL) -> tuple[Entry, ...]:
        """The rows of those who are on the board, best first."""
        names = list(dict.fromkeys(map(check_player, players)))
        if not 1 <= len(names) <= MAX_ROWS:
            raise ValueError(f"players: must be from 1 to {MAX_ROWS}")
        values = iter(self._run_on(period, self._players, names))
        found = [
            (self._integer(stored), sequence, names[number - 1], rank, stored, metadata)
            for number, rank, stored, sequence, metadata in zip(*[values] * 5, strict=True)
        ]
        found.sort()  # by score as it is stored, then by sequence, which no two rows share
        return tuple(
            self._entry(rank, name, stored, metadata)
            for _, _, name, rank, stored, metadata in found
        )

    def size(self, period: str = Period.ALL) -> int:
        """How many players there are."""
        return self.page(0, 0, period).total

    def _read(
        self, player: str, before: int, after: int, period: str, cursor: tuple[str | Any, ...] = ()
    ) -> tuple[Page | None, int]:
        """The page, None when the player is not there; and the rank of its first row as competition
        counts it."""
        try:
            total, first, rank, dense_rank, rows, described = decode(
                self._run_on(period, self._page, [player, before, after, *cursor])
            )
        except (UnicodeDecodeError, DecodeError):
            raise self._errors.data(NOT_UTF8) from None
        if first < 0:
            return None, 0
        if first:  # the script needed the row before, the page does not
            rows = rows[2:]
        members, scores = rows[::2], [self._sign * self._integer(stored) for stored in rows[1::2]]
        if not members:
            return Page(period, total, first, ()), rank
        ranks = self._ranks(first, dense_rank if self.dense else rank, scores)
        names = [member[SEQUENCE + 1 :] for member in members]
        metadata = [text or None for text in described] or [None] * len(scores)
        entries = tuple(map(Entry, ranks, names, scores, metadata))
        further = first + len(scores) < total
        more = f"{self._sign * scores[-1]}.{members[-1][:SEQUENCE]}" if further else None
        return Page(period, total, first, entries, more), rank

    def _ranks(self, first: int, rank: int, scores: Sequence[Any]) -> list[int]:
        """The ranks of rows that follow one another from index `first` on, where the rank is
        `rank`: equal scores share one, and the next is by place, or dense the next number."""
        ranks, score_before = [], scores[0]
        for place, score in enumerate(scores, first + 1):
            if score != score_before:
                rank, score_before = rank + 1 if self.dense else place, score
            ranks.append(rank)
        return ranks

    def _entry(self, rank: int, player: str, stored: bytes, metadata: bytes) -> Entry:
        return Entry(rank, player, self._sign * self._integer(stored), metadata.decode() or None)

    def _integer(self, stored: bytes | str) -> int:
        """A score as Redis writes it; large ones come with an exponent. Raises DataError for one
        that is not finite."""
        try:
            return int(stored)
        except ValueError:
            try:
                return int(float(stored))
            except OverflowError:
                raise self._errors.data(
                    "a score that is not finite: others have written into this board"
                ) from None

    def name_of(self, member: bytes) -> str:
        """The player of a member. Raises DataError when it is not UTF-8."""
        try:
            return member[SEQUENCE + 1 :].decode()
        except UnicodeDecodeError:
            raise self._errors.data(NOT_UTF8) from None
