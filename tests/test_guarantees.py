"""docs/guarantees.md names a test for each guarantee that the docstring of a pattern states.

What a docstring promises is told by its words: a sentence with one of PROMISES in it needs a row,
whose guarantee is that sentence or a part of it. Other guarantees may have rows too.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.servers import REPOSITORY

PROMISES = re.compile(
    r"\b(never|at most|exactly|cannot|nobody|nothing|always|no two)\b|(?<!at )\bonce\b(?! a second)",
    re.IGNORECASE,
)
ROW = re.compile(
    r"\| \[`[^`]+`\]\(\.\./(demo/[^)]+)\) \| (.+) \| \[`(\w+)`\]\(\.\./(tests/[^)]+)\) \|"
)
DOCS = REPOSITORY / "docs"
LINES = [line for line in (DOCS / "guarantees.md").read_text().splitlines() if "](../demo" in line]
ROWS = [found.groups() for line in LINES if (found := ROW.fullmatch(line))]
PATTERNS = [
    line for line in (DOCS / "patterns.md").read_text().splitlines() if "](../demo/" in line
]
FILES = sorted({path for line in PATTERNS for path in re.findall(r"\.\./(demo/[^)]+\.py)", line)})


def plain(text: str) -> str:
    return " ".join(text.split())


@cache
def docstrings(path: Path) -> tuple[str, ...]:
    """Of a module the docstring first, then those of its classes and functions."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    return tuple(ast.get_docstring(node) or "" for node in nodes)


def sentences(docstring: str) -> list[str]:
    """A paragraph and a point of a list end a sentence too."""
    paragraphs = re.split(r"\n\n|\n- ", docstring)
    return [
        one for each in paragraphs for one in re.split(r"(?<=[.!?:;])\s+(?=[A-Z`])", plain(each))
    ]


def test_every_row_is_read() -> None:
    assert len(ROWS) == len(LINES) > 100


@pytest.mark.parametrize("path", sorted({path for path, *_ in ROWS}))
def test_a_guarantee_is_stated_by_its_pattern(path: str) -> None:
    said = [plain(each) for each in docstrings(REPOSITORY / path)]
    for row, guarantee, *_ in ROWS:
        if row == path:
            assert any(guarantee in each for each in said), guarantee


@pytest.mark.parametrize("path", sorted({path for *_, path in ROWS}))
def test_each_test_is_there(path: str) -> None:
    tree = ast.parse((REPOSITORY / path).read_text())
    there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for *_, name, row in ROWS:
        assert row != path or (name.startswith("test_") and name in there), name


@pytest.mark.parametrize("path", FILES)
def test_what_a_docstring_promises_stands_in_the_table(path: str) -> None:
    kept = [guarantee for row, guarantee, *_ in ROWS if row == path]
    for sentence in sentences(docstrings(REPOSITORY / path)[0]):
        if PROMISES.search(sentence):
            assert any(guarantee in sentence for guarantee in kept), sentence


def test_every_pattern_has_a_row() -> None:
    known = {path for path, *_ in ROWS}
    for line in PATTERNS:
        if not line.startswith("| "):
            continue  # told in passing
        files = set(re.findall(r"\.\./(demo/[^)]+\.py)", line))
        assert files & known, line
