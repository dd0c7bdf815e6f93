"""What is gathered arrives once, at the end too; what cannot arrive is counted as missing, in its
own minute."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import redis
from redis.exceptions import RedisError

from demo.analytics import batch, dashboard, unique_visitors
from demo.analytics.batch import Batch
from demo.analytics.collector import DROPPED, Collector
from demo.analytics.counters import RESOLUTIONS
from demo.analytics.shared_answer import SharedAnswer
from demo.analytics.trending import Rising
from tests import clients, servers
from tests.servers import REPOSITORY, Client, cluster_node, connect, private_engine, trips, until
from tests.topologies import topology

AFTER = 3600.0


def views(collector: Collector, name: str = "page") -> int:
    return collector.counters.series(RESOLUTIONS["hour"], collector.now()).sum(name)


def quiet(client: Client, **options: object) -> Collector:
    """One whose thread does not come before the test ends."""
    return Collector(client, interval_seconds=AFTER, **options)  # type: ignore[arg-type]


def test_a_note_asks_redis_nothing_and_a_flush_once(client: Client) -> None:
    collector = quiet(client)
    collector.note("page", "mara", "42")
    collector.flush()  # learns the time and the salts, and merges the month
    with trips() as seen:
        for number in range(100):
            collector.note("page", f"visitor {number}", str(number))
        assert len(seen) == 0
        assert collector.flush()
        assert len(seen) == 1
        assert collector.flush()  # nothing is left
        assert len(seen) == 1
    assert views(collector) == 101
    collector.close()


def test_all_that_was_noted_is_on_the_dashboard(client: Client) -> None:
    collector = quiet(client)
    for visitor, product in (("mara", "42"), ("mara", "7"), ("noor", "42"), (None, "42")):
        collector.note("catalog.product", visitor, product)
    collector.note("home.index")
    collector.note(dashboard.MADE_UP, "sven")
    collector.close()
    found = dashboard.read(collector, "hour")
    assert found.pages == (Rising("catalog.product", 4), Rising("home.index", 1))
    assert (found.buckets[-1].views, found.buckets[-1].made_up, found.here_now) == (5, 1, 3)
    assert found.products["hour"] == found.products["day"] == (Rising("42", 3), Rising("7", 1))
    assert (found.uniques.day, found.uniques.exact_day) == (3, 3)
    assert found.cohorts[-1].visitors == 3
    assert found.dropped == 0


def test_the_thread_writes_and_ends_with_the_close(client: Client) -> None:
    collector = Collector(client, interval_seconds=0.01)
    collector.note("page")
    until(lambda: views(collector) == 1)
    collector.note("page")
    collector.close()
    assert views(collector) == 2
    assert "analytics" not in {thread.name for thread in threading.enumerate()}


def test_the_thread_sleeps_while_nothing_is_noted(client: Client) -> None:
    collector, rests, flushed = Collector(client, interval_seconds=0.001), list[int](), list[int]()

    class Some(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            rests.append(len(flushed))
            if not self.is_set():
                collector._closed.set()
            return True

    flush = collector.flush
    collector.flush = lambda: bool(flushed.append(1)) or flush()  # type: ignore[method-assign]
    collector._some, collector._pid = Some(), os.getpid()
    collector.note("page")
    collector._run()
    assert rests == [0, 1]  # it was told of something, wrote, and waits for more
    collector.close()


def test_a_view_that_comes_as_the_thread_wakes_is_not_its_last(client: Client) -> None:
    collector = Collector(client, interval_seconds=0.001)

    class Some(threading.Event):
        def clear(self) -> None:
            collector.note("page")
            super().clear()
            collector.note("page")

        def wait(self, timeout: float | None = None) -> bool:
            if not self.is_set():
                collector._closed.set()
            return True

    collector._some, collector._pid = Some(), os.getpid()
    collector.note("page")
    collector._run()
    assert views(collector) == 3 and not collector._some.is_set()
    collector.note("page")
    assert collector._some.is_set()  # the thread is told of the next one
    collector.close()
    assert views(collector) == 4


def test_a_close_as_the_thread_wakes_ends_it(client: Client) -> None:
    collector = Collector(client, interval_seconds=0.001)

    class Some(threading.Event):
        def clear(self) -> None:
            collector._closed.set()  # as `close` does, which then waits for the thread
            self.set()
            super().clear()

        def wait(self, timeout: float | None = None) -> bool:
            assert self.is_set(), "it would wait for ever"
            return True

    collector._some, collector._pid = Some(), os.getpid()
    collector.note("page")
    collector._run()
    collector.close()
    assert views(collector) == 1


def test_the_thread_is_nobodys(client: Client) -> None:
    with trips() as seen:
        collector = Collector(client, interval_seconds=0.01)
        collector.note("page")
        until(
            lambda: client.exists(
                "demo:analytics:{views}:day:" + str(int(time.time()) // (30 * 86_400) * 30 * 86_400)
            )
        )
        collector.close()
    assert {name for names in seen for name in names} == {"EXISTS"}


def test_no_address_is_in_redis(client: Client) -> None:
    collector = quiet(client)
    collector.note("page", "203.0.113.7 Browser/1.0", "42")
    collector.close()
    keys = list(client.scan_iter("demo:analytics:*"))
    dumped = b" ".join([*keys, *(client.dump(key) or b"" for key in keys)])
    assert keys and b"203.0.113" not in dumped and b"Browser" not in dumped
    assert all(client.ttl(key) > 0 for key in keys)


def test_many_threads_lose_nothing(client: Client) -> None:
    collector = Collector(client, interval_seconds=0.01)

    def visit(number: int) -> None:
        for _ in range(500):
            collector.note("page", f"visitor {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(visit, range(8)))
    collector.close()
    assert views(collector) == 4000
    assert collector.presence.count(collector.now()) == 8


def test_processes_count_together_and_write_at_their_end(client: Client, redis_url: str) -> None:
    code = f"""
