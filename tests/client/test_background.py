"""Jobs that one process does for all, over threads, over apps and over processes that are killed."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from demo.client.background import Background, Job
from demo.client.leader import Leader, lead_key
from demo.client.wire import Client
from demo.monitor import reports
from tests.clients import connect
from tests.servers import REPOSITORY, private_engine, until
from tests.serving import GTHREAD, serve


def make(
    client: Client, ttl_seconds: float = 0.3, elects: bool = True
) -> tuple[Background, list[int]]:
    """One with a job, and the tokens that its steps were given."""
    background, tokens = Background(client, elects=elects, ttl_seconds=ttl_seconds), list[int]()

    def step(token: int) -> float:
        tokens.append(token)
        return 0.01

    background.elect("test", step)
    return background, tokens


def test_one_of_many_does_the_job_and_another_when_that_one_ends(client: Client) -> None:
    many = [make(client) for _ in range(5)]
    for background, _ in many:
        background.start()
        background.start()
    first = until(lambda: next((one for one in many if one[1]), None))
    until(lambda: len(first[1]) > 5)
    assert [len(tokens) for _, tokens in many if tokens is not first[1]] == [0] * 4
    first[0].close()
    others = [one for one in many if one is not first]
    second = until(lambda: next((one for one in others if one[1]), None), 5)
    assert min(second[1]) > max(first[1])
    done = len(first[1])
    until(lambda: len(second[1]) > 5)
    assert len(first[1]) == done
    for background, _ in many:
        background.close()
    assert not client.exists(lead_key("test"))


def test_who_leads_on_is_not_told_so_again(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does the job begin before its time each time that the lead is renewed."""
    background, _ = make(client, ttl_seconds=30)
    job, leader = background.jobs["test"], Leader(client, "test", "me", ttl_seconds=30)
    caplog.set_level(logging.INFO)
    due = []
    for _ in range(3):
        background._ask(job, leader)
        due.append(job.due.is_set())
        job.due.clear()
    assert due == [True, False, False]
    assert [record.message for record in caplog.records] == [
        "test: done by this process from now on"
    ]
    leader.resign()


def test_a_job_goes_on_when_redis_comes_back(tmp_path: Path) -> None:
    with private_engine() as engine:
        client = connect(engine.url, pool_size=4, timeout_seconds=0.25, open_seconds=0.05)
        background, tokens = make(client)
        background.start()
        until(lambda: tokens)
        engine.kill()
        until(lambda: not background.leads("test"))
        engine.start()
        done = len(tokens)
        until(lambda: len(tokens) > done + 3, 5)
        background.close()
        client.close()


