"""A command that comes with its request's MGET: one trip instead of two, and otherwise as alone."""

from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
from redis.exceptions import ConnectionError, ResponseError

from demo.client import pool, shared_trip
from demo.client.wire import Send, Trip
from tests.servers import private_engine

SCRIPT = "-- probe.lua: reads\nreturn redis.call('GET', KEYS[1])"


class Pair:
    """The client of pages and the one beside it, and what went over the wire."""

    def __init__(self, url: str) -> None:
        self.trips: list[list[str]] = []
        self.is_gone = False
        around = (shared_trip.lend, self.around)
        self.pages = pool.connect(url, pool_size=2, timeout_seconds=2.0, around=around)
        self.other = pool.beside(self.pages, (shared_trip.collect, self.around))

    def around(self, trip: Trip, send: Send) -> list[Any]:
        if self.is_gone:
            self.is_gone = False
            raise ConnectionError("gone")
        self.trips.append([str(args[0]) for args in trip.commands])
        return send(trip)

    def offer(self, *keys: str) -> tuple[Any, ...]:
        """What reads these keys by the script, offered."""
        script: Any = self.other.register_script(SCRIPT)
        command = ("EVALSHA", script.sha, len(keys), *keys)
        shared_trip.offer(command)
        return command


@pytest.fixture
def pair() -> Iterator[Pair]:
    with private_engine() as engine:
        made = Pair(engine.url)
        made.pages.script_load(SCRIPT)
        made.pages.mset({"a": "1", "b": "2"})
        made.trips.clear()
        yield made
        shared_trip.withdraw()
        made.pages.close()


def test_both_are_answered_by_one_trip(pair: Pair) -> None:
    command = pair.offer("b")
    assert pair.pages.mget(["a", "c"]) == [b"1", None]
    assert pair.other.execute_command(*command) == b"2"
    assert pair.trips == [["MGET", "EVALSHA"]]
    assert pair.other.execute_command(*command) == b"2"  # it is collected once
    assert pair.pages.mget(["a"]) == [b"1"]
    assert pair.trips[1:] == [["EVALSHA"], ["MGET"]]


def test_what_is_collected_first_is_sent_alone(pair: Pair) -> None:
    command = pair.offer("b")
    assert pair.pages.get("a") == b"1" and pair.other.get("a") == b"1"
    assert pair.other.execute_command(*command) == b"2"
    assert pair.pages.mget(["a"]) == [b"1"]
    assert pair.trips == [["GET"], ["GET"], ["EVALSHA"], ["MGET"]]


def test_it_comes_with_the_first_mget_only(pair: Pair) -> None:
    command = pair.offer("b")
    pair.pages.mget(["a"])
    pair.pages.mget(["a"])
    pair.pages.set("b", "3")  # what was read stands
    assert pair.other.execute_command(*command) == b"2"
    assert pair.trips == [["MGET", "EVALSHA"], ["MGET"], ["SET"]]


def test_where_the_shared_trip_is_lost_each_is_asked_by_itself(pair: Pair) -> None:
    command = pair.offer("b")
    pair.is_gone = True
    with pytest.raises(ConnectionError):
        pair.pages.mget(["a"])
    assert pair.other.execute_command(*command) == b"2"
    assert pair.trips == [["EVALSHA"]]


def test_an_error_of_one_is_nothing_to_the_other(pair: Pair) -> None:
    pair.pages.lpush("list", "x")
    command = pair.offer("list")
    assert pair.pages.mget(["a"]) == [b"1"]
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        pair.other.execute_command(*command)
    assert pair.pages.ping()  # nothing unread is left on the connection


def test_a_script_that_is_not_known_any_more_is_sent_whole(pair: Pair) -> None:
    command = pair.offer("b")
    pair.pages.script_flush()
    assert pair.pages.mget(["a"]) == [b"1"]
    assert pair.other.execute_command(*command) == b"2"
    assert pair.trips[1:] == [["MGET", "EVALSHA"], ["EVAL"]]


def test_an_offer_is_its_own_requests(pair: Pair) -> None:
    command = pair.offer("b")

    def elsewhere() -> tuple[Any, Any]:
        shared_trip.withdraw()
        return pair.pages.mget(["a"]), pair.other.execute_command(*command)

    assert copy_context().run(elsewhere) == ([b"1"], b"2")
    assert pair.trips == [["MGET"], ["EVALSHA"]]
    pair.pages.mget(["a"])
    assert pair.trips[2:] == [["MGET", "EVALSHA"]]