import redis
from demo.analytics.collector import Collector
collector = Collector(redis.Redis.from_url({redis_url!r}))
for number in range(1000):
    collector.note("page", f"visitor {{number % 50}}", str(number % 3))
"""
    endings = ["collector.close()", "", "raise SystemExit(0)"]  # closed, or not
    running = [
        subprocess.Popen([sys.executable, "-c", code + end], cwd=REPOSITORY) for end in endings
    ]
    assert [process.wait(30) for process in running] == [0, 0, 0]
    collector = quiet(client)
    assert views(collector) == 3000
    found = dashboard.read(collector, "minute")
    assert found.uniques.exact_day == 50
    assert {one.member: one.count for one in found.products["hour"]} == {
        "0": 1002,
        "1": 999,
        "2": 999,
    }


def test_a_cluster_takes_it_all() -> None:
    with cluster_node() as port:
        client = redis.RedisCluster(host="127.0.0.1", port=port)
        collector = quiet(client)
        collector.note("page", "mara", "42")
        assert collector.flush()
        collector._drop(dict.fromkeys(RESOLUTIONS, 1))
        assert collector.flush()
        kept, _ = SharedAnswer(client, "of-a-test").get(
            lambda: msgspec.json.encode(dashboard.read(collector, "hour"))
        )
        found = msgspec.json.decode(kept, type=dashboard.Dashboard)
        assert (found.pages, found.here_now, found.dropped) == ((Rising("page", 1),), 1, 1)
        assert (found.uniques.month, found.cohorts[-1].visitors) == (1, 1)
        assert found.products["day"] == (Rising("42", 1),)
        SharedAnswer(client, "of-a-test").forget()
        collector.close()
        client.close()


def test_redis_away_and_back() -> None:
    told: list[int] = []
    now = [1_798_761_000.0]
    with private_engine() as engine:
        client = connect(engine.url, pool_size=4, timeout_seconds=0.25)
        collector = quiet(client, told=told.append, clock=lambda: now[0])
        collector.note("page", "mara")
        assert collector.flush()
        collector._ahead_seconds, collector._asked_at = (
            0.0,
            float("inf"),
        )  # the test's clock from here on
        engine.kill()
        for minute in (1, 2, 2):
            now[0] = 1_798_761_000.0 + 60 * minute
            collector.note("page", "mara")
            assert not collector.flush()
        assert told == [1, 1, 1]
        engine.start()
        now[0] += 60
        until(collector.flush)
        collector.note("page", "mara")
        assert collector.flush()
        found = dashboard.read(collector, "minute")
        assert [(bucket.views, bucket.dropped) for bucket in found.buckets[-4:]] == [
            (0, 0),
            (None, 1),
            (None, 2),
            (1, 0),
        ]
        assert (found.dropped, told) == (3, [1, 1, 1])
        collector.close()
        client.close()


def test_a_full_redis_drops_and_tells(client: Client) -> None:
    told: list[int] = []
    with private_engine() as engine:
        full = connect(engine.url, pool_size=4, timeout_seconds=1.0)
        collector = quiet(full, told=told.append)
        full.config_set("maxmemory", 1)
        collector.note("page", "mara")
        assert not collector.flush()
        full.config_set("maxmemory", 0)
        collector.note("page", "mara")
        assert collector.flush()
        assert (views(collector), views(collector, DROPPED), told) == (1, 1, [1])
        collector.close()
        full.close()


def counted(collector: Collector, name: str = "page") -> set[int]:
    """What stands in each resolution, in the buckets of a page; one number where all say the same."""
    return {
        collector.counters.series(one, collector.now()).sum(name) for one in RESOLUTIONS.values()
    }


def test_a_command_that_is_refused_in_the_middle_drops_no_view_that_was_taken(
    client: Client,
) -> None:
    told: list[int] = []
    collector = quiet(client, told=told.append)
    client.rpush(f"demo:analytics:{{active}}:{datetime.now(UTC):%Y-%m-%d}", "no bitmap")
    for number in range(3):
        collector.note("page", str(number))
        assert collector.flush()
    assert (counted(collector), counted(collector, DROPPED), told) == ({3}, {0}, [])
    collector.close()


def test_only_what_was_refused_is_dropped_and_told_once_and_by_its_resolution(
    client: Client,
) -> None:
    told: list[int] = []
    collector = quiet(client, told=told.append)
    minute, hour = RESOLUTIONS["minute"], RESOLUTIONS["hour"]
    client.set(minute.key(int(collector.now())), "no hash")
    for _ in range(3):
        collector.note("page", "mara")
        collector.note("other")
        assert not collector.flush()
    assert (views(collector), views(collector, DROPPED), told) == (3, 0, [2, 2, 2])
    client.unlink(minute.key(int(collector.now())))
    for _ in range(3):
        assert collector.flush()
    seen = collector.counters.series(minute, collector.now())
    assert (seen.sum("page"), seen.sum(DROPPED), told) == (0, 6, [2, 2, 2])
    assert collector.counters.series(hour, collector.now()).sum(DROPPED) == 0
    collector.close()


class Late:
    """A client whose pipelines arrive, and whose answers to them come too late."""

    def __init__(self, client: Client) -> None:
        self.client, self.late = client, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def pipeline(self, transaction: bool) -> Any:
        pipeline = self.client.pipeline(transaction)
        execute = pipeline.execute

        def lose(raise_on_error: bool = True) -> list[Any]:
            replies = execute(raise_on_error)
            if self.late:
                raise redis.TimeoutError("of the test")
            return replies

        pipeline.execute = lose  # type: ignore[method-assign]
        return pipeline


def test_drops_whose_answer_is_lost_are_not_told_again(client: Client) -> None:
    late, told = Late(client), list[int]()
    collector = quiet(late, told=told.append)  # type: ignore[arg-type]
    collector._drop(dict.fromkeys(RESOLUTIONS, 100))
    for _ in range(3):
        collector.note("page")
        assert not collector.flush()
    late.late = False
    collector.note("page")
    assert collector.flush()
    assert (counted(collector), counted(collector, DROPPED)) == ({4}, {103})
    assert told == [100, 1, 1, 1]
    collector.close()


def test_drops_whose_answer_is_lost_among_others_are_not_told_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a cluster, where one server's replies are missing and the others' are there."""
    make = client.pipeline

    def lossy(**options: Any) -> Any:
        made = make(**options)
        execute = made.execute

        def run(raise_on_error: bool = True) -> list[Any]:
            stack = [" ".join(map(str, command[0])) for command in made.command_stack]
            replies = execute(raise_on_error)
            return [
                redis.ConnectionError("lost") if DROPPED in asked else reply
                for asked, reply in zip(stack, replies, strict=True)
            ]

        made.execute = run
        return made

    collector = quiet(client)
    collector._drop(dict.fromkeys(RESOLUTIONS, 5))
    collector.note("page")
    with monkeypatch.context() as patch:
        patch.setattr(client, "pipeline", lossy)
        assert collector.flush()
    assert not collector._untold
    collector.note("page")
    assert collector.flush()
    assert (counted(collector), counted(collector, DROPPED)) == ({2}, {5})
    collector.close()