def test_a_step_that_fails_ends_nothing_and_is_logged_once(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    background, steps = Background(client, elects=True, ttl_seconds=0.3), Counter[str]()

    def step(_: int) -> float:
        steps["failed"] += 1
        if steps["failed"] < 3:
            raise LookupError("of the test")
        return 0.01

    background.elect("test", step)
    background.start()
    until(lambda: steps["failed"] > 5)
    background.close()
    assert [record.message for record in caplog.records if "LookupError" in record.message] == [
        "test: LookupError"
    ]


def test_a_job_of_every_process_is_done_by_each_and_once_more_at_its_end(client: Client) -> None:
    done = [list[int](), list[int]()]
    many = [Background(client, elects=False) for _ in done]
    for background, steps in zip(many, done, strict=True):
        background.everywhere("own", lambda steps=steps: float(steps.append(1) or 60))
        background.elect("test", lambda _: 1 / 0)
        background.start()
    until(lambda: all(done))
    assert [len(steps) for steps in done] == [1, 1]
    for background in many:
        background.close()
        background.close()
    assert [len(steps) for steps in done] == [2, 2]
    assert not client.exists(lead_key("test"))


class Lapsing:
    """A lead that runs out by this process' own clock while its renewal is on its way, and is
    renewed all the same."""

    def __init__(self) -> None:
        self.lapsed, self.looked = False, threading.Event()

    @property
    def token(self) -> int:
        if not self.lapsed:
            return 7
        self.looked.set()
        return 0

    def campaign(self) -> float:
        self.lapsed = True
        assert self.looked.wait(5)  # the job's turn comes now
        self.lapsed = False
        return 1.0


def test_a_lead_that_lapses_for_a_moment_does_not_stop_its_job(client: Client) -> None:
    background, steps, leader = (
        Background(client, elects=True, ttl_seconds=0.03),
        list[int](),
        Lapsing(),
    )
    job = Job("test", lambda token: steps.append(token) or 0.001, True, leader)  # type: ignore[arg-type, func-returns-value]
    thread = threading.Thread(target=background._run, args=(job,))
    thread.start()
    until(lambda: steps)
    background._ask(job, leader)  # type: ignore[arg-type]
    done = len(steps)
    until(lambda: len(steps) > done + 3)
    background.close()
    job.due.set()
    thread.join()


def test_jobs_that_share_a_lead_are_done_by_one_process_that_asks_once(client: Client) -> None:
    background, done = Background(client, elects=True, ttl_seconds=0.3), Counter[str]()
    for name in ("one", "other"):
        background.elect(name, lambda _, name=name: float(done.update([name]) or 60), lead="one")
    background.start()
    until(lambda: done["one"] and done["other"])
    assert background.jobs["one"].leader is background.jobs["other"].leader
    assert background.leads("one") and background.leads("other")
    assert client.exists(lead_key("one")) and not client.exists(lead_key("other"))
    background.close()
    assert not client.exists(lead_key("one"))


def test_who_does_not_lead_wakes_for_the_lead_alone(client: Client) -> None:
    background, waits = Background(client, elects=True, ttl_seconds=0.03), list[float | None]()

    class Due(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            background._closed.set()
            return True

    follower = Leader(client, "test", "me")
    background._run(Job("test", lambda _: 5.0, True, follower, due=Due()))
    assert waits == [None]


def test_waking_does_not_wait(client: Client) -> None:
    background, woken = Background(client, elects=True), threading.Semaphore(0)
    background.elect("test", lambda _: float(woken.release() or 3600))
    background.start()
    assert woken.acquire(timeout=5)
    background.wake("test")
    assert woken.acquire(timeout=5)
    background.close()


def test_no_thread_begins_before_the_first_request_and_none_where_it_is_told_so(
    make_app: Callable[..., Flask],
) -> None:
    before = set(threading.enumerate())  # some of them, of other tests, may end meanwhile
    app, without = make_app(BACKGROUND="worker"), make_app(BACKGROUND="none")
    without.test_client().get("/livez")
    assert set(threading.enumerate()) <= before
    app.test_client().get("/livez")
    assert {thread.name for thread in threading.enumerate()} >= {"reports"}
    assert not {"campaign", "sampler", "outbox"} & {thread.name for thread in threading.enumerate()}


def leads(client: Client) -> dict[str, bytes]:
    """Who leads what: host and process of each lead."""
    found = {key: client.get(key) for key in client.scan_iter("demo:leader:*[^n]")}
    return {key: raw.split(b" ")[1].rpartition(b":")[0] for key, raw in found.items() if raw}


def reporting(client: Client) -> set[int]:
    """The processes that have told what they counted."""
    workers = reports.gather(client.xrange(reports.STREAM), 60).workers
    return {int(worker.process.rpartition(":")[2]) for worker in workers}


@pytest.mark.parametrize("arguments", ["", GTHREAD], ids=["gevent", "gthread"])
def test_over_three_workers_one_samples_and_another_when_it_is_killed(arguments: str) -> None:
    """A killed worker gives nothing back: its lead has to run out."""
    with (
        private_engine() as engine,
        serve(
            workers=3,
            arguments=arguments,
            REDIS_URL=engine.url,
            DEMO_PRODUCTS="24",
            DEMO_DB_LATENCY_MS="0",
        ),
    ):
        client = connect(engine.url, pool_size=2, timeout_seconds=1, open_seconds=0.5)
        ((key, first),) = until(lambda: leads(client)).items()
        left = client.pttl(key)
        pid = int(first.rpartition(b":")[2])
        os.kill(pid, signal.SIGKILL)
        until(lambda: leads(client).get(key) not in (None, first), 6)
        assert 0 < left <= 3000
        client.close()


def test_the_worker_command_does_the_jobs_that_web_workers_leave_to_it(tmp_path: Path) -> None:
    settings = {"DEMO_BACKGROUND": "worker", "DEMO_PRODUCTS": "24", "DEMO_DB_LATENCY_MS": "0"}
    with (
        private_engine() as engine,
        serve(REDIS_URL=engine.url, instance=tmp_path / "instance", **settings) as server,
    ):
        client = connect(engine.url, pool_size=2, timeout_seconds=1, open_seconds=0.5)
        assert server.request("/catalog/products/7").status == 200
        variables = {
            **os.environ,
            **settings,
            "REDIS_URL": engine.url,
            "DEMO_INSTANCE_PATH": str(tmp_path / "instance"),
        }
        command = [sys.executable, "-m", "flask", "--app", "wsgi", "worker"]
        workers = [
            subprocess.Popen(command, cwd=REPOSITORY, env=variables, stderr=subprocess.DEVNULL)
            for _ in range(2)
        ]
        try:
            (found,) = until(lambda: leads(client), 20).values()
            pids = {int(found.rpartition(b":")[2])}
            both = {worker.pid for worker in workers}
            assert pids <= both
            until(lambda: both <= reporting(client), 20)
            for worker in workers:
                worker.terminate()
            assert [worker.wait(10) for worker in workers] == [0, 0]
            assert leads(client) == {}
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
            client.close()
