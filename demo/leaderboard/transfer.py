"""Scores out of files and into files, a line each: CSV with a heading (player, score, mode, metadata) or JSON lines.

Both ways can be broken off and taken up again: beside the file, in `<file>.progress`, stands how far it came. A batch
of an import that was cut off between Redis and that note is sent again. That changes nothing of what is best or latest;
batches in which scores are added up bear an idempotency key, so that they count once.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from demo.leaderboard.answers import MAX_ROWS, Entry, Mode, Period, Post, Refused
from demo.leaderboard.ranking import MOST, Leaderboard

FIELDS = ("player", "score", "mode", "metadata")
Say = Callable[[int, str], None]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a file."""

    player: str
    score: int
    mode: Mode = Mode.BEST
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True)
class Done:
    """How many lines were counted, refused, and passed over because an earlier run had done them."""

    counted: int
    refused: int
    before: int


def posts(file: Path) -> Iterator[Post | str]:
    """A post for each line, or what is wrong with it. A heading is no line; an empty line is wrong."""
    with file.open("r", encoding="utf-8", errors="replace", newline="") as opened:
        if file.suffix == ".csv":
            reader = csv.reader(opened)
            names = next(reader, [])
            for cells in reader:
                given = {name: cell for name, cell in zip(names, cells, strict=False) if cell != ""}
                yield _post({**given, **({"": ""} if len(cells) > len(names) else {})}, from_csv=True)
        else:
            for text in opened:
                yield _post(text)


def _post(given: Any, *, from_csv: bool = False) -> Post | str:
    try:
        if from_csv and "metadata" in given:
            given["metadata"] = msgspec.json.decode(given["metadata"])
        line = msgspec.convert(given, Line, strict=False) if from_csv else msgspec.json.decode(given, type=Line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return str(error).replace("`", "")
    return Post(
        line.player, line.score, line.mode, None if line.metadata is None else msgspec.json.encode(line.metadata).decode()
    )


def load(board: Leaderboard, file: Path, say: Say, moved: Callable[[int], None]) -> Done:
    """Submits every line, in batches of MOST; `say` is told the number and fault of each line that is left out, `moved` how
    many lines are done. Raises RedisError, after which a second call goes on behind the last batch."""
    note = Note(file, board.board)
    before, counted, refused = int(note.read().get("lines", 0)), 0, 0
    lines = enumerate(posts(file), 1)
    for number, _ in lines if before else ():
        if number >= before:
            break
    moved(before)
    while True:
        batch = [line for _, line in zip(range(MOST), lines, strict=False)]
        if not batch:
            break
        good: list[tuple[int, Post]] = []
        for number, post in batch:
            if isinstance(post, str):
                say(number, post)
                refused += 1
            else:
                good.append((number, post))
        for (number, _), result in zip(good, _submit(board, file, good), strict=True):
            if isinstance(result, Refused):
                say(number, f"{result.field}: {result.detail}")
                refused += 1
            else:
                counted += 1
        note.write(lines=batch[-1][0])
        moved(len(batch))
    note.forget()
    return Done(counted, refused, before)


def _submit(board: Leaderboard, file: Path, good: Sequence[tuple[int, Post]]) -> Sequence[Any]:
    if not good:
        return []
    key = None
    if any(post.mode == Mode.SUM for _, post in good):
        key = "import-" + hashlib.sha256(f"{file.name} {good}".encode()).hexdigest()
    return board.submit_many([post for _, post in good], idempotency_key=key)


def save(board: Leaderboard, file: Path, period: str, moved: Callable[[int, int], None]) -> int:
    """Writes the rows of a period, best first, and returns how many in this run; `moved` is told how many of how many."""
    note, written = Note(file, f"{board.board} {period}"), 0
    last = note.read() if file.exists() else {}
    with file.open("r+" if last else "w", encoding="utf-8", newline="") as out:
        out.seek(last.get("bytes", 0))
        out.truncate()
        if not last and file.suffix == ".csv":
            csv.writer(out).writerow(("player", "score", "metadata"))
        cursor = last.get("cursor")
        while True:
            page = board.page(0, MAX_ROWS, period or Period.ALL, cursor=cursor)
            for entry in page.entries:
                _write(out, entry, file.suffix == ".csv")
            out.flush()
            written += len(page.entries)
            moved(len(page.entries), page.total)
            cursor = page.cursor
            if cursor is None:
                break
            note.write(cursor=cursor, bytes=out.tell())
    note.forget()
    return written


def _write(out: Any, entry: Entry, as_csv: bool) -> None:
    if as_csv:
        csv.writer(out).writerow((entry.player, entry.score, entry.metadata or ""))
        return
    metadata = {} if entry.metadata is None else {"metadata": msgspec.Raw(entry.metadata.encode())}
    out.write(msgspec.json.encode({"player": entry.player, "score": entry.score, **metadata}).decode() + "\n")


class Note:
    """How far a transfer came, in a file beside its own; of another board it says nothing."""

    def __init__(self, file: Path, about: str) -> None:
        self._path, self._about = file.with_name(f"{file.name}.progress"), about

    def read(self) -> dict[str, Any]:
        """What was written last; empty at a beginning."""
        try:
            found = json.loads(self._path.read_text())
            return found if found.pop("about") == self._about else {}
        except (OSError, ValueError, KeyError, AttributeError):
            return {}

    def write(self, **values: Any) -> None:
        """Whole or not at all."""
        fresh = self._path.with_suffix(".fresh")
        fresh.write_text(json.dumps({"about": self._about, **values}))
        fresh.replace(self._path)

    def forget(self) -> None:
        """The transfer has come to its end."""
        self._path.unlink(missing_ok=True)
