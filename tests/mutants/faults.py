"""What a fault is, and which files faults are put into."""

import ast
import functools
import random
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.servers import REPOSITORY

EQUIVALENT = Path(__file__).with_name("equivalent.toml")


@dataclass(frozen=True)
class Fault:
    """One change of one file; `make` gives the whole text with it."""

    file: str
    line: int
    kind: str
    make: Callable[[], str]

    @functools.cached_property
    def text(self) -> str:
        return self.make()

    @functools.cached_property
    def change(self) -> tuple[int, str, str]:
        """The first line that is another, what stood there, and what stands there now."""
        before = (REPOSITORY / self.file).read_text().splitlines()
        after = self.text.splitlines()
        first = _alike(before, after)
        last = _alike(before[:first:-1], after[:first:-1])
        was, now = before[first : len(before) - last], after[first : len(after) - last]
        return first + 1, " ".join(map(str.strip, was)), " ".join(map(str.strip, now))


def _alike(one: list[str], other: list[str]) -> int:
    """How many lines are the same before the first that is not."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def files(paths: list[str]) -> list[str]:
    """The code in these files and folders, relative to the repository."""
    found: set[str] = set()
    for given in paths:
        path = (REPOSITORY / given).resolve()
        each = [path] if path.is_file() else [*path.rglob("*.py"), *path.rglob("*.lua")]
        if not each:
            raise SystemExit(f"{given}: no Python or Lua file")
        found |= {str(file.relative_to(REPOSITORY)) for file in each}
    return sorted(found)


def of_file(file: str) -> list[Fault]:
    """Every fault that the operators can put into a file."""
    from tests.mutants import lua_faults, python_faults  # slow to import, and not for the workers

    source = (REPOSITORY / file).read_text()
    found = (lua_faults if file.endswith(".lua") else python_faults).faults(source)
    return [Fault(file, line, kind, make) for line, kind, make in found]


def sample(found: list[Fault], count: int, seed: int) -> list[Fault]:
    """So many, by chance, of lines that are as many as possible: a line with many arguments has
    many faults, and is no more likely to be wrong for that."""
    chance, seen = random.Random(seed), Counter[tuple[str, int]]()
    ordered: list[tuple[int, int, Fault]] = []
    for number, fault in enumerate(chance.sample(found, len(found))):
        seen[fault.file, fault.line] += 1
        ordered.append((seen[fault.file, fault.line], number, fault))
    return [fault for *_, fault in sorted(ordered, key=lambda each: each[:2])[:count]]


def equivalents() -> dict[tuple[str, str, str], str]:
    """The faults that change nothing which anybody was promised, each with the reason."""
    listed = tomllib.loads(EQUIVALENT.read_text()).get("equivalent", [])
    return {(each["file"], each["was"], each["becomes"]): each["reason"] for each in listed}


def promise(file: str, line: int) -> str:
    """The first sentence of the docstring, or of the comment, nearest above a line."""
    source = (REPOSITORY / file).read_text()
    told = _comment(source, line) if file.endswith(".lua") else _docstring(source, line)
    return " ".join(told.split()).partition(". ")[0].rstrip(".")


def _docstring(source: str, line: int) -> str:
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, documented)
        and (isinstance(node, ast.Module) or node.lineno <= line <= (node.end_lineno or 0))
    ]
    return next((told for node in reversed(around) if (told := ast.get_docstring(node))), "")


def _comment(source: str, line: int) -> str:
    lines, told = source.splitlines()[:line], list[str]()
    for each in reversed(lines):
        bare = each.strip()
        if bare.startswith("--"):
            told.insert(0, bare.lstrip("- "))
        elif told:
            break
    return " ".join(told)


def statements(source: str) -> Iterator[range]:
    """The lines of each statement of Python; of a compound one, those of its head."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if body else node.end_lineno
            yield range(node.lineno, max(node.lineno, end or 0) + 1)


def in_a_function(source: str, line: int) -> bool:
    """Whether a line runs when something is called, and not once, on import, for whoever is first."""
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body[0].lineno <= line <= (node.end_lineno or 0)
        for node in ast.walk(ast.parse(source))
    )
