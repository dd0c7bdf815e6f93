"""The plan of the house, file by file: who may import whom, one name everywhere, what a script's
header promises."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from redis.crc import key_slot

from demo.app import USE_CASES
from demo.client.wire import Client
from demo.teach import packing, pattern_zip
from tests.servers import REPOSITORY

DEMO = REPOSITORY / "demo"
FLOORS = ("client", "observe", "web", "teach")  # each knows those before it
ROOT_ROOMS = {"client": {"config"}, "observe": {"config"}, "web": {"config", "database", "limits"}}
DOORS = {
    *("views", "interface", "guard", "workload_runner", "eviction_runner"),
    *(
        "answering",
        "whole_answers",
        "filled_answers",
        "count_visits",
        "cached_dashboard",
        "board_access",
    ),
    *("transfer_commands", "refusal", "caller", "limits_table"),
    *("visitor", "own_page", "observed_race", "races"),
    "show_me",
    *("notebook", "fork_runner", "monitoring_runner", "own_engine"),
}
FILES = [
    path
    for name in USE_CASES
    for path in sorted((DEMO / name).glob("*.py"))
    if path.stem != "__init__"
]


def is_door(path: Path) -> bool:
    """Whether a file of a use case may know Flask: the views, in several rooms where one is too
    small, and what lessons measure."""
    return path.stem in DOORS or path.stem.endswith("_views") or path.stem.startswith("lesson_")


PATTERNS = [path for path in FILES if not is_door(path)]
DOOR_FILES = [path for path in FILES if is_door(path)]
SCRIPTS = sorted(DEMO.rglob("*.lua"))
PATTERN_PACKAGES = {"redis", "msgspec"}
OTHER_PACKAGES = {
    "serializers": {"zstandard"},
    "encrypted": {"cryptography"},
    "hashing": {"werkzeug"},
}
SQL_FILES = {"products", "outbox", "seed", "accounts", "account_use", "endings"}
CLI_FILES = {"play"}
# Two rooms of the house that know neither Flask nor the pool. Whoever stores what an elected
# process brings has to ask for its token under the leader's name for it; whoever sums up times has
# to read the buckets that they were put into.
SHARED = {
    "demo.client.leader": {"history"},
    "demo.client.changes": {"overview"},
    "demo.observe.redis_sums": {"sampler", "overview"},
}


# What every pattern asks of the client and the prefix that it is given: knows the standard library.
CONTRACT = "demo.client.contract"
PACKAGES = {"demo", *(f"demo.{name}" for name in (*FLOORS, *USE_CASES))}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            found |= {
                f"{node.module}.{alias.name}" if node.module in PACKAGES else str(node.module)
                for alias in node.names
            }
    return found


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


@pytest.mark.parametrize("path", PATTERNS, ids=module_of)
def test_a_pattern_imports_redis_the_standard_library_and_its_siblings(path: Path) -> None:
    allowed = PATTERN_PACKAGES | ({"sqlalchemy"} if path.stem in SQL_FILES else set())
    allowed |= {"click"} if path.stem in CLI_FILES else set()
    allowed |= OTHER_PACKAGES.get(path.stem, set())
    for name in imports(path):
        top = name.partition(".")[0]
        if top == "demo":
            shared = name == CONTRACT or path.stem in SHARED.get(name, set())
            assert shared or name.startswith(f"demo.{path.parent.name}"), (
                f"{module_of(path)} imports {name}"
            )
        else:
            assert top in allowed | set(sys.stdlib_module_names), (
                f"{module_of(path)} imports {name}"
            )


NAMED = re.compile(r"[a-z_]+(, [a-z_]+)*: must |must ")  # "must" alone: a caller adds the name
ROUNDABOUT = re.compile(r"(has|have) to be|(is|are) needed|cannot be negative")


def test_a_pattern_says_of_a_wrong_argument_its_name_and_what_it_must_be() -> None:
    for path in {path for pattern in pattern_zip.offered() for path in packing.modules([pattern])}:
        for told in _refusals(path):
            assert not ROUNDABOUT.search(told), (module_of(path), told)
            known = "must" not in told or path.stem == "redis_url"  # REDIS_URL is said before it
            assert known or NAMED.match(told), (module_of(path), told)


def _refusals(path: Path) -> Iterator[str]:
    """What a file's own ValueErrors and TypeErrors say; a value is shown as the letter x."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("ValueError", "TypeError"):
            for text in ast.walk(node):
                if isinstance(text, ast.JoinedStr):
                    yield "".join(
                        getattr(part, "value", "") if isinstance(part, ast.Constant) else "x"
                        for part in text.values
                    )
                    break
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    yield text.value


