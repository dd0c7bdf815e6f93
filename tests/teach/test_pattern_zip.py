"""What somebody takes along runs on its own: in an empty folder, under another name, without Flask."""

import ast
import io
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient

from demo.teach import packing, pattern_zip
from demo.teach.packing import CannotTake, Wish
from tests.servers import REPOSITORY

PATTERNS = sorted(pattern_zip.offered())
NO_FLASK = "import sys; sys.modules['flask'] = sys.modules['werkzeug'] = None; import pytest; sys.exit(pytest.main())"
ABOUT_OURS = "demo:<use_case>"
FULL = {  # what a repository has already
    "README.md": "ours",
    "LICENSE": "ours",
    "VERSION": "ours",
    "pyproject.toml": "ours",
    "requirements.txt": "ours",
    "tests/conftest.py": "ours",
    "tests/servers.py": "ours",
    "demo/__init__.py": "ours",
}


def wish(use_case: str, pattern: str, name: str = "carried", prefix: str = "shop") -> Wish:
    return Wish(((use_case, pattern),), name, prefix)


def unpacked(folder: Path, made: Wish) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(pattern_zip.packed(made))) as packed:
        packed.extractall(folder)
        return set(packed.namelist())


@cache
def imported(text: str) -> frozenset[str]:
    """The packages that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


@cache
def siblings(text: str) -> set[str]:
    """The modules of its own package that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
    return found


def test_what_can_be_taken() -> None:
    assert {
        ("catalog", "cache_aside"),
        ("sessions", "session_store"),
        ("rate_limit", "sliding_window"),
        ("leaderboard", "ranking"),
        ("teach", "turns"),
    } <= set(PATTERNS)
    names = {name for _, name in PATTERNS}
    assert {
        *("cart", "second_device", "collector", "strategies", "workload", "playground"),
        *("advisor", "sampler", "reports", "near_cache", "outbox", "leader", "headers"),
        *("rules", "signatures", "upkeep", "stream", "transfer"),
    } <= names


NOT_TAKEN = {  # they are Flask's, as docs/patterns.md says beside them
    *("demo/sessions/interface.py", "demo/sessions/races.py"),
    "demo/sessions/endings.py",
    *("demo/web/before_flask.py", "demo/web/known_devices.py", "demo/rate_limit/guard.py"),
}


def test_every_file_that_docs_name_as_a_pattern_can_be_taken() -> None:
    told = (REPOSITORY / "docs" / "patterns.md").read_text()
    files = set(re.findall(r"\]\(\.\./(demo/[\w/]+\.py)\)", told))
    taken = {f"demo/{use_case}/{name}.py" for use_case, name in PATTERNS}
    assert len(files) > 60
    assert files - taken == NOT_TAKEN & files


@pytest.mark.parametrize("use_case", sorted({use_case for use_case, _ in PATTERNS}))
def test_each_zip_holds_the_running_files_and_whatever_they_import(use_case: str) -> None:
    for case, pattern in PATTERNS:
        if case == use_case:
            _is_whole(packing.tree(wish(use_case, pattern)), pattern)


def _is_whole(files: dict[str, bytes], pattern: str) -> None:
    root = "carried/carried/"
    made = {"README.md", "LICENSE", "VERSION", "pyproject.toml", "tests/conftest.py"}
    assert {f"{root}{pattern}.py", *(f"carried/{name}" for name in made)} <= files.keys()
    assert all(name.startswith("carried/") for name in files)
    taken = tomllib.loads(files["carried/pyproject.toml"].decode())["project"]
    asked = [*taken["dependencies"], *taken["optional-dependencies"]["test"]]
    lines = {name.lower() for line in asked for name in re.findall(r"^[\w.-]+|(?<=\[)\w+", line)}
    modules = {Path(name).stem for name in files if name.startswith(root) and ".py" in name}
    helpers = {Path(name).stem for name in files if name.startswith("carried/tests/")}
    for name, raw in files.items():
        text, inside = raw.decode(), name.startswith(root)
        assert "demo:" not in text.replace(ABOUT_OURS, ""), (pattern, name)
        if inside and name.endswith(".lua"):
            assert raw in lua_texts()
        if not name.endswith(".py"):
            continue
        assert siblings(text) <= modules, (pattern, name)
        assert not inside or set(re.findall(r'"(\w+\.lua)"', text)) <= {
            Path(each).name for each in files
        }
        for module in imported(text) - set(sys.stdlib_module_names):
            if inside:
                assert module not in ("carried", "tests"), (pattern, name)
            elif module in {"carried"} | helpers:
                continue
            assert module in distributions(), (pattern, name, module)
            known = {each.lower() for each in distributions()[module]}
            assert lines & known, (pattern, name, module)


