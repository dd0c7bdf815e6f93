import random
import threading
from typing import Any

import pytest

from demo.client.wire import Client
from demo.observe.redis_sums import RedisSums, Sums, bucket_of, percentile_ms, seconds_of
from tests.clients import connect


@pytest.fixture
def client(wired: Client) -> Client:
    """The app's kind, whose wire these tests look at."""
    return wired


def test_buckets_follow_each_other_and_are_right_to_an_eighth() -> None:
    before = -1
    for us in range(200_000):
        bucket = bucket_of((us + 0.5) / 1e6)
        assert bucket in (before, before + 1)
        before = bucket
        if us >= 8:
            assert abs(seconds_of(bucket) * 1e6 - us) <= us / 8 + 0.5
    assert bucket_of(-1) == 0
    assert bucket_of(3600) < 128


def test_percentiles_are_those_of_the_sorted_times_to_an_eighth() -> None:
    dice = random.Random(3)
    times = sorted(dice.lognormvariate(-8, 1) for _ in range(5000))
    buckets: dict[int, int] = {}
    for seconds in times:
        buckets[bucket_of(seconds)] = buckets.get(bucket_of(seconds), 0) + 1
    for percent in (50, 95, 99):
        told, truth = percentile_ms(buckets, percent), times[int(50 * percent) - 1] * 1000
        assert told is not None and abs(told - truth) <= truth / 7
    assert percentile_ms({}, 50) is None


@pytest.mark.parametrize(
    ("command", "reply", "room", "looked"),
    [
        (("GET", "demo:catalog:{a}"), b"", "catalog", (1, 0)),
        (("GET", b"demo:catalog:{a}"), None, "catalog", (0, 1)),
        (("HGETALL", "demo:sessions:{a}"), {}, "sessions", (0, 1)),
        (("MGET", "demo:catalog:{a}", "b", "c"), [b"1", None, b"2"], "catalog", (2, 1)),
        (("HMGET", "demo:catalog:{a}", "b", "c"), [None, None], "catalog", (0, 1)),
        (("HMGET", "demo:catalog:{a}", "b", "c"), [None, b""], "catalog", (1, 0)),
        (("ZSCORE", "demo:leaderboard:{a}", "b"), 0.0, "leaderboard", (1, 0)),
        (("ZSCORE", "demo:leaderboard:{a}", "b"), None, "leaderboard", (0, 1)),
        (("SISMEMBER", "demo:catalog:{a}", "b"), 0, "catalog", (0, 1)),
        (
            ("EXISTS", "demo:catalog:{a}", "demo:catalog:{b}", "demo:catalog:{c}"),
            1,
            "catalog",
            (1, 2),
        ),
        (("EVALSHA", "abc", 1, "demo:rate_limit:{a}", 5), [1], "rate_limit", (0, 0)),
        (
            ("XREADGROUP", "GROUP", "g", "c", b"STREAMS", "demo:catalog:{s}", ">"),
            None,
            "catalog",
            (0, 0),
        ),
        (("SET", "demo:catalog:{a}", 1), True, "catalog", (0, 0)),
        (("GET", "demo:catalog:{a}"), TimeoutError(), "catalog", (0, 0)),
        (("PING",), True, "other", (0, 0)),
        (("MEMORY USAGE", "demo:catalog:{a}"), 56, "other", (0, 0)),
        (("GET", "theirs"), b"1", "other", (1, 0)),
        (("EVALSHA", "abc"), None, "other", (0, 0)),
        (("OBJECT", 5), None, "other", (0, 0)),
    ],
)
def test_a_command_counts_for_the_use_case_of_its_first_key(
    command: tuple[object, ...], reply: object, room: str, looked: tuple[int, int]
) -> None:
    summed = RedisSums()
    summed.note([command], [reply], 0.001)
    sums, _ = summed.take()
    assert set(sums) == {room}
    assert (sums[room].commands, sums[room].hits, sums[room].misses) == (1, *looked)
    assert sums[room].times == {bucket_of(0.001): 1}
    assert summed.take()[0] == {}


