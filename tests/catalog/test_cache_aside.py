import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from redis.exceptions import RedisError

from demo.catalog.cache_aside import Busy, Cache, Cached, CacheStatus
from demo.catalog.lease import Waits, lease_of
from tests.servers import Client, clean, cluster_node, connect, lives, private_engine, trips


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int


def make(client: Any, **options: Any) -> Cache[Row]:
    return Cache(client, "row", Row, **{"ttl_seconds": 60, **options})


def groups_of(group: str | None) -> list[str]:
    return [group] if group else []


def must_not_load() -> Row:
    raise AssertionError("loaded")


def counted(call: Callable[[], Any]) -> tuple[Any, int]:
    with trips() as seen:
        return call(), len(seen)


def ask(cache: Cache[Row], number: int | None, **options: Any) -> Cached[Row]:
    return cache.get_or_load("1", lambda: None if number is None else Row(number), **options)


def test_a_first_load_takes_three_round_trips_and_a_hit_one(client: Client) -> None:
    cache = make(client)
    cache.get_or_load(
        "warm", lambda: Row(0)
    )  # the first use of a script on a new server tells it the text
    cached, trips = counted(lambda: ask(cache, 1))
    assert (cached.value, cached.status, trips) == (Row(1), CacheStatus.MISS, 3)
    cached, trips = counted(lambda: cache.get_or_load("1", must_not_load))
    assert (cached.value, cached.status, trips) == (Row(1), CacheStatus.HIT, 1)
    assert 0 < cached.ttl_seconds <= 60


def test_a_grouped_first_load_takes_three_round_trips_and_a_hit_one(client: Client) -> None:
    cache = make(client)
    cache.get_or_load("warm", lambda: Row(0))
    assert counted(lambda: ask(cache, 1, groups=["g"]))[1] == 3
    cached, trips = counted(lambda: cache.get_or_load("1", must_not_load, groups=["g"]))
    assert (cached.status, trips) == (CacheStatus.HIT, 1)


@pytest.mark.parametrize("group", [None, "g"])
def test_a_reader_that_loaded_before_an_invalidation_leaves_nothing_to_later_readers(
    client: Client, group: str | None
) -> None:
    cache = make(client)

    def load_then_be_overtaken() -> Row:
        cache.invalidate("1") if group is None else cache.invalidate(groups=[group])
        return Row(1)

    assert cache.get_or_load("1", load_then_be_overtaken, groups=groups_of(group)).value == Row(1)
    later = ask(cache, 2, groups=groups_of(group))
    assert (later.value, later.status) == (Row(2), CacheStatus.MISS)


@pytest.mark.parametrize("group", [None, "g"])
def test_after_an_invalidation_nobody_gets_the_old_value(client: Client, group: str | None) -> None:
    cache = make(client)
    ask(cache, 1, groups=groups_of(group))
    cache.invalidate("1") if group is None else cache.invalidate(groups=[group])
    assert ask(cache, 2, groups=groups_of(group)).value == Row(2)
    assert cache.get_or_load("1", must_not_load, groups=groups_of(group)).value == Row(2)


def test_two_writers_in_any_order_leave_the_newest(client: Client) -> None:
    cache, row = make(client), [Row(0)]

    def load() -> Row:
        loaded = row[0]
        row[0] = Row(1)
        cache.invalidate("1")
        row[0] = Row(2)
        cache.invalidate("1")
        return loaded

    assert cache.get_or_load("1", load).value == Row(0)
    assert cache.get_or_load("1", lambda: row[0]).value == Row(2)


def test_a_lease_that_ran_out_is_taken_over_and_its_late_holder_stores_nothing(
    client: Client,
) -> None:
    slow, quick = make(client), make(client)

    def load_slowly() -> Row:
        client.delete(slow.redis_key("1"))  # the lease runs out, or is evicted
        assert ask(quick, 2).status is CacheStatus.MISS
        return Row(1)

    late = slow.get_or_load("1", load_slowly)
    assert late.value == Row(1)
    assert late.ttl_seconds == 0
    assert quick.get_or_load("1", must_not_load).value == Row(2)


def test_a_lease_expires_by_itself(client: Client) -> None:
    cache = make(client, lease_seconds=1.5)

    def load() -> Row:
        assert 0 < client.pttl(cache.redis_key("1")) <= 1500
        return Row(1)

    cache.get_or_load("1", load)


@pytest.mark.parametrize("lies_there", ["nothing", "an outdated entry", "nothing, in a group"])
@pytest.mark.parametrize("found", [Row(1), None])
def test_twenty_readers_at_once_load_once(
    client: Client, lies_there: str, found: Row | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, loads, start = make(client), [], threading.Barrier(20)
    group = None if lies_there == "nothing" else "g"
    if lies_there == "an outdated entry":
        ask(cache, 0, groups=groups_of(group))
        cache.invalidate(groups=["g"])
    waiting, all_wait = set(), threading.Event()

    asked = cache._polls.ask

    def ask_together(*args: Any) -> Any:
        waiting.add(threading.get_ident())
        if len(waiting) == 19:
            all_wait.set()
        return asked(*args)

    monkeypatch.setattr(cache._polls, "ask", ask_together)

    def load() -> Row | None:
        loads.append(1)
        assert all_wait.wait(10)  # for this one
        return found

    def read(_: int) -> Cached[Row]:
        start.wait()
        return cache.get_or_load("1", load, groups=groups_of(group))

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(read, range(20)))
    assert len(loads) == 1
    assert {answer.value for answer in answers} == {found}
    assert [answer.status for answer in answers].count(CacheStatus.MISS) == 1
    waited = [answer for answer in answers if answer.collapsed]
    assert len(waited) == 19
    assert {answer.status for answer in waited} == {
        CacheStatus.HIT if found else CacheStatus.NEGATIVE
    }


