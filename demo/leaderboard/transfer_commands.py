"""`flask --app wsgi leaderboard import FILE` and `export FILE`: scores out of files and into files,
at any size; and `season NAME`, which closes one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from flask.cli import AppGroup
from redis.exceptions import RedisError

from demo.leaderboard import boards, reading, transfer
from demo.leaderboard.answers import BOARD
from demo.leaderboard.board_access import leaderboard
from demo.leaderboard.ranking import Leaderboard
from demo.web.services import get_redis

TOLD = 100
CLEAR = "\033[1G\033[K"  # the progress bar's line, on a terminal
group = AppGroup(
    "leaderboard", help="Scores out of files and into files, .csv or .jsonl; the end of a season."
)


def _board(_: click.Context, __: click.Parameter, name: str) -> str:
    if not BOARD.fullmatch(name):
        raise click.BadParameter("lower-case letters, digits and inner hyphens, 40 at most")
    return name


def _file(_: click.Context, __: click.Parameter, file: Path) -> Path:
    if file.suffix not in (".csv", ".jsonl"):
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
            f"Redis went away ({type(error).__name__}). The same command goes on."
        ) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    except transfer.Stopped as error:
        raise click.ClickException(str(error)) from None


@group.command("import")
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), callback=_file
)
@click.option("--board", default="main", show_default=True, callback=_board)
def load(file: Path, board: str) -> None:
    """Submit each line; broken off, the same command goes on. Lines that are wrong are told and
    left out."""
    faults = 0

    def say(number: int, fault: str) -> None:
        nonlocal faults
        faults += 1
        if faults <= TOLD:
            click.echo(f"{CLEAR}line {number}: {fault}", err=True)

    with _told():
        length = sum(1 for _ in transfer.posts(file))
        try:
            with click.progressbar(length=length, label="Lines") as bar:
                done = transfer.load(Leaderboard(get_redis(), board), file, say, bar.update)
        finally:
            if faults > TOLD:
                click.echo(f"and {faults - TOLD} more", err=True)
        if done.counted or done.before:
            boards.remember(get_redis(), board)
    more = f", {done.before} were done before" if done.before else ""
    click.echo(
        f"{done.counted} of {length} lines counted on board {board}, {done.refused} left out{more}"
    )


@group.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), callback=_file)
@click.option("--board", default="main", show_default=True, callback=_board)
@click.option("--period", default="all", show_default=True, callback=_period)
def save(file: Path, board: str, period: str) -> None:
    """Write the rows, best first; broken off, the same command goes on. What moves meanwhile may be
    there twice or not."""
    with _told(), click.progressbar(length=1, label="Rows") as bar:

        def moved(rows: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(rows)

        written = transfer.save(leaderboard(board), file, period, moved)
    click.echo(f"{written} rows of board {board} written to {file}")


@group.command("season")
@click.argument("name")
@click.option("--board", default="main", show_default=True, callback=_board)
def season(name: str, board: str) -> None:
    """Close the all-time board into the archive of that name; the next score begins a new one."""
    with _told():
        try:
            players = leaderboard(board).season(name)
        except ValueError as error:
            raise click.UsageError(f"{error}.".capitalize()) from None
    if not players:
        raise click.ClickException(f"Nobody has played on board {board}.")
    click.echo(f"season {name} of board {board} closed, {players} players")
