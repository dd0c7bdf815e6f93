import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import RedisError

from demo.catalog.cache_aside import Cache, CacheStatus
from demo.catalog.near_cache import NearCache
from demo.client.wire import Client
from demo.config import ConfigError
from demo.observe.trace import begin_trace, end_trace
from tests.clients import connect
from tests.conftest import round_trips
from tests.servers import private_engine, until


@pytest.fixture
def client(wired: Client) -> Client:
    """The app's kind, whose wire these tests look at."""
    return wired


# Redis tells of keys whatever their database: other test processes must not have these
NAME = f"near-{os.getpid()}"
PREFIX = f"demo:catalog:{{{NAME}:"
API = "/catalog/api/products/42"


class Row(msgspec.Struct, frozen=True):
    number: int


@contextmanager
def near_of(client: Client, **options: Any) -> Iterator[NearCache]:
    near = NearCache(client, PREFIX, **{"heartbeat_seconds": 0.05, **options})
    near.reserve("first")  # this is when the subscription begins
    until(lambda: near.subscribed)
    try:
        yield near
    finally:
        near.close()


def put(
    near: NearCache, name: str, value: Any, size: int = 10, depends_on: tuple[str, ...] = ()
) -> None:
    near.fill(near.reserve(name, depends_on), value, size)


def make(client: Client, near: NearCache) -> Cache[Row]:
    return Cache(client, NAME, Row, ttl_seconds=60, near=near)


def trips_of(call: Callable[[], Any]) -> tuple[Any, int]:
    trace = begin_trace()
    try:
        return call(), trace.round_trips
    finally:
        end_trace()


def must_not_load() -> Row:
    raise AssertionError("loaded")


def hold(cache: Cache[Row]) -> None:
    """Reads until the value is in the process: the messages of its own storing may come late."""
    until(lambda: cache.get_or_load("1", must_not_load, groups=["g"]).near)


def test_a_near_hit_costs_no_round_trip(client: Client) -> None:
    with near_of(client) as near:
        cache = make(client, near)
        cache.get_or_load("1", lambda: Row(1), groups=["g"])
        hold(cache)
        cached, trips = trips_of(lambda: cache.get_or_load("1", must_not_load, groups=["g"]))
        assert (cached.value, cached.status, cached.near, trips) == (
            Row(1),
            CacheStatus.HIT,
            True,
            0,
        )


@pytest.mark.parametrize("how", ["key", "group", "by hand", "flush"])
def test_what_another_process_invalidates_is_gone_here(client: Client, how: str) -> None:
    with near_of(client) as near:
        cache, other = make(client, near), Cache(client, NAME, Row, ttl_seconds=60)
        cache.get_or_load("1", lambda: Row(1), groups=["g"])
        hold(cache)
        if how == "key":
            other.invalidate("1")
        elif how == "group":
            other.invalidate(groups=["g"])
        elif how == "by hand":
            client.delete(other.redis_key("1"))
        else:
            near._told([b"invalidate", None])  # what Redis says after FLUSHALL
        until(lambda: near.get(cache.redis_key("1")) is None)


@pytest.mark.parametrize("group", [None, "g"])
def test_an_invalidation_by_this_process_takes_effect_before_it_returns(
    client: Client, group: str | None
) -> None:
    with near_of(client) as near:
        cache = make(client, near)
        near._told = lambda _: None  # type: ignore[method-assign]
        cache.get_or_load("1", lambda: Row(1), groups=["g"])
        for number in range(2, 30):
            put(near, cache.redis_key("1"), "old", depends_on=(cache.version_key("g"),))
            cache.invalidate("1") if group is None else cache.invalidate(groups=[group])
            assert cache.get_or_load(
                "1", lambda number=number: Row(number), groups=["g"]
            ).value == Row(number)  # type: ignore[misc]
    with near_of(client) as near:
        cache = make(client, near)
        put(near, cache.redis_key("1"), "old")
        cache.begin_write("1")
        assert near.get(cache.redis_key("1")) is None


