"""README and docs are executed: tables are compared with the code, commands are run, links are followed."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo import config, limits
from demo.analytics.collector import Collector
from demo.app import USE_CASES
from demo.client import changes, engine, refusals, told_again
from demo.client.breaker import BreakerOpen
from demo.client.leader import Leader
from demo.client.permissions import OPTIONAL
from demo.client.redis_url import OPTIONS, parse
from demo.client.told_again import ToldAgain
from demo.client.wire import Client
from demo.config import SETTINGS
from demo.database import Database
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.signatures import Signatures, sign
from demo.limits import RateLimit
from demo.monitor.reports import Reporter
from demo.monitor.sampler import Sampler
from demo.teach import busy
from demo.teach.busy_runner import Told
from demo.teach.turns import Turns, Who
from demo.web.services import part, services
from tests import users, wired
from tests.servers import REPOSITORY, until
from tests.serving import serve
from tests.test_work import MOST_CALLS
from tests.writes import WRITES, Room

PAGES = {
    path: path.read_text()
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
}
README = PAGES[REPOSITORY / "README.md"]
WHOLE = "\n".join(PAGES.values())
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", WHOLE, re.DOTALL)
COMMANDS = list(
    dict.fromkeys(
        line.partition(" #")[0].strip()
        for language, block in BLOCKS
        if language == "sh"
        for line in block.splitlines()
        if line.strip()
    )
)


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading."""
    section = re.split(rf"(?m)^#+ {heading}$", WHOLE)[1]
    section = re.split(r"(?m)^#+ ", section)[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    table = {cells[0].strip("`"): cells for cells in rows("Settings")}
    for setting in SETTINGS.values():
        default = "empty" if setting.default == "" else f"`{json.dumps(setting.default)}`"
        if setting.env == "DEMO_RATE_LIMITS":  # too long for a cell
            default = "[see below](#default-rate-limits)"
            (below,) = (text for language, text in BLOCKS if language == "json")
            assert json.loads(below) == setting.default
        assert table.pop(setting.env)[1:] == [default, setting.about]
    assert set(table) == {"PORT", "WEB_CONCURRENCY"}


def test_every_field_of_a_limit_stands_in_the_table_with_its_default() -> None:
    told = {}
    for names, defaults, _ in rows("Fields of a limit"):
        told.update(
            zip(re.findall(r"`(\w+)`", names), re.findall(r"`([^`]+)`", defaults), strict=False)
        )
    fields = {field.name: field.default for field in msgspec.structs.fields(RateLimit)}
    needed = ("limit", "window_seconds", "quotas")
    assert told == {
        name: json.dumps(default) for name, default in fields.items() if name not in needed
    }
    assert {
        name for names, *_ in rows("Fields of a limit") for name in re.findall(r"`(\w+)`", names)
    } == set(fields)


def test_the_tables_of_redis_servers_are_those_of_the_code() -> None:
    options = [name for cells in rows("The URL") for name in re.findall(r"`(\w+)`", cells[0])]
    assert set(options) == set(OPTIONS) and len(options) == len(OPTIONS)
    assert {cells[0].strip("`"): cells[1] for cells in rows("What can be missing")} == OPTIONAL
    told = [
        [
            kind.name,
            kind.sentence,
            f"after {kind.retry_after_seconds} s" if kind.retry_after_seconds else "no",
            "yes" if kind.away else "no",
        ]
        for kind in refusals.ALL
    ]
    assert rows("Refusals") == told


def test_the_least_users_are_told_as_the_code_knows_them(app: Flask) -> None:
    text = PAGES[REPOSITORY / "docs" / "redis-servers.md"]
    told = [" ".join(found.split()) for found in re.findall(r"```\n(ACL SETUSER[^`]*)```", text)]
    needs = services(app).needs
    rights = [users.everything(needs), users.four(needs), users.scores()]
    assert told == [f"ACL SETUSER demo on >PASSWORD {each}" for each in rights]


def test_a_password_is_written_by_the_command_of_the_page_as_it_has_to_be() -> None:
    (command,) = (command for command in COMMANDS if command.startswith("python3 -c"))
    done = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]], capture_output=True, text=True, check=True
    )
    assert parse(f"redis://me:{done.stdout.strip()}@h").password == shlex.split(command)[-1]


