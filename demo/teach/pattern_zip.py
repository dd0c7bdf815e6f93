"""Take patterns: as a zip from the page, or into a folder from the shell. What is in it is
`packing.py`'s."""

import io
import re
import zipfile
from functools import cache
from pathlib import Path

import click
from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import NotFound

from demo.client.contract import PREFIX
from demo.config import REPOSITORY
from demo.teach import documents, packing
from demo.teach.packing import CannotTake, Wish

FLOORS = ("client", "observe", "web", "teach")  # shared rooms, which are no use cases
OF_A_FLOOR = {("teach", "turns")}  # what is a pattern all the same
# what use cases offer of the client's floor, and of the sums
SHARED = {
    ("client", name)
    for name in ("leader", "background", "wire", "pool", "connections", "cluster", "sentinel")
} | {
    ("client", name)
    for name in ("probe", "lookups", "breaker", "failover", "told_again", "changes")
}
SHARED |= {("client", "engine"), ("client", "folders"), ("observe", "redis_sums")}
MOST_WANTED = {  # what one looks for, and where it is
    ("catalog", "cache_aside"): "a cache",
    ("rate_limit", "sliding_window"): "a rate limiter",
    ("rate_limit", "async_limiter"): "a rate limiter in async code",
    ("sessions", "session_store"): "sessions",
    ("leaderboard", "ranking"): "a leaderboard",
}
DATE = (2020, 1, 1, 0, 0, 0)  # the same files are the same bytes
MOST_PATTERNS = 20
bp = Blueprint("pattern_zip", __name__, cli_group=None)


@bp.get("/take/<use_case>/<pattern>.zip")
def download(use_case: str, pattern: str) -> Response:
    """The zip of one pattern."""
    if (use_case, pattern) not in offered():
        raise NotFound("This pattern does not exist.")
    return _zip(Wish(((use_case, pattern),)))


@bp.get("/take/patterns.zip")
def download_some() -> Response:
    """The zip of what a query asks for."""
    try:
        return _zip(wished())
    except CannotTake as error:
        raise NotFound(str(error)) from None


@bp.get("/take/")
def index() -> str | tuple[str, int]:
    """The page on which patterns, names and examples are chosen, with the files that they give."""
    chosen, files, trouble = None, {}, ""
    shown: dict[str, str] = {}
    if "pattern" in request.args:
        try:
            chosen = wished()
            files = packing.tree(chosen)
            shown = {
                path: source
                for path, source in packing.sources(chosen).items()
                if source in documents.linked()
            }
        except CannotTake as error:
            trouble = str(error)
    page = render_template(
        "take.html",
        most_wanted=MOST_WANTED,
        offered=by_use_case(),
        examples=packing.examples(),
        chosen=chosen,
        asked=request.args,
        picked=set(request.args.getlist("pattern")),
        picked_examples=set(request.args.getlist("example")),
        shown=shown,
        files={path: len(text) for path, text in files.items()},
        bytes=len(packed(chosen)) if chosen and files else 0,
        query=request.query_string.decode("ascii", "replace"),
        trouble=trouble,
        prefix=PREFIX,
    )
    return (page, 400) if trouble else page


def wished() -> Wish:
    """What this request's query asks for. Raises CannotTake."""
    words = [word.partition("/") for word in request.args.getlist("pattern")[:MOST_PATTERNS]]
    patterns = tuple(sorted({(case, name) for case, _, name in words}))
    for case, name in patterns:
        if (case, name) not in offered():
            raise CannotTake(f"patterns: there is no {case}/{name}"[:120])
    return Wish(
        patterns,
        request.args.get("package", ""),
        request.args.get("prefix", "") or PREFIX,
        tuple(sorted(set(request.args.getlist("example")[:MOST_PATTERNS]))),
    )


@bp.cli.command("take", help="Take patterns into a folder, for example rate_limit/sliding_window.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--into", required=True, type=click.Path(path_type=Path), help="An existing folder.")
@click.option("--package", default="", help="What the package is called.")
@click.option("--prefix", default=PREFIX, show_default=True, help="What all keys begin with.")
@click.option("--example", "examples", multiple=True, help="An example of examples/, by name.")
def take_command(
    names: tuple[str, ...], into: Path, package: str, prefix: str, examples: tuple[str, ...]
) -> None:
    """Writes what the zip holds, and nothing over anything that is there."""
    try:
        wish = Wish(tuple(map(named, names)), package, prefix, examples)
    except CannotTake as error:
        raise click.ClickException(str(error)) from None
    target = into / wish.name
    if not into.is_dir():
        raise click.ClickException(f"{into} is no folder")
    if target.exists() or target.is_symlink():
        raise click.ClickException(f"{target} is there already: nothing was written")
    for path, text in packing.tree(wish).items():
        file = into / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as made:
            made.write(text)
    click.echo(f"{target}: see README.md in it")


def named(name: str) -> tuple[str, str]:
    """A pattern by its name, with its use case or without. Raises CannotTake."""
    found = [(case, module) for case, module in offered() if name in (module, f"{case}/{module}")]
    if len(found) != 1:
        raise CannotTake(f"patterns: there is no {name}")
    return found[0]


@cache
def offered() -> frozenset[tuple[str, str]]:
    """Use case and pattern of all that can be taken."""
    found = set()
    for path in sorted((REPOSITORY / "demo").glob("*/*.py")):
        owner = (path.parent.name, path.stem)
        if owner[0] in FLOORS and owner not in OF_A_FLOOR | SHARED:
            continue
        if packing.is_takeable(path):
            found.add(owner)
    return frozenset(found)


@cache
def by_use_case() -> dict[str, list[str]]:
    """The patterns that can be taken."""
    found: dict[str, list[str]] = {}
    for case, name in sorted(offered()):
        found.setdefault(case, []).append(name)
    return found


@cache
def with_scripts() -> dict[str, list[tuple[str, str]]]:
    """Those of them that bring a script along, by use case: the pattern, and what it is in the
    words that it begins with."""
    found: dict[str, list[tuple[str, str]]] = {}
    for case, name in sorted(offered()):
        path = REPOSITORY / "demo" / case / f"{name}.py"
        parts = packing.needs(path)[0] if packing.has_use(name) else {path}
        if any(map(packing.scripts_of, parts)):
            words = re.split(r"[:.,]\s", path.read_text().removeprefix('"""'), maxsplit=1)[0]
            found.setdefault(case, []).append((name, words))
    return found


def of_paths(paths: list[str]) -> list[tuple[str, str]]:
    """What can be taken of the files that a page shows, each pattern once."""
    owners = [(Path(path).parent.name, Path(path).stem) for path in paths]
    exact = [owner for owner in owners if owner in offered()]
    for use_case, stem in owners:  # a script lies beside its module, with its stem
        exact += [
            (use_case, name)
            for case, name in offered()
            if case == use_case and stem.startswith(f"{name}_")
        ]
    return list(dict.fromkeys(exact))


def pack(use_case: str, pattern: str) -> bytes:
    """The zip of one pattern."""
    return packed(Wish(((use_case, pattern),)))


def packed(wish: Wish) -> bytes:
    """The zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for path, text in packing.tree(wish).items():
            info = zipfile.ZipInfo(path, DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            made.writestr(info, text)
    return out.getvalue()


def _zip(wish: Wish) -> Response:
    response = Response(packed(wish), mimetype="application/zip")
    response.headers["Content-Disposition"] = f'attachment; filename="{wish.name}.zip"'
    return response
