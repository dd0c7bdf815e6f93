"""What a leaderboard answers with, and which names and scores it takes."""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

import msgspec

MAX_SCORE = 2**53 - 1
MAX_PLAYER_CHARACTERS = 64
MAX_METADATA_BYTES = 1024
MAX_ROWS = 100
JOINERS = "\u200d\ufe0f"  # inside of emoji
BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # letters that cannot be seen
# What words are written with, though Python calls it not printable: Persian's and Bengali's
# non-joiner, Mongolian's separators, the spaces of Ogham and of Chinese and Japanese.
INSIDE = "\u200c\u180e\u202f\u1680\u3000"
BOARD = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
DAY_SECONDS = 86_400
KEPT_SECONDS = 400 * DAY_SECONDS


class Period(StrEnum):
    """What a running ranking spans."""

    ALL = "all"
    WEEK = "week"
    DAY = "day"


class Mode(StrEnum):
    """What counts when a player has a score already: the better one, the one that came last, or
    both together."""

    BEST = "best"
    LATEST = "latest"
    SUM = "sum"


class Ranking(StrEnum):
    """What equal scores do to the ranks behind them: competition counts the players above (1, 2, 2,
    4), dense the distinct scores above (1, 2, 2, 3)."""

    COMPETITION = "competition"
    DENSE = "dense"


LIFE_SECONDS = {
    Period.ALL: KEPT_SECONDS,
    Period.WEEK: 35 * DAY_SECONDS,
    Period.DAY: 8 * DAY_SECONDS,
}


class Conflict(Exception):
    """An idempotency key was used before, for another request."""


class Standing(msgspec.Struct, frozen=True):
    """A player's place in one period after a submission: `best` is the score that counts,
    `previous_rank` is None for a newcomer, `percentile` the share of players, in percent, whose
    rank is not better."""

    best: int
    rank: int
    previous_rank: int | None
    total: int
    percentile: float
    is_best: bool


class Submission(msgspec.Struct, frozen=True):
    """The complete answer to one submitted score: the standings after it, by period. `replayed`
    tells that nothing was counted now, because the same request was answered so before."""

    board: str
    player: str
    score: int
    standings: dict[Period, Standing]
    replayed: bool = False


@dataclass(frozen=True)
class Post:
    """A score to be submitted, one of many."""

    player: str
    score: int
    mode: str = Mode.BEST
    metadata: str | None = None


@dataclass(frozen=True)
class Refused:
    """One of many that was not counted: which field is wrong, and what is wrong with it."""

    player: str
    field: str
    detail: str


class Entry(msgspec.Struct, frozen=True):
    """One row: a 1-based rank, shared by equal scores. `metadata` is the JSON text that came with a
    score, or None."""

    rank: int
    player: str
    score: int
    metadata: str | None


class Page(msgspec.Struct, frozen=True):
    """Rows of one period, best first, and how many players there are in all; `cursor` leads to the
    rows that follow these, whatever moves meanwhile, and is None at the end."""

    period: str
    total: int
    offset: int
    entries: tuple[Entry, ...]
    cursor: str | None = None


def percentile(rank: int, total: int) -> float:
    """The share of players, in percent, whose rank is not better."""
    return 100 * (total - rank + 1) / total


def check_player(player: str) -> str:
    """The name as it is kept, composed (NFC), so that "é" is one player however it was typed.
    Raises ValueError, naming the character that is not taken, unless it is a name: 1 to 64
    characters of any language, none of them for control, and no space at the ends."""
    if not isinstance(player, str):
        raise ValueError(f"player: must be a text, not {type(player).__name__}")
    if not player.isascii():
        player = unicodedata.normalize("NFC", player)
    if not 1 <= len(player) <= MAX_PLAYER_CHARACTERS:
        raise ValueError(f"player: must be 1 to {MAX_PLAYER_CHARACTERS} characters")
    if player.isascii() and player.isprintable() and player[0] != " " != player[-1]:
        return player
    for character in player:
        if not (character.isprintable() or character in JOINERS + INSIDE):
            raise ValueError(f"player: {_named(character)} is not allowed")
    if not player.strip(JOINERS + BLANKS + INSIDE + " "):
        raise ValueError(
            f"player: must have a visible character; it begins with {_named(player[0])}"
        )
    for end in (player[0], player[-1]):
        if end in BLANKS + INSIDE + " ":
            raise ValueError(f"player: {_named(end)} is not allowed at the start or end")
    return player


def _named(character: str) -> str:
    """What cannot be seen, so that it can be looked for."""
    name = unicodedata.name(character, "").lower()
    return f"U+{ord(character):04X}{name and f' ({name})'}"


def check_metadata(metadata: str | None) -> None:
    """Raises ValueError past MAX_METADATA_BYTES."""
    if metadata is None:
        return
    if not isinstance(metadata, str):
        raise ValueError(f"metadata: must be a text, not {type(metadata).__name__}")
    if len(metadata.encode()) > MAX_METADATA_BYTES:
        raise ValueError(f"metadata: must be at most {MAX_METADATA_BYTES} bytes")


def check_score(score: int) -> None:
    """Raises ValueError unless a double holds it, and the next one, exactly."""
    if (
        isinstance(score, bool)
        or not isinstance(score, int)
        or not -MAX_SCORE <= score <= MAX_SCORE
    ):
        raise ValueError("score: must be a whole number within ±(2^53 − 1)")
