"""Reading a leaderboard: the top, the neighbours of a player, pages, friends; each in one round
trip, with metadata."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import DecodeError
from msgspec.msgpack import decode
from redis.exceptions import DataError

from demo.leaderboard.answers import MAX_ROWS, Entry, Page, Period, check_player, percentile
from demo.leaderboard.periods import Periods

SEQUENCE = 12  # hex digits: a member is "<sequence>:<player>"
CURSOR = re.compile(r"(-?[0-9]{1,16})\.([0-9a-f]{12})")
NOT_UTF8 = "a name that is not UTF-8: others have written into this board"
HERE = Path(__file__)


class Reading(Periods):
    """The reads of one board. Each method is one round trip, two when it believes in another day
    than Redis, and raises RedisError, also for rows that others have written; ValueError for what
    it does not take."""

    def __init__(self, client: Any, board: str, **more: Any) -> None:
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
        if offset < 0 or not 0 <= count <= MAX_ROWS:
            raise ValueError(f"offset has to be 0 or more, count from 0 to {MAX_ROWS}")
        found = CURSOR.fullmatch(cursor) if cursor is not None else None
        if cursor is not None and not found:
            raise ValueError("cursor: as a page before gave it")
        page, _ = self._read("", offset, count, period, found.groups() if found else ())
        assert page is not None
        return page

    def around(self, player: str, radius: int, period: str = Period.ALL) -> Page | None:
        """The player's row with up to `radius` neighbours on each side; None when the player is not
        on the board."""
        player = check_player(player)
        if not 0 <= radius <= MAX_ROWS // 2:
            raise ValueError(f"radius has to be from 0 to {MAX_ROWS // 2}")
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
            raise ValueError(f"players: from 1 to {MAX_ROWS}")
        values = iter(self._run_on(period, self._players, names))
        found = [
            (_integer(stored), sequence, names[number - 1], rank, stored, metadata)
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
            raise DataError(NOT_UTF8) from None
        if first < 0:
            return None, 0
        if first:  # the script needed the row before, the page does not
            rows = rows[2:]
        members, scores = rows[::2], [self._sign * _integer(stored) for stored in rows[1::2]]
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
        return Entry(rank, player, self._sign * _integer(stored), metadata.decode() or None)


def _integer(stored: bytes | str) -> int:
    """A score as Redis writes it; large ones come with an exponent. Raises DataError for one that
    is not finite."""
    try:
        return int(stored)
    except ValueError:
        try:
            return int(float(stored))
        except OverflowError:
            raise DataError(
                "a score that is not finite: others have written into this board"
            ) from None


def name_of(member: bytes) -> str:
    """The player of a member. Raises DataError when it is not UTF-8."""
    try:
        return member[SEQUENCE + 1 :].decode()
    except UnicodeDecodeError:
        raise DataError(NOT_UTF8) from None
