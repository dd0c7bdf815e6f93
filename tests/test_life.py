"""The app as it is run: gunicorn, two workers, the embedded engine or TEST_REDIS_URL."""

import contextlib
import http.client
import json
import os
import re
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from demo.web.cookies import SESSION
from tests.servers import private_engine, until
from tests.serving import GTHREAD, Answer, Server, processes, serve

WORKERS = pytest.mark.parametrize("arguments", ["", GTHREAD], ids=["gevent", "gthread"])
PAGES = [
    "/",
    "/catalog/",
    "/catalog/products/7",
    "/sessions/",
    "/rate-limit/",
    "/leaderboard/boards/main",
    "/monitor/",
]
PATIENT = {"DEMO_REDIS_TIMEOUT_SECONDS": "5"}  # where nothing but counts is looked at
BANNER = 'id="redis-away">\n<p><strong>Redis is away.'
embedded = pytest.mark.skipif(
    bool(os.environ.get("TEST_REDIS_URL")), reason="about the embedded engine"
)


def post_score(server: Server, player: str, score: int) -> Answer:
    return server.request(
        "/leaderboard/api/boards/main/scores", "POST", {"player": player, "score": score}
    )


@WORKERS
def test_fifty_first_readers_over_two_workers_run_one_query(arguments: str) -> None:
    arguments = arguments.replace("--threads 8", "--threads 30")
    with serve(arguments=arguments, DEMO_PRODUCTS="500", DEMO_DB_LATENCY_MS="300") as server:
        start = threading.Barrier(50)

        def read(_: int) -> Answer:
            start.wait()
            return server.request("/catalog/api/products/7")

        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(read, range(50)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        queries = sum(
            'db;dur=0.00;desc="0 visits"' not in answer.headers["Server-Timing"]
            for answer in answers
        )
        assert queries == 1
        assert sum("fwd=miss" in answer.headers["Cache-Status"] for answer in answers) == 1


@pytest.mark.long
@WORKERS
def test_no_read_that_starts_after_a_patch_returned_shows_an_older_version(arguments: str) -> None:
    writes_each = 200 if os.environ.get("CI") else 50
    with serve(
        arguments=arguments, DEMO_PRODUCTS="500", DEMO_DB_LATENCY_MS="3", **PATIENT
    ) as server:
        newest, lock, stop = [1], threading.Lock(), threading.Event()
        faults: list[str] = []
        counts = {"reads": 0, "writes": 0, "hits": 0}

        def read() -> None:
            while not stop.is_set():
                with lock:
                    least = newest[0]
                answer = server.request("/catalog/api/products/42")
                if answer.status != 200 or answer.json()["version"] < least:
                    faults.append(f"{answer.status}: wanted {least}, got {answer.text[:80]}")
                with lock:
                    counts["reads"] += 1
                    counts["hits"] += answer.headers["Cache-Status"].startswith("catalog; hit")

        def write(price: int) -> None:
            for _ in range(writes_each):
                price += 1
                answer = server.request("/catalog/api/products/42", "PATCH", {"price_cents": price})
                if answer.status != 200:
                    faults.append(f"PATCH {answer.status}")
                    continue
                with lock:
                    newest[0] = max(newest[0], answer.json()["version"])
                    counts["writes"] += 1
                stop.wait(0.01)

        readers = [threading.Thread(target=read) for _ in range(8)]
        writers = [threading.Thread(target=write, args=(price,)) for price in (100, 50_000)]
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join()
        until(lambda: counts["hits"] > 0)
        stop.set()
        for thread in readers:
            thread.join()
        assert not faults, faults[:5]
        assert counts["writes"] == 2 * writes_each
        assert counts["reads"] >= len(readers)


@pytest.mark.parametrize(
    ("arguments", "number"),
    [("", signal.SIGTERM), ("", signal.SIGQUIT), ("", signal.SIGKILL), (GTHREAD, signal.SIGTERM)],
    ids=["TERM", "QUIT", "KILL", "TERM-gthread"],
)
def test_nothing_is_left_whatever_ends_the_master(arguments: str, number: signal.Signals) -> None:
    with serve(
        fresh=True, arguments=arguments, DEMO_PRODUCTS="24", DEMO_DB_LATENCY_MS="0"
    ) as server:
        assert server.request("/catalog/products/7").status == 200
        server.process.send_signal(number)
        code = server.process.wait(12)
        if number != signal.SIGKILL:
            assert code == 0
        until(lambda: not server.leftovers(), 10)


def test_ctrl_c_ends_everything() -> None:
    """A terminal sends INT to the whole group: master and workers at once."""
    with serve(fresh=True, workers=1, DEMO_PRODUCTS="24", DEMO_DB_LATENCY_MS="0") as server:
        assert server.request("/catalog/products/7").status == 200
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(12) == 0
        until(lambda: not server.leftovers(), 10)


@embedded
def test_scores_survive_the_end_of_the_app(tmp_path: Path) -> None:
    with serve(workers=1, instance=tmp_path / "instance", DEMO_PRODUCTS="24") as server:
        assert post_score(server, "mara", 1200).status == 201
    with serve(workers=1, instance=tmp_path / "instance", DEMO_PRODUCTS="24") as server:
        board = server.request("/leaderboard/api/boards/main").json()
        assert [(entry["player"], entry["score"]) for entry in board["entries"]] == [("mara", 1200)]


@embedded
@WORKERS
def test_a_killed_engine_is_back_and_no_page_gave_a_500(arguments: str) -> None:
    with serve(arguments=arguments, DEMO_PRODUCTS="500", DEMO_DB_LATENCY_MS="0") as server:
        assert post_score(server, "mara", 1200).status == 201
        for path in PAGES:
            assert server.request(path).status == 200
        stop = threading.Event()
        seen: list[tuple[str, int]] = []

        def browse(path: str) -> None:
            while not stop.is_set():
                seen.append((path, server.request(path).status))

        threads = [threading.Thread(target=browse, args=(path,)) for path in PAGES]
        for thread in threads:
            thread.start()
        pid = until(server.engine_pid)
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: server.engine_pid() not in (None, pid), 5)
        until(lambda: server.request("/readyz").status == 200, 5)
        assert (
            time.monotonic() - killed < 5
        )  # not a measurement: that it comes back at all, and soon
        until(lambda: post_score(server, "noor", 1300).status == 201, 5)
        stop.set()
        for thread in threads:
            thread.join()
        assert {status for _, status in seen} <= {200}, {entry for entry in seen if entry[1] != 200}
        boards = until(
            lambda: _fresh([server.request("/leaderboard/api/boards/main") for _ in range(6)]), 5
        )
        assert {tuple(entry["player"] for entry in board["entries"]) for board in boards} == {
            ("noor", "mara")
        }


