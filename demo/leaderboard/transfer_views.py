"""`flask --app wsgi leaderboard import FILE` and `export FILE`: scores out of files and into files, at any size."""

from pathlib import Path

import click
from flask.cli import AppGroup
from redis.exceptions import RedisError

from demo.leaderboard import boards, reading, transfer
from demo.leaderboard.answers import BOARD
from demo.leaderboard.common_views import leaderboard
from demo.pool import get_redis

TOLD = 100
group = AppGroup("leaderboard", help="Scores out of files and into files: .csv or .jsonl.")


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


@group.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), callback=_file)
@click.option("--board", default="main", show_default=True, callback=_board)
def load(file: Path, board: str) -> None:
    """Submit each line; broken off, the same command goes on. Lines that are wrong are told and left out."""
    told: list[str] = []
    length = sum(1 for _ in transfer.posts(file))
    try:
        with click.progressbar(length=length, label="Lines") as bar:
            done = transfer.load(leaderboard(board), file, lambda n, fault: told.append(f"line {n}: {fault}"), bar.update)
        boards.remember(get_redis(), board)
    except RedisError as error:
        raise click.ClickException(f"Redis went away ({type(error).__name__}). The same command goes on.") from None
    for line in told[:TOLD]:
        click.echo(line, err=True)
    if len(told) > TOLD:
        click.echo(f"and {len(told) - TOLD} more", err=True)
    more = f", {done.before} were done before" if done.before else ""
    click.echo(f"{done.counted} of {length} lines counted on board {board}, {done.refused} left out{more}")


@group.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), callback=_file)
@click.option("--board", default="main", show_default=True, callback=_board)
@click.option("--period", default="all", show_default=True, callback=_period)
def save(file: Path, board: str, period: str) -> None:
    """Write the rows, best first; broken off, the same command goes on. What moves meanwhile may be there twice or not."""
    try:
        with click.progressbar(length=1, label="Rows") as bar:

            def moved(rows: int, total: int) -> None:
                bar.length = max(total, 1)
                bar.update(rows)

            written = transfer.save(leaderboard(board), file, period, moved)
    except RedisError as error:
        raise click.ClickException(f"Redis went away ({type(error).__name__}). The same command goes on.") from None
    click.echo(f"{written} rows of board {board} written to {file}")