def test_a_waiter_loads_for_itself_when_it_waited_long_enough(client: Client) -> None:
    waits: list[float] = []
    cache = make(client, wait_seconds=0.05, sleep=waits.append)
    client.set(cache.redis_key("1"), "L|somebody|", px=5000)
    cached = ask(cache, 1)
    assert (cached.value, cached.status) == (Row(1), CacheStatus.BYPASS)
    assert waits
    assert all(0 < wait <= 0.1 for wait in waits)
    assert lives(client, cache.redis_key("1") + ":late", cache.lease_seconds)
    assert client.get(cache.redis_key("1")) == b"L|somebody|"


@pytest.mark.parametrize("what_ends_it", ["the lease runs out", "an invalidation"])
def test_a_waiter_whose_loader_is_lost_loads_in_its_place(
    client: Client, what_ends_it: str
) -> None:
    cache = make(client)

    def sleep(_: float) -> None:
        client.delete(
            cache.redis_key("1")
        ) if what_ends_it == "the lease runs out" else cache.invalidate("1")

    cache._sleep = sleep
    client.set(cache.redis_key("1"), "L|somebody|", px=5000)
    assert ask(cache, 1).status is CacheStatus.MISS
    assert cache.get_or_load("1", must_not_load).value == Row(1)


def test_a_loader_that_stores_too_late_does_not_harm_who_took_the_lease_over(
    client: Client,
) -> None:
    slow, quick = make(client), make(client)

    def load_slowly() -> Row:
        client.delete(slow.redis_key("1"))
        held.append(quick._look({"1": ()}, {}, Waits(), False, quick._fetch))
        return Row(1)

    held: list[Any] = []
    assert slow.get_or_load("1", load_slowly).ttl_seconds == 0
    claims = held[0]
    assert (
        client.get(quick.redis_key("1")) == claims["1"].begins
    )  # the lease of the other one still stands
    assert (
        quick._loading.load_and_store(claims, lambda keys: dict.fromkeys(keys, Row(2)))[
            "1"
        ].ttl_seconds
        > 0
    )
    assert slow.get_or_load("1", must_not_load).value == Row(2)


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, RedisError])
def test_a_loader_that_raises_is_asked_once_and_gives_the_lease_back(
    client: Client, error: type[BaseException]
) -> None:
    cache, loads = make(client), []

    def fail() -> Row:
        loads.append(1)
        raise error

    with pytest.raises(error):
        cache.get_or_load("1", fail)
    assert len(loads) == 1
    assert client.get(cache.redis_key("1")) is None
    assert ask(cache, 2).status is CacheStatus.MISS


def test_a_loader_that_raises_after_it_was_overtaken_leaves_the_new_value_alone(
    client: Client,
) -> None:
    cache = make(client)

    def fail() -> Row:
        cache.invalidate("1")
        ask(cache, 2)
        raise LookupError

    with pytest.raises(LookupError):
        cache.get_or_load("1", fail)
    assert cache.get_or_load("1", must_not_load).value == Row(2)


def test_no_key_is_ever_without_an_end(client: Client) -> None:
    cache = make(client)

    def look() -> Row:
        assert all(client.pttl(key) > 0 for key in client.scan_iter("demo:*"))
        return Row(1)

    for group in (None, "g"):
        cache.get_or_load("1", look, groups=groups_of(group))
        cache.get_or_load("none", lambda: None, groups=groups_of(group))
        look()
        cache.invalidate("1", "none")
        cache.invalidate(groups=["g"])
        look()
        cache.get_or_load("1", look, groups=groups_of(group))
        look()
    assert len(list(client.scan_iter("demo:*"))) == 2


def test_a_hit_tells_what_the_load_cost_and_the_size(client: Client) -> None:
    cache = make(client, jitter=0)
    missed, hit = ask(cache, 1), cache.get_or_load("1", must_not_load)
    assert missed.ttl_seconds == 60
    assert hit.load_ms == pytest.approx(missed.load_ms, abs=0.001)
    assert hit.bytes == client.strlen(cache.redis_key("1"))


def test_what_is_not_there_is_asked_for_once(client: Client) -> None:
    cache = make(client)
    assert ask(cache, None).status is CacheStatus.MISS
    again = cache.get_or_load("1", must_not_load)
    assert (again.value, again.status) == (None, CacheStatus.NEGATIVE)
    assert lives(client, cache.redis_key("1"), 10)
    cache.invalidate("1")
    assert ask(cache, 1).value == Row(1)


def test_lives_are_scattered_and_within_their_bounds(client: Client) -> None:
    cache = make(client, jitter=0.5)
    lives = set()
    for number in range(30):
        cache.get_or_load(str(number), lambda: Row(1))
        lives.add(client.pttl(cache.redis_key(str(number))) // 1000)
    assert len(lives) > 5
    assert 28 <= min(lives) and max(lives) <= 60


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"x",
        b"\xff" * 500,
        b"V|a|1|b",
        b"V|tok|1|9999999999999|0|100||\xc1\xc1",
        b"V|tok|2|9999999999999|0|100||\x80",
        b"V|tok|1|nan|0|100||\x81\xa6number\x01",
        b"V|tok|1|1|0|inf||\x81\xa6number\x01",
        b"|" * 9,
    ],
)
def test_what_does_not_decode_is_a_miss_and_is_replaced(client: Client, garbage: bytes) -> None:
    cache = make(client)
    client.set(cache.redis_key("1"), garbage, px=60_000)
    assert ask(cache, 2).status is CacheStatus.MISS
    assert cache.get_or_load("1", must_not_load).value == Row(2)


def test_an_entry_of_another_type_or_schema_is_a_miss(client: Client) -> None:
    old, new = make(client, schema="1"), make(client, schema="2")
    ask(old, 1)
    assert ask(new, 2).status is CacheStatus.MISS
    assert new.get_or_load("1", must_not_load).value == Row(2)
    other = Cache(client, "row", dict[str, str], ttl_seconds=60, schema="2")
    assert other.get_or_load("1", lambda: {"a": "b"}).status is CacheStatus.MISS


