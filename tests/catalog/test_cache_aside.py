import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot
from redis.exceptions import RedisError

from demo import xray
from demo.catalog.cache_aside import Cache, Cached, CacheStatus
from demo.pool import Client, connect
from tests.servers import clean, private_engine


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int


def make(client: Any, **options: Any) -> Cache[Row]:
    return Cache(client, "row", Row, **{"ttl_seconds": 60, **options})


def must_not_load() -> Row:
    raise AssertionError("loaded")


def counted(call: Callable[[], Any]) -> tuple[Any, int]:
    trace = xray.begin()
    try:
        return call(), trace.round_trips
    finally:
        xray.end()


def ask(cache: Cache[Row], number: int | None, **options: Any) -> Cached[Row]:
    return cache.get_or_load("1", lambda: None if number is None else Row(number), **options)


def test_a_first_load_takes_three_round_trips_and_a_hit_one(client: Client) -> None:
    cache = make(client)
    cache.get_or_load("warm", lambda: Row(0))  # the first use of a script on a new server tells it the text
    cached, trips = counted(lambda: ask(cache, 1))
    assert (cached.value, cached.status, trips) == (Row(1), CacheStatus.MISS, 3)
    cached, trips = counted(lambda: cache.get_or_load("1", must_not_load))
    assert (cached.value, cached.status, trips) == (Row(1), CacheStatus.HIT, 1)
    assert 0 < cached.ttl_seconds <= 60


def test_a_grouped_first_load_takes_three_round_trips_and_a_hit_one(client: Client) -> None:
    cache = make(client)
    cache.get_or_load("warm", lambda: Row(0))
    assert counted(lambda: ask(cache, 1, group="g"))[1] == 3
    cached, trips = counted(lambda: cache.get_or_load("1", must_not_load, group="g"))
    assert (cached.status, trips) == (CacheStatus.HIT, 1)


@pytest.mark.parametrize("group", [None, "g"])
def test_a_reader_that_loaded_before_an_invalidation_leaves_nothing_to_later_readers(
    client: Client, group: str | None
) -> None:
    cache = make(client)

    def load_then_be_overtaken() -> Row:
        cache.invalidate("1") if group is None else cache.invalidate_group(group)
        return Row(1)

    assert cache.get_or_load("1", load_then_be_overtaken, group=group).value == Row(1)
    later = ask(cache, 2, group=group)
    assert (later.value, later.status) == (Row(2), CacheStatus.MISS)


@pytest.mark.parametrize("group", [None, "g"])
def test_after_an_invalidation_nobody_gets_the_old_value(client: Client, group: str | None) -> None:
    cache = make(client)
    ask(cache, 1, group=group)
    cache.invalidate("1") if group is None else cache.invalidate_group(group)
    assert ask(cache, 2, group=group).value == Row(2)
    assert cache.get_or_load("1", must_not_load, group=group).value == Row(2)


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


def test_a_lease_that_ran_out_is_taken_over_and_its_late_holder_stores_nothing(client: Client) -> None:
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
def test_twenty_readers_at_once_load_once(client: Client, lies_there: str, found: Row | None) -> None:
    cache, loads, start = make(client), [], threading.Barrier(20)
    group = None if lies_there == "nothing" else "g"
    if lies_there == "an outdated entry":
        ask(cache, 0, group=group)
        cache.invalidate_group("g")
    waiting, all_wait = set(), threading.Event()

    def sleep(seconds: float) -> None:
        waiting.add(threading.get_ident())
        if len(waiting) == 19:
            all_wait.set()
        threading.Event().wait(seconds)

    cache._sleep = sleep

    def load() -> Row | None:
        loads.append(1)
        assert all_wait.wait(10)  # for this one
        return found

    def read(_: int) -> Cached[Row]:
        start.wait()
        return cache.get_or_load("1", load, group=group)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(read, range(20)))
    assert len(loads) == 1
    assert {answer.value for answer in answers} == {found}
    assert [answer.status for answer in answers].count(CacheStatus.MISS) == 1
    waited = [answer for answer in answers if answer.collapsed]
    assert len(waited) == 19
    assert {answer.status for answer in waited} == {CacheStatus.HIT if found else CacheStatus.NEGATIVE}


