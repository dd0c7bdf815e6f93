"""Make it busy: bounded visitors of a process of their own, one run at a time, and nothing left."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from werkzeug.serving import make_server

from demo.analytics import dashboard
from demo.analytics.collector import Collector
from demo.client import children
from demo.client.wire import Client
from demo.leaderboard import views as leaderboard
from demo.teach import busy, busy_runner
from demo.teach.busy_runner import Connection, Errand, Sums, Task, Told, Visitor
from demo.web import simulated
from demo.web.server import Server, address_of
from demo.web.services import part, services
from demo.web.simulated import Simulated
from tests.servers import until

LINE = "demo:turns:{runs}"
OVER = msgspec.json.encode(Told(60.0, 900, 12, 0, 8.5, over=True)).decode()
UNDER_WAY = msgspec.json.encode(Told(3.0, 45, 2, 0, 7.5)).decode()


@pytest.fixture(autouse=True)
def nobody_was_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(simulated.seen, "until", 0.0)
    yield


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return reachable(make_app(RATE_LIMITS={}))


def reachable(app: Flask) -> Flask:
    """As a server that has told where it is asked."""
    services(app).keep(Server(address=("127.0.0.1", 1)))
    return app


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], list[Any]]]:
    """Another process in the place of the visitors': it says a line again and again, or once when it
    is over, and ends with its standard input."""
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def say(line: str) -> list[Any]:
        again, told = line == UNDER_WAY, f"{line}\n".encode()
        text = (
            "import os, select, sys\n"
            "sys.stdin.buffer.readline()\n"
            f"line = {told!r}\n"
            "os.write(1, line)\n"
            f"while {again} and not select.select([0], [], [], 0.02)[0]: os.write(1, line)\n"
        )

        def popen(_: object, **kept: Any) -> Any:
            started.append(start([sys.executable, "-c", text], **kept))
            return started[-1]

        monkeypatch.setattr(children.subprocess, "Popen", popen)
        return started

    yield say
    until(lambda: all(each.poll() is not None for each in started))


def test_a_run_is_told_to_all_is_the_only_one_and_is_kept_a_while(
    app: Flask, client: Client, process: Callable[[str], list[Any]]
) -> None:
    started = process(UNDER_WAY)
    web, other = app.test_client(), app.test_client()
    assert "will be here for ten minutes. Start visitors" in web.get("/busy/").text
    assert web.post("/busy/", data={"visitors": "50"}).location == "/busy/"
    until(lambda: "<b>45</b>" in other.get("/busy/").text)
    page = other.get("/busy/")
    assert "50 visitors are here" in page.text and page.headers["Refresh"] == "2"
    assert 0 < client.ttl(busy.KEY) <= busy.ALIVE_SECONDS
    again = other.post("/busy/", data={"visitors": "5"}, follow_redirects=True)
    assert "Simulated visitors are already here" in again.text and len(started) == 1
    other.post("/busy/stop")
    until(lambda: not client.exists(LINE))
    assert not client.exists(busy.KEY) and started[0].wait(10) == 0
    process(OVER)
    web.post("/busy/", data={"visitors": "7"})
    until(lambda: not client.exists(LINE))
    page = web.get("/busy/")
    assert "The last run, 7 visitors" in page.text and "<b>900</b>" in page.text
    assert "Refresh" not in page.headers
    assert busy.ALIVE_SECONDS < client.ttl(busy.KEY) <= busy.KEPT_SECONDS


def test_a_run_that_has_lost_its_turn_ends(
    app: Flask, client: Client, process: Callable[[str], list[Any]]
) -> None:
    started = process(UNDER_WAY)
    app.test_client().post("/busy/")
    until(lambda: client.exists(busy.KEY))
    client.delete(LINE)
    until(lambda: not client.exists(busy.KEY))
    assert started[0].wait(10) == 0


@pytest.mark.parametrize("visitors", ["0", "51", "-1", "x", "1e99", "", "2.5"])
def test_a_wrong_number_is_told_beside_its_field_and_starts_nothing(
    app: Flask, client: Client, visitors: str
) -> None:
    page = app.test_client().post("/busy/", data={"visitors": visitors})
    assert page.status_code == 422 and "From 1 to 50." in page.text
    assert not client.exists(LINE) and not client.exists(busy.KEY)


def test_who_does_not_know_where_he_is_asked_simulates_nobody(
    make_app: Callable[..., Flask],
) -> None:
    web = make_app(RATE_LIMITS={}).test_client()
    assert "does not report its own address" in web.get("/busy/").text
    answer = web.post("/busy/", headers={"Host": "elsewhere.example"})
    assert answer.status_code == 409 and "does not report its own address" in answer.text


def test_without_room_for_a_process_the_turn_is_given_back(
    app: Flask, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(11, "no more processes")

    monkeypatch.setattr(children.subprocess, "Popen", fails)
    assert app.test_client().post("/busy/").status_code == 503
    assert not client.exists(LINE) and not client.exists(busy.KEY)


def test_redis_away(away: Flask) -> None:
    web = reachable(away).test_client()
    assert "cannot tell if simulated visitors are here" in web.get("/busy/").text
    assert web.post("/busy/").status_code == 503


@pytest.fixture
def asked(app: Flask) -> Iterator[tuple[str, int]]:
    """The app on a port of its own."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found = address_of(server.socket)
    assert isinstance(found, tuple)
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def task(app: Flask, address: Any, visitors: int) -> Task:
    made = Simulated(str(app.secret_key))
    marks = [made.header(number, int(time.time()) + 60) for number in range(visitors)]
    with app.test_request_context():
        errands = [each for module in part(busy.Home).modules for each in module.errands()]
    return Task(address, "localhost", marks, [busy.HOME, *errands], 500, 60.0)


