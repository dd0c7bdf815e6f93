"""The tests behind what the pages say: each trap leads to the one that forces it, shown as it
stands in its file."""

import ast
from functools import cache, lru_cache

from flask import Blueprint, render_template, url_for
from werkzeug.exceptions import NotFound

from demo.config import REPOSITORY
from demo.teach import listing

TESTS = REPOSITORY / "tests"
bp = Blueprint("test_pages", __name__, url_prefix="/tests", cli_group=None)


@bp.get("/<path:file>/<test>")
def show(file: str, test: str) -> str:
    """One test: what it says, its lines, and how to run it."""
    if file not in _files() or test not in _tests(file):
        raise NotFound("This test does not exist.")
    return render_template(
        "test_page.html",
        sentence=sentence(test),
        # What several files share has no runner of its own: its folder runs it.
        run=f"{file}::{test}" if _is_collected(file) else f"{file.rpartition('/')[0]} -k {test}",
        listing=_listing(file, test),
    )


def link(node: str) -> tuple[str, str]:
    """Where the test `file.py::test_name` is shown, and what it says."""
    file, _, test = node.partition("::")
    return url_for("test_pages.show", file=file, test=test), sentence(test)


def sentence(test: str) -> str:
    """The name of a test as words."""
    return test.removeprefix("test_").replace("_", " ").capitalize()


@cache
def _files() -> frozenset[str]:
    found = [*TESTS.rglob("test_*.py"), *TESTS.rglob("*_tests.py")]
    return frozenset(path.relative_to(TESTS).as_posix() for path in found)


def _is_collected(file: str) -> bool:
    return file.rpartition("/")[2].startswith("test_")


@lru_cache(maxsize=128)
def _tests(file: str) -> dict[str, tuple[int, int]]:
    """First and last line of each test of a file, its decorators included, in its classes too."""
    tree = ast.parse((TESTS / file).read_text())
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    functions = [
        node
        for body in bodies
        for node in body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    return {
        node.name: (
            min([node.lineno, *(each.lineno for each in node.decorator_list)]),
            node.end_lineno or node.lineno,
        )
        for node in functions
    }


@lru_cache(maxsize=128)
def _listing(file: str, test: str) -> listing.Listing:
    first, last = _tests(file)[test]
    return listing.of_lines(TESTS / file, first, last)
