"""Scores from files and to files, a line each: CSV with a heading (player, score, mode, metadata)
as spreadsheets know it, or JSON lines.

An export and an import can be interrupted and continued later. For that, `<file>.progress` beside
the file says how far they came. If an import stops between a batch and that note, the batch is sent
again. For best or latest scores that changes no result. Batches that add up scores have an
idempotency key, so each batch counts once even if it is sent again. The key belongs to one import,
by a random number in the note. A second import of the same file adds its scores again.
"""

import csv
import hashlib
import itertools
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from demo.leaderboard import spreadsheet
from demo.leaderboard.answers import DAY_SECONDS, MAX_ROWS, Entry, Mode, Period, Post, Refused
from demo.leaderboard.ranking import MOST, Leaderboard

Say = Callable[[int, str], None]


class Stopped(Exception):
    """An import that does not go on by itself. The message is for who runs it."""


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


def is_csv(file: Path) -> bool:
    """Whether a file is CSV, by its name, and not JSON lines."""
    return file.suffix.lower() == ".csv"


def posts(file: Path, *, raw: bool = False) -> Iterator[tuple[int, bytes, Post | str]]:
    """Of each line its number, as editors count, its bytes, and a post or what is wrong with it. A
    heading is no line of these, an empty row of a table neither; an empty line is wrong. `raw`
    takes the cells of a table as they are. Raises Stopped when there is no table."""
    if not is_csv(file):
        for number, line, text in spreadsheet.lines(file, newline="\n"):
            yield number, line, "not UTF-8" if text is None else _post(text)
        return
    try:
        for number, line, row in spreadsheet.rows(file):
            yield number, line, row if isinstance(row, str) else _post(row, raw=raw)
    except spreadsheet.NoTable as error:
        raise Stopped(str(error)) from None


def _post(given: str | dict[str, str], *, raw: bool = False) -> Post | str:
    try:
        line = (
            msgspec.json.decode(given, type=Line)
            if isinstance(given, str)
            else msgspec.convert(_values(given, raw), Line, strict=False)
        )
    except (ValueError, RecursionError) as error:  # what msgspec raises is a ValueError too
        return str(error).replace("`", "")
    return Post(
        line.player,
        line.score,
        line.mode,
        None if line.metadata is None else msgspec.json.encode(line.metadata).decode(),
    )


def _values(given: dict[str, str], raw: bool) -> dict[str, Any]:
    """The cells of a row, as what they stand for. Raises ValueError."""
    values: dict[str, Any] = dict(given)
    for name in given.keys() - {"score"} if not raw else ():
        values[name] = spreadsheet.bare(given[name])
    if "score" in given:
        values["score"] = spreadsheet.whole(given["score"])
    if "metadata" in given:
        values["metadata"] = msgspec.json.decode(values["metadata"])
    return values


def load(
    board: Leaderboard, file: Path, say: Say, moved: Callable[[int], None], *, raw: bool = False
) -> Done:
    """Submits every line, in batches of MOST; `say` is told the number and fault of each line that
    is left out, once its batch is done, `moved` how many lines are done. Raises RedisError,
    after which a second call goes on behind the last batch; Stopped when that cannot be done
    rightly."""
    note = Note(file, f"{board.board} raw" if raw else board.board)
    last = note.read() or {"lines": 0, "run": secrets.token_hex(8), "at": time.time()}
    before, counted, refused, passed = last["lines"], 0, 0, hashlib.sha256()
    lines = posts(file, raw=raw)
    for _, (_, line, _) in zip(range(before), lines, strict=False):
        passed.update(line)
    if before == 0:
        note.write(**last)
    elif last.get("passed") != passed.hexdigest():
        raise Stopped(
            f"{note.path} belongs to another file. Delete it to start this import from the beginning."
        )
    moved(before)
    done = before
    while batch := list(itertools.islice(lines, MOST)):
        good = [(number, post) for number, _, post in batch if isinstance(post, Post)]
        faults = [(number, post) for number, _, post in batch if isinstance(post, str)]
        faults += _submit(board, good, _key(last, good, batch[0][0], batch[-1][0]))
        for number, fault in sorted(faults):
            say(number, fault)
        refused += len(faults)
        counted += len(batch) - len(faults)
        done += len(batch)
        for _, line, _ in batch:
            passed.update(line)
        last = {"lines": done, "run": last["run"], "at": time.time(), "passed": passed.hexdigest()}
        note.write(**last)
        moved(len(batch))
    note.forget()
    return Done(counted, refused, before)