def test_visitors_use_every_use_case_over_http_and_leave_nothing_behind(
    app: Flask, client: Client, asked: tuple[str, int]
) -> None:
    given, sums = task(app, asked, 3), Sums()
    visitors = [Visitor(number, given, sums) for number in range(3)]
    for visitor in visitors:
        for errand in given.errands:
            if not errand.last:
                visitor.ask(errand)
    usual = 3 * sum(not errand.last for errand in given.errands)
    told = sums.told(1.0)
    assert (told.answered, told.refused, told.failed) == (usual, 0, 0)
    assert list(client.scan_iter("demo:sessions:*"))
    for visitor in visitors:
        visitor.ask(next(errand for errand in given.errands if "hits" in errand.path))
        visitor.ask(next(errand for errand in given.errands if "hits" in errand.path))
        visitor.leave()
    assert sums.told(1.0).refused == 3  # each has a limit of his own
    collector = part(Collector, app)
    collector.flush()
    seen = dashboard.read(collector, "minute")
    assert sum(bucket.made_up or 0 for bucket in seen.buckets) > 0
    assert not seen.pages and not seen.here_now and not seen.uniques.day
    assert not list(client.scan_iter("demo:sessions:*"))
    assert not list(client.scan_iter("demo:analytics:{trending}*"))
    assert not client.exists("demo:analytics:{presence}")
    with app.test_request_context():
        board = leaderboard.leaderboard("simulated")
        assert board.size() == 3
        leaderboard.after_busy()
    for key in client.scan_iter("demo:leaderboard:{simulated}*"):
        assert 0 < client.ttl(key) <= 3600
    assert b"simulated" not in client.zrange("demo:leaderboard:{boards}", 0, -1)


def test_what_a_host_does_not_take_is_not_sent(make_app: Callable[..., Flask]) -> None:
    def paths(**settings: Any) -> dict[str, Errand]:
        app = make_app(**settings)
        return {errand.path: errand for errand in task(app, ("127.0.0.1", 1), 1).errands}

    scores = "/leaderboard/api/boards/simulated/scores"
    assert paths(API_KEY="a key")[scores].headers == {"Authorization": "Bearer a key"}
    assert scores not in paths(SIGNING_SECRET="a secret")
    public = paths(PUBLIC=True, SECURE_COOKIES=True, ORIGIN="https://demo.example.org")
    assert not any(errand.form or errand.last for errand in public.values())


def test_what_is_not_answered_is_counted_as_failed() -> None:
    given = Task(("127.0.0.1", 1), "localhost", ["x"], [Errand("/")], 1, 1.0)
    sums = Sums()
    Visitor(0, given, sums).ask(Errand("/"))
    assert (sums.answered, sums.failed) == (0, 1)


def test_a_socket_of_this_machine_is_asked_by_its_path(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        connection = Connection(str(tmp_path / "s"))
        connection.connect()
        listening.accept()[0].close()
        connection.close()


@pytest.mark.parametrize("how", ["closed", "terminated", "over"])
def test_the_process_is_bounded_tells_how_far_it_is_and_ends(how: str) -> None:
    seconds = 1.2 if how == "over" else 60.0
    given = Task(("127.0.0.1", 1), "localhost", ["x"] * 3, [Errand("/")], 1, seconds)
    process = children.start("demo.teach.busy_runner")
    assert process.stdin and process.stdout
    process.stdin.write(msgspec.json.encode(given) + b"\n")
    process.stdin.flush()
    assert not msgspec.json.decode(process.stdout.readline(), type=Told).over
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    assert re.search(rf"Max cpu time\s+{busy_runner.CPU_SECONDS}\s", limits)
    assert re.search(rf"Max address space\s+{busy_runner.MEMORY_MB << 20}\s", limits)
    if how == "closed":
        process.stdin.close()
    elif how == "terminated":
        process.send_signal(signal.SIGTERM)
    lines = process.stdout.read().splitlines()
    assert process.wait(10) == 0 and msgspec.json.decode(lines[-1], type=Told).over
    if how != "closed":
        process.stdin.close()
    process.stdout.close()
