"""The line itself, on redis-py's own client. Times are given, so nothing waits for them."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis.crc import key_slot
from redis.exceptions import ResponseError

from demo.teach.turns import State, Turn, Turns, Who
from tests.servers import Client, lives, private_engine, trips
from tests.servers import connect as connect_to

START_MS = 1_000_000


@pytest.fixture
def make(client: Client) -> Callable[..., Turns]:
    return lambda **more: Turns(client, "test", **more)


def who(number: int, address: str = "", network: str = "") -> Who:
    return Who(f"v{number}", address or f"a{number}", network or f"n{number}")


def told(turn: Turn) -> tuple[State, int]:
    return turn.state, turn.before


def test_ten_visitors_get_their_turn_in_the_order_in_which_they_came(
    make: Callable[..., Turns],
) -> None:
    turns = make()
    joined = [turns.join(who(number), f"run {number}") for number in range(10)]
    assert told(joined[0]) == (State.BEGINS, 0)
    assert [told(turn) for turn in joined[1:]] == [(State.WAITS, n) for n in range(1, 10)]
    ran = [joined[0].what]
    for gone, place in zip(joined, joined[1:], strict=False):
        waiting = [turns.look(other.id) for other in reversed(joined) if other.id != gone.id]
        assert State.BEGINS not in {turn.state for turn in waiting}  # while one runs, none begins
        turns.leave(gone.id)
        found = turns.look(place.id)
        assert told(found) == (State.BEGINS, 0)
        ran.append(found.what)
    assert ran == [f"run {number}" for number in range(10)]
    turns.leave(joined[-1].id)
    assert told(turns.join(who(11), "")) == (State.BEGINS, 0)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_no_more_run_at_once_than_may_whoever_asks_first(
    make: Callable[..., Turns], at_once: int
) -> None:
    turns = make(at_once=at_once)
    places = [turns.join(who(number), "") for number in range(6)]
    begun = [place.id for place in places if place.state is State.BEGINS]
    assert begun == [place.id for place in places[:at_once]]
    for last in reversed(places):
        assert turns.look(last.id).state is (State.RUNS if last.id in begun else State.WAITS)
    turns.leave(begun[0])
    assert turns.look(places[-1].id).state is State.WAITS  # those before it come first
    assert turns.look(places[at_once].id).state is State.BEGINS


def test_of_many_who_ask_at_once_for_one_place_one_begins_the_run(
    make: Callable[..., Turns],
) -> None:
    turns = make()
    first = turns.join(who(1), "")
    place = turns.join(who(2), "")
    turns.leave(first.id)
    gate = threading.Barrier(8)

    def ask(_: int) -> State:
        gate.wait(10)
        return turns.look(place.id).state

    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(ask, range(8)))
    assert sorted(states) == [State.BEGINS] + [State.RUNS] * 7


def test_many_who_come_at_the_same_moment_have_a_place_each_and_one_begins(
    make: Callable[..., Turns],
) -> None:
    turns = make()
    gate = threading.Barrier(10)

    def come(number: int) -> Turn:
        gate.wait(10)
        return turns.join(who(number), "")

    with ThreadPoolExecutor(10) as pool:
        places = list(pool.map(come, range(10)))
    assert sorted(place.before for place in places) == list(range(10))
    assert [place.state for place in places].count(State.BEGINS) == 1


def test_a_visitor_has_one_place_whatever_he_wants(make: Callable[..., Turns]) -> None:
    turns = make()
    running = turns.join(who(1), "first")
    again = turns.join(who(1), "second")
    assert (again.state, again.id, again.what, again.new) == (
        State.RUNS,
        running.id,
        "first",
        False,
    )
    waiting = turns.join(who(2), "first")
    again = turns.join(who(2), "second")
    assert (told(again), again.id, again.what) == ((State.WAITS, 1), waiting.id, "first")
    assert waiting.new and not again.new


def test_who_does_not_ask_again_loses_his_place_to_the_next(make: Callable[..., Turns]) -> None:
    turns = make(wait_seconds=10, run_seconds=60)
    running = turns.join(who(1), "", now_ms=START_MS)
    closed = turns.join(who(2), "", now_ms=START_MS)
    open_ = turns.join(who(3), "", now_ms=START_MS)
    assert told(turns.look(open_.id, now_ms=START_MS + 9_999)) == (State.WAITS, 2)
    assert told(turns.look(open_.id, now_ms=START_MS + 10_000)) == (State.WAITS, 1)
    assert turns.look(closed.id, now_ms=START_MS + 10_001).state is State.GONE
    turns.leave(running.id)
    assert turns.look(open_.id, now_ms=START_MS + 10_002).state is State.BEGINS


def test_a_run_whose_worker_died_is_followed_within_its_time_and_told_if_it_lives(
    make: Callable[..., Turns],
) -> None:
    turns = make(run_seconds=10, wait_seconds=60)
    dead = turns.join(who(1), "", now_ms=START_MS)
    following = turns.join(who(2), "", now_ms=START_MS)
    assert turns.keep(dead.id, now_ms=START_MS + 5_000)
    assert turns.look(following.id, now_ms=START_MS + 14_999).state is State.WAITS
    assert turns.look(following.id, now_ms=START_MS + 15_000).state is State.BEGINS
    assert not turns.keep(dead.id, now_ms=START_MS + 15_001)
    assert turns.look(dead.id, now_ms=START_MS + 15_001).state is State.GONE
    assert turns.keep(following.id, now_ms=START_MS + 15_002)


def test_a_run_that_was_held_up_goes_on_where_nobody_else_has_begun(
    make: Callable[..., Turns],
) -> None:
    turns = make(run_seconds=10)
    late = turns.join(who(1), "", now_ms=START_MS)
    assert turns.keep(late.id, now_ms=START_MS + 11_000)
    assert turns.join(who(2), "", now_ms=START_MS + 12_000).state is State.WAITS


def test_who_waits_does_not_keep_it_up_as_a_run_would(make: Callable[..., Turns]) -> None:
    turns = make()
    turns.join(who(1), "")
    waiting = turns.join(who(2), "")
    assert not turns.keep(waiting.id)
    assert not turns.keep("0" * 16)


def test_a_line_is_bounded_and_who_left_makes_room(make: Callable[..., Turns]) -> None:
    turns = make(most_waiting=3)
    places = [turns.join(who(number), "") for number in range(4)]
    refused = turns.join(who(9), "")
    assert (told(refused), refused.id) == ((State.FULL, 3), "")
    assert turns.look(refused.id).state is State.GONE
    turns.leave(places[2].id)
    assert told(turns.join(who(9), "")) == (State.WAITS, 3)


def test_an_address_and_a_network_hold_a_part_of_the_line(make: Callable[..., Turns]) -> None:
    turns = make(of_address=2, of_network=3)
    for number in range(2):
        turns.join(who(number, "a", "n"), "")
    assert told(turns.join(who(3, "a", "n"), "")) == (State.ADDRESS, 2)
    assert turns.join(who(4, "b", "n"), "").state is State.WAITS
    assert told(turns.join(who(5, "c", "n"), "")) == (State.NETWORK, 3)
    assert told(turns.join(who(6, "d", "m"), "")) == (State.WAITS, 3)
    assert turns.join(who(0, "a", "n"), "").state is State.RUNS  # who has a place keeps it


def test_the_line_is_one_key_that_expires_and_every_call_is_one_round_trip(
    make: Callable[..., Turns], client: Client
) -> None:
    turns = make(wait_seconds=10, run_seconds=30)
    with trips() as seen:
        place = turns.join(who(1), "run")
        waiting = turns.join(who(2), "run")
        turns.look(waiting.id)
        turns.keep(place.id)
        turns.leave(waiting.id)
    assert len(seen) == 5
    assert list(client.scan_iter("demo:*")) == [b"demo:turns:{test}"]
    assert lives(client, turns.key, 60)
    assert key_slot(b"demo:turns:{test}") == key_slot(b"test")
    client.pexpire(turns.key, 5)
    turns.keep(place.id)
    assert lives(client, turns.key, 60)
    turns.leave(place.id)
    assert not client.exists(turns.key)


def test_places_whose_time_is_up_do_not_heap_up(make: Callable[..., Turns], client: Client) -> None:
    turns = make()
    for number in range(50):
        turns.join(who(number), "", now_ms=START_MS + number * 20_000)
        assert client.hlen(turns.key) == 1


def test_a_clock_that_went_back_keeps_no_place_for_longer(make: Callable[..., Turns]) -> None:
    turns = make(run_seconds=10, wait_seconds=20)
    dead = turns.join(who(1), "", now_ms=START_MS + 3_600_000)
    following = turns.join(who(2), "", now_ms=START_MS)
    assert following.state is State.WAITS
    assert turns.look(following.id, now_ms=START_MS + 9_999).state is State.WAITS
    assert turns.look(following.id, now_ms=START_MS + 10_000).state is State.BEGINS
    assert not turns.keep(dead.id, now_ms=START_MS + 10_000)


def test_what_is_none_of_ours_in_the_line_is_dropped(
    make: Callable[..., Turns], client: Client
) -> None:
    turns = make()
    client.hset(turns.key, mapping={"x": "nonsense", "y": b"\xff\x00", "z": "1 2 3"})
    assert told(turns.join(who(1), "a wish\nof two lines")) == (State.BEGINS, 0)
    assert client.hlen(turns.key) == 1
    assert turns.join(who(1), "").what == "a wish\nof two lines"


def test_a_full_redis_refuses_a_place_and_changes_nothing(client: Client) -> None:
    with private_engine("--maxmemory", "100mb") as engine:
        own: Any = connect_to(engine.url)
        turns = Turns(own, "full")
        running = turns.join(who(1), "", now_ms=START_MS)
        lapsed = turns.join(who(2), "", now_ms=START_MS)
        before = own.hgetall(turns.key)
        own.config_set("maxmemory", 1)
        with pytest.raises(ResponseError, match="maxmemory"):
            turns.join(who(3), "", now_ms=START_MS + 20_000)
        assert own.hgetall(turns.key) == before
        turns.leave(running.id)
        assert not own.hexists(turns.key, running.id) and own.hexists(turns.key, lapsed.id)
        own.close()