def _fresh(answers: list[Answer]) -> list[Any]:
    """The boards, once every worker has found the engine again: until then some are a 503 or a
    stale snapshot."""
    fresh = all(answer.status == 200 and "Cache-Status" not in answer.headers for answer in answers)
    return [answer.json() for answer in answers] if fresh else []


def test_with_redis_paused_every_page_comes_and_the_policy_is_on_it() -> None:
    with (
        private_engine() as engine,
        serve(
            workers=1, REDIS_URL=engine.url, DEMO_PRODUCTS="500", DEMO_DB_LATENCY_MS="0"
        ) as server,
    ):
        for path in PAGES:
            assert server.request(path).status == 200
        engine.pause()
        for path in PAGES:
            answer = server.request(path)
            assert answer.status == 200
        for path in PAGES:
            assert BANNER in server.request(path).text
        assert "BYPASS" in server.request("/catalog/products/7").text
        assert post_score(server, "mara", 1).status == 503
        assert server.request("/readyz").status == 503
        assert server.request("/livez").status == 200
        engine.resume()
        until(lambda: server.request("/readyz").status == 200, 5)
        until(lambda: BANNER not in server.request("/catalog/products/7").text, 5)


def test_workers_are_recycled_without_a_refused_request_or_a_lost_engine() -> None:
    with serve(
        arguments="--max-requests 20 --max-requests-jitter 5",
        DEMO_PRODUCTS="24",
        DEMO_DB_LATENCY_MS="0",
    ) as server:
        first = {pid for pid, command in processes() if "gunicorn" in command}
        assert {server.request("/catalog/products/7").status for _ in range(150)} == {200}
        until(lambda: len([line for line in server.lines if "Booting worker" in line]) > 2)
        assert first
        assert server.request("/readyz").status == 200


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"REDIS_URL": "http://example.org"}, "REDIS_URL is wrong: its scheme must be"),
        (
            {"REDIS_URL": "redis://127.0.0.1?colour=red"},
            "REDIS_URL is wrong: it contains an unknown option",
        ),
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL is wrong"),
        (
            {"DATABASE_URL": "postgresql://me:hunter2@127.0.0.1:1/x"},
            "DATABASE_URL: the database does not answer",
        ),
        ({"DEMO_POOL_SIZE": "many"}, "DEMO_POOL_SIZE is wrong"),
        ({"DEMO_NONSENSE": "1"}, "DEMO_NONSENSE is not a setting"),
        ({"WEB_CONCURRENCY": "0"}, "WEB_CONCURRENCY must be from 1 to 256."),
        ({"PORT": "70000"}, "PORT must be from 1 to 65535."),
        (
            {"DEMO_ENGINE_MAXMEMORY_MB": "x", "REDIS_URL": ""},
            "DEMO_ENGINE_MAXMEMORY_MB must be from",
        ),
        (
            {"DEMO_RATE_LIMITS": '{"nowhere.at_all": {"limit": 1, "window_seconds": 1}}'},
            "the endpoint nowhere.at_all does not exist",
        ),
    ],
)
def test_a_wrong_setting_ends_the_start_with_one_sentence(
    environment: dict[str, str], sentence: str
) -> None:
    with serve(fresh=True, ready=False, **environment) as server:
        assert server.process.wait(30) == 1
        until(lambda: sentence in "".join(server.lines))
        printed = "".join(server.lines)
        assert "Traceback" not in printed
        assert "hunter2" not in printed