def test_a_waiter_loads_for_itself_when_it_waited_long_enough(client: Client) -> None:
    waits: list[float] = []
    cache = make(client, wait_seconds=0.05, sleep=waits.append)
    client.set(cache.redis_key("1"), "0|L|somebody", px=5000)
    cached = ask(cache, 1)
    assert (cached.value, cached.status) == (Row(1), CacheStatus.BYPASS)
    assert waits
    assert all(0 < wait <= 0.1 for wait in waits)
    assert client.get(cache.redis_key("1")) == b"0|L|somebody"


@pytest.mark.parametrize("what_ends_it", ["the lease runs out", "an invalidation"])
def test_a_waiter_whose_loader_is_lost_loads_in_its_place(client: Client, what_ends_it: str) -> None:
    cache = make(client)

    def sleep(_: float) -> None:
        client.delete(cache.redis_key("1")) if what_ends_it == "the lease runs out" else cache.invalidate("1")

    cache._sleep = sleep
    client.set(cache.redis_key("1"), "0|L|somebody", px=5000)
    assert ask(cache, 1).status is CacheStatus.MISS
    assert cache.get_or_load("1", must_not_load).value == Row(1)


def test_a_loader_that_stores_too_late_does_not_harm_who_took_the_lease_over(client: Client) -> None:
    slow, quick = make(client), make(client)

    def load_quickly() -> Row:
        return Row(2)

    def load_slowly() -> Row:
        client.delete(slow.redis_key("1"))
        quick._sleep = lambda _: None
        raw, version = quick._get("1", None)
        token = quick._take_lease("1", None, raw)
        assert token is not None
        held.append((version, token))
        return Row(1)

    held: list[tuple[bytes, str]] = []
    assert slow.get_or_load("1", load_slowly).ttl_seconds == 0
    version, token = held[0]
    assert token.encode() in client.get(quick.redis_key("1"))  # the lease of the other one still stands
    assert quick._load_and_store("1", None, version, token, load_quickly).ttl_seconds > 0
    assert slow.get_or_load("1", must_not_load).value == Row(2)


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, RedisError])
def test_a_loader_that_raises_is_asked_once_and_gives_the_lease_back(client: Client, error: type[BaseException]) -> None:
    cache, loads = make(client), []

    def fail() -> Row:
        loads.append(1)
        raise error

    with pytest.raises(error):
        cache.get_or_load("1", fail)
    assert len(loads) == 1
    assert client.get(cache.redis_key("1")) is None
    assert ask(cache, 2).status is CacheStatus.MISS


def test_a_loader_that_raises_after_it_was_overtaken_leaves_the_new_value_alone(client: Client) -> None:
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
        cache.get_or_load("1", look, group=group)
        cache.get_or_load("none", lambda: None, group=group)
        look()
        cache.invalidate("1", "none")
        cache.invalidate_group("g")
        look()
        cache.get_or_load("1", look, group=group)
        look()
    assert len(list(client.scan_iter("demo:*"))) == 3


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
    assert client.pttl(cache.redis_key("1")) <= 10_000
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
        b"1|V1|a|b",
        b"9999999999999|V1|tok|100||\xc1\xc1",
        b"9999999999999|V2|tok|100||\x80",
        b"|" * 9,
    ],
)
def test_what_does_not_decode_is_a_miss_and_is_replaced(client: Client, garbage: bytes) -> None:
    cache = make(client)
    client.set(cache.redis_key("1"), garbage, px=60_000)
    assert ask(cache, 2).status is CacheStatus.MISS
    assert cache.get_or_load("1", must_not_load).value == Row(2)


def test_an_entry_of_another_type_or_schema_is_a_miss(client: Client) -> None:
    old, new = make(client, schema=1), make(client, schema=2)
    ask(old, 1)
    assert ask(new, 2).status is CacheStatus.MISS
    assert new.get_or_load("1", must_not_load).value == Row(2)
    other = Cache(client, "row", dict[str, str], ttl_seconds=60, schema=2)
    assert other.get_or_load("1", lambda: {"a": "b"}).status is CacheStatus.MISS