def test_who_comes_around_midnight_is_one_who_is_here(client: Client) -> None:
    now = [1_798_761_600.0 - 86_400 - 60]
    collector, made = quiet(client, clock=lambda: now[0]), Batch()
    made.note("page", "mara")
    collector.write(made)
    now[0] += 120
    collector.write(made)
    assert collector.presence.count(now[0]) == 1
    collector.close()


def test_a_redis_that_lost_its_data_has_one_salt_again(client: Client) -> None:
    """A worker from before, and one that asks for its salts afterwards."""
    before, after = quiet(client), quiet(client)
    before.note("page", "mara")
    assert before.flush()
    servers.clean(client)
    before._asked_at = float("-inf")  # a minute is over
    for collector in (before, after):
        collector.note("page", "mara")
        assert collector.flush()
    assert (
        before.uniques.count(datetime.now(UTC).date()).exact_day
        == before.presence.count(before.now())
        == 1
    )
    before.close()
    after.close()


def test_the_exact_set_is_bounded_between_two_roll_ups(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unique_visitors, "MAX_EXACT", 10)
    collector = quiet(client)
    for second in range(4):
        for number in range(50):
            collector.note("page", f"{second} {number}")
        assert collector.flush()
    assert client.scard(f"demo:analytics:{{visitors}}:exact:{datetime.now(UTC):%Y-%m-%d}") == 11
    collector.close()


