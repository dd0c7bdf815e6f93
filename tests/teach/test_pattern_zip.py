"""What a visitor takes along runs on its own: in an empty folder, without Flask."""

import ast
import io
import os
import re
import subprocess
import sys
import zipfile
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from demo.teach import pattern_zip
from tests.servers import REPOSITORY

PATTERNS = sorted(pattern_zip.offered())
NO_FLASK = "import sys; sys.modules['flask'] = sys.modules['werkzeug'] = None; import pytest; sys.exit(pytest.main())"
MADE = pattern_zip.MADE


def unpacked(folder: Path, use_case: str, pattern: str) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(pattern_zip.pack(use_case, pattern))) as packed:
        packed.extractall(folder)
        return set(packed.namelist())


@cache
def imported(text: str) -> frozenset[str]:
    """The packages that a file imports as it is imported itself."""
    found: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


def test_what_can_be_taken() -> None:
    assert {
        ("catalog", "cache_aside"),
        ("sessions", "session_store"),
        ("rate_limit", "sliding_window"),
        ("leaderboard", "ranking"),
        ("teach", "turns"),
    } <= set(PATTERNS)


def test_each_zip_holds_the_running_files_and_whatever_they_import(tmp_path: Path) -> None:
    for use_case, pattern in PATTERNS:
        names = unpacked(tmp_path, use_case, pattern)
        assert {f"demo/{use_case}/{pattern}.py", *MADE} <= names
        assert len(names) <= 15
        for name in names - set(MADE):
            original = REPOSITORY / name
            assert (tmp_path / name).read_bytes() == original.read_bytes()
            scripts = original.parent.glob(f"{original.stem}*.lua")
            assert {script.relative_to(REPOSITORY).as_posix() for script in scripts} <= names, (
                pattern,
                name,
            )
            if name.startswith("tests/"):
                opened = set(re.findall(r'REPOSITORY / "([^"]+)"', (tmp_path / name).read_text()))
                assert opened <= names, (pattern, name, opened)
            for module in re.findall(
                r"^from ((?:demo|tests)[.\w]*) import", (tmp_path / name).read_text(), re.MULTILINE
            ):
                path = module.replace(".", "/")
                package = any(name.startswith(f"{path}/") for name in names)
                assert f"{path}.py" in names or package, (pattern, name, module)


def test_each_zip_asks_for_the_packages_that_it_imports(tmp_path: Path) -> None:
    distributions = packages_distributions()
    for use_case, pattern in PATTERNS:
        names, asked = (
            unpacked(tmp_path, use_case, pattern),
            (tmp_path / "requirements.txt").read_text(),
        )
        lines = {re.split(r"[\[>=]", line)[0].lower() for line in asked.splitlines()}
        for name in sorted(names):
            for module in imported((tmp_path / name).read_text()) if name.endswith(".py") else ():
                if module not in sys.stdlib_module_names | {"demo", "tests"}:
                    assert lines & {each.lower() for each in distributions[module]}, (
                        pattern,
                        name,
                        module,
                    )


@pytest.mark.long
def test_the_tests_of_a_zip_pass_in_an_empty_folder_where_flask_is_not(tmp_path: Path) -> None:
    unpacked(tmp_path, "sessions", "second_device")
    told = _run([sys.executable, "-c", NO_FLASK], tmp_path)
    assert told.returncode == 0, told.stdout[-3000:]
    assert " passed" in told.stdout and " skipped" not in told.stdout


@pytest.mark.skipif(
    "TEST_MANY" not in os.environ, reason="runs the tests of every pattern: TEST_MANY=1"
)
@pytest.mark.long
def test_the_tests_of_every_zip_pass_in_an_empty_environment(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    run: set[str] = set()
    for use_case, pattern in PATTERNS:
        folder = tmp_path / use_case / pattern
        names = unpacked(folder, use_case, pattern)
        tests = "".join(sorted(name for name in names if "/test_" in name))
        if tests in run:  # several patterns are tested together
            continue
        run.add(tests)
        install = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            "requirements.txt",
        ]
        subprocess.run(install, cwd=folder, check=True)
        told = _run([str(python), "-m", "pytest"], folder)
        assert told.returncode == 0, (pattern, told.stdout[-3000:])
    assert (
        subprocess.run(
            [str(python), "-c", "import flask"], capture_output=True, check=False
        ).returncode
        != 0
    )


def _run(python: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    outside = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTEST") and name != "CI"
    }
    outside["PYTEST_ADDOPTS"] = "-q -p no:cacheprovider"
    return subprocess.run(
        python, cwd=folder, env=outside, capture_output=True, text=True, check=False
    )


def test_it_is_offered_beside_the_code(web: FlaskClient) -> None:
    page = web.get("/rate-limit/").text
    assert 'href="/take/rate_limit/sliding_window.zip"' in page
    answer = web.get("/take/rate_limit/sliding_window.zip")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="sliding_window.zip"'
    assert zipfile.is_zipfile(io.BytesIO(answer.data))


@pytest.mark.parametrize(
    "path", ["rate_limit/views", "rate_limit/..", "monitor/nothing", "sessions/interface", "x/y"]
)
def test_nothing_else_can_be_taken(web: FlaskClient, path: str) -> None:
    assert web.get(f"/take/{path}.zip").status_code == 404