WIRED = {  # how a first cell begins, in the order of the tables, and what is counted for it
    "`cache_aside.py`": wired.cache_aside,
    "cashews": wired.cashews,
    "dogpile.cache": wired.dogpile,
    "Flask-Caching": wired.flask_caching,
    "fastapi-redis-sdk 0.9.1, an endpoint": wired.fastapi_redis_sdk,
    "`session_store.py`": wired.session_store,
    "django-redis": wired.django_sessions,
    "fastapi-redis-sdk": wired.sdk_sessions,
    "`sliding_window.py`": wired.sliding_window,
    "limits 5.8.0, moving window, the same": wired.limits,
    "limits": wired.limits_alone,
    "throttled-py": wired.throttled,
    "fastapi-redis-sdk 0.9.1, fixed": wired.sdk_limiter,
    "`ranking.py`": wired.ranking,
    "leaderboard": wired.leaderboard,
}


def test_the_lines_to_wire_in_are_counted() -> None:
    page = PAGES[REPOSITORY / "docs" / "taking.md"].partition("## Beside other")[2]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    told = [cells for cells in table if cells and cells[-1].isdecimal()]
    for cells, (begins, wiring) in zip(told, WIRED.items(), strict=True):
        assert cells[0].startswith(begins)
        assert int(cells[-1]) == wired.lines(wiring), cells[0]


def test_every_use_case_and_file_of_the_table_is_there() -> None:
    lines = PAGES[REPOSITORY / "docs" / "patterns.md"].splitlines()
    table = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| ")]
    assert {f"`/{name.replace('_', '-')}/`" for name in USE_CASES} <= {cells[2] for cells in table}


def test_every_section_of_patterns_says_what_is_guaranteed_and_what_is_not() -> None:
    page = PAGES[REPOSITORY / "docs" / "patterns.md"]
    sections = [each for each in re.split(r"(?m)^## ", page) if "\n| pattern |" in each]
    assert len(sections) >= 9
    for section in sections:
        table, *told = re.split(r"\n\*\*(It guarantees|Its limits|Round trips)\*\*", section)
        assert "](../demo/" in table, section
        assert told[::2] == ["It guarantees", "Its limits", "Round trips"]
        assert told[1].count("\n- ") > 2 < told[3].count("\n- ")
        assert all(re.search(r"\d|apart", line) for line in told[5].split("\n- ")[1:])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGES[path]):
        assert target.startswith("https://") or (path.parent / target).exists(), target


PICTURE = re.compile(r"<picture>.*?</picture>")


def test_the_readme_is_one_screen_and_leads_to_every_page() -> None:
    assert len(PICTURE.sub("", README).split()) <= 1200
    assert all(f"(docs/{path.name})" in README for path in PAGES if path.parent.name == "docs")


def glossary() -> dict[str, re.Pattern[str]]:
    """By anchor of the glossary, the forms of its term in a text."""
    page = PAGES[REPOSITORY / "docs" / "glossary.md"]
    forms = {
        "Circuit breaker": "(?:circuit )?breakers?",
        "Evicted": "evict(?:s|ed|ing|ion)?",
        "Expired": "expire[sd]?",
        "Invalidate": "invalidat(?:e|es|ed|ing|ions?)",
        "Lock": "locks?(?!-)",
        "Median, p95": "median|p95",
        "Miss": "miss(?:es)?",
        "Primary": "primar(?:y|ies)",
        "Replication id": "replication ids?",
        "Server-sent events": "server-sent events|SSE",
        "Stale": "stale",
        "Stream": "Redis streams?",  # live boards have streams of another kind
    }
    found = {}
    for term in re.findall(r"(?m)^## (.+)$", page):
        form = forms.get(term, rf"{re.escape(term)}s?")
        anchor = re.sub(r"[^\w -]", "", term.lower()).replace(" ", "-")
        exact = 0 if term.isupper() else re.IGNORECASE
        found[anchor] = re.compile(rf"(?<![\w/-])(?:{form})(?!\w)", exact)
    return found


def prose(page: str) -> str:
    """Its text without its first lines, headings, tables, code and other links."""
    page = page.split("\n", 3)[3]
    page = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    page = re.sub(r"(?m)^(\||#).*$", "", page)
    page = re.sub(r"\[[^]]*\]\((?!glossary\.md#)[^)]*\)", "", page)
    return re.sub(r"(?<!\[)`[^`]*`", "", page)


