"""The shape of the house in figures: `python -m tests.shape` prints each measure beside its goal."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
DEMO = REPOSITORY / "demo"
BRANCHES = (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.IfExp, ast.BoolOp, ast.match_case)


def modules() -> list[Path]:
    return sorted(path for path in DEMO.rglob("*.py") if path.stem != "__init__")


def closure(start: Path) -> set[Path]:
    """The files of this project that a file imports as it is imported, and so on, itself included."""
    found, waiting = {start}, [start]
    while waiting:
        for name in _imported(waiting.pop()):
            path = (REPOSITORY / name.replace(".", "/")).with_suffix(".py")
            if path.exists() and path not in found:
                found.add(path)
                waiting.append(path)
    return found


def _imported(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def branching(most: int = 10) -> list[str]:
    """Functions with more than `most` branches."""
    found = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                count = sum(isinstance(each, BRANCHES) for each in ast.walk(node))
                if count > most:
                    found.append(f"{path.relative_to(REPOSITORY)}:{node.name}")
    return found


def comments_in_lua() -> float:
    """Comment lines per 100 lines of Lua, headers left out."""
    comments = whole = 0
    for script in DEMO.rglob("*.lua"):
        lines = script.read_text().splitlines()
        body = lines[next(i for i, line in enumerate(lines) if not line.startswith("--")) :]
        comments += sum(line.lstrip().startswith("--") for line in body)
        whole += len(body)
    return 100 * comments / whole


def long_lines() -> float:
    """Per cent of the lines of Python over 100 characters."""
    lines = [line for path in modules() for line in path.read_text().splitlines()]
    return 100 * sum(len(line) > 100 for line in lines) / len(lines)


def entered_by_a_cached_get() -> tuple[int, int]:
    """Files of demo/ that one warm GET of a product page enters, and how often it changes files."""
    import tempfile

    from werkzeug.test import EnvironBuilder

    from demo.app import close, create_app

    seen: list[str] = []

    def profile(frame: Any, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event in ("call", "return") and name.startswith(str(DEMO)):
            seen.append(name)

    with tempfile.TemporaryDirectory() as folder:
        settings = {"INSTANCE_PATH": folder, "PRODUCTS": 100, "DB_LATENCY_MS": 0}
        app = create_app({**settings, "KEEP_DATA": False, "BACKGROUND": "none"})
        for _ in range(3):
            environ = EnvironBuilder(path="/catalog/products/42").get_environ()
            seen.clear()
            sys.setprofile(profile)
            answer = app.wsgi_app(environ, lambda *_: lambda _: None)
            b"".join(answer)
            sys.setprofile(None)
        close(app)
    return len(set(seen)), sum(a != b for a, b in zip(seen, seen[1:], strict=False))


def pattern_zip_files() -> int:
    import io
    import zipfile

    from demo.teach import pattern_zip

    packed = pattern_zip.pack("rate_limit", "sliding_window")
    names = zipfile.ZipFile(io.BytesIO(packed)).namelist()
    code = [name for name in names if name.startswith("sliding_window/sliding_window/")]
    return sum(name.endswith((".py", ".lua")) for name in code)


def measures() -> Iterator[tuple[str, float, str]]:
    """What is measured, its figure, and the goal."""
    entries = {path.name for path in DEMO.iterdir()} - {"__pycache__", "__init__.py"}
    entered, changes = entered_by_a_cached_get()
    yield "entries in demo/", len(entries), "<= 14"
    yield "files that a cached GET enters", entered, "<= 22"
    yield "changes of file in it", changes, "<= 90"
    yield "modules that the pool imports", len(closure(DEMO / "client" / "pool.py")), "<= 5"
    yield "files of code in the zip of sliding_window", pattern_zip_files(), "<= 8"
    long = [path for path in modules() if len(path.read_text().splitlines()) > 150]
    yield "modules over 150 lines", len(long), "<= 12"
    yield "functions with more than 10 branches", len(branching()), "<= 10"
    yield "comments per 100 lines of Lua", comments_in_lua(), ">= 8"
    yield "lines over 100 characters, per cent", long_lines(), "<= 1"
    readme = re.sub(r"<picture>.*?</picture>", "", (REPOSITORY / "README.md").read_text())
    words = len(readme.split())
    yield "words in README.md", words, "<= 1200"


def main() -> None:
    for what, figure, goal in measures():
        print(f"{what:<40} {figure:>8.6g}   goal {goal}")


if __name__ == "__main__":
    main()
