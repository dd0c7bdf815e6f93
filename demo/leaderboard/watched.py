"""What the viewers of a board watch: its top, and the rows around some players, read in one round
trip. Pages show it directly, and live pages get it as events. A live event has the same rows as the
other reads of the board.

An event is the whole state, not a difference: a viewer that misses ten of them and gets the
eleventh knows everything. Its id is a digest of its content, and two processes agree on it. A
viewer that reconnects names the last event that it has, and is not sent that state again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from demo.client.contract import RedisClient, checked
from demo.leaderboard.answers import Entry, Page
from demo.leaderboard.ranking import Leaderboard

ROWS, RADIUS = 10, 3
PLAYERS_AT_ONCE = 500


@dataclass(frozen=True)
class Event:
    """The state of a board for one player, or for nobody. All viewers share `head`, those of one
    player `tail`, which is made from the rows that are kept in `part` to see whether they have
    changed."""

    id: str
    head: bytes
    tail: bytes
    part: Any

    @property
    def text(self) -> bytes:
        """As it goes over the wire."""
        return b"id: %b\nevent: board\ndata: %b%b\n\n" % (self.id.encode(), self.head, self.tail)


@dataclass(frozen=True)
class Look:
    """All that a page shows of a board; `around` is None without a player who is there."""

    top: Page
    around: Page | None
    seasons: tuple[str, ...]


class Watched:
    """Reads what is watched. `client` is a client of bytes; each method raises RedisError."""

    def __init__(self, client: RedisClient) -> None:
        self._script = checked(client).register_script(
            Path(__file__).with_suffix(".lua").read_text()
        )

    def look(self, board: Leaderboard, period: str, player: str = "") -> Look:
        """The board for one page, the names of its last seasons included, in one round trip."""
        total, seasons, top, *parts = self._ask(board, period, [player] if player else [])
        around = (
            Page(period, total, parts[0][0], _rows(board, parts[0])) if parts and parts[0] else None
        )
        return Look(
            Page(period, total, 0, _rows(board, top)),
            around,
            tuple(name.decode() for name in seasons),
        )

    def read(
        self, board: Leaderboard, period: str, before: Mapping[str, Event | None]
    ) -> dict[str, Event]:
        """An event for each player, "" stands for none, with the events that they had before: what
        has not changed is not written again. One round trip for PLAYERS_AT_ONCE."""
        events: dict[str, Event] = {}
        players = list(before)
        for at in range(0, max(1, len(players)), PLAYERS_AT_ONCE):
            some = players[at : at + PLAYERS_AT_ONCE]
            named = [player for player in some if player]
            total, _, top, *parts = self._ask(board, period, named)
            entries = [_json(entry) for entry in _rows(board, top)]
            head = _line(
                {"board": board.board, "period": period, "total": total, "entries": entries}
            )[:-1]
            digest = _digest(head)
            for player, part in [
                *zip(named, parts, strict=True),
                *([("", None)] if "" in some else []),
            ]:
                old = before[player]
                if old and old.part == part:
                    events[player] = Event(digest + old.id[len(digest) :], head, old.tail, part)
                    continue
                around = [_json(entry) for entry in _rows(board, part)] if part else []
                me = next((row for row in around if row["player"] == player), None)
                tail = b"," + _line({"me": me, "around": around})[1:]
                events[player] = Event(digest + _digest(tail), head, tail, part)
        return events

    def _ask(self, board: Leaderboard, period: str, players: Sequence[str]) -> Any:
        return board._run_on(
            period, self._script, [ROWS, RADIUS, *players], [f"{board._beginning}seasons"]
        )


def _digest(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _line(value: Any) -> bytes:
    """JSON without line breaks, which would end the event: inside of metadata they are no more than
    spaces."""
    return msgspec.json.encode(value).replace(b"\n", b" ").replace(b"\r", b" ")


def _json(entry: Entry) -> dict[str, Any]:
    metadata = None if entry.metadata is None else msgspec.Raw(entry.metadata.encode())
    return {"rank": entry.rank, "player": entry.player, "score": entry.score, "metadata": metadata}


def _rows(board: Leaderboard, part: list[Any]) -> tuple[Entry, ...]:
    first, rank, *values = part
    if not values:
        return ()
    members, scores, described = values[::3], values[1::3], values[2::3]
    return tuple(
        board._entry(rank, board.name_of(member), stored, metadata)
        for rank, member, stored, metadata in zip(
            board._ranks(first, rank, scores), members, scores, described, strict=True
        )
    )
