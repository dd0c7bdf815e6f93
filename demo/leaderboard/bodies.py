"""The bodies and queries of the leaderboard's API, as types that check what is read and make what
is sent."""

from typing import Annotated, Any

import msgspec

from demo.leaderboard import reading
from demo.leaderboard.answers import (
    MAX_PLAYER_CHARACTERS,
    MAX_ROWS,
    MAX_SCORE,
    Entry,
    Mode,
    Page,
    Period,
    Standing,
    Submission,
)
from demo.leaderboard.ranking import MOST
from demo.leaderboard.reading import PAST
from demo.leaderboard.watched import ROWS

PERIOD = rf"^(?:all|week|day|{PAST.pattern})\Z"
CURSOR = rf"^{reading.CURSOR.pattern}\Z"
Score = Annotated[int, msgspec.Meta(ge=-MAX_SCORE, le=MAX_SCORE)]
Name = Annotated[
    str,
    msgspec.Meta(description=f"1 to {MAX_PLAYER_CHARACTERS} visible characters", examples=["mara"]),
]


class Posted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A score as programs post it. Metadata is 1 kB of JSON at most."""

    player: Name
    score: Score
    mode: Mode = Mode.BEST
    metadata: dict[str, Any] | None = None


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many scores, in the order in which they count. Each is checked by itself."""

    scores: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MOST)]


class Scores(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many scores, in the order in which they count."""

    scores: Annotated[list[Posted], msgspec.Meta(min_length=1, max_length=MOST)]


class Window(msgspec.Struct, frozen=True):
    """Which part of a board."""

    period: Annotated[str, msgspec.Meta(pattern=PERIOD)] = "all"
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR)] | None = None
    offset: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = ROWS


class Around(msgspec.Struct, frozen=True):
    """How much of a board around a player."""

    period: Annotated[str, msgspec.Meta(pattern=PERIOD)] = "all"
    around: Annotated[int, msgspec.Meta(ge=0, le=MAX_ROWS // 2)] = 5


class Placed(msgspec.Struct, frozen=True):
    """A player's place in a period: `percentile` is the share of players, in percent, whose rank is
    not better."""

    best: int
    rank: int
    previous_rank: int | None
    total: int
    percentile: float
    is_best: bool


class Submitted(Placed, frozen=True):
    """What one submitted score has come to: of all time, and in each period."""

    board: str
    player: str
    score: int
    periods: dict[Period, Placed]


class Wrong(msgspec.Struct, frozen=True):
    """A field that is wrong, and a sentence on it."""

    field: str
    detail: str


class Counted(Placed, frozen=True, tag_field="status", tag=201):
    """One of many that was counted: its place of all time."""

    index: int
    player: str
    score: int


class Uncounted(msgspec.Struct, frozen=True, tag_field="status", tag=422):
    """One of many that was not counted."""

    index: int
    errors: list[Wrong]


class Results(msgspec.Struct, frozen=True):
    """One result for each of many, in their order."""

    board: str
    counted: int
    results: list[Counted | Uncounted]


class Row(msgspec.Struct, frozen=True):
    """One row of a board."""

    rank: int
    player: str
    score: int
    metadata: dict[str, Any] | None


class Rows(msgspec.Struct, frozen=True):
    """A part of a board; `cursor` leads to what follows it."""

    board: str
    period: str
    total: int
    cursor: str | None
    entries: list[Row]


class Own(msgspec.Struct, frozen=True):
    """A player's row, and the rows around it."""

    board: str
    period: str
    total: int
    cursor: str | None
    entries: list[Row]
    player: Row


def placed(standing: Standing) -> dict[str, Any]:
    """The fields of Placed."""
    return {
        "best": standing.best,
        "rank": standing.rank,
        "previous_rank": standing.previous_rank,
        "total": standing.total,
        "percentile": min(round(standing.percentile, 3), 100.0 if standing.rank == 1 else 99.999),
        "is_best": standing.is_best,
    }


def submitted(board: str, done: Submission) -> Submitted:
    """The answer to one."""
    periods = {period: Placed(**placed(standing)) for period, standing in done.standings.items()}
    overall = placed(done.standings[Period.ALL])
    return Submitted(**overall, board=board, player=done.player, score=done.score, periods=periods)


def row(entry: Entry) -> Row:
    """A row, whose metadata goes out as it was stored."""
    metadata: Any = None if entry.metadata is None else msgspec.Raw(entry.metadata.encode())
    return Row(entry.rank, entry.player, entry.score, metadata)


def rows(board: str, page: Page) -> Rows:
    """A part of a board."""
    return Rows(board, page.period, page.total, page.cursor, [row(entry) for entry in page.entries])