def test_a_pipeline_is_one_round_trip_and_all_its_commands(client: Client) -> None:
    client.sums.take()
    pipeline = client.pipeline(transaction=False)
    pipeline.set("demo:catalog:{a}", 1, ex=9)
    pipeline.get("demo:catalog:{a}")
    pipeline.get("demo:sessions:{a}")
    pipeline.execute()
    sums, _ = client.sums.take()
    assert (
        sums["catalog"].commands,
        sums["catalog"].hits,
        sum(sums["catalog"].times.values()),
    ) == (2, 1, 1)
    assert (
        sums["sessions"].commands,
        sums["sessions"].misses,
        sum(sums["sessions"].times.values()),
    ) == (1, 1, 0)


def test_what_was_not_sent_counts_nothing() -> None:
    with connect(
        "redis://127.0.0.1:1", pool_size=1, timeout_seconds=0.2, open_seconds=60
    ) as nobody:
        for _ in range(3):
            with pytest.raises(Exception, match=r"."):
                nobody.get("demo:catalog:{a}")
        assert nobody.sums.take()[0] == {}


def test_summing_up_asks_redis_nothing(redis_url: str) -> None:
    sent: list[str] = []

    def inside(trip: Any, send: Any) -> Any:
        sent.append(trip.label)
        return send(trip)

    made = connect(redis_url, pool_size=1, timeout_seconds=5, open_seconds=1, inside=inside)
    with made:
        for _ in range(3):
            made.get("demo:catalog:{a}")
            made.sums.take()
    assert sent == ["GET"] * 3


def test_threads_lose_no_count() -> None:
    summed = RedisSums()
    command = [("GET", "demo:catalog:{a}")]

    def note() -> None:
        for _ in range(5000):
            summed.note(command, [b"1"], 0.0001)

    threads = [threading.Thread(target=note) for _ in range(4)]
    for thread in threads:
        thread.start()
    taken = [summed.take()]
    for thread in threads:
        thread.join()
    taken.append(summed.take())
    assert sum(sums["catalog"].hits for sums, _ in taken if sums) == 20_000
    about = sum(keys["demo:catalog:{a}"] for _, keys in taken)
    assert abs(about - 20_000) <= 2000  # six times its standard error


@pytest.mark.parametrize("commands", [2, 4, 8, 16])
def test_each_key_of_requests_that_repeat_is_told_by_its_share(commands: int) -> None:
    summed = RedisSums(random.Random(3).random)
    for _ in range(80_000 // commands):
        for number in range(commands):
            summed.note([("GET", f"demo:catalog:{{{number}}}")], [b"1"], 0.0001)
    _, keys = summed.take()
    assert abs(keys.total() - 80_000) <= 4000
    for number in range(commands):
        assert abs(keys[f"demo:catalog:{{{number}}}"] * commands / 80_000 - 1) <= 0.25


def test_a_use_case_that_knows_better_tells_its_hits_itself_and_each_is_told_once() -> None:
    summed, told = RedisSums(), [0, 0]
    summed.ask["catalog"] = lambda: (told[0], told[1])
    assert summed.take()[0] == {}
    summed.note([("GET", "demo:catalog:{a}")], [None], 0.001)
    told[:] = [5, 2]
    sums, _ = summed.take()
    assert (sums["catalog"].commands, sums["catalog"].hits, sums["catalog"].misses) == (1, 5, 2)
    told[:] = [7, 2]
    summed.put_back(sums)
    again, _ = summed.take()
    assert (again["catalog"].commands, again["catalog"].hits, again["catalog"].misses) == (1, 7, 2)
    assert summed.take()[0] == {}
    summed.put_back({"sessions": Sums(1, 2, 3)})
    assert summed.take()[0]["sessions"].misses == 3


def test_the_state_that_all_threads_draw_from_is_left_alone() -> None:
    before = random.getstate()
    summed = RedisSums()
    for _ in range(100):
        summed.note([("GET", "demo:catalog:{page:1}")], [b""], 0.001)
    assert random.getstate() == before
