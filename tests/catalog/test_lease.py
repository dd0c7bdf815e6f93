"""The lease used alone. Nothing here sleeps: each race is forced by doing the other reader's or the
writer's part inside of a loader, or in the place of a wait."""

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import RedisError

from demo.catalog.lease import Busy, LeasedCache, lease_of, patience_of, pause, redis_key
from tests.servers import connect, trips

NAME = redis_key("number", "1")


def make(client: Any, **options: Any) -> LeasedCache[int]:
    return LeasedCache(client, "number", int, **{"ttl_seconds": 60, "sleep": no_waiting, **options})


def no_waiting(_: float) -> None:
    raise AssertionError("waited")


def must_not_load() -> int:
    raise AssertionError("loaded")


def count(call: Callable[[], Any]) -> int:
    with trips() as seen:
        call()
    return len(seen)


def test_a_hit_is_one_round_trip_a_miss_three_and_an_invalidation_one(client: Any) -> None:
    cache = make(client)
    cache.get_or_load("0", lambda: 0)  # the first use of a script tells a new server its text
    assert count(lambda: cache.get_or_load("1", lambda: 1)) == 3
    assert count(lambda: cache.get_or_load("1", must_not_load)) == 1
    assert count(lambda: cache.invalidate("1")) == 1
    assert cache.get_or_load("1", lambda: 2) == 2


def test_a_value_ends_when_it_was_said_to(client: Any) -> None:
    make(client).get_or_load("1", lambda: 1)
    assert 59_000 < client.pttl(NAME) <= 60_000


def test_an_invalidation_between_load_and_store_stores_nothing(client: Any) -> None:
    cache = make(client)

    def load_then_be_overtaken() -> int:
        assert cache.invalidate("1")  # of the lease: there is no value yet
        return 1

    assert cache.get_or_load("1", load_then_be_overtaken) == 1
    assert client.get(NAME) is None
    assert cache.get_or_load("1", lambda: 2) == 2


def test_who_stores_too_late_does_not_replace_what_a_later_reader_stored(client: Any) -> None:
    cache = make(client)

    def load_then_be_overtaken() -> int:
        cache.invalidate("1")
        assert cache.get_or_load("1", lambda: 2) == 2
        return 1

    assert cache.get_or_load("1", load_then_be_overtaken) == 1
    assert cache.get_or_load("1", must_not_load) == 2


def test_two_readers_make_one_load(client: Any) -> None:
    """The first one's load ends while the second one waits."""
    loads: list[int] = []

    def load() -> int:
        loads.append(1)
        with pytest.raises(Finished):
            make(client, sleep=finish).get_or_load("1", must_not_load)
        return 1

    class Finished(Exception):
        """The second reader has met the lease and would wait now."""

    def finish(_: float) -> None:
        raise Finished

    assert make(client).get_or_load("1", load) == 1
    assert len(loads) == 1


def test_who_waits_gets_the_value_of_the_other_load(client: Any) -> None:
    lease = lease_of("somebody", 60_000)
    client.set(NAME, lease, px=5000)
    other = make(client)

    def store(_: float) -> None:
        other._leases.store(NAME, lease, b"\x01", 60_000)  # 1 in msgpack

    assert make(client, sleep=store).get_or_load("1", must_not_load) == 1


