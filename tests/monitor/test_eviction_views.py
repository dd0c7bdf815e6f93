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

from demo.client import engine, folders
from demo.monitor import eviction_views
from demo.monitor.eviction import POINTS, Outcome, Result
from demo.web.services import services
from tests.seen import seen
from tests.servers import until

PAGE = "/monitor/eviction"
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

        monkeypatch.setattr(eviction_views.subprocess, "Popen", popen)

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


def client_of(app: Flask) -> redis.Redis:
    client: redis.Redis = services(app).redis
    return client


def test_the_form_comes_first(web: FlaskClient) -> None:
    page = web.get(PAGE)
    assert (
        page.status_code == 200
        and "Nothing has been run yet" in page.text
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
    assert not list(root.iterdir()) and not client_of(app).exists(eviction_views.CLAIM)


def test_a_run_is_followed_to_its_end_and_kept(
    app: Flask, web: FlaskClient, script: Callable[..., None]
) -> None:
    script(ENDED)
    place = begin(web)
    until(lambda: not client_of(app).exists(eviction_views.CLAIM))
    page = web.get(place)
    assert "Refresh" not in page.headers
    assert "<summary>Run it with other figures</summary><form" in seen(page.text)
    assert '<td class="num">50.0 %</td><td class="num">17 of 200</td>' in seen(page.text)
    assert (
        '<td class="num">75.0 %</td>' in seen(page.text) and "Share of hits over time" in page.text
    )
    assert 0 < client_of(app).ttl(eviction_views._key(place[-16:])) <= eviction_views.KEPT_SECONDS


def test_a_run_under_way_tells_how_far_it_is_and_is_the_only_one(
    app: Flask, web: FlaskClient, script: Callable[..., None]
) -> None:
    script(STEP, again=True)
    place = begin(web)
    page = until(lambda: "50 % is done" in (page := web.get(place)).text and page)
    assert (
        page.headers["Refresh"] == "2"
        and '<form class="flow" method="post" action="/monitor/eviction"' not in page.text
    )
    other = web.post(PAGE, data=FORM)
    assert (
        other.status_code == 503
        and "Another run is under way" in other.text
        and other.headers["Retry-After"]
    )
    client_of(app).delete(eviction_views._watched(place[-16:]))
    until(lambda: not client_of(app).exists(eviction_views.CLAIM))
    gone = web.get(place)
    assert gone.status_code == 200 and "is not kept any more" in gone.text


def test_the_claim_is_short_and_renewed_while_the_run_goes_on(
    app: Flask, web: FlaskClient, script: Callable[..., None]
) -> None:
    script(STEP, again=True)
    place, client = begin(web), client_of(app)
    assert 0 < client.pttl(eviction_views.CLAIM) <= eviction_views.WATCHED_SECONDS * 1000
    client.pexpire(eviction_views.CLAIM, 5000)
    until(lambda: client.pttl(eviction_views.CLAIM) > 5000)
    client.delete(eviction_views._watched(place[-16:]))
    until(lambda: not client.exists(eviction_views.CLAIM))


def test_a_run_whose_claim_is_anothers_ends_and_leaves_it(
    app: Flask, web: FlaskClient, root: Path, script: Callable[..., None]
) -> None:
    script(STEP, again=True)
    place = begin(web)
    client_of(app).set(eviction_views.CLAIM, "7 another")
    until(lambda: "is not kept any more" in web.get(place).text)
    until(lambda: not list(root.iterdir()))
    assert client_of(app).get(eviction_views.CLAIM) == b"7 another"


def test_a_run_that_breaks_off_is_not_kept(
    app: Flask, web: FlaskClient, script: Callable[..., None]
) -> None:
    script(STEP)
    place = begin(web)
    until(lambda: not client_of(app).exists(eviction_views.CLAIM))
    assert "is not kept any more" in web.get(place).text


def test_no_room_for_a_process_is_said_and_leaves_the_turn(
    app: Flask, web: FlaskClient, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(eviction_views.subprocess, "Popen", full)
    page = web.post(PAGE, data=FORM)
    assert page.status_code == 503 and "no room for a run" in page.text
    assert not list(root.iterdir()) and not client_of(app).exists(eviction_views.CLAIM)


def test_without_an_engine_the_page_says_so_and_runs_nothing(
    app: Flask, web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise engine.EngineError(engine.NO_ENGINE)

    monkeypatch.setattr(engine, "find_engine", none)
    page = web.get(PAGE)
    assert "No engine is installed here" in page.text and "Run it</button>" not in page.text
    refused = web.post(PAGE, data=FORM)
    assert refused.status_code == 503 and "No engine is installed here" in refused.text
    assert not client_of(app).exists(eviction_views.CLAIM)


@pytest.mark.parametrize("name", ["0" * 16, "x", "../..", "0" * 17, "\u0660" * 16])
def test_an_unknown_run_is_an_ordinary_page(web: FlaskClient, name: str) -> None:
    assert web.get(PAGE, query_string={"run": name}).status_code == 200


def test_redis_away(away: Flask) -> None:
    web = away.test_client()
    page = web.get(PAGE, query_string={"run": "0" * 16})
    assert page.status_code == 200 and "Redis is away. Run it again" in page.text
    assert web.post(PAGE, data=FORM).status_code == 503