def test_the_first_use_of_a_term_on_a_page_leads_to_the_glossary() -> None:
    for path, text in PAGES.items():
        if path.parent.name != "docs" or path.name == "glossary.md":
            continue
        left = " ".join(PICTURE.sub("", prose(text)).split())
        for anchor, form in glossary().items():
            plain = re.sub(r"\]\(glossary\.md#[^)]*\)", lambda link: " " * len(link[0]), left)
            if first := form.search(plain):
                after = left[first.end() :]
                linked = after.startswith(f"](glossary.md#{anchor})")
                assert linked, f"{path.name}: link the first “{first[0]}” to glossary.md#{anchor}"


def test_every_page_says_first_who_it_is_for() -> None:
    for path, text in PAGES.items():
        if path.parent.name == "docs":
            assert text.split("\n")[2].startswith("For "), path.name


def test_the_measurements_are_those_of_the_tests_and_of_make_bench() -> None:
    for name, _, test in rows("Round trips per request"):
        found = re.fullmatch(r"\[`(test_\w+)`\]\(\.\./(tests/\S+)\)", test)
        assert found and f"def {found[1]}(" in (REPOSITORY / found[2]).read_text(), name
    calls = {what: (int(old), int(new)) for what, old, new in rows("Python calls per request")}
    assert calls == MOST_CALLS
    sections = {
        name
        for cells in rows("Times, next to another time of the same run")
        for name in re.findall(r"`(\w+)`", cells[0])
    }
    bench = (REPOSITORY / "tests" / "bench" / "__main__.py").read_text()
    assert sections == set(re.findall(r'(?m)^    "(\w+)": \w+,$', bench))


def key_patterns() -> dict[str, re.Pattern[str]]:
    patterns = {}
    for cells in rows("Keys"):
        name = cells[0].strip("`")
        text = "".join(
            ".+?" if part.startswith("<") else re.escape(part)
            for part in re.split(r"(<[^>]+>)", name)
        )
        patterns[name] = re.compile(text + r"(:members|:distinct|:watched)?")
    return patterns


def test_every_key_of_a_run_stands_in_the_table_and_expires(
    wired: Client, make_app: object
) -> None:
    patterns, unseen = key_patterns(), set(key_patterns())

    def look() -> None:
        """After each step: some live for seconds only, and steps may take as long."""
        for key in wired.scan_iter("demo:*"):
            name = key.decode()
            known = [table for table, pattern in patterns.items() if pattern.fullmatch(name)]
            assert known, f"{name} is in no table of docs/keys.md"
            unseen.difference_update(known)
            assert wired.pttl(key) != -1, f"{name} never expires"

    # First, and in an app of its own: it takes time from all keys.
    for _ in WRITES["a_run_of_the_eviction_lab"](Room(wired, make_app)):  # type: ignore[arg-type]
        look()
    app = make_app()  # type: ignore[operator]
    web = app.test_client()
    for path in ("products/42", "?category=lamps", "?q=nothing-like-it", "products/999999"):
        web.get(f"/catalog/{path}")
        look()
    web.patch("/catalog/api/products/42", json={"price_cents": 1})
    web.get("/catalog/lab/encryption/")
    look()
    run = web.post("/catalog/lab/", data={"operations": "20", "latency_ms": "0"}).location
    look()
    until(lambda: "Refresh" not in web.get(run).headers, 60)  # its keys are gone when it is over
    for path, form in (
        ("catalog/products/42/missing", {}),
        ("sessions/cart", {"product": "42"}),
        ("sessions/login", {"name": "mara", "password": "correct horse"}),
        ("sessions/lab", {"race": "lost-update"}),
        ("rate-limit/", {"count": "10"}),
    ):
        web.post(f"/{path}", data=form)
        look()
    web.post("/rate-limit/api/hits", json={"identity": "me", "algorithm": "gcra"})
    look()
    web.post(
        "/leaderboard/api/boards/main/scores",
        json={"player": "mara", "score": 1, "metadata": {"a": 1}},
    )
    look()
    part(Collector, app).flush()
    web.get("/analytics/")
    board = Leaderboard(wired, "main")
    board.submit("mara", 1, idempotency_key="a-key")
    board.season("spring")
    signature = sign("a secret", "5", "n" * 16, "POST", "/", b"")
    Signatures(wired, "a secret").check("5", "n" * 16, signature, "POST", "/", b"", now_ms=5000)
    board.submit("mara", 1)
    look()
    leader = Leader(wired, "sampler", "of the test")
    leader.campaign()
    look()
    Reporter(wired, wired.sums, lambda: "of the test", lambda: (0, 0), BreakerOpen).step()
    Sampler(wired, lambda: "of the test").step(leader.token)
    look()
    leader.resign()
    leader.campaign()
    Turns(wired, "runs").join(Who("a", "b", "c"), "")
    look()
    seconds = iter(range(100))
    watch = ToldAgain(wired, lambda: float(next(seconds)))
    while not wired.exists(told_again.KNOWN):
        watch.step()
    changes.note(wired, "of the test", told=0)
    busy.keep(wired, busy.Busy("0" * 16, 5, 0.0, Told(0.0, 0, 0, 0, None)))
    look()
    assert not unseen


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    """As it is pasted, beside an instance folder whose engine runs."""
    code = next(block for language, block in BLOCKS if language == "python")
    engine.start(tmp_path / "instance", keep=False)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        engine.release(tmp_path / "instance", wait_seconds=5)
    assert done.stdout.startswith("True "), done.stderr
    assert not (tmp_path / "instance" / "engine" / "redis.sock").is_symlink()


