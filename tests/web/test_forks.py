"""One app for all workers: what processes must not share, they do not."""

import os
import re
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask

from demo.app import close
from demo.client import connections
from demo.client.sentinel import SentinelPool
from demo.observe import redis_sums, request_log
from demo.observe.database_visits import DatabaseVisits
from demo.web import forks
from demo.web.services import part, services
from tests.servers import REPOSITORY, sentinel_of, tcp_server, until
from tests.serving import Server, descendants, serve

QUIET = {"DEMO_PRODUCTS": "24", "DEMO_DB_LATENCY_MS": "0", "DEMO_RATE_LIMITS": "{}"}


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with serve(workers=2, REDIS_URL="", **QUIET) as server:
        yield server


def test_nothing_of_the_making_is_left_where_a_fork_would_share_it(app: Flask) -> None:
    web, made = app.test_client(), services(app)
    assert web.get("/catalog/products/42").status_code == 200
    (pool,) = connections.pools(made.redis)
    assert any(each is not None and each.is_connected for each in pool.pool.queue)
    assert made.database.engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    forks.let_go(app)
    assert not any(each is not None and each.is_connected for each in pool.pool.queue)
    assert made.database.engine.pool.checkedin() == 0  # type: ignore[attr-defined]
    assert (made.sums.take()[0], part(DatabaseVisits, app).take()) == ({}, {})
    assert (pool.taken, pool.peak(), pool.waited()) == (0, 0, 0)
    assert web.get("/catalog/products/42").status_code == 200  # it goes on


def test_a_closed_app_is_connected_to_nothing(make_app: Callable[..., Flask]) -> None:
    """So that one that was only tried leaves the workers no connection of the master's."""
    app = make_app()
    assert app.test_client().get("/catalog/products/42").status_code == 200
    (pool,) = connections.pools(services(app).redis)
    assert any(each is not None and each.is_connected for each in pool.pool.queue)
    close(app)
    assert not any(each is not None and each.is_connected for each in pool.pool.queue)


def test_a_closed_app_is_connected_to_no_sentinel(make_app: Callable[..., Flask]) -> None:
    with tcp_server() as primary, sentinel_of(primary) as port:
        app = make_app(REDIS_URL=f"redis+sentinel://127.0.0.1:{port}/prime")
        assert app.test_client().get("/catalog/products/42").status_code == 200
        (pool,) = connections.pools(services(app).redis)
        assert isinstance(pool, SentinelPool)
        (sentinel,) = pool.sentinel_manager.sentinels
        close(app)
        assert not any(
            each is not None and each.is_connected for each in sentinel.connection_pool.pool.queue
        )


def test_an_app_that_a_fork_would_break_is_not_shared(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, alone = make_app(), [threading.main_thread()]
    monkeypatch.setattr(threading, "enumerate", lambda: alone)
    assert forks.can_share(app)
    alone.append(threading.main_thread())
    assert forks.can_share(app)  # the same one, listed twice
    alone.append(threading.Thread())
    assert not forks.can_share(app)
    alone.pop()
    alone.pop()
    with monkeypatch.context() as traced:
        traced.setenv("OTEL_TRACES_EXPORTER", "console")
        assert not forks.can_share(app)
    breaker: Any = services(app).breaker
    breaker.probe = None  # which would close it, as Redis answers
    breaker.failed()
    assert not forks.can_share(app)


@pytest.mark.parametrize("uri", ["wsgi:app", "another:app"])
def test_who_cannot_share_it_makes_his_own(
    uri: str, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Module:
        pass

    module: Any = Module()
    module.app = app
    monkeypatch.setitem(sys.modules, "wsgi", module)
    monkeypatch.setattr(forks, "can_share", lambda _: True)
    monkeypatch.setattr(SentinelPool, "may_watch", True)  # which the making ends
    for name in ("freeze", "disable", "enable"):
        monkeypatch.setattr(f"gc.{name}", lambda: None)
    runpy.run_path(str(REPOSITORY / "gunicorn.conf.py"))["_make"](uri)
    assert ("wsgi" in sys.modules) == (uri == "wsgi:app")


@pytest.mark.parametrize("dice", [request_log._random, redis_sums._random])
def test_no_two_processes_throw_the_same_dice(dice: Any) -> None:
    def thrown() -> bytes:
        out, told = os.pipe()
        if not (child := os.fork()):
            os.write(told, dice.getrandbits(128).to_bytes(16, "big"))
            os._exit(0)
        os.close(told)
        os.waitpid(child, 0)
        with open(out, "rb") as said:
            return said.read()

    assert len({thrown() for _ in range(4)}) == 4


def booted(server: Server) -> list[int]:
    return list(map(int, re.findall(r"Booting worker with pid: (\d+)", "".join(server.lines))))


def test_behind_sentinels_the_master_begins_no_thread_that_a_worker_would_go_on_with() -> None:
    """Under gevent a thread of the master ended in each worker, with a traceback."""
    with (
        tcp_server() as primary,
        sentinel_of(primary) as port,
        redis.Redis(port=port) as sentinel,
        serve(
            fresh=True, workers=2, REDIS_URL=f"redis+sentinel://127.0.0.1:{port}/prime", **QUIET
        ) as server,
    ):

        def asked() -> int:
            return int(sentinel.info("stats")["total_commands_processed"])

        until(lambda: sum(each["sub"] != "0" for each in sentinel.client_list()) == 2, 20)
        before = asked()
        until(lambda: asked() >= before + 30, 20)  # each worker asks and listens, once a second
        assert len(booted(server)) == 2
        assert not [line for line in server.lines if "Traceback" in line]


def test_each_worker_has_connections_of_its_own_and_the_master_none(running: Server) -> None:
    master = running.process.pid
    until(lambda: len(booted(running)) == 2, 20)  # the first may answer before the second is there
    workers = set(booted(running))
    seen = set()

    def all_answered() -> bool:
        text = running.request("/catalog/products/7").text
        seen.update(map(int, re.findall(r"Answered by process (\d+)", text)))
        return seen == workers

    until(all_answered, 30)
    socket = next(running.temporary.glob("*/redis.sock"))
    with redis.Redis(unix_socket_path=str(socket)) as client:

        def names() -> set[str]:
            return {
                each["name"].rpartition(":")[2] for each in client.client_list() if each["name"]
            }

        until(lambda: names() == {str(pid) for pid in workers}, 10)  # the server sees a close later
    assert len(list(Path(f"/proc/{master}/task").iterdir())) == 1


def test_a_worker_that_takes_anothers_place_serves_as_the_first_did(running: Server) -> None:
    before = booted(running)
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(booted(running)) > len(before), 20)
    fresh = booted(running)[-1]
    assert fresh in descendants(running.process.pid)

    def answers() -> bool:
        answer = running.request("/catalog/products/7")
        assert answer.status == 200
        return f"Answered by process {fresh}" in answer.text

    until(answers, 30)


SCANS = """
import runpy, sys
from importlib import metadata
scans, theirs = [], metadata.entry_points
metadata.entry_points = lambda **wanted: scans.append(wanted) or theirs(**wanted)
runpy.run_path("gunicorn.conf.py")["_import"]("gevent")
from gevent import monkey
monkey.patch_all()  # as each worker does once more
from demo.teach import pattern_zip, scripts
ready = pattern_zip.with_scripts, scripts.learn_all
print(len(scans), *(each.cache_info().currsize for each in ready))
"""


def test_packages_are_read_once_for_all_workers_and_so_is_the_app_itself() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCANS],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.split() == ["1", "1", "1"], ran.stderr