@pytest.mark.parametrize("group", [None, "g"])
def test_a_key_of_another_kind_is_replaced(client: Client, group: str | None) -> None:
    cache = make(client)
    client.hset(cache.redis_key("1"), "a", "b")
    assert ask(cache, 1, groups=groups_of(group)).status is CacheStatus.MISS
    assert cache.get_or_load("1", must_not_load, groups=groups_of(group)).status is CacheStatus.HIT


def test_a_version_of_another_kind_hides_nothing_new_and_shows_nothing_old(client: Client) -> None:
    cache = make(client)
    client.hset(cache.version_key("g"), "a", "b")
    assert [ask(cache, number, groups=["g"]).value for number in (1, 2)] == [Row(1), Row(2)]
    assert cache.get_or_load("1", must_not_load, groups=["g"]).value == Row(2)
    cache.invalidate(groups=["g"])
    assert ask(cache, 3, groups=["g"]).value == Row(3)


def test_an_entry_cut_off_anywhere_is_a_miss(client: Client) -> None:
    cache = make(client)
    ask(cache, 70_000)
    whole = client.get(cache.redis_key("1"))
    for length in range(len(whole)):
        client.set(cache.redis_key("1"), whole[:length], px=60_000)
        assert ask(cache, 2).status is CacheStatus.MISS, whole[:length]
        assert cache.get_or_load("1", must_not_load).value == Row(2)


def test_many_readers_of_an_outdated_group_replace_the_entry_once(client: Client) -> None:
    cache = make(client)
    ask(cache, 1, groups=["g"])
    cache.invalidate(groups=["g"])
    seen = cache._lookup.read({"1": ("g",)}, cache._fetch)["1"]
    assert cache._claims.take_over("1", seen) is not None
    assert cache._claims.take_over("1", seen) is None


@pytest.mark.parametrize("when", ["before the load", "during the load", "after the load"])
def test_a_groups_token_that_is_evicted_costs_a_hit_and_never_the_guarantee(
    client: Client, when: str
) -> None:
    """An entry from before an invalidation must not count again because the token that outdated it
    is gone."""
    cache = make(client)
    ask(cache, 1, groups=["g"])
    cache.invalidate(groups=["g"])
    if when == "before the load":
        client.delete(cache.version_key("g"))

    def load() -> Row:
        if when == "during the load":
            client.delete(cache.version_key("g"))
        return Row(2)

    assert cache.get_or_load("1", load, groups=["g"]).value == Row(2)
    if when == "after the load":
        client.delete(cache.version_key("g"))
    again = cache.get_or_load("1", lambda: Row(3), groups=["g"])
    assert again.value == (Row(2) if when == "before the load" else Row(3))


def test_without_redis_the_loader_answers() -> None:
    client = connect("redis://127.0.0.1:1", pool_size=2, timeout_seconds=0.25)
    cache = make(client)
    for number in (1, 2):
        cached = ask(cache, number)
        assert (cached.value, cached.status) == (Row(number), CacheStatus.BYPASS)


def test_redis_lost_during_a_load_costs_only_the_entry() -> None:
    with private_engine() as engine:
        cache = make(connect(engine.url, pool_size=2, timeout_seconds=0.25))

        def load() -> Row:
            engine.kill()
            return Row(1)

        assert cache.get_or_load("1", load).status is CacheStatus.BYPASS
        engine.start()


@pytest.mark.parametrize("how", ["the loader failed", "it was loaded"])
def test_a_lease_that_could_not_be_ended_is_taken_over_by_the_process_that_held_it(
    client: Client, how: str
) -> None:
    """Redis is away for the moment in which a load ends: nobody else may wait for a lease time
    after it is back."""

    def no_waiting(_: float) -> None:
        raise AssertionError("waited")

    def gone(**_: Any) -> int:
        raise RedisError

    def load() -> Row:
        if how == "the loader failed":
            raise LookupError
        return Row(1)

    cache = make(client, sleep=no_waiting)
    leases = cache._leases
    compare_and_set, leases._compare_and_set = leases._compare_and_set, gone
    try:
        assert cache.get_or_load("1", load).status is CacheStatus.BYPASS
    except LookupError:
        assert how == "the loader failed"
    leases._compare_and_set = compare_and_set
    assert client.get(cache.redis_key("1")).startswith(b"L|")
    assert ask(cache, 2).status is CacheStatus.MISS
    assert cache.get_or_load("1", must_not_load).value == Row(2)
    client.set(cache.redis_key("1"), "L|somebody|", px=60_000)
    with pytest.raises(AssertionError, match="waited"):
        ask(cache, 3)


def test_a_full_or_read_only_redis_serves_what_it_has_and_is_read_around() -> None:
    with private_engine("--maxmemory", "3mb") as engine:
        client = connect(engine.url, pool_size=2, timeout_seconds=1)
        cache = make(client)
        ask(cache, 1)
        client.config_set("maxmemory", 1)
        assert cache.get_or_load("1", must_not_load).status is CacheStatus.HIT
        assert cache.get_or_load("2", lambda: Row(2)).status is CacheStatus.BYPASS
        client.config_set("maxmemory", 0)
        client.replicaof("127.0.0.1", 1)
        assert cache.get_or_load("2", lambda: Row(2)).status is CacheStatus.BYPASS
        assert ask(cache, 3, groups=["g"]).status is CacheStatus.BYPASS
        for call in (lambda: cache.invalidate("1"), lambda: cache.invalidate(groups=["g"])):
            with pytest.raises(RedisError):
                call()
        client.replicaof("NO", "ONE")
        assert cache.get_or_load("2", lambda: Row(2)).status is CacheStatus.MISS


