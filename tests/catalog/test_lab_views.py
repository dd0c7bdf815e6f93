import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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


def test_a_run_is_shown_at_its_own_address_and_kept_for_ten_minutes(
    web: FlaskClient, client: Client
) -> None:
    assert "Nothing has been run yet." in web.get(LAB).text
    answer = web.post(LAB, data=QUICK)
    assert answer.status_code == 303 and answer.headers["Location"].startswith(f"{LAB}?run=")
    page = seen(web.get(answer.headers["Location"]).text)
    for name in ("No cache", "Common recipe", "Cache-aside", "Write-through", "Write-behind"):
        assert f'<th scope="row">{name}</th><td class="num">60</td>' in page
    assert 'value="60"' in page and "seed 3" in page
    keys = list(client.scan_iter("demo:catalog:{run:*"))
    assert len(keys) == 1 and 590_000 < client.pttl(keys[0]) <= 600_000


def test_a_killed_worker_is_told_of_on_the_page(web: FlaskClient) -> None:
    answer = web.post(
        LAB, data={**QUICK, "operations": "200", "writes_percent": "50", "failure": "worker"}
    )
    page = web.get(answer.headers["Location"]).text
    assert "was killed in the middle of a batch" in page and "0 were lost." in page


@pytest.mark.parametrize("run", ["", "x", "0" * 16, "g" * 16, "0" * 17, "*", "../x"])
def test_a_run_that_is_not_there_is_no_error(web: FlaskClient, run: str) -> None:
    answer = web.get(LAB, query_string={"run": run})
    assert answer.status_code == 200
    assert ("not kept any more" in answer.text) == (run == "0" * 16)


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
    waits: list[Any] = []
    finished = strategies_views._run

    def run(options: Options, turn: Run) -> Any:
        if not waits:  # somebody else comes while the first run goes on
            waits.append(other.submit(app.test_client().post, LAB, **elsewhere).result(10))
            page = other.submit(app.test_client().get, waits[0].location).result(10)
            assert "<h1>1 before you</h1>" in page.text and page.headers["Refresh"] == "2"
        return finished(options, turn)

    monkeypatch.setattr(strategies_views, "_run", run)
    elsewhere: Any = {"data": QUICK, "environ_overrides": {"REMOTE_ADDR": "203.0.113.7"}}
    with ThreadPoolExecutor(1) as other:
        assert web.post(LAB, data=QUICK).location.startswith(f"{LAB}?run=")
    ran = app.test_client().get(waits[0].location)
    assert ran.status_code == 303 and ran.location.startswith(f"{LAB}?run=")
    assert "Lost writes" in web.get(ran.location).text


def test_a_run_whose_turn_is_lost_is_ended(
    web: FlaskClient, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies_views, "KEEP_SECONDS", 0.01)
    monkeypatch.setattr(Run, "keep", lambda _: False)
    assert web.post(LAB, data=QUICK).status_code == 503
    assert not client.exists("demo:turns:{runs}")


def test_a_run_that_cannot_be_finished_is_a_503_and_the_next_one_runs(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(strategies_views, "LONGEST_SECONDS", 0.01)
        assert web.post(LAB, data=QUICK).status_code == 503
    assert web.post(LAB, data=QUICK).status_code == 303


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
