"""The words of pages, documentation, docstrings and messages: one term for a thing, short sentences."""

import ast
import html
import inspect
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.servers import REPOSITORY

MOST_WORDS = 30
WORDS = tomllib.loads((REPOSITORY / "tests" / "words.toml").read_text())
INSTEAD = {
    said: re.compile("|".join(phrases), re.IGNORECASE | re.MULTILINE)
    for part in (WORDS["terms"], WORDS["plain"])
    for said, phrases in part.items()
}
PAIRS = sum(len(WORDS[part][said]) for part in ("terms", "plain") for said in WORDS[part])
BLOCK = r"p|div|h\d|li|td|th|section|button|label|header|summary|option|span|figure|ul|ol|form|a"
END = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z`“\"(\[])|\n\s*\n|\n(?=\s*[-*] )|\n(?=\d+\. )")
FILES = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "templates").rglob("*.html")),
    *sorted((REPOSITORY / "demo").rglob("*.py")),
    *sorted((REPOSITORY / "demo").rglob("*.lua")),
]


def named(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@cache
def prose(path: Path) -> str:
    """What people read of a file: without code, tables and addresses."""
    text = path.read_text()
    match path.suffix:
        case ".md":
            return _of_markdown(text)
        case ".html":
            return _of_template(text)
        case ".lua":
            first, _, rest = text.partition("\n")
            body = re.split(r"(?m)^[^-\n]", rest, maxsplit=1)[-1]  # the header is a table
            return "\n\n".join([first[3:], " ".join(re.findall(r"(?m)^\s*-- (.*)$", body))])
    return "\n\n".join(_of_module(text))


def _of_markdown(text: str) -> str:
    text = re.sub(r"```.*?```|<picture>.*?</picture>", "\n\n", text, flags=re.DOTALL)
    text = re.sub(r"(?m)^\|.*$|^#+ .*$", "\n\n", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"`[^`]*`", "X", text)


def _of_template(text: str) -> str:
    text = re.sub(r"\{#.*?#\}", "", text, flags=re.DOTALL)
    text = re.sub(r"<(table|pre|code|script|svg)\b.*?</\1>", "X", text, flags=re.DOTALL)
    text = re.sub(r"\{%.*?%\}", " ", text, flags=re.DOTALL)
    text = re.sub(r"\{\{.*?\}\}", "X", text, flags=re.DOTALL)
    text = re.sub(rf"</?({BLOCK})\b[^>]*>", "\n\n", text)
    return html.unescape(re.sub(r"<[^>]*>", "", text))


def _of_module(text: str) -> Iterator[str]:
    """Docstrings, and texts of one line with a space in them: what has more is code or HTML."""
    tree = ast.parse(text)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {
        ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, kinds)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            if node.value in docs or "\n" not in node.value and "<" not in node.value:
                yield re.sub(r"`[^`]*`|\w+://\S+", "X", inspect.cleandoc(node.value))


def sentences(text: str) -> list[str]:
    return [" ".join(one.split()) for one in END.split(text)]


def test_the_list_has_grown() -> None:
    assert PAIRS >= 60


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_thing_has_one_name(path: Path) -> None:
    found = [
        f"“{hit[0].strip()}” for “{said}”: {sentence}"
        for sentence in sentences(prose(path))
        if sentence not in WORDS["quoted"]["sentences"]
        for said, instead in INSTEAD.items()
        if (hit := instead.search(sentence))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_sentence_has_more_than_thirty_words(path: Path) -> None:
    """Outside tables, and but for lists of commands."""
    found = [
        f"{len(words)}: {one}"
        for one in sentences(prose(path))
        if len(words := re.findall(r"[a-z’']{2,}", one)) > MOST_WORDS and re.search(r"[.,:;]", one)
    ]
    assert not found, "\n".join(found)
