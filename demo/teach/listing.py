"""The source that a page shows: read from the running modules, highlighted, never a copy."""

import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import LuaLexer, PythonLexer

from demo.config import REPOSITORY

COLOURED = "c c1 ch cm fm k kc kd kn nc nf ow s s1 s2 sa sd"
PLAIN_SPAN = re.compile(
    rf'<span class="(?!(?:{COLOURED.replace(" ", "|")})")[a-z0-9]+">([^<]*)</span>'
)

QUOTED = re.compile(r'<span class="(\w+)">')  # a long listing has a thousand of these


@dataclass(frozen=True)
class Listing:
    """Numbered, highlighted lines of one file."""

    path: str
    lines: tuple[tuple[int, Markup], ...]


@cache
def of_function(function: Callable[..., Any]) -> Listing:
    """The lines of one function."""
    lines, first = inspect.getsourcelines(function)
    return _listing(Path(inspect.getfile(function)), "".join(lines), first)


@cache
def of_file(path: Path) -> Listing:
    """A whole file."""
    return _listing(path, path.read_text(), 1)


def of_lines(path: Path, first: int, last: int) -> Listing:
    """The lines from `first` to `last` of a file, both counted from 1 and included."""
    return _listing(path, "\n".join(path.read_text().splitlines()[first - 1 : last]), first)


def _listing(path: Path, text: str, first: int) -> Listing:
    lexer = LuaLexer() if path.suffix == ".lua" else PythonLexer()
    html = highlight(textwrap.dedent(text), lexer, HtmlFormatter(nowrap=True)).rstrip("\n")
    html = QUOTED.sub(r"<span class=\1>", PLAIN_SPAN.sub(r"\1", html))
    name = path.resolve().relative_to(REPOSITORY).as_posix()
    lines = tuple(
        (number, Markup(line)) for number, line in enumerate(html.split("\n"), start=first)
    )
    return Listing(name, lines)