def test_who_finds_the_lease_taken_between_his_look_and_his_own_lease_waits(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def be_too_late(name: str) -> bytes | None:
        monkeypatch.undo()
        client.set(NAME, lease_of("somebody", 60_000), px=5000)
        return cache._leases.take(name)

    def store(seconds: float) -> None:
        waits.append(seconds)
        client.set(NAME, b"\x01", px=5000)

    cache = make(client, sleep=store)
    monkeypatch.setattr(cache._leases, "take", be_too_late)
    assert cache.get_or_load("1", must_not_load) == 1
    assert len(waits) == 1


def test_a_loser_takes_over_when_the_lease_runs_out(client: Any) -> None:
    client.set(NAME, lease_of("of one who died", 5000), px=5000)

    def run_out(_: float) -> None:
        client.delete(NAME)

    assert make(client, sleep=run_out).get_or_load("1", lambda: 2) == 2
    assert make(client).get_or_load("1", must_not_load) == 2


class Sleeps:
    """Waits that take no time, and what they come to."""

    def __init__(self, then: Callable[[float], None] = lambda slept: None) -> None:
        self.slept, self._then = 0.0, then

    def __call__(self, seconds: float) -> None:
        self.slept += seconds
        self._then(self.slept)


def test_a_dead_readers_lease_is_taken_over_after_what_it_says(client: Any) -> None:
    client.set(NAME, lease_of("of one who died", 1000), px=3_600_000)  # or the clock was set back
    sleeps = Sleeps()

    def load() -> int:
        lease = client.get(NAME)
        assert lease and patience_of(lease) == 2000 and 0 < client.pttl(NAME) <= 5000
        return 2

    assert make(client, sleep=sleeps).get_or_load("1", load) == 2
    assert 1.0 <= sleeps.slept < 1.2
    assert make(client).get_or_load("1", must_not_load) == 2


def test_who_was_only_slow_stores_nothing_once_another_has_taken_over(client: Any) -> None:
    def load_slowly() -> int:
        assert make(client, sleep=Sleeps()).get_or_load("1", lambda: 2) == 2
        return 1

    assert make(client).get_or_load("1", load_slowly) == 1
    assert make(client).get_or_load("1", must_not_load) == 2


def test_a_slow_loader_is_taken_over_from_later_each_time(client: Any) -> None:
    """Five readers who all find it slow: each waits twice as long as the one before."""
    waited: list[float] = []

    def load(depth: int) -> int:
        if depth:
            sleeps = Sleeps()
            make(client, sleep=sleeps).get_or_load("1", lambda: load(depth - 1))
            waited.append(sleeps.slept)
        return depth

    make(client).get_or_load("1", lambda: load(4))
    assert [round(seconds) for seconds in reversed(waited)] == [1, 2, 4, 5]  # a lease time at most


def test_another_lease_is_waited_for_anew(client: Any) -> None:
    client.set(NAME, lease_of("first", 1000), px=60_000)

    def change(slept: float) -> None:
        if slept > 0.9:
            client.set(NAME, lease_of("second", 1000), px=60_000, xx=True)

    sleeps = Sleeps(change)
    assert make(client, sleep=Sleeps()).get_or_load("1", lambda: 1) == 1
    client.set(NAME, lease_of("first", 1000), px=60_000)
    assert make(client, sleep=sleeps).get_or_load("1", lambda: 2) == 2
    assert sleeps.slept > 1.8


def test_a_lease_that_does_not_say_is_waited_for_to_its_end(client: Any) -> None:
    """Of a process that still runs an older version."""
    client.set(NAME, b"L|somebody|", px=60_000)
    with pytest.raises(Busy):
        make(client, wait_seconds=0.01, sleep=Sleeps()).get_or_load("1", must_not_load)


def test_how_long_a_lease_says_follows_what_loads_take(client: Any) -> None:
    leases = make(client)._leases
    assert patience_of(leases.new()) == 1000
    leases.took(1)
    assert patience_of(leases.new()) == 250
    leases.took(400)
    assert patience_of(leases.new()) == 1600
    leases.took(1)  # one that was quick makes nobody forget the slow one
    assert patience_of(leases.new()) == 1440
    leases.took(60_000)
    assert patience_of(leases.new()) == 5000


def test_a_lease_runs_out_by_itself(client: Any) -> None:
    def load() -> int:
        assert 0 < client.pttl(NAME) <= 1500
        return 1

    assert make(client, lease_seconds=1.5).get_or_load("1", load) == 1


def test_who_has_waited_long_enough_is_told_so(client: Any) -> None:
    waits: list[float] = []
    client.set(NAME, lease_of("somebody", 60_000), px=60_000)
    with pytest.raises(Busy, match="waited 0.01 s"):
        make(client, wait_seconds=0.01, sleep=waits.append).get_or_load("1", must_not_load)
    assert all(0 < wait <= 0.1 for wait in waits)
    assert client.get(NAME) == lease_of("somebody", 60_000)


def test_pauses_grow_to_a_tenth_of_a_second_and_differ_by_chance() -> None:
    assert 0.0025 <= pause(0) <= 0.005
    assert all(0.05 <= pause(number) <= 0.1 for number in (8, 100, 10_000))
    assert len({pause(8) for _ in range(20)}) > 1


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, RedisError])
def test_a_loader_that_raises_is_asked_once_and_gives_the_lease_back(
    client: Any, error: type[BaseException]
) -> None:
    cache, loads = make(client), []

    def fail() -> int:
        loads.append(1)
        raise error

    with pytest.raises(error):
        cache.get_or_load("1", fail)
    assert (len(loads), client.get(NAME)) == (1, None)
    assert cache.get_or_load("1", lambda: 2) == 2


