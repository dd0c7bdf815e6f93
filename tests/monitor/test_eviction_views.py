import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from demo.client import children, engine, folders
from demo.monitor import eviction_views
from demo.monitor.eviction import POINTS, Outcome, Result
from demo.teach import labs
from demo.teach.turns import State, Who
from demo.web.services import services
from tests.seen import seen
from tests.servers import until
from tests.serving import Server, parents, processes, serve

PAGE = "/monitor/eviction"
LINE = "demo:turns:{runs}"
FORM = {"trace": "zipf", "requests": "24000", "memory_kb": "1536", "seed": "1"}
HALF = [0.4] * (POINTS // 2) + [None] * (POINTS // 2)
STEP = Outcome(0.5, [Result("allkeys-lru", 12_000, 4_800, HALF, 200, 0, 5)], "Redis 7.0.15")
ENDED = Outcome(
    1.0,
    [Result("allkeys-lru", 24_000, 12_000, [0.5] * POINTS, 17, 3, 900)],
    "Redis 7.0.15",
    complete=True,
    over=True,
    capacity=940,
    optimum_hits=18_000,
    optimum_points=[0.75] * POINTS,
    seconds=15.2,
)


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary folders of this test's own, so that nobody else's run is counted."""
    place = tmp_path_factory.mktemp("r")
    monkeypatch.setattr(folders, "root", lambda: place)
    return place


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, root: Path) -> Iterator[Callable[..., None]]:
    """Runs that say what the test wants, over and over when told so, and end when their standard
    input is closed."""
    start, started = subprocess.Popen, []

    def say(outcome: Outcome, *, again: bool = False) -> None:
        line = msgspec.json.encode(outcome) + b"\n"
        text = (
            "import os, select, sys\n"
            "sys.stdin.buffer.readline()\n"
            f"os.write(1, {line!r})\n"
            f"while {again} and not select.select([0], [], [], 0.02)[0]: os.write(1, {line!r})\n"
        )

        def popen(_: object, **kept: Any) -> Any:
            started.append(start([sys.executable, "-c", text], **kept))
            return started[-1]

        monkeypatch.setattr(children.subprocess, "Popen", popen)

    yield say
    until(lambda: not list(root.iterdir()))
    assert all(process.poll() is not None for process in started)


def begin(web: FlaskClient, **changed: str) -> str:
    """Begins a run; the address that tells of it. With a fragment in it, Refresh would scroll
    instead of asking again."""
    response = web.post(PAGE, data=FORM | changed)
    assert response.status_code == 303, response.text
    place = response.headers["Location"]
    assert "#" not in place
    return str(place)


def runs(app: Flask) -> list[str]:
    """The places of runs and of who waits for one."""
    return [value.decode() for value in client_of(app).hvals(LINE)]


def until_ms(app: Flask) -> int:
    """When the turn of the one run ends."""
    (place,) = runs(app)
    return int(place.split()[1])


def client_of(app: Flask) -> redis.Redis:
    client: redis.Redis = services(app).redis
    return client


def test_the_form_comes_first(web: FlaskClient) -> None:
    page = web.get(PAGE)
    assert (
        page.status_code == 200
        and "Run the lab to see them" in page.text
        and "Refresh" not in page.headers
    )


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("requests", "19999", "From 20\u202f000 to 40\u202f000."),
        ("requests", "1e99", "From 20\u202f000 to 40\u202f000."),
        ("memory_kb", "", "From 1\u202f024 to 2\u202f048."),
        ("seed", "-1", "From 0 to 999\u202f999."),
        ("trace", "<b>", "trace: "),
        ("other", "1", "other: "),
    ],
)
def test_a_wrong_field_is_named_kept_and_runs_nothing(
    app: Flask, web: FlaskClient, root: Path, field: str, value: str, shown: str
) -> None:
    page = web.post(PAGE, data=FORM | {field: value})
    assert page.status_code == 422
    assert shown in page.text
    assert not list(root.iterdir()) and not runs(app)


def test_a_run_is_followed_to_its_end_and_kept(
    app: Flask, web: FlaskClient, script: Callable[..., None]
) -> None:
    script(ENDED)
    place = begin(web)
    until(lambda: not runs(app))
    page = web.get(place)
    assert "Refresh" not in page.headers
    assert "<summary>Run again with other values</summary><form" in seen(page.text)
    assert '<td class="num">50.0 %</td><td class="num">17 of 200</td>' in seen(page.text)
    assert '<td class="num">75.0 %</td>' in seen(page.text) and "Hit ratio over time" in page.text
    assert 0 < client_of(app).ttl(eviction_views._key(place[-16:])) <= eviction_views.KEPT_SECONDS


def test_a_run_under_way_tells_how_far_it_is_and_is_the_only_one(
    app: Flask, web: FlaskClient, script: Callable[..., None]
) -> None:
    script(STEP, again=True)
    place = begin(web)
    page = until(lambda: "50 % of the run is done" in (page := web.get(place)).text and page)
    assert (
        page.headers["Refresh"] == "2"
        and '<form class="flow" method="post" action="/monitor/eviction"' not in page.text
    )
    elsewhere = {"REMOTE_ADDR": "203.0.113.7"}
    other = app.test_client().post(PAGE, data=FORM, environ_overrides=elsewhere)
    assert other.status_code == 303
    waiting = app.test_client().get(other.location)
    assert waiting.status_code == 200 and "<h1>1 before you</h1>" in waiting.text
    client_of(app).delete(eviction_views._watched(place[-16:]))
    until(lambda: len(runs(app)) == 1)
    gone = web.get(place)
    assert gone.status_code == 200 and "did not finish or has expired" in gone.text
    script(ENDED)
    begun = app.test_client().get(other.location)
    assert begun.status_code == 303 and begun.location.startswith(f"{PAGE}?run=")
    until(lambda: not runs(app))
    assert "Hit ratio over time" in web.get(begun.location).text


def test_the_turn_is_short_and_kept_while_the_run_goes_on(
    app: Flask, web: FlaskClient, script: Callable[..., None]
) -> None:
    script(STEP, again=True)
    place = begin(web)
    before = until_ms(app)
    until(lambda: until_ms(app) > before)
    seconds, parts = client_of(app).time()
    left_ms = until_ms(app) - (seconds * 1000 + parts // 1000)
    assert left_ms <= eviction_views.WATCHED_SECONDS * 1000
    client_of(app).delete(eviction_views._watched(place[-16:]))
    until(lambda: not runs(app))


def test_a_run_that_lost_its_turn_ends_and_leaves_that_of_another(
    app: Flask, web: FlaskClient, root: Path, script: Callable[..., None]
) -> None:
    script(STEP, again=True)
    place = begin(web)
    client_of(app).delete(LINE)
    with app.app_context():
        other = labs.RUNS.turns().join(Who("v", "a", "n"), "eviction")
    assert other.state is State.BEGINS
    until(lambda: "did not finish or has expired" in web.get(place).text)
    until(lambda: not list(root.iterdir()))
    assert client_of(app).hkeys(LINE) == [other.id.encode()]


def test_a_run_that_breaks_off_is_not_kept(
    app: Flask, web: FlaskClient, script: Callable[..., None]
) -> None:
    script(STEP)
    place = begin(web)
    until(lambda: not runs(app))
    assert "did not finish or has expired" in web.get(place).text


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_that_is_killed_leaves_no_process_of_a_run_and_the_next_gets_his_turn() -> None:
    form = "&".join(f"{name}={value}" for name, value in FORM.items()).encode()
    other = {"X-Forwarded-For": "203.0.113.9"}
    with serve(
        workers=1, DEMO_PRODUCTS="24", DEMO_DB_LATENCY_MS="0", DEMO_TRUSTED_PROXIES="1"
    ) as server:
        assert server.request(PAGE, "POST", form).status == 303

        def running() -> set[int]:
            """The run's own process and its engines, by what stands on their command lines."""
            engines = {
                pid
                for pid, command in processes()
                if f"{server.temporary}/" in command and "eviction" in command
            }
            return engines | {parents()[pid] for pid in engines} if len(engines) == 5 else set()

        run = until(running, 20)
        known = parents()
        (runner,) = {known[pid] for pid in run} & run
        os.kill(known[runner], signal.SIGKILL)
        until(lambda: not run & parents().keys())
        until(lambda: _asked(server, "/livez") == 200, 20)
        place = server.request(PAGE, "POST", form, other).headers["Location"]
        assert place.startswith("/turns/")  # the dead run's turn lasts a few seconds more
        begun = until(lambda: server.request(place).headers["Location"], 20)
        assert begun.startswith(PAGE)
        server.request(begun)
        until(running, 20)


def _asked(server: Server, path: str) -> int:
    try:
        return server.request(path).status
    except OSError:
        return 0


def test_no_room_for_a_process_is_said_and_leaves_the_turn(
    app: Flask, web: FlaskClient, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(children.subprocess, "Popen", full)
    page = web.post(PAGE, data=FORM)
    assert page.status_code == 503 and "no free capacity for a run" in page.text
    assert not list(root.iterdir()) and not runs(app)


def test_without_an_engine_the_page_says_so_and_runs_nothing(
    app: Flask, web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise engine.EngineError(engine.NO_ENGINE)

    monkeypatch.setattr(engine, "find_engine", none)
    page = web.get(PAGE)
    assert (
        "redis-server is installed here" in page.text
        and "Run eviction lab</button>" not in page.text
    )
    refused = web.post(PAGE, data=FORM)
    assert refused.status_code == 503 and "no engine is installed here" in refused.text
    assert not runs(app)


@pytest.mark.parametrize("name", ["0" * 16, "x", "../..", "0" * 17, "\u0660" * 16])
def test_an_unknown_run_is_an_ordinary_page(web: FlaskClient, name: str) -> None:
    assert web.get(PAGE, query_string={"run": name}).status_code == 200


def test_redis_away(away: Flask) -> None:
    web = away.test_client()
    page = web.get(PAGE, query_string={"run": "0" * 16})
    assert page.status_code == 200 and "Redis is away. Run the lab again" in seen(page.text)
    assert web.post(PAGE, data=FORM).status_code == 503