def test_an_invalidation_that_redis_never_got_is_heeded_in_this_process(client: Client) -> None:
    with near_of(client) as near:
        cache = make(client, near)
        put(near, cache.redis_key("1"), "old", depends_on=(cache.version_key("g"),))
        cache._client = connect(
            "redis://127.0.0.1:1", pool_size=1, timeout_seconds=0.1, open_seconds=1
        )
        with pytest.raises(RedisError):
            cache.invalidate(groups=["g"])
        assert near.get(cache.redis_key("1")) is None


def test_a_message_that_overtakes_the_reply_is_not_lost(client: Client) -> None:
    """Redis answers the GET, then another process invalidates, and the message is here first."""
    with near_of(client) as near:
        cache, other = make(client, near), Cache(client, NAME, Row, ttl_seconds=60)
        cache.get_or_load("1", lambda: Row(1), groups=["g"])
        hold(cache)
        near.flush()
        fetch = cache._fetch

        def slow(names: list[str]) -> list[bytes | None]:
            replies = fetch(names)
            place = near._places[names[0]]
            other.invalidate("1")
            until(lambda: near._places.get(names[0]) is not place)
            return replies

        cache._fetch = slow  # type: ignore[method-assign]
        assert cache.get_or_load("1", must_not_load, groups=["g"]).value == Row(
            1
        )  # it began before the invalidation
        cache._fetch = fetch  # type: ignore[method-assign]
        assert near.get(cache.redis_key("1")) is None
        assert cache.get_or_load("1", lambda: Row(2), groups=["g"]).value == Row(2)


def test_two_readers_of_one_key_never_fill_it_after_it_was_dropped(client: Client) -> None:
    with near_of(client) as near:
        first, second = near.reserve("a"), near.reserve("a")
        near.drop("a")
        third = near.reserve("a")
        near.fill(first, "old", 1)
        near.fill(second, "old", 1)
        assert near.get("a") is None
        near.fill(third, "new", 1)
        assert near.get("a") == "new"


def test_nothing_is_held_without_a_subscription(client: Client) -> None:
    near = NearCache(client, PREFIX)
    near.fill(None, "x", 1)
    near._pid = -1
    near._closed.set()
    assert near.reserve("a") is None
    assert near.entries == 0


def test_all_is_dropped_when_the_subscription_breaks_and_begins_anew() -> None:
    with (
        private_engine() as engine,
        connect(engine.url, pool_size=8, timeout_seconds=0.25, open_seconds=0.05) as client,
    ):
        with near_of(client) as near:
            cache = make(client, near)
            put(near, "a", 1)
            late = near.reserve("b")
            engine.kill()
            until(lambda: not near.subscribed)
            assert (near.get("a"), near.entries, near.bytes) == (None, 0, 0)
            near.fill(late, 1, 1)
            assert near.get("b") is None
            assert near.reserve("c") is None
            engine.start()
            until(lambda: near.subscribed)
            cache.get_or_load("1", lambda: Row(1), groups=["g"])
            hold(cache)


def test_a_server_that_falls_silent_is_noticed_by_the_heartbeat() -> None:
    with (
        private_engine() as engine,
        connect(engine.url, pool_size=8, timeout_seconds=0.1, open_seconds=0.05) as client,
    ):
        with near_of(client) as near:
            put(near, "a", 1)
            engine.pause()
            until(lambda: not near.subscribed and near.get("a") is None, 2)
            engine.resume()
            until(lambda: near.subscribed)


def test_a_server_that_refuses_tracking_costs_only_the_near_cache() -> None:
    with (
        private_engine() as engine,
        connect(engine.url, pool_size=8, timeout_seconds=0.25, open_seconds=0.05) as client,
    ):
        client.acl_setuser(
            "default", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-client|tracking"]
        )
        near = NearCache(client, PREFIX, heartbeat_seconds=0.02)
        cache = make(client, near)
        try:
            cache.get_or_load("1", lambda: Row(1))
            assert not cache.get_or_load("1", must_not_load).near
            assert not near.subscribed
        finally:
            near.close()


def test_a_value_is_held_for_its_age_at_most(client: Client) -> None:
    with near_of(client, max_age_seconds=0.0) as near:
        put(near, "a", 1)
        assert near.get("a") is None
        assert near.entries <= 1


