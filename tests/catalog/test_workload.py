import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.exceptions import RedisError

from demo.catalog import workload
from demo.catalog.conclusions import parts
from demo.catalog.products import Product
from demo.catalog.strategies import NAMES
from demo.catalog.workload import Options, Outcome, percentile, run
from demo.catalog.write_through import NotTold
from tests.servers import REPOSITORY, Client


class Store:
    """A strategy of one lock and a dict; `old` makes its reads stale, `told` its writes without the
    cache."""

    def __init__(self, *, old: bool = False, told: bool = True) -> None:
        self.rows = {str(n): Product(n, "", "", "", "", 1, 1000, 1, "") for n in range(1, 51)}
        self.old, self.told = old, told
        self.first = dict(self.rows)
        self.asked: list[tuple[str, bool]] = []
        self._lock = threading.Lock()

    def read(self, key: str) -> Product | None:
        self.asked.append((key, False))
        return (self.first if self.old else self.rows)[key]

    def update(self, key: str, change: Callable[[Product], Product]) -> Product | None:
        self.asked.append((key, True))
        with self._lock:
            self.rows[key] = changed = change(self.rows[key])
        if not self.told:
            raise NotTold(changed)
        return changed


def test_all_operations_are_done_and_told_of() -> None:
    shares: list[float] = []
    tally, _ = run(Store(), Options(operations=201, readers=7, writes_percent=30), shares.append)
    assert (tally.done, len(tally.reads) + len(tally.writes), tally.errors, tally.stale) == (
        201,
        201,
        0,
        0,
    )
    assert max(shares) == 1.0
    assert 30 <= len(tally.writes) <= 90


def test_the_same_seed_asks_the_same_questions() -> None:
    asked = []
    for _ in range(2):
        store = Store()
        run(store, Options(operations=100, readers=1, seed=5), lambda _: None)
        asked.append(store.asked)
    assert asked[0] == asked[1]
    assert all(1 <= int(key) <= 50 for key, _ in asked[0])


def test_an_answer_from_before_an_acknowledged_change_is_stale() -> None:
    tally, _ = run(
        Store(old=True), Options(operations=200, readers=1, writes_percent=50), lambda _: None
    )
    assert tally.stale > 0


def test_what_is_written_without_telling_the_cache_counts_as_acknowledged() -> None:
    tally, _ = run(
        Store(told=False), Options(operations=50, readers=2, writes_percent=100), lambda _: None
    )
    assert (tally.bought, tally.errors) == (50, 0)


def test_what_fails_is_an_error_and_nothing_else() -> None:
    class Failing(Store):
        def read(self, key: str) -> Product | None:
            raise RedisError

    tally, _ = run(Failing(), Options(operations=40, writes_percent=0), lambda _: None)
    assert (tally.errors, tally.reads) == (40, [])


def test_a_run_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "SECONDS_AT_MOST", -1.0)
    tally, _ = run(Store(), Options(operations=100), lambda _: None)
    assert tally.done == 0


def test_percentiles() -> None:
    assert (percentile([], 50), percentile([3.0], 99), percentile([1.0, 2.0, 3.0], 50)) == (
        0.0,
        3.0,
        2.0,
    )


def outcomes(redis_url: str, folder: Path, **options: Any) -> dict[str, Outcome]:
    chosen = {"operations": 240, "writes_percent": 30, "latency_ms": 4, **options}
    task = {"redis_url": redis_url, "run": "lab-test", "folder": str(folder), "options": chosen}
    command = [sys.executable, "-m", "demo.catalog.workload_runner"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=REPOSITORY) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(msgspec.json.encode(task) + b"\n")
        process.stdin.flush()
        *steps, told = process.stdout.read().splitlines()
        assert process.wait(10) == 0, process.stderr.read().decode()
    assert len(steps) == len(NAMES) - 1  # each strategy is told of as soon as it is done
    found = msgspec.json.decode(told, type=list[Outcome])
    assert [outcome.kind for outcome in found] == list(NAMES)
    return {outcome.kind: outcome for outcome in found}


def test_a_run_in_its_own_process_leaves_nothing_behind(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    found = outcomes(redis_url, tmp_path)
    assert all(
        outcome.operations == 240 and outcome.errors == outcome.lost_writes == 0
        for outcome in found.values()
    )
    assert {kind for kind in found if kind != "recipe" and found[kind].stale_reads} == set()
    for kind, outcome in found.items():
        assert outcome.reads + outcome.writes == 240
        assert (outcome.from_redis == 0) == (kind == "none")
        assert sum(count for _, _, count in parts(outcome)) == 240
    assert found["aside"].database_reads < found["none"].database_reads
    assert found["behind"].database_writes < found["none"].database_writes
    assert not list(client.scan_iter("demo:catalog:{*lab-test*"))


def test_a_killed_worker_loses_nothing(redis_url: str, tmp_path: Path, client: Client) -> None:
    found = outcomes(redis_url, tmp_path, failure="worker")["behind"]
    assert found.pending and found.replayed
    assert (found.lost_writes, found.stale_reads) == (0, 0)


def test_a_redis_that_forgets_loses_writes_of_write_behind_only(
    redis_url: str, tmp_path: Path, client: Client
) -> None:
    found = outcomes(redis_url, tmp_path, failure="memory", writes_percent=60)
    assert {
        kind: outcome.lost_writes for kind, outcome in found.items() if kind != "behind"
    } == dict.fromkeys(("none", "recipe", "aside", "through"), 0)


@pytest.mark.parametrize("failure", ["redis", "database"])
def test_trouble_in_the_middle_third_loses_no_acknowledged_write(
    redis_url: str, tmp_path: Path, client: Client, failure: str
) -> None:
    found = outcomes(redis_url, tmp_path, failure=failure)
    assert {outcome.lost_writes for outcome in found.values()} == {0}
    assert found["none"].errors == 0 if failure == "redis" else found["none"].errors > 0
    assert found["aside"].stale_reads == 0