@pytest.mark.parametrize(
    "options", [{"ttl_seconds": 0}, {"lease_seconds": -1}, {"jitter": 1}, {"wait_seconds": 0}]
)
def test_wrong_times_are_refused_when_the_cache_is_made(
    client: Client, options: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match="^[a-z_]+: must be "):
        make(client, **options)


def test_what_a_visitor_typed_never_becomes_a_key(client: Client) -> None:
    cache = make(client)
    for typed in ("}{", "a b", "\x00", "é", "x" * 500, "*", "\ud800"):
        name = cache.redis_key(typed)
        assert cache.version_key(typed) == f"{name}:version"
        assert name.isascii() and name.count("{") == name.count("}") == 1 and len(name) < 160
    # A hash cannot be typed: it would be another one's key.
    for typed in ("a b", "}{"):
        part = cache.redis_key(typed).removeprefix("demo:catalog:{row:").removesuffix("}")
        assert cache.redis_key(part) != cache.redis_key(typed)


def test_dropping_tells_how_many_were_there_in_one_round_trip(client: Client) -> None:
    cache = make(client)
    for key in "abc":
        cache.get_or_load(key, lambda: Row(1))
    assert counted(lambda: cache.invalidate("a", "b", "nothing")) == (2, 1)
    assert cache.invalidate() == 0
    assert counted(lambda: cache.invalidate(groups=["g", "h"])) == (0, 1)
    assert cache.get_or_load("c", must_not_load).status is CacheStatus.HIT


def test_a_server_that_forgot_the_scripts_is_told_them_again() -> None:
    with (
        private_engine() as engine,
        connect(engine.url, pool_size=2, timeout_seconds=1) as client,
    ):
        cache = make(client)
        client.script_flush()
        assert ask(cache, 1).status is CacheStatus.MISS
        assert cache.get_or_load("1", must_not_load).status is CacheStatus.HIT


def test_a_server_that_hangs_is_read_around() -> None:
    with (
        private_engine() as engine,
        connect(engine.url, pool_size=2, timeout_seconds=0.05) as client,
    ):
        cache = make(client)
        ask(cache, 1)
        engine.pause()
        assert ask(cache, 2).status is CacheStatus.BYPASS
        with pytest.raises(RedisError):
            cache.invalidate("1")


def test_what_the_loader_raises_is_told_even_when_the_lease_cannot_be_given_back() -> None:
    with (
        private_engine() as engine,
        connect(engine.url, pool_size=2, timeout_seconds=0.25) as client,
    ):

        def fail() -> Row:
            engine.kill()
            raise LookupError

        with pytest.raises(LookupError):
            make(client).get_or_load("1", fail)
        engine.start()


def age(client: Client, cache: Cache[Row], key: str = "1") -> None:
    """Makes an entry past its fresh time, as time would."""
    raw = client.get(cache.redis_key(key))
    assert raw is not None
    kind, token, schema, _, rest = raw.split(b"|", 4)
    client.set(cache.redis_key(key), b"|".join([kind, token, schema, b"1", rest]), keepttl=True)


def test_past_its_time_one_reader_loads_again_and_the_others_get_the_stale_value_at_once(
    client: Client,
) -> None:
    cache = make(client, stale_seconds=60)
    ask(cache, 1)
    age(client, cache)
    others: list[Cached[Row]] = []

    def load() -> Row:
        cached, trips = counted(lambda: cache.get_or_load("1", must_not_load))
        assert trips == 1
        others.append(cached)
        return Row(2)

    refreshed, trips = counted(lambda: cache.get_or_load("1", load))
    assert (refreshed.value, refreshed.status) == (Row(2), CacheStatus.EXPIRED)
    assert [(other.value, other.status, other.ttl_seconds) for other in others] == [
        (Row(1), CacheStatus.STALE, 0)
    ]
    assert cache.get_or_load("1", must_not_load) == Cached(
        Row(2),
        CacheStatus.HIT,
        pytest.approx(60, abs=8),
        pytest.approx(refreshed.load_ms, abs=0.001),
        refreshed.bytes,
    )


def test_loading_again_takes_three_round_trips(client: Client) -> None:
    cache = make(client, stale_seconds=60)
    ask(cache, 1)
    age(client, cache)
    ask(cache, 2)
    age(client, cache)
    assert counted(lambda: ask(cache, 3))[1] == 3


def test_twenty_readers_of_a_stale_value_load_once_and_nobody_waits(client: Client) -> None:
    cache, start, loads = make(client, stale_seconds=60), threading.Barrier(20), []
    ask(cache, 1)
    age(client, cache)
    answered = threading.Semaphore(0)

    def load() -> Row:
        loads.append(1)
        for _ in range(19):
            assert answered.acquire(timeout=10)
        return Row(2)

    def read(_: int) -> CacheStatus:
        start.wait()
        cached = cache.get_or_load("1", load)
        answered.release()
        return cached.status

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(read, range(20)))
    assert (len(loads), statuses.count(CacheStatus.EXPIRED), statuses.count(CacheStatus.STALE)) == (
        1,
        1,
        19,
    )


@pytest.mark.parametrize("group", [None, "g"])
def test_what_was_invalidated_is_never_served_stale(client: Client, group: str | None) -> None:
    cache = make(client, stale_seconds=60)
    ask(cache, 1, groups=groups_of(group))
    age(client, cache)

    def load_then_be_overtaken() -> Row:
        cache.invalidate("1") if group is None else cache.invalidate(groups=[group])
        with pytest.raises(LookupError):
            cache.get_or_load("1", fail, groups=groups_of(group))
        return Row(2)

    def fail() -> Row:
        raise LookupError

    assert cache.get_or_load("1", load_then_be_overtaken, groups=groups_of(group)).value == Row(2)
    later = ask(cache, 3, groups=groups_of(group))
    assert (later.value, later.status) == (Row(3), CacheStatus.MISS)