@pytest.mark.parametrize("name", sorted(pattern_zip.OF_A_FLOOR))
def test_a_pattern_of_a_floor_imports_redis_and_the_standard_library(name: tuple[str, str]) -> None:
    for imported in imports((DEMO / name[0] / name[1]).with_suffix(".py")):
        known = imported == CONTRACT
        assert known or imported.partition(".")[0] in PATTERN_PACKAGES | set(
            sys.stdlib_module_names
        )


def test_the_contract_of_all_patterns_imports_the_standard_library_alone() -> None:
    for imported in imports((REPOSITORY / CONTRACT.replace(".", "/")).with_suffix(".py")):
        assert imported.partition(".")[0] in sys.stdlib_module_names


@pytest.mark.parametrize("path", DOOR_FILES, ids=module_of)
def test_a_use_case_never_imports_another_nor_the_app(path: Path) -> None:
    for name in imports(path):
        if name.startswith("demo"):
            assert name != "demo.app"
            other = name.split(".")[1] if "." in name else ""
            assert other not in set(USE_CASES) - {path.parent.name}, (
                f"{module_of(path)} imports {name}"
            )


@pytest.mark.parametrize("name", SHARED)
def test_what_patterns_share_imports_redis_the_wire_and_the_standard_library(name: str) -> None:
    for imported in imports((REPOSITORY / name.replace(".", "/")).with_suffix(".py")):
        known = imported in ("demo.client.wire", CONTRACT)
        assert known or imported.partition(".")[0] in {"redis", *sys.stdlib_module_names}


SHARED_FILES = [path for floor in FLOORS for path in sorted((DEMO / floor).glob("*.py"))]


@pytest.mark.parametrize("path", [*sorted(DEMO.glob("*.py")), *SHARED_FILES], ids=module_of)
def test_the_shared_rooms_know_no_use_case(path: Path) -> None:
    for name in imports(path):
        assert not re.match(rf"demo\.({'|'.join(USE_CASES)})\b", name)


@pytest.mark.parametrize("path", SHARED_FILES, ids=module_of)
def test_a_floor_knows_only_those_below_it(path: Path) -> None:
    floor = path.parent.name
    allowed = {*FLOORS[: FLOORS.index(floor) + 1], *ROOT_ROOMS.get(floor, ROOT_ROOMS["web"])}
    for name in imports(path):
        if name.startswith("demo."):
            assert name.split(".")[1] in allowed, f"{module_of(path)} imports {name}"


def test_no_import_runs_in_a_circle() -> None:
    files = {module_of(path): path for path in DEMO.rglob("*.py") if path.stem != "__init__"}
    left = {
        name: {other for other in imports(path) if other in files} for name, path in files.items()
    }
    while free := [name for name, needs in left.items() if not needs]:
        left = {name: needs - set(free) for name, needs in left.items() if name not in free}
    assert not left


def test_every_pattern_imports_where_flask_is_not_installed() -> None:
    lines = "; ".join(f"import {module_of(path)}" for path in PATTERNS)
    code = f"import sys; sys.modules['flask'] = None; {lines}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", USE_CASES)
def test_one_name_everywhere(name: str, app: object) -> None:
    assert (REPOSITORY / "templates" / name / "index.html").exists()
    assert (REPOSITORY / "templates" / name / "_card.html").exists()
    assert list((REPOSITORY / "tests" / name).glob("test_*.py"))
    assert name in app.blueprints  # type: ignore[attr-defined]
    rules = {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint == f"{name}.index"}  # type: ignore[attr-defined]
    assert f"/{name.replace('_', '-')}/" in rules


