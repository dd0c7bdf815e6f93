"""What stands around the wire holds for every client: one server, a Sentinel's primary, a cluster."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from redis.exceptions import ConnectionError, ReadOnlyError, ResponseError

from demo.client.pool import connect
from demo.client.wire import Send, Trip
from tests.topologies import KINDS, topology

SCRIPT = "-- probe.lua: reads\nreturn redis.call('GET', KEYS[1])"
Connect = Callable[..., Any]


@pytest.fixture(params=KINDS)
def connected(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients with wrappers of a test's choice, on a server of each kind."""
    with ExitStack() as stack:
        url = stack.enter_context(topology(request.param)).url()

        def make(*around: Any) -> Any:
            made = connect(url, pool_size=4, timeout_seconds=2.0, around=around)
            stack.callback(made.close)
            return made

        yield make


class Recorder:
    """Keeps what passes, and under a name the order of the wrappers."""

    def __init__(self, name: str = "", order: list[str] | None = None) -> None:
        self.trips: list[tuple[str, list[str], list[Any]]] = []
        self.name, self.order = name, [] if order is None else order

    def around(self, trip: Trip, send: Send) -> list[Any]:
        self.order.append(self.name)
        replies = send(trip)
        self.trips.append((trip.label, [str(args[0]) for args in trip.commands], replies))
        return replies


def test_commands_pipelines_and_scripts_pass_once_each(connected: Connect) -> None:
    recorder = Recorder()
    client = connected(recorder.around)
    client.set("{a}:1", "x")
    assert client.pipeline(transaction=False).get("{a}:1").get("{a}:2").execute() == [b"x", None]
    script = client.register_script(SCRIPT)
    client.script_load(SCRIPT)
    recorder.trips.clear()
    assert script(keys=["{a}:1"]) == b"x"
    assert client.pipeline(transaction=False).get("{a}:1").incr("{a}:n").execute() == [b"x", 1]
    assert client.get("{a}:1") == b"x"
    assert recorder.trips == [
        ("EVALSHA", ["EVALSHA"], [b"x"]),
        ("pipeline", ["GET", "INCRBY"], [b"x", 1]),
        ("GET", ["GET"], [b"x"]),
    ]


def test_the_first_wrapper_is_the_outermost(connected: Connect) -> None:
    order: list[str] = []
    client = connected(Recorder("outer", order).around, Recorder("inner", order).around)
    order.clear()
    client.set("{a}:1", "x")
    client.pipeline(transaction=False).get("{a}:1").execute()
    assert order == ["outer", "inner"] * 2


def test_an_error_that_redis_answered_is_a_reply_to_wrappers_and_raised_to_callers(
    connected: Connect,
) -> None:
    recorder = Recorder()
    client = connected(recorder.around)
    client.set("{a}:1", "x")
    recorder.trips.clear()
    with pytest.raises(ResponseError, match="not an integer"):
        client.incr("{a}:1")
    with pytest.raises(ResponseError, match=r"command 2 of the pipeline, INCRBY: .*not an integer"):
        client.pipeline(transaction=False).get("{a}:1").incr("{a}:1").execute()
    shown = client.pipeline(transaction=False).incr("{a}:1").get("{a}:1")
    replies = shown.execute(raise_on_error=False)
    assert isinstance(replies[0], ResponseError) and replies[1] == b"x"
    assert [len(replies) for *_, replies in recorder.trips] == [1, 2, 2]


def test_a_wrapper_may_send_a_part_and_answer_the_rest_itself(connected: Connect) -> None:
    def no_writes(trip: Trip, send: Send) -> list[Any]:
        passed = [at for at, args in enumerate(trip.commands) if args[0] != "SET"]
        replies = iter(send(trip.only(passed)) if passed else [])
        refusal = ReadOnlyError("read-only")
        return [next(replies) if at in passed else refusal for at in range(len(trip.commands))]

    plain, client = connected(), connected(no_writes)
    plain.mset({"{a}:1": "x", "{a}:2": "y"})
    asked = client.pipeline(transaction=False).get("{a}:1").set("{a}:1", "z").get("{a}:2")
    first, refused, last = asked.execute(raise_on_error=False)
    assert (first, last) == (b"x", b"y") and isinstance(refused, ReadOnlyError)
    with pytest.raises(ReadOnlyError):
        client.set("{a}:1", "z")
    assert plain.get("{a}:1") == b"x"


def test_what_a_wrapper_raises_is_raised_and_leaves_nothing_to_send(connected: Connect) -> None:
    def gone(_: Trip, __: Send) -> list[Any]:
        raise ConnectionError("gone")

    plain, client = connected(), connected()
    client.send = lambda trip: gone(trip, client.send)
    asked = client.pipeline(transaction=False).set("{a}:1", "z")
    for call in (asked.execute, lambda: client.get("{a}:1")):
        with pytest.raises(ConnectionError, match="gone"):
            call()
    assert asked.execute() == []
    assert plain.get("{a}:1") is None
