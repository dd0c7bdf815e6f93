import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.catalog import strategies_views
from demo.catalog.workload import Options
from demo.client.wire import Client
from demo.teach.labs import Run
from demo.web.services import services
from tests.seen import seen
from tests.servers import REPOSITORY, until
from tests.serving import descendants, parents

LAB = "/catalog/lab/"
QUICK = {
    "operations": "60",
    "writes_percent": "20",
    "readers": "4",
    "latency_ms": "1",
    "failure": "none",
    "seed": "3",
}


@pytest.fixture(autouse=True)
def all_the_time_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run lets others go first, and with them 25 seconds may be too few."""
    monkeypatch.setattr(strategies_views, "LONGEST_SECONDS", 100)


def ran(web: FlaskClient, **changed: str) -> tuple[str, Any]:
    """Runs it; its address, and the page once it is over, which is when its turn is left. A fragment
    in it would keep the page from asking again."""
    answer = web.post(LAB, data=QUICK | changed)
    assert answer.status_code == 303 and answer.headers["Location"].startswith(f"{LAB}?run=")
    place = answer.headers["Location"]
    assert "#" not in place
    redis = services(web.application).redis
    until(lambda: not redis.exists("demo:turns:{runs}"), 100)
    page = web.get(place)
    assert "Refresh" not in page.headers
    return place, page


def test_a_run_is_shown_at_its_own_address_and_kept_for_ten_minutes(
    web: FlaskClient, client: Client
) -> None:
    assert "will be here. Run the strategies" in seen(web.get(LAB).text)
    page = seen(ran(web)[1].text)
    for name in ("No cache", "Common recipe", "Cache-aside", "Write-through", "Write-behind"):
        assert f'<th scope="row">{name}</th><td class="num">60</td>' in page
    assert 'value="60"' in page and "seed 3" in page
    keys = list(client.scan_iter("demo:catalog:{run:*"))
    assert len(keys) == 1 and 590_000 < client.pttl(keys[0]) <= 600_000


def test_a_killed_worker_is_told_of_on_the_page(web: FlaskClient) -> None:
    page = ran(web, operations="200", writes_percent="50", failure="worker")[1].text
    assert (
        "write-behind worker was killed in the middle of a batch" in page and "0 were lost." in page
    )


def test_the_page_concludes_from_the_run_and_charts_what_failed(
    web: FlaskClient, client: Client
) -> None:
    figures = {"database_reads": 10, "database_writes": 5, "seconds": 1.0} | dict.fromkeys(
        ("read_p50_ms", "read_p99_ms", "write_p50_ms", "write_p99_ms"), 1.0
    )
    aside, behind = (
        {
            "kind": kind,
            "operations": 100,
            "stale_reads": stale,
            "lost_writes": lost,
            "errors": errors,
        }
        | figures
        | {"reads": 75, "writes": 25 - errors, "from_redis": 72, "fresh": 72 - stale}
        for kind, stale, lost, errors in (("aside", 0, 0, 0), ("behind", 2, 14, 5))
    )
    kept = {"options": Options(operations=150, failure="memory"), "outcomes": [behind, aside] * 3}
    client.set("demo:catalog:{run:" + "1" * 16 + "}", msgspec.json.encode(kept), ex=60)
    page = seen(web.get(LAB, query_string={"run": "1" * 16}).text)
    told = re.findall(r"<p>(?:<b>)?([^<]+ of reads from Redis[^<]+)", page)
    assert told[0] == (
        "Cache-aside answered 96 % of reads from Redis, 0 stale; "
        "100 of 150 operations finished in 2 s."
    )
    assert told[-1].startswith(
        "Write-behind answered 96 % of reads from Redis, 2 stale; 5 of 100 operations failed; "
        "it lost 14 acknowledged writes; 100 of 150 operations finished in 2 s. Reads were stale because Redis lost"
    )
    assert 'aria-label="70.0 read from Redis, 3.0 read from the database, 6.0 written, ' in page
    assert "2.0 stale, 14.0 lost, 5.0 failed" in page


@pytest.mark.parametrize("run", ["", "x", "0" * 16, "g" * 16, "0" * 17, "*", "../x"])
def test_a_run_that_is_not_there_is_no_error(web: FlaskClient, run: str) -> None:
    answer = web.get(LAB, query_string={"run": run})
    assert answer.status_code == 200
    assert ("This run has expired" in answer.text) == (run == "0" * 16)


def test_a_kept_run_that_does_not_decode_is_no_error(web: FlaskClient, client: Client) -> None:
    client.set("demo:catalog:{run:" + "0" * 16 + "}", b"\xff", ex=60)
    assert web.get(LAB, query_string={"run": "0" * 16}).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("operations", "19"),
        ("operations", "2001"),
        ("operations", "many"),
        ("writes_percent", "101"),
        ("readers", "0"),
        ("readers", "1e9"),
        ("latency_ms", "51"),
        ("latency_ms", "-1"),
        ("seed", ""),
        ("seed", "1" * 400),
        ("failure", "fire"),
        ("folder", "/tmp"),
    ],
)
def test_a_wrong_choice_is_told_beside_its_field_and_runs_nothing(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setattr(strategies_views, "_run", None)
    answer = web.post(LAB, data={**QUICK, name: value})
    assert answer.status_code == 422
    if name == "folder":
        assert f'<p class="error">{name}: ' in answer.text
    else:
        assert f'aria-describedby="{name}-error"' in answer.text
    if name not in ("failure", "folder"):
        assert f'value="{value}"' in answer.text


def test_one_run_at_a_time_and_who_comes_meanwhile_waits_for_his_own(
    app: Flask, web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished, goes_on = strategies_views._run, threading.Event()

    def run(options: Options, turn: Run) -> Any:
        goes_on.wait(30)
        return finished(options, turn)

    monkeypatch.setattr(strategies_views, "_run", run)
    elsewhere: Any = {"data": QUICK, "environ_overrides": {"REMOTE_ADDR": "203.0.113.7"}}
    first = web.post(LAB, data=QUICK).location
    under_way = web.get(first)
    assert (
        "0 of 5 strategies have finished." in under_way.text and under_way.headers["Refresh"] == "1"
    )
    waits = app.test_client().post(LAB, **elsewhere)  # somebody else, while the first run goes on
    page = app.test_client().get(waits.location)
    assert "<h1>1 before you</h1>" in page.text and page.headers["Refresh"] == "2"
    goes_on.set()
    begun = until(
        lambda: (answer := app.test_client().get(waits.location)).status_code == 303 and answer, 60
    )
    assert "Refresh" not in web.get(first).headers  # a turn is left when its run is over
    assert begun.location.startswith(f"{LAB}?run=") and begun.location != first
    redis = services(app).redis
    until(lambda: not redis.exists("demo:turns:{runs}"), 100)
    assert "Refresh" not in web.get(begun.location).headers
    assert "Lost writes" in web.get(begun.location).text


def test_a_run_whose_turn_is_lost_is_ended(
    web: FlaskClient, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies_views, "KEEP_SECONDS", 0.01)
    monkeypatch.setattr(Run, "keep", lambda _: False)
    assert ran(web)[1].status_code == 503
    until(lambda: not client.exists("demo:turns:{runs}"))


def test_a_run_that_cannot_be_finished_is_a_503_and_the_next_one_runs(
    web: FlaskClient, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(strategies_views, "LONGEST_SECONDS", 0.01)
        place, page = ran(web)
        assert page.status_code == 503 and "0 of 5 strategies finished." in seen(page.text)
        until(lambda: not client.exists("demo:turns:{runs}"))
    assert ran(web)[1].status_code == 200


def test_without_redis_the_page_comes_and_a_run_is_refused(
    away: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    web: Any = away.test_client()
    monkeypatch.setattr(strategies_views, "_run", None)
    assert web.get(LAB).status_code == 200
    assert web.get(LAB, query_string={"run": "0" * 16}).status_code == 200
    assert web.post(LAB, data=QUICK).status_code == 503


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("way", ["left", "killed"])
def test_a_run_that_is_left_or_killed_leaves_no_process_of_its_worker(
    redis_url: str, tmp_path: Path, client: Client, way: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    chosen = {"operations": 60, "latency_ms": 0, "failure": "worker"}
    task = {"redis_url": redis_url, "run": "lab-left", "folder": str(folder), "options": chosen}
    command = [sys.executable, "-m", "demo.catalog.workload_runner"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdin
        process.stdin.write(msgspec.json.encode(task) + b"\n")
        process.stdin.flush()
        workers = until(lambda: descendants(process.pid), 30)
        if way == "left":
            process.stdin.close()
        else:
            process.kill()
        assert process.wait(10)
    until(lambda: not workers & parents().keys())
    assert folder.exists() == (way == "killed")  # its owner removes it, or the next start
