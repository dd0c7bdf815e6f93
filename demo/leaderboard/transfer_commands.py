"""`flask --app wsgi leaderboard import FILE` and `export FILE`: scores out of files and into files,
at any size; and `season NAME`, which closes one."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from flask.cli import AppGroup
from redis.exceptions import RedisError

from demo.leaderboard import boards, reading, transfer
from demo.leaderboard.answers import BOARD
from demo.leaderboard.board_access import as_sentence, leaderboard
from demo.leaderboard.ranking import Leaderboard
from demo.web.services import get_redis

TOLD = 100
CLEAR = "\033[1G\033[K"  # the progress bar's line, on a terminal
group = AppGroup(
    "leaderboard", help="Import and export scores as .csv or .jsonl files, and close a season."
)


def _board(_: click.Context, __: click.Parameter, name: str) -> str:
    if not BOARD.fullmatch(name):
        raise click.BadParameter("up to 40 lower-case letters, digits and inner hyphens")
    return name


def _file(_: click.Context, __: click.Parameter, file: Path) -> Path:
    if file.suffix.lower() not in (".csv", ".jsonl"):
        raise click.BadParameter("a name that ends in .csv or .jsonl")
    return file


def _period(_: click.Context, __: click.Parameter, period: str) -> str:
    if period not in ("all", "week", "day") and not reading.PAST.fullmatch(period):
        raise click.BadParameter("all, week, day, day:<date>, week:<year>-W<week> or season:<name>")
    return period


@contextmanager
def _told() -> Iterator[None]:
    """What ends a command is told in a sentence."""
    try:
        yield
    except RedisError as error:
        raise click.ClickException(
            f"Redis went away ({type(error).__name__}). Run the same command again to continue."
        ) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    except transfer.Stopped as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def _bar(label: str, length: int) -> Iterator[Callable[[int, int], None]]:
    """A progress bar, and what moves it: by so many, of so many. The rate is of what follows the
    first move, which may tell what an earlier run has done."""
    began, done = 0.0, 0
    with click.progressbar(length=length, label=label, item_show_func=_rate) as bar:

        def moved(more: int, total: int) -> None:
            nonlocal began, done
            now, bar.length = time.monotonic(), max(total, 1)
            if began:
                done += more
            began = began or now
            bar.update(more, done / (now - began) if now > began else None)

        yield moved


def _rate(a_second: float | None) -> str | None:
    return None if a_second is None else f"{a_second:,.0f}/s"


@group.command("import")
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), callback=_file
)
@click.option("--board", default="main", show_default=True, callback=_board)
@click.option("--raw", is_flag=True, help="Import the cells of a .csv unchanged.")
def load(file: Path, board: str, raw: bool) -> None:
    """Post the score of each line. If interrupted, the same command continues. Invalid lines are
    reported and skipped. The delimiter, encoding and column order of a .csv are detected."""
    faults = 0

    def say(number: int, fault: str) -> None:
        nonlocal faults
        faults += 1
        if faults <= TOLD:
            click.echo(f"{CLEAR}line {number}: {fault}", err=True)

    with _told():
        length = sum(1 for _ in transfer.posts(file, raw=raw))
        try:
            with _bar("Lines", length) as moved:
                to = Leaderboard(get_redis(), board)
                done = transfer.load(to, file, say, lambda lines: moved(lines, length), raw=raw)
        finally:
            if faults > TOLD:
                click.echo(f"and {faults - TOLD} more", err=True)
        if done.counted or done.before:
            boards.remember(get_redis(), board)
    more = f", {done.before} were imported earlier" if done.before else ""
    click.echo(
        f"{done.counted} of {length} lines counted on board {board}, {done.refused} skipped{more}"
    )
    if not (done.counted or done.before):
        raise click.exceptions.Exit(1)


@group.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), callback=_file)
@click.option("--board", default="main", show_default=True, callback=_board)
@click.option("--period", default="all", show_default=True, callback=_period)
@click.option(
    "--raw",
    is_flag=True,
    help="Write cells of a .csv unchanged, even those that a spreadsheet would run as a formula.",
)
@click.option(
    "--excel",
    is_flag=True,
    help="Start a .csv with the byte order mark by which Excel recognizes UTF-8.",
)
def save(file: Path, board: str, period: str, raw: bool, excel: bool) -> None:
    """Write the rows, best first. If interrupted, the same command continues. A player whose score
    changes meanwhile may appear twice or be missing. In a .csv, a cell that a spreadsheet would run
    gets an apostrophe in front, which import removes."""
    if excel and not transfer.is_csv(file):
        raise click.UsageError("--excel works only with .csv")
    with _told(), _bar("Rows", 1) as moved:
        written = transfer.save(leaderboard(board), file, period, moved, raw=raw, mark=excel)
    click.echo(f"{written} rows of board {board} written to {file}")


@group.command("season")
@click.argument("name")
@click.option("--board", default="main", show_default=True, callback=_board)
def season(name: str, board: str) -> None:
    """Move the all-time board into an archive of this name. The next score starts a new board."""
    with _told():
        try:
            players = leaderboard(board).season(name)
        except ValueError as error:
            raise click.UsageError(as_sentence(error)) from None
    if not players:
        raise click.ClickException(f"Nobody has played on board {board}.")
    click.echo(f"season {name} of board {board} closed, {players} players")
