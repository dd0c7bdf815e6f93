import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from demo.client import engine, folders
from demo.monitor import eviction_runner
from demo.monitor.eviction import (
    DEFINED,
    NEWER_POLICIES,
    POINTS,
    POLICIES,
    SESSIONS,
    Options,
    Outcome,
    Result,
    in_points,
    verdict,
)
from demo.monitor.eviction_runner import ENGINE_MAXMEMORY_MB, ENGINE_MB, MEMORY_MB
from demo.monitor.eviction_views import COLOURS
from tests.servers import REPOSITORY, connect, private_engine, until
from tests.serving import processes

ABOUT_THE_SAME = 0.005  # LFU and LRU may be this close, as shares of all requests


@contextmanager
def runner(**task: Any) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A run's process with its task sent, and its folder; both are gone when the block ends, or it
    fails."""
    folder = folders.temporary("eviction")
    process = subprocess.Popen(
        [sys.executable, "-m", "demo.monitor.eviction_runner"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert process.stdin and process.stdout
    with process:
        try:
            sent = {
                "binary": engine.find_engine(),
                "folder": str(folder),
                "options": Options(),
                **task,
            }
            process.stdin.write(msgspec.json.encode(sent) + b"\n")
            process.stdin.flush()
            yield process, folder
        finally:
            process.kill()
    until(lambda: not engines(folder))


def engines(folder: Path) -> list[str]:
    return [command for _, command in processes() if str(folder) in command]


def finished(**task: Any) -> Outcome:
    with runner(**task) as (process, folder):
        assert process.stdout
        lines = process.stdout.read().splitlines()
        assert process.wait(10) == 0
        assert not folder.exists() and not engines(folder)
    return msgspec.json.decode(lines[-1], type=Outcome)


@pytest.mark.long
def test_the_order_of_the_policies_on_three_seeds_and_a_loop_that_does_not_fit() -> None:
    chosen = [Options(seed=seed) for seed in (1, 2, 3)] + [Options(trace="loop", memory_kb=2048)]
    with ThreadPoolExecutor(len(chosen)) as pool:
        *zipf, loop = pool.map(
            lambda options: finished(options=options, longest_seconds=300.0), chosen
        )
    for outcome in [*zipf, loop]:
        assert outcome.complete
        found = {result.policy: result for result in outcome.results}
        assert tuple(found) == POLICIES
        assert {result.asked for result in found.values()} == {Options().requests}
        assert all(result.hits < outcome.optimum_hits for result in found.values())
        assert found["noeviction"].sessions == found["volatile-ttl"].sessions == SESSIONS
        assert [policy for policy in POLICIES if found[policy].refused] == ["noeviction"]
        assert found["allkeys-lru"].sessions < SESSIONS / 2
    for outcome in zipf:
        lfu, lru, chance = (result.hits / result.asked for result in outcome.results[:3])
        assert lfu >= lru - ABOUT_THE_SAME and lru > chance, (lfu, lru, chance)
    # LRU should answer next to nothing of a loop; but it looks at samples, and keeps times in
    # seconds: the faster the run, the more keys look the same age.
    lru, chance = (result.hits / result.asked for result in loop.results[1:3])
    assert chance > 0.15 and lru < chance / 2, (lru, chance)


def test_time_is_up_and_what_was_done_is_told() -> None:
    outcome = finished(longest_seconds=1.5)
    assert outcome.over and not outcome.complete and outcome.share == 1.0
    asked = {result.asked for result in outcome.results}
    assert len(asked) == 1 and 0 < asked.pop() < 24_000
    assert outcome.results[0].points[-1] is None and outcome.optimum_points[-1] is None


@pytest.mark.parametrize("way", ["left", "ended", "killed"])
def test_a_run_that_is_left_ended_or_killed_leaves_no_process(way: str) -> None:
    with runner() as (process, folder):
        assert process.stdin and process.stdout
        process.stdout.readline()
        assert len(engines(folder)) == len(POLICIES)
        if way == "left":
            process.stdin.close()
        else:
            os.kill(process.pid, signal.SIGTERM if way == "ended" else signal.SIGKILL)
        until(lambda: process.poll() is not None)
        until(lambda: not engines(folder))
        if way == "killed":
            folders.sweep()
        assert not folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_every_process_of_a_run_has_a_bound_of_its_memory() -> None:
    with runner() as (process, folder):
        assert process.stdout
        process.stdout.readline()
        pids = [pid for pid, command in processes() if str(folder) in command]
        assert len(pids) == len(POLICIES)
        for pid, most_mb in [*((pid, ENGINE_MB) for pid in pids), (process.pid, MEMORY_MB)]:
            text = Path(f"/proc/{pid}/limits").read_text()
            limit = re.search(r"Max address space +(\d+) +(\d+)", text)
            assert limit and set(limit.groups()) == {str(most_mb * 1024 * 1024)}
        for number in range(len(POLICIES)):
            with redis.Redis(unix_socket_path=str(folder / f"{number}.sock")) as client:
                told = client.config_get("maxmemory")["maxmemory"]
                assert 0 < int(told) <= ENGINE_MAXMEMORY_MB * 1024 * 1024


def test_points_are_shares_and_none_where_nothing_was_asked() -> None:
    points = in_points([True, False] * 10, 2 * 20)
    assert len(points) == POINTS and points[-1] is None
    assert all(point is None or 0 <= point <= 1 for point in points)
    assert in_points([True] * 60, 60) == [1.0] * POINTS


def test_the_verdict_is_of_the_figures() -> None:
    """What signed people out or refused writes comes after what lost nothing, whatever it
    answered."""
    results = [
        Result("refusing", 200, 151, [], SESSIONS, 4158, 1),
        Result("poor", 200, 50, [], SESSIONS, 0, 1),
        Result("forgetful", 200, 152, [], SESSIONS - 7, 0, 1),
        Result("good", 200, 100, [], SESSIONS, 0, 1),
        Result("both", 200, 40, [], 0, 1, 1),
    ]
    assert verdict(Outcome(1.0, results, optimum_hits=180)) == (
        "If a cache and sessions share a server, use good. Hit ratio of the policies that signed out "
        "nobody and refused no write: good 50.0 %, poor 25.0 %. "
        "forgetful reached 76.0 %, but it signed out 7 of 200 visitors. "
        "refusing reached 75.5 %, but it refused 4\u202f158 writes. "
        "both reached 20.0 %, but it signed out 200 of 200 visitors and refused 1 write. "
        "No policy could have reached more than 90.0 %."
    )
    told = verdict(Outcome(1.0, results[:1], optimum_hits=180))
    assert told.startswith(
        "Each policy signed out visitors or refused writes. refusing reached 75.5 %"
    )


def test_each_policy_that_the_engine_knows_is_a_lane_and_is_defined() -> None:
    outcome = finished(longest_seconds=0.5)
    with private_engine() as server, connect(server.url) as client:
        newer = tuple(name for name in NEWER_POLICIES if eviction_runner._knows(client, name))
    assert tuple(result.policy for result in outcome.results) == (*POLICIES, *newer)
    assert set(DEFINED) == set(COLOURS) == {*POLICIES, *NEWER_POLICIES}
