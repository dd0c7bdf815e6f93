from collections import Counter

import pytest
from redis.exceptions import RedisError

from demo.client.breaker import BreakerOpen
from demo.client.wire import Client
from demo.monitor.reports import STREAM, Report, Reporter, Room, gather, send
from tests.clients import connect
from tests.servers import lives, private_engine, until


@pytest.fixture
def client(wired: Client) -> Client:
    """The app's kind, whose wire these tests look at."""
    return wired


def reporter(client: Client, name: str) -> Reporter:
    return Reporter(client, client.sums, lambda: name, lambda: (3, 8), BreakerOpen)


def test_reports_of_several_processes_add_up(client: Client) -> None:
    send(client, Report("a", 2, 8, {"catalog": Room(10, 5, 5, {20: 10})}, {"demo:catalog:{x}": 6}))
    send(
        client,
        Report(
            "b", 5, 8, {"catalog": Room(1, 1, 0, {20: 1, 24: 2}), "sessions": Room(2, 0, 0, {})}, {}
        ),
    )
    send(
        client,
        Report(
            "a",
            1,
            8,
            {"catalog": Room(3, 0, 3, {})},
            {"demo:catalog:{x}": 1, "demo:catalog:{y}": 9},
        ),
    )
    client.xadd(STREAM, {"r": b"garbage"})
    client.xadd(STREAM, {"other": b"1"})
    told = gather(client.xrange(STREAM), 10)
    assert told.rooms["catalog"] == Room(14, 6, 8, {20: 11, 24: 2})
    assert [(w.process, w.pool_peak, w.commands) for w in told.workers] == [
        ("a", 2, 13),
        ("b", 5, 3),
    ]
    assert told.hot == (("demo:catalog:{y}", 9), ("demo:catalog:{x}", 7))


def test_what_was_counted_is_told_once(client: Client) -> None:
    client.sums.take()
    for _ in range(5):
        client.get("demo:catalog:{a}")
    one = reporter(client, "one")
    assert one.step() == 2.0
    client.get("demo:catalog:{a}")
    one.step()
    told = gather(client.xrange(STREAM), 10)
    assert (told.rooms["catalog"].commands, told.rooms["catalog"].misses) == (6, 6)
    assert told.workers[0].pool_peak == 3
    assert lives(client, STREAM, 120)


def test_what_was_not_sent_is_told_later_and_what_may_have_arrived_is_not() -> None:
    with private_engine() as engine:
        client = connect(engine.url, pool_size=2, timeout_seconds=0.25, open_seconds=60)
        client.get("demo:catalog:{a}")
        engine.kill()
        with pytest.raises(RedisError):
            client.get("demo:catalog:{a}")
        one = reporter(client, "one")
        assert one.step() == 2.0  # the breaker is open: it counts again
        engine.start()
        client.breaker.succeeded()
        until(lambda: client.ping())
        one.step()
        assert gather(client.xrange(STREAM), 10).rooms["catalog"].commands == 1
        client.get("demo:catalog:{a}")
        engine.kill()
        with pytest.raises(RedisError):
            one.step()
        assert "catalog" not in client.sums.take()[0]
        client.close()


def test_keys_are_told_by_names_that_may_be_shown(client: Client) -> None:
    client.sums.take()
    client.sums._keys = Counter({"demo:sessions:{mara}:secret": 90, "demo:catalog:{page:1}": 10})
    reporter(client, "one").step()
    hot = dict(gather(client.xrange(STREAM), 10).hot)
    assert hot["demo:catalog:{page:1}"] == 10
    assert not any("mara" in name or "secret" in name for name in hot)


def test_reporting_is_one_round_trip_and_costs_a_request_none(client: Client) -> None:
    from demo.observe.trace import begin_trace, end_trace

    trace = begin_trace()
    reporter(client, "one").step()
    assert trace.round_trips == 1
    end_trace()
