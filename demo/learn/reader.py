"""The lessons as data: one file of TOML each, read strictly, in their order.

A file holds the question, the answer in at most WORDS words, and the prediction. It also has the
name of the experiment and what it does, the lines and tests to read, and the next lesson. What an
experiment comes to, and which prediction is right, is never in a file: it is measured.
"""

import ast
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated

import msgspec

FOLDER = Path(__file__).parent / "lessons"
ROOT = Path(__file__).resolve().parent.parent.parent
WORDS = 150
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z-]{1,38}[a-z]$")]


class LessonError(ValueError):
    """A file is not what a lesson has to be; the message names it."""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One arrow of a sequence, from one to the other."""

    source: str
    target: str
    words: str


class Exchange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who says what to whom, in order."""

    title: str
    steps: list[str]

    def arrows(self) -> list[Step]:
        """Each line as an arrow: "source > target: words"."""
        found = []
        for line in self.steps:
            ends, _, words = line.partition(": ")
            source, _, target = ends.partition(" > ")
            found.append(Step(source, target, words))
        return found


class Lesson(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A lesson. `experiment` is "use_case.name"; `read` has "path" or "path name" each, below the
    root of the repository; `tests` has "file::test" below tests/; `pages` are (endpoint, words);
    `peers` names a recorded measurement of other libraries."""

    name: str = ""
    order: int
    question: str
    answer: str
    ask: str
    options: Annotated[dict[Name, str], msgspec.Meta(min_length=2, max_length=5)]
    experiment: str
    about: str
    read: Annotated[list[str], msgspec.Meta(min_length=1)]
    tests: Annotated[list[str], msgspec.Meta(min_length=1)]
    next: str
    topics: list[str]
    pages: list[tuple[str, str]] = []
    sequences: list[Exchange] = []
    peers: str = ""

    @property
    def use_case(self) -> str:
        """Whose experiment it is."""
        return self.experiment.partition(".")[0]

    @property
    def paragraphs(self) -> list[str]:
        """The answer."""
        return [" ".join(part.split()) for part in self.answer.strip().split("\n\n")]


@cache
def lessons() -> dict[str, Lesson]:
    """All lessons by name, in their order. Raises LessonError."""
    return read_folder(FOLDER)


def read_folder(folder: Path) -> dict[str, Lesson]:
    """Those of a folder. Raises LessonError."""
    found = [_read(path) for path in sorted(folder.glob("*.toml"))]
    found.sort(key=lambda lesson: lesson.order)
    known = {lesson.name: lesson for lesson in found}
    for lesson in found:
        if lesson.next and lesson.next not in known:
            raise LessonError(f"{lesson.name}: the next lesson {lesson.next} is not there")
    if len({lesson.order for lesson in found}) < len(found):
        raise LessonError("two lessons have the same order")
    return known


def _read(path: Path) -> Lesson:
    try:
        lesson = msgspec.toml.decode(path.read_bytes(), type=Lesson)
    except msgspec.MsgspecError as error:
        raise LessonError(f"{path.name}: {error}") from None
    if len(lesson.answer.split()) > WORDS:
        raise LessonError(f"{path.name}: the answer has more than {WORDS} words")
    return msgspec.structs.replace(lesson, name=path.stem)


@lru_cache(maxsize=256)
def lines_of(where: str) -> tuple[Path, int, int]:
    """The file, and the first and last line, of "path" or of "path name". Raises LessonError."""
    file, _, name = where.partition(" ")
    path = ROOT / file
    if not path.is_file():
        raise LessonError(f"{where}: there is no such file")
    text = path.read_text()
    if not name:
        return path, 1, len(text.splitlines())
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        node = _inner(node, part, where)
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    return path, first, node.end_lineno or node.lineno


def _inner(node: ast.AST, name: str, where: str) -> ast.AST:
    body: Sequence[ast.AST] = getattr(node, "body", [])
    for each in body:
        if isinstance(each, ast.FunctionDef | ast.ClassDef) and each.name == name:
            return each
    raise LessonError(f"{where}: there is no {name}")