def test_the_least_recently_used_go_first(client: Client) -> None:
    with near_of(client, max_entries=3) as near:
        near.flush()
        for name in "abc":
            put(near, name, name)
        near.get("a")
        put(near, "d", "d")
        assert [near.get(name) for name in "abcd"] == ["a", None, "c", "d"]


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fill", "drop", "get", "none"]),
            st.sampled_from("abcdef"),
            st.integers(1, 60),
        ),
        max_size=40,
    )
)
def test_bytes_and_entries_stay_within_their_bounds_whatever_happens(
    client: Client, steps: list[tuple[str, str, int]]
) -> None:
    near = NearCache(client, PREFIX, max_entries=4, max_bytes=100)
    near._pid, near._subscribed = os.getpid(), True
    for step, name, size in steps:
        if step == "fill":
            put(near, name, name, size, depends_on=(f"v{size % 3}",))
        elif step == "none":
            near.fill(near.reserve(name), None, 0)
        elif step == "drop":
            near.drop(name, f"v{size % 3}")
            assert near.get(name) is None
        else:
            near.get(name)
        assert near.entries <= 4 and near.bytes <= 100
        assert near.bytes == sum(place.size for place in near._places.values())
    near.drop("v0", "v1", "v2", *"abcdef")
    assert (near.entries, near.bytes, near._dependents) == (0, 0, {})


def test_a_value_larger_than_all_is_not_held(client: Client) -> None:
    with near_of(client, max_bytes=100) as near:
        put(near, "a", 1, size=101)
        assert near.get("a") is None


def test_a_place_that_is_filled_with_nothing_is_given_back(client: Client) -> None:
    with near_of(client) as near:
        near.fill(near.reserve("a", ["g"]), None, 0)
        assert (near.entries, near.bytes, near._dependents) == (0, 0, {})


def test_its_connection_does_not_go_back_to_the_pool(client: Client) -> None:
    def tracking() -> int:
        mine = f":{os.getpid()}"  # the server may be shared with other test processes
        return sum(
            "B" in each["flags"] and each["name"].endswith(mine) for each in client.client_list()
        )

    with near_of(client):
        assert tracking() == 1
    until(lambda: tracking() == 0)


def test_two_workers_with_a_near_cache_serve_no_old_price_for_long(
    make_app: Callable[..., Flask],
) -> None:
    one, two = make_app(NEAR_CACHE=True).test_client(), make_app(NEAR_CACHE=True).test_client()
    until(lambda: "near" in one.get(API).headers["Cache-Status"])
    until(lambda: "near" in two.get(API).headers["Cache-Status"])
    until(lambda: round_trips(one.get(API)) == 0)  # a shared server tells of other tests' keys too
    lags = []
    for stock in range(20):
        version = two.patch(API, json={"stock": stock}).json["version"]
        assert two.get(API).json["version"] == version  # its own change at once
        began = time.perf_counter()
        until(lambda version=version: one.get(API).json["version"] == version, 1)  # type: ignore[misc]
        lags.append(time.perf_counter() - began)
        until(lambda: "near" in one.get(API).headers["Cache-Status"])
    assert sorted(lags)[len(lags) // 2] < 0.05


def test_the_near_cache_is_off_unless_it_is_wanted(make_app: Callable[..., Flask]) -> None:
    web = make_app().test_client()
    assert [round_trips(web.get(API)) for _ in range(4)] == [3, 1, 1, 1]


def test_it_refuses_a_cluster_with_one_sentence(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "get_node_from_key", None, raising=False)
    monkeypatch.setattr(Client, "has_map", False, raising=False)
    with pytest.raises(ConfigError, match="DEMO_NEAR_CACHE works with one server"):
        make_app(NEAR_CACHE=True)


def test_a_value_that_is_too_large_takes_no_room_from_the_others(client: Client) -> None:
    with near_of(client, max_bytes=100) as near:
        put(near, f"{PREFIX}small}}", Row(1), 60)
        put(near, f"{PREFIX}large}}", Row(2), 101)
        assert near.get(f"{PREFIX}small}}") == Row(1) and near.get(f"{PREFIX}large}}") is None
        put(near, f"{PREFIX}fits}}", Row(3), 100)
        assert near.get(f"{PREFIX}fits}}") == Row(3)