@cache
def lua_texts() -> frozenset[bytes]:
    return frozenset(path.read_bytes() for path in (REPOSITORY / "demo").rglob("*.lua"))


distributions = cache(packages_distributions)


def test_the_tests_of_a_zip_ask_for_no_fixture_of_this_app() -> None:
    ours = fixtures((REPOSITORY / "tests" / "conftest.py").read_text())
    taken = fixtures((packing.TAKEN_ALONG / "conftest.py.txt").read_text())
    assert {"web", "make_app"} <= ours and taken == {"client", "redis_url"}
    for path in packing.tests_of(PATTERNS):
        text = path.read_text()
        asked = {
            argument.arg
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
            for argument in node.args.args
        }
        assert not asked & (ours - taken - fixtures(text)), path


def fixtures(text: str) -> set[str]:
    """The fixtures that a file makes."""
    return {
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
        and any("fixture" in ast.unparse(each) for each in node.decorator_list)
    }


def test_the_zip_of_a_limiter_is_a_few_files() -> None:
    names = packing.tree(wish("rate_limit", "sliding_window"))
    code = [name for name in names if name.startswith("carried/carried/")]
    assert sum(name.endswith((".py", ".lua")) for name in code) <= 8
    assert len(names) <= 16


def test_the_same_version_is_the_same_bytes() -> None:
    made = wish("rate_limit", "gcra")
    assert pattern_zip.packed(made) == pattern_zip.packed(made)
    told = packing.tree(made)["carried/VERSION"].decode()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True
    ).stdout.strip()
    assert told.startswith(f"commit {commit or 'unknown'}\ndate ")
    other = packing.tree(wish("rate_limit", "gcra", prefix="other"))["carried/VERSION"].decode()
    assert told != other


def test_another_prefix_stands_in_one_place(tmp_path: Path) -> None:
    unpacked(tmp_path, wish("rate_limit", "gcra", prefix="shop:eu"))
    code = (
        "import redis\nfrom carried.gcra import Gcra\nfrom carried.limiter import Quota\n"
        "print(Gcra(redis.Redis(), 'a', Quota(1, 1)).redis_keys('me')[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "carried", capture_output=True, text=True
    )
    assert done.stdout.strip() == "shop:eu:rate_limit:{a:me}", done.stderr


def test_unzip_in_a_full_repository_changes_no_file_that_was_there(tmp_path: Path) -> None:
    for name, text in FULL.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for use_case, pattern in PATTERNS:
        unpacked(tmp_path, Wish(((use_case, pattern),)))
    assert {name: (tmp_path / name).read_text() for name in FULL} == FULL


@pytest.mark.long
def test_the_tests_of_a_zip_pass_in_an_empty_folder_where_flask_is_not(tmp_path: Path) -> None:
    unpacked(tmp_path, wish("sessions", "second_device"))
    told = _run([sys.executable, "-c", NO_FLASK], tmp_path / "carried")
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
        names = unpacked(folder, wish(use_case, pattern))
        tests = "".join(sorted(name for name in names if "/test_" in name))
        if tests in run:  # several patterns are tested together
            continue
        run.add(tests)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        install += ["--disable-pip-version-check", "./carried[test]"]
        subprocess.run(install, cwd=folder, check=True)
        told = _run([str(python), "-m", "pytest"], folder / "carried")
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
        if not name.startswith(("PYTEST", "TEST_REDIS")) and name != "CI"
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


QUERY = (
    "pattern=rate_limit/gcra&pattern=catalog/lease&package=counting&prefix=shop&example=rq_leader"
)