def test_every_command_of_the_readme_is_known_here() -> None:
    """A new command has to be added to one of the tests below, which run it."""
    unknown = [
        command
        for command in COMMANDS
        if not re.match(
            r"curl |\.venv/bin/flask --app wsgi (play|seed|leader|check|take)|\.venv/bin/(gunicorn|pip)"
            r"|make (run|test|secrets)$|python3 -c",
            command,
        )
    ]
    docker = [command for command in unknown if command.startswith("docker ")]
    assert [command for command in unknown if command not in docker] == ["python3 -m venv .venv"]
    assert docker == [
        "docker compose up -d --build",
        "docker build -t redis-in-practice .",
        "docker run -d --name demo -p 127.0.0.1:8000:8000 -v demo-data:/data --env-file demo.env"
        " redis-in-practice",
        "docker exec demo flask --app wsgi check --explain",
        "docker logs demo",
        "docker compose --profile scale up -d --build proxy",
    ]


def test_the_container_of_the_readme_is_that_of_the_dockerfile() -> None:
    """Its port, its folder for data and its program; settings of the form that the app reads."""
    image = (REPOSITORY / "Dockerfile").read_text()
    run = shlex.split(next(command for command in COMMANDS if command.startswith("docker run")))
    address, port, exposed = run[run.index("-p") + 1].split(":")
    assert (address, port) == ("127.0.0.1", exposed) and f"EXPOSE {exposed}\n" in image
    assert f"VOLUME {run[run.index('-v') + 1].partition(':')[2]}\n" in image
    (file,) = re.findall(r"```\n(REDIS_URL=[^`]*)```", README)
    assert f"`{run[run.index('--env-file') + 1]}`" in README and not re.search("[\"']", file)
    loaded = config.load(environ=dict(line.split("=", 1) for line in file.splitlines()))
    assert parse(loaded["REDIS_URL"]).password and not loaded["SAMPLE_DATA"]
    assert Database(loaded["DATABASE_URL"]).engine.dialect.name == "postgresql"
    assert f"docker build -t {run[-1]} ." in COMMANDS
    inside = next(command for command in COMMANDS if command.startswith("docker exec"))
    assert inside.startswith(f"docker exec {run[run.index('--name') + 1]} ")
    assert f".venv/bin/{inside.split(maxsplit=3)[3]}" in COMMANDS