@pytest.mark.parametrize("newer", [True, False])
def test_a_value_that_is_evicted_while_it_is_loaded_again_is_not_put_back(
    client: Client, newer: bool
) -> None:
    """The value goes, a writer commits and tells, and perhaps another reader has stored the new row
    already."""
    slow, quick = make(client, stale_seconds=60), make(client, stale_seconds=60)
    ask(slow, 1)
    age(client, slow)

    def load() -> Row:
        client.delete(slow.redis_key("1"))
        quick.invalidate("1")
        if newer:
            assert ask(quick, 3).status is CacheStatus.MISS
        return Row(2)

    late = slow.get_or_load("1", load)
    assert (late.value, late.ttl_seconds) == (Row(2), 0)
    later = ask(quick, 3)
    assert (later.value, later.status) == (Row(3), CacheStatus.HIT if newer else CacheStatus.MISS)


def test_when_the_loader_fails_the_stale_value_is_served_and_the_next_try_is_a_lease_time_away(
    client: Client,
) -> None:
    cache, tries = make(client, stale_seconds=60), []
    ask(cache, 1)
    age(client, cache)

    def fail() -> Row:
        tries.append(1)
        raise LookupError

    for _ in range(3):
        cached = cache.get_or_load("1", fail)
        assert (cached.value, cached.status) == (Row(1), CacheStatus.STALE)
    assert len(tries) == 1
    client.pexpire(cache.redis_key("1"), 0)
    with pytest.raises(LookupError):
        cache.get_or_load("1", fail)


def test_a_reader_that_died_while_loading_again_is_followed_by_another_after_a_lease_time(
    client: Client,
) -> None:
    now = [0.0]
    cache = make(client, stale_seconds=60, clock=lambda: now[0])
    ask(cache, 1)
    age(client, cache)
    seen = cache._lookup.read({"1": ()}, cache._fetch)["1"]
    assert cache._claims.take_over("1", seen)  # and never comes back
    assert cache.get_or_load("1", must_not_load).status is CacheStatus.STALE
    now[0] += cache.lease_seconds + 1  # by this reader's clock; Redis does not believe it yet
    loads: list[int] = []
    assert cache.get_or_load("1", lambda: loads.append(1) or Row(9)).status is CacheStatus.STALE  # type: ignore[func-returns-value]
    assert not loads
    raw = client.get(cache.redis_key("1"))
    fields = raw.split(b"|", 5)
    client.set(cache.redis_key("1"), b"|".join([*fields[:4], b"1", fields[5]]), keepttl=True)
    assert ask(cache, 2).status is CacheStatus.EXPIRED


def test_a_dead_readers_lease_costs_a_few_load_times(client: Client) -> None:
    """Of many keys at once: those whose lease is new are waited for, and none is loaded twice."""
    slept = list[float]()
    cache = make(client, sleep=slept.append)
    client.set(cache.redis_key("1"), lease_of("of one who died", 1000), px=3_600_000)
    client.set(cache.redis_key("2"), lease_of("of another", 500), px=3_600_000)
    loads: list[list[str]] = []

    def load(keys: list[str]) -> dict[str, Row]:
        loads.append(keys)
        return {key: Row(int(key)) for key in keys}

    found = cache.get_many({"1": (), "2": (), "3": ()}, load)
    assert loads == [["3"], ["2"], ["1"]]
    assert [found[key].value for key in "123"] == [Row(1), Row(2), Row(3)]
    assert 1.0 <= sum(slept) < 1.2
    assert cache.get_or_load("1", must_not_load).status is CacheStatus.HIT


@pytest.mark.parametrize("field", ["fresh", "claimed"])
def test_a_time_that_nobody_can_have_written_is_from_before_the_clock_was_set_back(
    client: Client, field: str
) -> None:
    cache = make(client, ttl_seconds=20, stale_seconds=60)
    ask(cache, 1)
    fields = client.get(cache.redis_key("1")).split(b"|", 5)
    in_an_hour = f"{(time.time() + 3600) * 1000:.0f}".encode()
    times = [in_an_hour, b"0"] if field == "fresh" else [b"1", in_an_hour]
    client.set(cache.redis_key("1"), b"|".join([*fields[:3], *times, fields[5]]), keepttl=True)
    assert ask(cache, 2).value == Row(2)
    assert cache.get_or_load("1", must_not_load).value == Row(2)


def test_an_interrupt_is_no_failure_that_a_stale_value_could_cover(client: Client) -> None:
    cache = make(client, stale_seconds=60)
    ask(cache, 1)
    age(client, cache)

    def interrupted() -> Row:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get_or_load("1", interrupted)


def test_a_stale_value_lives_as_long_as_was_said(client: Client) -> None:
    cache = make(client, ttl_seconds=20, stale_seconds=30, jitter=0)
    ask(cache, 1)
    assert 49_000 < client.pttl(cache.redis_key("1")) <= 50_000
    age(client, cache)
    cache._claims.take_over("1", cache._lookup.read({"1": ()}, cache._fetch)["1"])
    assert 49_000 < client.pttl(cache.redis_key("1")) <= 50_000


def test_loading_early_is_likelier_the_longer_a_load_takes_and_the_less_time_is_left(
    client: Client,
) -> None:
    def share(load_ms: float, left_seconds: float) -> float:
        entry = cache._codec.decode(
            f"V|t|1|{(time.time() + left_seconds) * 1000:.0f}|0|{load_ms * 1000}||".encode()
            + b"\x81\xa6number\x01",
            (),
        )
        assert entry is not None
        return sum(cache._lookup.is_due(entry) for _ in range(400)) / 400

    cache = make(client, early=1.0)
    # XFetch: the chance is exp(-left / load time).
    assert share(1000, 1) == pytest.approx(0.368, abs=0.12)
    assert share(1000, 30) == 0
    assert share(100, 1) < 0.02
    assert share(1, -1) == 1
    never = make(client)
    soon = f"V|t|1|{(time.time() + 1) * 1000:.0f}|0|9999999||".encode() + b"\x81\xa6number\x01"
    entry = cache._codec.decode(soon, ())
    assert entry and not never._lookup.is_due(entry)