def test_what_is_too_much_for_a_second_is_told(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(batch, "MAX_VISITORS", 10)
    collector = quiet(client, told=told.append)
    for number in range(15):
        collector.note("page", str(number))
    collector.close()
    assert (views(collector), views(collector, DROPPED), told) == (10, 5, [5])


def test_an_outage_of_days_is_kept_in_a_bounded_place(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_798_761_000.0]
    collector = quiet(client, clock=lambda: now[0])

    def refuse(*_: object) -> None:
        raise RedisError("of the test")

    with monkeypatch.context() as patch:
        patch.setattr(collector, "write", refuse)
        for _ in range(300):
            collector.note("page")
            assert not collector.flush()
            now[0] += 60
    assert len(collector._untold) == 3 * 120 and collector._untold.total() == 3 * 300
    assert collector.flush()
    assert not collector._untold
    collector.close()


def test_the_clock_is_redis_own(client: Client) -> None:
    collector = quiet(client, clock=lambda: 1000.0)
    collector.note("page")
    assert collector.flush()
    assert abs(collector.now() - client.time()[0]) < 5
    collector.close()


def test_one_that_is_closed_starts_no_thread_any_more(client: Client) -> None:
    collector = Collector(client, interval_seconds=0.01)
    collector.close()
    collector.note("page")
    assert collector._thread is None
    collector.close()
    assert views(collector) == 1


def test_a_batch_by_hand_is_written_as_it_is(client: Client) -> None:
    collector, made = quiet(client), Batch()
    made.note("page", "mara")
    collector.write(made)
    assert views(collector) == 1 and collector.presence.count(collector.now()) == 1


def test_drops_that_a_dead_server_of_a_cluster_could_not_be_told_of_are_kept() -> None:
    """The others answer, so the pipeline is no failure as a whole."""
    with topology("cluster", nodes=3) as given:
        client = clients.connect(given.url(), pool_size=2, timeout_seconds=5.0, open_seconds=60)
        collector = quiet(client)
        collector.note("page", "mara", "42")
        assert collector.flush()
        node = client.nodes_manager.get_node_from_slot(client.keyslot("{views}"))
        client.breaker.of(node.name).failed()
        collector.note("page", "mara", "42")
        assert not collector.flush()
        kept = collector._untold.copy()
        assert kept.total() == len(RESOLUTIONS)
        assert not collector.flush() and collector._untold == kept
        client.breaker.succeeded()
        assert collector.flush() and not collector._untold
        client.close()