@pytest.mark.parametrize("group", [None, "g"])
def test_a_key_of_another_kind_is_replaced(client: Client, group: str | None) -> None:
    cache = make(client)
    client.hset(cache.redis_key("1", group), "a", "b")
    assert ask(cache, 1, group=group).status is CacheStatus.MISS
    assert cache.get_or_load("1", must_not_load, group=group).status is CacheStatus.HIT


def test_a_version_of_another_kind_hides_nothing_new_and_shows_nothing_old(client: Client) -> None:
    cache = make(client)
    client.hset(cache.version_key("g"), "a", "b")
    ask(cache, 1, group="g")
    assert cache.get_or_load("1", must_not_load, group="g").value == Row(1)
    cache.invalidate_group("g")
    assert ask(cache, 2, group="g").value == Row(2)


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
    ask(cache, 1, group="g")
    cache.invalidate_group("g")
    raw, _ = cache._get("1", "g")
    first, second = cache._take_lease("1", "g", raw), cache._take_lease("1", "g", raw)
    assert first is not None
    assert second is None


@pytest.mark.parametrize(("ttl", "negative"), [(60, 10), (1, 30)])
def test_a_groups_version_outlives_every_entry_stored_before_it(client: Client, ttl: float, negative: float) -> None:
    cache = make(client, ttl_seconds=ttl, negative_ttl_seconds=negative, lease_seconds=5)
    cache.invalidate_group("g")
    assert client.pttl(cache.version_key("g")) > (max(ttl, negative) + 5) * 1000


def test_a_key_called_version_is_no_groups_version(client: Client) -> None:
    cache = make(client)
    assert cache.get_or_load("version", lambda: Row(1), group="g").status is CacheStatus.MISS
    assert cache.get_or_load("version", must_not_load, group="g").value == Row(1)
    ask(cache, 2, group="g")
    cache.invalidate_group("g")
    assert cache.get_or_load("version", lambda: Row(3), group="g").value == Row(3)


def test_without_redis_the_loader_answers() -> None:
    client = connect("redis://127.0.0.1:1", pool_size=2, timeout_seconds=0.25, open_seconds=30)
    cache = make(client)
    for number in (1, 2):
        cached = ask(cache, number)
        assert (cached.value, cached.status) == (Row(number), CacheStatus.BYPASS)


def test_redis_lost_during_a_load_costs_only_the_entry() -> None:
    with private_engine() as engine:
        cache = make(connect(engine.url, pool_size=2, timeout_seconds=0.25, open_seconds=30))

        def load() -> Row:
            engine.kill()
            return Row(1)

        assert cache.get_or_load("1", load).status is CacheStatus.BYPASS
        engine.start()


def test_a_full_or_read_only_redis_serves_what_it_has_and_is_read_around() -> None:
    with private_engine("--maxmemory", "3mb") as engine:
        client = connect(engine.url, pool_size=2, timeout_seconds=1, open_seconds=0.5)
        cache = make(client)
        ask(cache, 1)
        client.config_set("maxmemory", 1)
        assert cache.get_or_load("1", must_not_load).status is CacheStatus.HIT
        assert cache.get_or_load("2", lambda: Row(2)).status is CacheStatus.BYPASS
        client.config_set("maxmemory", 0)
        client.replicaof("127.0.0.1", 1)
        assert cache.get_or_load("2", lambda: Row(2)).status is CacheStatus.BYPASS
        for call in (lambda: cache.invalidate("1"), lambda: cache.invalidate_group("g")):
            with pytest.raises(RedisError):
                call()
        client.replicaof("NO", "ONE")
        assert cache.get_or_load("2", lambda: Row(2)).status is CacheStatus.MISS