@pytest.mark.parametrize("path", PATTERNS, ids=module_of)
def test_every_pattern_has_a_test_of_its_name(path: Path) -> None:
    folder = REPOSITORY / "tests" / path.parent.name
    told_elsewhere = {
        "algorithms": "test_playground",
        "headers": "test_guard",
        "rules": "test_guard",
        "timeline": "test_playground",
        "answers": "test_ranking",
        "reader": "test_lesson_files",
        "bodies": "test_views",
        "dashboard": "test_collector",
        "reading": "test_ranking",
        "subscription": "test_stream",
        "upkeep": "test_ranking",
        "viewers": "test_stream",
        "hostile_pickle": "test_serializers",
        "pictures": "test_products",
        "play": "test_views",
        "rooms": "test_stream",
        "seed": "test_products",
        "session_values": "test_session_store",
        "rendered": "test_whole_pages",
        "facts": "test_advisor",
        "checks_memory": "test_advisor",
        "checks_server": "test_advisor",
        "columns": "test_overview",
        "cached_catalog": "test_views",
        "groups": "test_cache_aside",
        "entry": "test_cache_aside",
        "lookup": "test_cache_aside",
        "claims": "test_cache_aside",
        "loading": "test_cache_aside",
    }
    names = [f"test_{path.stem}.py", f"{told_elsewhere.get(path.stem, '-')}.py"]
    assert any((folder / name).exists() for name in names), f"no test of {module_of(path)}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_lies_beside_the_one_module_that_runs_it(script: Path) -> None:
    owners = [path for path in script.parent.glob("*.py") if script.stem.startswith(path.stem)]
    assert len(owners) == 1
    text = owners[0].read_text()
    assert script.name in text or 'with_suffix(".lua")' in text
    others = [path for path in DEMO.rglob("*.py") if path != owners[0] and not is_door(path)]
    assert not [path for path in others if script.name in path.read_text()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_scripts_header_is_true(script: Path) -> None:
    lines = script.read_text().splitlines()
    header = lines[: next(i for i, line in enumerate(lines) if not line.startswith("--"))]
    body = "\n".join(lines[len(header) :])
    assert header[0].startswith(f"-- {script.name}: ")
    assert any("Returns" in line for line in header)
    told = "\n".join(header)
    for kind in ("KEYS", "ARGV"):
        used = {int(number) for number in re.findall(rf"{kind}\[(\d+)", body)}
        documented = {int(number) for number in re.findall(rf"{kind}\[(\d+)", told)}
        assert used <= documented, (
            f"{script.name}: {kind} {used - documented} are not in the header"
        )
        assert documented <= used | set(range(3, 9)), (
            f"{script.name}: {kind} {documented - used} are never read"
        )
    assert "redis.call('KEYS'" not in body
    assert "os.time" not in body


def test_no_forbidden_command_or_serialiser() -> None:
    words = re.compile(
        r"\.keys\(\s*[\"']|\bflushdb\b|\bflushall\b|\.monitor\(|\bpickle\.|decode_responses=True",
        re.IGNORECASE,
    )
    # These two show what pickle costs and what it can do; neither reads it from Redis or from a
    # visitor.
    shown = {DEMO / "catalog" / name for name in ("serializers.py", "hostile_pickle.py")}
    for path in {*DEMO.rglob("*.py"), *SCRIPTS} - shown:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert not words.search(line), f"{path.name}:{number}: {line}"


def test_only_the_pool_opens_connections() -> None:
    """The eviction run is a process of its own, with engines of its own."""
    for path in DEMO.rglob("*.py"):
        if path.name not in ("pool.py", "wire.py", "engine.py", "eviction_runner.py"):
            assert not re.search(r"\bRedis\(|from_url\(", path.read_text()), path


def test_the_keys_of_every_command_share_a_slot_and_are_declared(
    wired: Client, make_app: Callable[..., Flask]
) -> None:
    from demo.observe import trace
    from demo.observe.trace import Asked, record_step
    from tests.every_script import run_every_script

    seen: list[tuple[str, list[str]]] = []
    original = record_step

    def spy(
        kind: str, label: str, began: float, asked: tuple[Asked, ...] = (), sent: bool = True
    ) -> None:
        for args, _ in asked:
            if args[0] == "EVALSHA":
                keys = args[3 : 3 + int(str(args[2]))]
                seen.append(
                    (
                        str(args[1]),
                        [key.decode() if isinstance(key, bytes) else str(key) for key in keys],
                    )
                )
        original(kind, label, began, asked, sent)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "record_step", spy)
        run_every_script(make_app().test_client(), wired)
    assert len({sha for sha, _ in seen}) == len(SCRIPTS)
    for _, keys in seen:
        assert keys
        assert len({key_slot(key.encode()) for key in keys}) == 1, keys
        assert all(re.match(r"demo:[a-z_]+:\{[^{}]+\}", key) for key in keys), keys


def test_nothing_names_the_machine() -> None:
    files = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.split()
    words = re.compile("/work" + "/|/ro" + "ot/")
    for name in files:
        path = REPOSITORY / name
        assert not path.is_symlink(), name  # it leads to where only this machine has something
        if (
            path.suffix
            in (".py", ".md", ".lua", ".html", ".css", ".js", ".yaml", ".toml", ".txt", "")
            and path.is_file()
        ):
            assert not words.search(path.read_text()), name