@pytest.mark.parametrize(
    "url", ["redis+cluster://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/prime"]
)
def test_the_start_goes_on_without_any_kind_of_redis(url: str) -> None:
    with serve(REDIS_URL=url, WEB_CONCURRENCY="1") as server:
        assert server.request("/catalog/products/42").status == 200
        assert server.request("/readyz").status == 503
        assert "127.0.0.1:1 does not answer (nobody listens there)." in "".join(server.lines)


def test_several_masters_may_start_on_one_new_instance_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:

        def total(_: int) -> int:
            with serve(
                instance=tmp_path / "instance",
                workers=1,
                DEMO_PRODUCTS="2000",
                DEMO_DB_LATENCY_MS="0",
            ) as server:
                return int(server.request("/catalog/api/products").json()["total"])

        assert list(pool.map(total, range(2))) == [2000, 2000]


def test_logs_hold_no_secret(tmp_path: Path) -> None:
    with serve(
        workers=1, DEMO_PRODUCTS="24", DEMO_DB_LATENCY_MS="0", SECRET_KEY="key-of-the-test"
    ) as server:
        form = b"name=mara&password=correct+horse"
        answer = server.request(
            "/sessions/login", "POST", form, {"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert answer.status == 303
        cookie = next(
            value
            for value in answer.headers.get_all("Set-Cookie")
            if value.startswith(f"{SESSION}=")
        )
        sid = cookie.split(";")[0].removeprefix(f"{SESSION}=")
        me = server.request("/sessions/api/me", headers={"Cookie": f"{SESSION}={sid}"})
        assert json.loads(me.body)["user"] == "mara"
    printed = "".join(server.lines)
    assert sid not in printed
    assert "correct horse" not in printed and "key-of-the-test" not in printed


def test_a_kill_between_commit_and_invalidation_loses_nothing(tmp_path: Path) -> None:
    """Redis is paused and the worker has no open connection: with its change committed it waits for
    one, and is killed."""
    path = "/catalog/api/products/42"
    settings = {
        "DEMO_PRODUCTS": "100",
        "DEMO_DB_LATENCY_MS": "0",
        "DEMO_REDIS_TIMEOUT_SECONDS": "20",
    }
    with private_engine() as engine:
        settings["REDIS_URL"] = engine.url
        with serve(instance=tmp_path / "instance", workers=1, **settings) as server:
            assert server.request(path).json()["version"] == 1
            with redis.Redis.from_url(engine.url) as client:
                client.client_kill_filter(_type="normal", skipme=True)
            engine.pause()
            threading.Thread(target=_patch_in_vain, args=(server, path), daemon=True).start()
            until(lambda: _committed_version(tmp_path) == 2)
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()
        engine.resume()
        with redis.Redis.from_url(engine.url) as client:
            assert client.exists("demo:catalog:{page:json-42}")  # the old page still lies there
        with serve(instance=tmp_path / "instance", workers=1, **settings) as server:
            until(lambda: server.request(path).json()["version"] == 2, 5)


def _patch_in_vain(server: Server, path: str) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        server.request(path, "PATCH", {"price_cents": 7})


def _committed_version(tmp_path: Path) -> int:
    with contextlib.closing(
        sqlite3.connect(tmp_path / "instance" / "catalog.sqlite3")
    ) as connection:
        return int(connection.execute("SELECT version FROM products WHERE id = 42").fetchone()[0])


@pytest.mark.long
@pytest.mark.parametrize("what", ["killed", "paused", "full"])
def test_whatever_happens_to_redis_pages_keep_coming_and_no_old_price_comes_back(what: str) -> None:
    """Three readers and a writer go on meanwhile; what was written while Redis was away is seen
    once it is back. A worker that has not found Redis again says that its change is pending:
    nobody may rely on it yet."""
    settings = {"DEMO_PRODUCTS": "100", "DEMO_DB_LATENCY_MS": "0"}
    with private_engine() as engine, serve(REDIS_URL=engine.url, **settings) as server:
        written, told = [1], [1]
        statuses: set[int] = set()
        older: list[tuple[int, int]] = []
        over, back = threading.Event(), threading.Event()

        def read(path: str) -> None:
            while not over.is_set():
                floor, trusted = told[0], back.is_set()
                answer = server.request(path)
                statuses.add(answer.status)
                version = int(
                    re.search(r'(?:"version":|Version</span>\s*<b>)(\d+)', answer.text)[1]
                )  # type: ignore[index]
                if trusted and version < floor:
                    older.append((version, floor))

        def write() -> None:
            while not over.wait(0.02):
                answer = server.request(
                    "/catalog/api/products/7", "PATCH", {"price_cents": written[0]}
                )
                statuses.add(answer.status)
                written[0] = answer.json()["version"]
                if "pending" not in answer.headers.get("Cache-Status", ""):
                    told[0] = written[0]

        paths = ("/catalog/products/7", "/catalog/api/products/7", "/catalog/products/7?xray=0")
        threads = [threading.Thread(target=read, args=(path,)) for path in paths] + [
            threading.Thread(target=write)
        ]
        for thread in threads:
            thread.start()
        try:
            until(lambda: told[0] > 5)
            with redis.Redis.from_url(engine.url) as client:
                if what == "killed":
                    engine.kill()
                elif what == "paused":
                    engine.pause()
                else:
                    client.config_set("maxmemory", 1)
                reached = written[0]
                until(lambda: written[0] > reached + 5, 20)
                until(lambda: "BYPASS" in server.request("/catalog/products/8").text)
                while_away = written[0]
                if what == "killed":
                    engine.start()
                elif what == "paused":
                    engine.resume()
                else:
                    client.config_set("maxmemory", 0)
            until(lambda: ">HIT<" in server.request("/catalog/products/8").text, 5)
            until(lambda: not _untold(server), 5)
            told[0] = max(told[0], while_away)
            back.set()
            reached = written[0]
            until(lambda: told[0] > reached + 10, 20)
        finally:
            over.set()
            engine.resume()
            for thread in threads:
                thread.join()
        assert (statuses, older) == ({200}, [])


def _untold(server: Server) -> int:
    with contextlib.closing(
        sqlite3.connect(server.instance / "catalog.sqlite3", timeout=5)
    ) as connection:
        count: int = connection.execute("SELECT count(*) FROM catalog_outbox").fetchone()[0]
    return count


@WORKERS
def test_term_under_load_drops_no_request_that_was_taken(arguments: str) -> None:
    """Each client opens a connection for each request, and goes on until it is refused. Nothing
    that a worker had taken is left without its answer."""
    with serve(arguments=arguments, DEMO_PRODUCTS="100", DEMO_DB_LATENCY_MS="50") as server:
        host = server.url.removeprefix("http://")
        answered, dropped, refused = [0] * 16, list[str](), [0] * 16

        def ask(number: int) -> None:
            count = 0
            while True:
                count += 1
                path = f"/catalog/api/products/{1 + (number * 31 + count) % 100}"
                connection = http.client.HTTPConnection(host, timeout=10)
                try:
                    connection.connect()
                except OSError:
                    refused[number] += 1
                    return
                try:
                    connection.request("GET", path)
                    answer = connection.getresponse()
                    answer.read()
                    answered[number] += answer.status == 200
                    if answer.status != 200:
                        dropped.append(str(answer.status))
                except ConnectionResetError:
                    refused[number] += (
                        1  # it lay in the queue of a listener that closed: nobody had taken it
                    )
                except (OSError, http.client.HTTPException) as error:
                    dropped.append(repr(error))
                finally:
                    connection.close()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        until(lambda: sum(answered) > 300, 20)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(30)
        assert server.process.wait(15) == 0
        assert dropped == []
        assert min(refused) >= 1