@pytest.mark.parametrize("options", [{"ttl_seconds": 0}, {"lease_seconds": -1}, {"jitter": 1}, {"wait_seconds": 0}])
def test_wrong_times_are_refused_when_the_cache_is_made(client: Client, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        make(client, **options)


def test_what_a_visitor_typed_never_becomes_a_key(client: Client) -> None:
    cache = make(client)
    for typed in ("}{", "a b", "\x00", "é", "x" * 500, "*", "\ud800"):
        name = cache.redis_key(typed, typed)
        assert name.isascii() and name.count("{") == name.count("}") == 1 and len(name) < 160
    # A hash cannot be typed: it would be another one's key.
    for typed in ("a b", "}{"):
        part = cache.redis_key(typed).removeprefix("demo:catalog:{row:").removesuffix("}")
        assert cache.redis_key(part) != cache.redis_key(typed)


@pytest.mark.parametrize("typed", ["a", "}{x}", "a b", "version", "{", "é"])
def test_the_keys_of_one_call_share_a_slot(client: Client, typed: str) -> None:
    cache = make(client)
    slots = {key_slot(name.encode()) for name in (cache.redis_key(typed, typed), cache.version_key(typed))}
    assert len(slots) == 1
    assert slots == {key_slot(cache.redis_key("another", typed).encode())}


def test_dropping_tells_how_many_were_there_in_one_round_trip(client: Client) -> None:
    cache = make(client)
    for key in "abc":
        cache.get_or_load(key, lambda: Row(1))
    assert counted(lambda: cache.invalidate("a", "b", "nothing")) == (2, 1)
    assert cache.invalidate() == 0
    assert counted(lambda: cache.invalidate_group("g", "h")) == (None, 1)
    assert cache.get_or_load("c", must_not_load).status is CacheStatus.HIT


def test_a_server_that_forgot_the_scripts_is_told_them_again() -> None:
    with private_engine() as engine, connect(engine.url, pool_size=2, timeout_seconds=1, open_seconds=0.5) as client:
        cache = make(client)
        client.script_flush()
        assert ask(cache, 1).status is CacheStatus.MISS
        assert cache.get_or_load("1", must_not_load).status is CacheStatus.HIT


def test_a_server_that_hangs_is_read_around() -> None:
    with private_engine() as engine, connect(engine.url, pool_size=2, timeout_seconds=0.05, open_seconds=30) as client:
        cache = make(client)
        ask(cache, 1)
        engine.pause()
        assert ask(cache, 2).status is CacheStatus.BYPASS
        with pytest.raises(RedisError):
            cache.invalidate("1")


def test_what_the_loader_raises_is_told_even_when_the_lease_cannot_be_given_back() -> None:
    with private_engine() as engine, connect(engine.url, pool_size=2, timeout_seconds=0.25, open_seconds=30) as client:

        def fail() -> Row:
            engine.kill()
            raise LookupError

        with pytest.raises(LookupError):
            make(client).get_or_load("1", fail)
        engine.start()


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["begin", "finish", "write", "evict", "read"]), st.integers(0, 2)), max_size=25))
@pytest.mark.parametrize("group", [None, "g"])
def test_no_interleaving_serves_what_was_loaded_before_an_invalidation(
    client: Client, group: str | None, steps: list[tuple[str, int]]
) -> None:
    """Up to three loads are held open while others write, evict and read: a read that starts after an invalidation
    returned never sees an older row."""
    clean(client)
    cache, newest = make(client), 0
    open_loads: dict[int, tuple[str, bytes, int]] = {}
    for step, slot in steps:
        if step == "begin" and slot not in open_loads:
            raw, version = cache._get("1", group)
            if cache._decode(raw, version) is None and not (raw or b"").partition(b"|")[2].startswith(b"L|"):
                token = cache._take_lease("1", group, raw)
                if token:
                    open_loads[slot] = (token, version, newest)
        elif step == "finish" and slot in open_loads:
            token, version, row = open_loads.pop(slot)
            cache._load_and_store("1", group, version, token, lambda row=row: Row(row))  # type: ignore[misc]
        elif step == "write":
            newest += 1
            cache.invalidate("1") if group is None else cache.invalidate_group(group)
        elif step == "evict":
            client.delete(cache.redis_key("1", group))
        else:
            raw, version = cache._get("1", group)
            entry = cache._decode(raw, version)
            assert entry is None or entry.value == Row(newest)