def _key(last: dict[str, Any], good: list[tuple[int, Post]], first: int, to: int) -> str | None:
    """The idempotency key of a batch, the lines from `first` to `to`, where scores are added up.
    Raises Stopped when Redis has forgotten the key by now."""
    if not any(post.mode == Mode.SUM for _, post in good):
        return None
    if time.time() - last["at"] > DAY_SECONDS:
        raise Stopped(
            f"The import was interrupted more than a day ago. The lines before {first} were "
            f"counted. Lines {first} to {to} may or may not have been counted. Put the lines "
            "after these into a new file, and import that."
        )
    return hashlib.sha256(f"{last['run']} {good}".encode()).hexdigest()


def _submit(
    board: Leaderboard, good: list[tuple[int, Post]], key: str | None
) -> list[tuple[int, str]]:
    """Submits the posts of a batch; the number and fault of each that is refused."""
    results = board.submit_many([post for _, post in good], idempotency_key=key) if good else []
    return [
        (number, f"{result.field}: {result.detail}")
        for (number, _), result in zip(good, results, strict=True)
        if isinstance(result, Refused)
    ]


def save(
    board: Leaderboard,
    file: Path,
    period: str,
    moved: Callable[[int, int], None],
    *,
    raw: bool = False,
    mark: bool = False,
) -> int:
    """Writes the rows of a period, best first, and returns how many in this run; `moved` is told
    how many of how many. Cells that a spreadsheet would run are made harmless, but not with `raw`;
    `mark` begins with the mark by which some know UTF-8."""
    note, written = Note(file, f"{board.board} {period}{' raw' * raw}{' mark' * mark}"), 0
    last = note.read() if file.exists() else {}
    with file.open("r+" if last else "w", encoding="utf-8", newline="") as out:
        out.seek(last.get("bytes", 0))
        out.truncate()
        if not last:
            out.write("\ufeff" * mark)
            if is_csv(file):
                csv.writer(out).writerow(("player", "score", "metadata"))
        cursor = last.get("cursor")
        while True:
            page = board.page(0, MAX_ROWS, period or Period.ALL, cursor=cursor)
            for entry in page.entries:
                out.write(_json(entry)) if not is_csv(file) else _row(out, entry, raw)
            out.flush()
            written += len(page.entries)
            moved(len(page.entries), page.total)
            cursor = page.cursor
            if cursor is None:
                break
            note.write(cursor=cursor, bytes=out.tell())
    note.forget()
    return written


def _metadata(entry: Entry) -> str:
    """On one line: what breaks it stands between the parts of its JSON."""
    return (entry.metadata or "").replace("\n", " ").replace("\r", " ")


def _row(out: Any, entry: Entry, raw: bool) -> None:
    texts = entry.player, _metadata(entry)
    player, metadata = texts if raw else map(spreadsheet.harmless, texts)
    # Where cells are parted by another character, a text that holds it would be two, and the second
    # may be a formula.
    others = set(spreadsheet.DELIMITERS) - {","}
    parted = not raw and any(others & set(text) for text in texts)
    write = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC) if parted else csv.writer(out)
    write.writerow((player, entry.score, metadata))


def _json(entry: Entry) -> str:
    metadata = _metadata(entry)
    more = {"metadata": msgspec.Raw(metadata.encode())} if metadata else {}
    row = {"player": entry.player, "score": entry.score, **more}
    return msgspec.json.encode(row).decode() + "\n"


class Note:
    """How far a transfer came, in a file beside its own; of another board it says nothing."""

    def __init__(self, file: Path, about: str) -> None:
        self.path, self._about = file.with_name(f"{file.name}.progress"), about

    def read(self) -> dict[str, Any]:
        """What was written last; empty at a beginning."""
        try:
            found = json.loads(self.path.read_text())
            return found if found.pop("about") == self._about else {}
        except (OSError, ValueError, KeyError, AttributeError):
            return {}

    def write(self, **values: Any) -> None:
        """Whole or not at all."""
        fresh = self.path.with_suffix(".fresh")
        fresh.write_text(json.dumps({"about": self._about, **values}))
        fresh.replace(self.path)

    def forget(self) -> None:
        """The transfer has come to its end."""
        self.path.unlink(missing_ok=True)