def test_a_clock_that_is_off_is_corrected_by_what_scripts_tell(client: Client) -> None:
    ahead = make(client, stale_seconds=60, clock=lambda: 10.0)
    ask(ahead, 1)
    assert ahead.get_or_load("1", must_not_load).ttl_seconds > 50


def test_twenty_four_keys_are_one_round_trip_and_what_is_missing_one_load(client: Client) -> None:
    cache, loads = make(client), []
    wanted = {str(number): ("g", f"h{number % 2}") for number in range(24)}

    def load(keys: list[str]) -> dict[str, Row | None]:
        loads.append(keys)
        return {key: Row(int(key)) for key in keys if key != "7"}

    first = cache.get_many(wanted, load)
    assert len(loads) == 1 and sorted(loads[0]) == sorted(wanted)
    assert first["7"].value is None
    assert {cached.status for cached in first.values()} == {CacheStatus.MISS}
    again, trips = counted(lambda: cache.get_many(wanted, load))
    assert (trips, len(loads)) == (1, 1)
    assert [again[key].value for key in wanted] == [
        None if key == "7" else Row(int(key)) for key in wanted
    ]
    assert again["7"].status is CacheStatus.NEGATIVE
    cache.invalidate("3", groups=["h0"])
    third = cache.get_many(wanted, load)
    assert sorted(loads[1], key=int) == ["0", "2", "3", *map(str, range(4, 24, 2))]
    assert {key for key, cached in third.items() if cached.status is CacheStatus.HIT} == set(
        wanted
    ) - set(loads[1]) - {"7"}
    assert cache.get_many({}, load) == {}


def test_two_readers_of_overlapping_keys_load_each_key_once(client: Client) -> None:
    cache, loads = make(client), []

    def load(keys: list[str]) -> dict[str, Row]:
        loads.extend(keys)
        if len(loads) == 2:
            overlapping.append(pool.submit(cache.get_many, {"b": (), "c": ()}, load))
            while cache.peek("c") is None:  # the other one has loaded its own and waits for b
                threading.Event().wait(0.005)
        return {key: Row(ord(key)) for key in keys}

    overlapping: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        first = cache.get_many({"a": (), "b": ()}, load)
        second = overlapping[0].result(10)
    assert sorted(loads) == ["a", "b", "c"]
    assert first["b"].value == second["b"].value == Row(ord("b"))
    assert (second["b"].collapsed, second["c"].status) == (True, CacheStatus.MISS)


def test_a_failed_load_of_many_gives_every_lease_back(client: Client) -> None:
    cache = make(client)

    def fail(_: list[str]) -> dict[str, Row]:
        raise LookupError

    with pytest.raises(LookupError):
        cache.get_many({"a": ("g",), "b": ()}, fail)
    assert (
        cache.get_many({"a": ("g",), "b": ()}, lambda keys: dict.fromkeys(keys, Row(1)))["b"].status
        is CacheStatus.MISS
    )


def test_waiters_that_give_up_load_once_in_a_lease_time_and_the_rest_are_told_to_come_back(
    client: Client,
) -> None:
    cache = make(client, wait_seconds=0.01, sleep=lambda _: None)
    client.set(cache.redis_key("1"), "L|somebody|", px=60_000)
    loads, start = [], threading.Barrier(20)

    def read(_: int) -> str:
        start.wait()
        try:
            return cache.get_or_load("1", lambda: loads.append(1) or Row(1)).status  # type: ignore[func-returns-value]
        except Busy:
            return "busy"

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(read, range(20)))
    assert len(loads) == 1
    assert (outcomes.count("BYPASS"), outcomes.count("busy")) == (1, 19)


def test_who_waited_in_vain_loads_what_nobody_else_loads_alone(client: Client) -> None:
    """Of many keys those that are still missing, one reader in a lease time; nothing is stored."""
    cache = make(client, wait_seconds=0.01, sleep=lambda _: None)
    ask(cache, 1)
    for key in ("2", "3", "4"):
        client.set(cache.redis_key(key), "L|somebody|", px=60_000)
    client.set(cache.redis_key("4") + ":late", 1, px=60_000)  # another one loads that already
    asked: list[list[str]] = []

    def load(keys: list[str]) -> dict[str, Row]:
        asked.append(keys)
        client.set(cache.redis_key("4"), "L|other|", px=60_000)
        client.delete(cache.redis_key("4"))
        return {key: Row(int(key)) for key in keys}

    found = cache.get_many(dict.fromkeys("1234", ()), load)
    assert {key: row.value for key, row in found.items()} == {k: Row(int(k)) for k in "1234"}
    assert asked == [["2", "3"], ["4"]]
    statuses = [found[key].status for key in "1234"]
    assert statuses == [CacheStatus.HIT, CacheStatus.BYPASS, CacheStatus.BYPASS, CacheStatus.MISS]
    assert all(client.get(cache.redis_key(key)) == b"L|somebody|" for key in "23")


def test_on_a_cluster_a_client_of_redis_py_reads_an_entry_and_its_groups() -> None:
    """They lie in different slots, where MGET is refused."""
    with cluster_node() as port, redis.RedisCluster("127.0.0.1", port) as client:
        cache = make(client)
        assert cache.get_or_load("1", lambda: Row(1), groups=["g"]).status is CacheStatus.MISS
        hit = cache.get_or_load("1", must_not_load, groups=["g"])
        assert (hit.value, hit.status) == (Row(1), CacheStatus.HIT)
        assert cache.invalidate(groups=["g"]) == 0
        assert cache.get_or_load("1", lambda: Row(2), groups=["g"]).value == Row(2)