def test_the_first_steps_of_the_readme_do_what_they_say(web: FlaskClient) -> None:
    """A miss, a hit, a new price and a miss, a hit; by the names that stand on the page."""
    steps = re.split(r"(?m)^## See a cache hit.*$", README)[1].partition("\n## ")[0]
    path = re.search(r"http://127\.0\.0\.1:8000(/\S+)>", steps)
    page, badges, prices = "", [], []
    assert path
    for new in (None, None, "12.34", None):
        if new:
            form = re.search(rf'action="({path[1]}/\w+)">(?:(?!</form>)[\s\S])*?New price', page)
            assert form
            page = web.post(form[1], data={"price": new}, follow_redirects=True).text
        else:
            page = web.get(path[1]).text
        badges.append(re.findall(r'class="badge (?:hit|miss)"[^>]*>(\w+)', page)[0])
        prices.append(re.findall(r"<b>€ ([\d.]+)</b>", page)[0])
    assert badges == ["MISS", "HIT", "MISS", "HIT"] == re.findall(r"\*\*(MISS|HIT)\*\*", steps)
    assert prices[0] == prices[1] != "12.34" == prices[2] == prices[3]
    for named in re.findall(r"\*\*([^*]+)\*\*", steps):
        assert named in page, named


@pytest.mark.parametrize("target", ["run", "test", "check", "bench", "screenshots", "secrets"])
def test_the_makefile_has_what_the_readme_names(target: str) -> None:
    listed = subprocess.run(
        ["make"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(rf"^{target}\s+\S", listed, re.MULTILINE)
    assert f"make {target}" in README
    subprocess.run(["make", "-n", target], cwd=REPOSITORY, capture_output=True, check=True)


def test_the_commands_of_the_readme_do_what_it_says() -> None:
    """The plain-pip server command, then every curl and every command of the app against it."""
    with serve(workers=1, DEMO_PRODUCTS="100", DEMO_DB_LATENCY_MS="0") as server:
        ran = 0
        # The curls first, on whatever page they stand: the season closed later holds their scores.
        for command in sorted(COMMANDS, key=lambda command: not command.startswith("curl")):
            words = shlex.split(command.replace("http://127.0.0.1:8000", server.url))
            if words[0] == "curl":
                method = words[words.index("-X") + 1] if "-X" in words else "GET"
                body = words[words.index("-d") + 1].encode() if "-d" in words else None
                path = next(word for word in words if word.startswith(server.url)).removeprefix(
                    server.url
                )
                answer = server.request(path, method, body)
                assert answer.status in (200, 201), answer.text
                ran += 1
            elif words[:3] == [".venv/bin/flask", "--app", "wsgi"] and words[3] in (
                "play",
                "seed",
                "leaderboard",
                "check",
                "take",
            ):
                places = {
                    "scores.jsonl": server.instance / "scores.jsonl",
                    "~/service": server.instance / f"service-{ran}",
                }
                places["~/service"].mkdir()
                words = [str(places.get(word, word)) for word in words]
                done = subprocess.run(
                    [sys.executable, "-m", "flask", *words[1:]],
                    cwd=REPOSITORY,
                    env={**_environment(server.instance), "REDIS_URL": ""},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, done.stderr
                ran += 1
        assert ran == 13
        assert (
            server.request("/catalog/api/products").json()["total"] == 10_000
        )  # counting ends there
        assert (
            server.request("/leaderboard/api/boards/main?period=season:autumn").json()["total"]
            == 52
        )


def _environment(instance: Path) -> dict[str, str]:

    return {
        **os.environ,
        "DEMO_INSTANCE_PATH": str(instance),
        "DEMO_DB_LATENCY_MS": "0",
        "DEMO_PRODUCTS": "100",
    }


def test_flask_run_serves_for_development(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "routes"]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=_environment(tmp_path / "instance"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "/catalog/products/<product_id>" in done.stdout


def test_the_changelog_names_the_version_of_the_project() -> None:
    version = re.search(
        r'^version = "(.+)"', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert version and f"## {version[1]}" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_a_sign_in_has_the_limits_that_are_told() -> None:
    seconds = {"a minute": 60, "an hour": 3600, "in ten minutes": 600}
    told = [
        (
            [
                (int(each.split()[0]), seconds[each.partition(" ")[2]])
                for each in text.split(" and ")
            ],
            by,
        )
        for text, by, _ in rows("Wrong passwords")
    ]
    names = {"": "by address", "field:name+address": "by name with address"}
    names |= {"field:name": "by name", "device:name": "by device"}
    found = [
        (
            [(quota["limit"], quota["window_seconds"]) for quota in limit.get("quotas", [limit])],
            names[limit.get("by", "")],
        )
        for limit in limits.DEFAULTS["sessions.login"]
    ]
    assert found == told