def test_the_page_shows_the_tree_its_size_and_a_curl_line_for_the_same(web: FlaskClient) -> None:
    page = web.get(f"/take/?{QUERY}").text
    found = re.search(r"curl -o counting\.zip 'http://localhost(/take/[^']+)'", page)
    assert found
    data = web.get(found[1].replace("&amp;", "&")).data
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        names = packed.namelist()
    size = f"{len(data):,}".replace(",", "\u202f")
    assert f"{len(names)} files, {size} bytes" in page
    assert all(f"<code>{name}</code>" in page for name in names)
    sources = re.findall(r'<a href="(/docs/source/[^"]+)"><code>', page)
    assert {"/docs/source/demo/rate_limit/gcra.py", "/docs/source/demo/catalog/lease.lua"} <= set(
        sources
    )
    assert page.count(" checked") == 3  # two patterns and an example
    for source in sources:
        assert web.get(source).status_code == 200
    assert {"counting/counting/gcra.lua", "counting/examples/rq_leader.py"} <= set(names)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("pattern=sessions/views", "there is no sessions/views"),
        ("pattern=rate_limit/gcra&package=../x", "name: "),
        ("pattern=rate_limit/gcra&package=redis", "name: "),
        ("pattern=rate_limit/gcra&prefix={x}", "prefix: "),
        ("pattern=rate_limit/gcra&example=nothing", "examples: "),
        ("pattern=rate_limit/gcra&pattern=catalog/lease&package=lease", "one of its modules"),
        ("pattern=%00", "there is no"),
    ],
)
def test_what_cannot_be_taken_is_told_on_the_page(web: FlaskClient, query: str, words: str) -> None:
    answer = web.get(f"/take/?{query}")
    assert answer.status_code == 400 and words in answer.text
    assert web.get(f"/take/patterns.zip?{query}").status_code == 404


def test_the_page_without_a_choice_offers_every_pattern(web: FlaskClient) -> None:
    page = web.get("/take/").text
    assert all(page.count(f'value="{case}/{name}"') == 1 for case, name in PATTERNS)
    first = page.partition("Start with these")[2].partition("</fieldset>")[0]
    assert re.findall(r'value="\w+/(\w+)"', first) == [name for _, name in pattern_zip.MOST_WANTED]
    assert 'ranking <span class="label">a leaderboard</span>' in first
    assert web.get("/take/patterns.zip").status_code == 404


def take(app: Flask, *arguments: str) -> tuple[int, str]:
    done = app.test_cli_runner().invoke(args=["take", *arguments])
    return done.exit_code, done.output


def test_the_command_writes_what_the_zip_holds_and_nothing_over_anything(
    app: Flask, tmp_path: Path
) -> None:
    assert isinstance(app.test_cli_runner(), CliRunner)
    tmp_path = tmp_path / "project"  # the app keeps its own files beside
    tmp_path.mkdir()
    into = ("--into", str(tmp_path), "--package", "counting", "--prefix", "shop")
    assert take(app, "gcra", *into)[0] == 0
    expected = packing.tree(Wish((("rate_limit", "gcra"),), "counting", "shop"))
    written = {
        path.relative_to(tmp_path).as_posix(): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert written == expected
    (tmp_path / "counting" / "README.md").write_text("ours by now")
    code, said = take(app, "rate_limit/gcra", "lease", *into)
    assert code == 1 and "is there already" in said
    assert (tmp_path / "counting" / "README.md").read_text() == "ours by now"
    assert take(app, "nothing", *into) == (1, "Error: patterns: there is no nothing\n")
    code, said = take(app, "gcra", "--into", str(tmp_path / "nowhere"))
    assert code == 1 and "is no folder" in said


def test_what_a_zip_shows_of_retry_after_is_rounded_up() -> None:
    told = [path.read_text() for path in packing.TAKEN_ALONG.glob("uses/*.txt")]
    told = [text for text in told if "Retry-After" in text]
    assert len(told) == 6 and all("rounded up, 1 at least" in text for text in told)
    assert not any(":.0f}" in text for text in told)  # 0.4 s would be 0


def test_a_wish_for_nothing_is_none() -> None:
    with pytest.raises(CannotTake, match="at least one"):
        Wish(())
    with pytest.raises(CannotTake, match="cannot be taken"):
        Wish((("sessions", "views"),))