def test_a_writer_that_puts_its_value_leaves_it_to_readers(client: Client) -> None:
    cache = make(client)
    ask(cache, 1)
    token = cache.begin_write("1")
    assert cache.peek("1") is None
    assert cache.finish_write("1", token, Row(2))
    assert cache.get_or_load("1", must_not_load).value == Row(2)


@pytest.mark.parametrize("order", ["first begun first done", "first begun last done"])
def test_of_two_writers_at_once_nobody_leaves_a_value_that_may_be_the_older(
    client: Client, order: str
) -> None:
    cache = make(client)
    first, second = cache.begin_write("1"), cache.begin_write("1")
    done = [(first, Row(1)), (second, Row(2))]
    kept = [
        cache.finish_write("1", *each)
        for each in (done if order.endswith("first done") else reversed(done))
    ]
    assert kept in ([False, False], [True, False])
    assert ask(cache, 3).value == Row(3)


def test_a_reader_that_loaded_before_a_writer_began_stores_nothing(client: Client) -> None:
    cache = make(client)

    def load() -> Row:
        assert cache.finish_write("1", cache.begin_write("1"), Row(2))
        return Row(1)

    assert cache.get_or_load("1", load).ttl_seconds == 0
    assert cache.get_or_load("1", must_not_load).value == Row(2)


def test_looking_without_loading(client: Client) -> None:
    cache = make(client, stale_seconds=60)
    assert cache.peek("1") is None
    assert client.exists(cache.redis_key("1")) == 0
    ask(cache, 1, groups=["g"])
    found = cache.peek("1", groups=["g"])
    assert found and (found.value, found.status) == (Row(1), CacheStatus.HIT)
    age(client, cache)
    stale = cache.peek("1", groups=["g"])
    assert stale and stale.status is CacheStatus.STALE
    cache.invalidate(groups=["g"])
    assert cache.peek("1", groups=["g"]) is None


def test_a_full_redis_can_still_invalidate_a_group() -> None:
    with (
        private_engine("--maxmemory", "3mb") as engine,
        connect(engine.url, pool_size=2, timeout_seconds=1) as client,
    ):
        cache = make(client)
        ask(cache, 1, groups=["g"])
        client.config_set("maxmemory", 1)
        cache.invalidate("nothing", groups=["g"])
        assert ask(cache, 2, groups=["g"]).value == Row(2)
        client.config_set("maxmemory", 0)
        assert ask(cache, 3, groups=["g"]).status is CacheStatus.MISS


class Machine(RuleBasedStateMachine):
    """Two workers' readers, writers that commit and tell later, crashes, evictions and time,
    against one number: the newest row that somebody was told of. Whoever begins to read after
    that must not get an older one."""

    client: Client
    group: str | None

    def __init__(self) -> None:
        super().__init__()
        clean(self.client)
        self.caches = [
            make(self.client, stale_seconds=60, wait_seconds=0.001, sleep=lambda _: None)
            for _ in range(2)
        ]
        self.row = self.told = 0
        self.untold: list[int] = []
        self.open: dict[int, tuple[Cache[Row], Any, int, int | None]] = {}

    def groups(self) -> list[str]:
        return groups_of(self.group)

    @rule(slot=st.integers(0, 2), worker=st.integers(0, 1))
    def begin(self, slot: int, worker: int) -> None:
        if slot not in self.open:
            answers: dict[str, Cached[Row]] = {}
            cache, groups = self.caches[worker], tuple(self.groups())
            claims = cache._look({"1": groups}, answers, Waits(), False, cache._fetch)
            if answers:
                assert answers["1"].value.number >= self.told  # type: ignore[union-attr]
            if claims:
                self.open[slot] = (self.caches[worker], claims, self.told, None)

    @rule(slot=st.integers(0, 2))
    def load(self, slot: int) -> None:
        if slot in self.open:
            cache, claims, floor, _ = self.open[slot]
            self.open[slot] = (cache, claims, floor, self.row)

    @rule(slot=st.integers(0, 2), fails=st.booleans())
    def store(self, slot: int, fails: bool) -> None:
        if slot not in self.open or self.open[slot][3] is None:
            return
        cache, claims, floor, row = self.open.pop(slot)

        def load(_: list[str]) -> dict[str, Row | None]:
            if fails:
                raise LookupError
            return {"1": Row(row)}  # type: ignore[arg-type]

        try:
            answer = cache._loading.load_and_store(claims, load)["1"]
        except LookupError:
            assert claims["1"].old is None
        else:
            assert answer.value.number >= floor  # type: ignore[union-attr]

    @rule(slot=st.integers(0, 2))
    def crash(self, slot: int) -> None:
        self.open.pop(slot, None)

    @rule()
    def commit(self) -> None:
        self.row += 1
        self.untold.append(self.row)

    @rule(which=st.integers(0, 5), worker=st.integers(0, 1))
    def tell(self, which: int, worker: int) -> None:
        """Invalidations come in any order, and late: each tells of what was committed before it
        began."""
        if self.untold:
            self.untold.pop(which % len(self.untold))
            cache = self.caches[worker]
            cache.invalidate("1") if self.group is None else cache.invalidate(groups=[self.group])
            self.told = self.row

    @rule(what=st.sampled_from(["entry", "version", "time"]))
    def forget(self, what: str) -> None:
        cache = self.caches[0]
        if what == "entry":
            self.client.delete(cache.redis_key("1"))
        elif what == "version":
            self.client.delete(cache.version_key("g"))
        elif (self.client.get(cache.redis_key("1")) or b"").startswith(b"V|"):
            age(self.client, cache)

    @rule(worker=st.integers(0, 1))
    def read(self, worker: int) -> None:
        try:
            cached = self.caches[worker].get_or_load(
                "1", lambda: Row(self.row), groups=self.groups()
            )
        except Busy:
            return
        assert cached.value is not None and cached.value.number >= self.told