def test_a_loader_that_raises_after_it_was_overtaken_leaves_the_new_value_alone(
    client: Any,
) -> None:
    cache = make(client)

    def fail() -> int:
        cache.invalidate("1")
        cache.get_or_load("1", lambda: 2)
        raise LookupError

    with pytest.raises(LookupError):
        cache.get_or_load("1", fail)
    assert cache.get_or_load("1", must_not_load) == 2


def test_that_there_is_none_is_kept_until_it_is_invalidated(client: Any) -> None:
    cache = make(client)
    assert cache.get_or_load("1", lambda: None) is None
    assert cache.get_or_load("1", must_not_load) is None
    cache.invalidate("1")
    assert cache.get_or_load("1", lambda: 1) == 1


@pytest.mark.parametrize("garbage", [b"", b"x\xff", b"\xa1a", b"V|tok|1|9|0|100||\x01"])
def test_what_does_not_decode_is_loaded_anew(client: Any, garbage: bytes) -> None:
    client.set(NAME, garbage, px=60_000)
    assert make(client, sleep=lambda _: None).get_or_load("1", lambda: 2) == 2
    assert make(client).get_or_load("1", must_not_load) == 2


def test_without_redis_the_loader_answers_and_an_invalidation_raises(client: Any) -> None:
    away = connect("redis://127.0.0.1:1", pool_size=2, timeout_seconds=0.25)
    assert make(away).get_or_load("1", lambda: 1) == 1
    with pytest.raises(RedisError):
        make(away).invalidate("1")
    client.hset(NAME, "a", "b")  # a key of another kind is an error of Redis' too
    assert make(client).get_or_load("1", lambda: 1) == 1


def test_redis_lost_during_a_load_costs_only_the_value(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make(client)

    def gone(*_: Any) -> int:
        raise RedisError

    monkeypatch.setattr(cache._leases, "store", gone)
    assert cache.get_or_load("1", lambda: 1) == 1
    assert client.get(NAME).startswith(b"L|")


@pytest.mark.parametrize("wrong", ["ttl_seconds", "lease_seconds", "wait_seconds"])
def test_wrong_times_are_refused_when_the_cache_is_made(client: Any, wrong: str) -> None:
    with pytest.raises(ValueError, match="positive"):
        make(client, **{wrong: 0})


class Ended(BaseException):
    """As gevent ends a greenlet, asyncio a task, and a timer what takes too long."""


@pytest.mark.parametrize("ending", [Ended(), TimeoutError(), None])
def test_whatever_ends_a_load_leaves_no_lease(client: Any, ending: BaseException | None) -> None:
    def load() -> Any:
        if ending:
            raise ending
        return object()  # which cannot be written

    with pytest.raises(type(ending) if ending else TypeError):
        make(client).get_or_load("1", load)
    assert client.get(NAME) is None


def test_who_is_ended_while_he_takes_the_lease_leaves_none(client: Any) -> None:
    original = client.set

    def then_ended(*given: Any, **options: Any) -> Any:
        original(*given, **options)
        raise Ended

    client.set = then_ended
    with pytest.raises(Ended):
        make(client).get_or_load("1", must_not_load)
    assert client.get(NAME) is None


def test_values_are_written_and_read_by_the_callers_own_functions(client: Any) -> None:
    own: dict[str, Any] = {
        "encode": lambda number: b"L|%d" % number,
        "decode": lambda raw: int(raw[2:]),
    }
    cache = make(client, **own)
    assert cache.get_or_load("1", lambda: 7) == cache.get_or_load("1", must_not_load) == 7
    assert make(client, **own).get_or_load("2", lambda: None) is None  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="encode, decode"):
        make(client, decode=int)