@pytest.mark.long
@pytest.mark.parametrize("group", [None, "g"])
def test_no_interleaving_serves_what_was_loaded_before_an_invalidation(
    client: Client, group: str | None
) -> None:
    machine = type("Case", (Machine,), {"client": client, "group": group})
    examples = 2000 if os.environ.get("CI") else 150
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


class Ended(BaseException):
    """As gevent ends a greenlet, asyncio a task, and a timer what takes too long."""


UNWRITABLE: Any = object()


@pytest.mark.parametrize("ending", [Ended(), KeyboardInterrupt(), TimeoutError(), ValueError()])
def test_whatever_ends_a_load_leaves_no_lease(client: Client, ending: BaseException) -> None:
    cache = make(client, sleep=lambda _: must_not_load())

    def load() -> Row:
        raise ending

    with pytest.raises(type(ending)):
        cache.get_or_load("1", load)
    assert client.get(cache.redis_key("1")) is None
    assert ask(cache, 2).status is CacheStatus.MISS


@pytest.mark.parametrize("others", [0, 2])
def test_a_value_that_cannot_be_written_leaves_no_lease(client: Client, others: int) -> None:
    cache = make(client, sleep=lambda _: must_not_load())
    values = {"0": UNWRITABLE, **{str(number): Row(number) for number in range(1, others + 1)}}
    with pytest.raises(TypeError):
        cache.get_many(dict.fromkeys(values, ()), lambda keys: values)
    assert not any((client.get(cache.redis_key(key)) or b"").startswith(b"L|") for key in values)
    assert cache.get_or_load("0", lambda: Row(5)).value == Row(5)


def test_a_loader_that_answers_with_no_mapping_leaves_no_lease(client: Client) -> None:
    cache = make(client, sleep=lambda _: must_not_load())
    with pytest.raises(AttributeError):
        cache.get_many({"1": ()}, lambda keys: UNWRITABLE)
    assert ask(cache, 2).status is CacheStatus.MISS


def test_a_value_that_cannot_be_written_is_told_where_a_stale_one_would_be_served(
    client: Client,
) -> None:
    cache = make(client, stale_seconds=60)
    ask(cache, 1)
    age(client, cache)
    with pytest.raises(TypeError):
        cache.get_or_load("1", lambda: UNWRITABLE)
    assert ask(cache, 2).value == Row(1), "stale, while the claim runs out"


def test_a_writer_whose_value_cannot_be_written_leaves_no_lease(client: Client) -> None:
    cache = make(client, sleep=lambda _: must_not_load())
    with pytest.raises(TypeError):
        cache.finish_write("1", cache.begin_write("1"), UNWRITABLE)
    assert ask(cache, 2).status is CacheStatus.MISS


def test_who_is_ended_while_he_takes_leases_leaves_none(client: Client) -> None:
    """As a greenlet may be, whose request the server has carried out."""
    cache = make(client, sleep=lambda _: must_not_load())
    original, left = client.pipeline, [1]

    def pipeline(**options: Any) -> Any:
        made = original(**options)
        execute = made.execute

        def then_ended(*given: Any, **more: Any) -> Any:
            execute(*given, **more)
            raise Ended

        if left:
            left.pop()
            made.execute = then_ended
        return made

    client.pipeline = pipeline
    with pytest.raises(Ended):
        ask(cache, 1)
    assert client.get(cache.redis_key("1")) is None


@pytest.mark.parametrize("key", [5, None, b"a", ["a"]])
def test_a_key_that_is_no_text_is_refused_by_name(client: Client, key: Any) -> None:
    cache = make(client)
    for call in (
        lambda: cache.get_or_load(key, must_not_load),
        lambda: cache.invalidate(key),
        lambda: cache.invalidate(groups=[key]),
        lambda: cache.begin_write(key),
    ):
        with pytest.raises(TypeError, match="^key: must be a text"):
            call() if not isinstance(key, list) else cache.invalidate(key)  # type: ignore[no-untyped-call]


def test_groups_as_one_text_are_refused_by_name(client: Client) -> None:
    with pytest.raises(TypeError, match="^groups: "):
        make(client).get_or_load("1", must_not_load, groups="ab")
    with pytest.raises(TypeError, match="^groups: "):
        make(client).invalidate(groups="ab")


def test_values_are_written_and_read_by_the_callers_own_functions(client: Client) -> None:
    def read(raw: bytes) -> Row:
        if not raw.startswith(b"row "):
            raise LookupError
        return Row(int(raw[4:]))

    own: dict[str, Any] = {"encode": lambda row: f"row {row.number}".encode(), "decode": read}
    cache = make(client, **own)
    assert ask(cache, 7).value == cache.get_or_load("1", must_not_load).value == Row(7)
    assert client.get(cache.redis_key("1")).endswith(b"|row 7")
    make(client, encode=lambda row: b"other", decode=read).invalidate("1")
    make(client, encode=lambda row: b"other", decode=read).get_or_load("1", lambda: Row(1))
    assert ask(cache, 8).value == Row(8), "what the caller cannot read is a miss"
    with pytest.raises(TypeError, match="encode, decode"):
        make(client, encode=own["encode"])


def test_hooks_hear_of_hits_and_loads(client: Client) -> None:
    told: list[tuple[str, str, CacheStatus]] = []
    cache = make(
        client,
        on_hit=lambda key, answer: told.append(("hit", key, answer.status)),
        on_load=lambda key, answer: told.append(("load", key, answer.status)),
    )
    ask(cache, 1)
    ask(cache, 2)
    assert told == [("load", "1", CacheStatus.MISS), ("hit", "1", CacheStatus.HIT)]
