"""What a failover has lost of invalidations and endings is told again."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError, NoPermissionError

from demo.client import told_again
from demo.client.told_again import KNOWN, ToldAgain, look
from demo.client.wire import Send, Trip
from tests.clients import connect
from tests.clock import Clock
from tests.servers import lives, tcp_server, until
from tests.topologies import Topology, topology


@pytest.fixture(params=["standalone", "cluster"])
def given(request: pytest.FixtureRequest) -> Iterator[Topology]:
    with topology(request.param, "--enable-debug-command", "yes", nodes=3) as made:
        yield made


def test_another_primary_is_told_a_few_times_and_then_known(
    given: Topology, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(given.url(), pool_size=2, timeout_seconds=5.0, open_seconds=0.5)
    clock, told = Clock(0.0), list[float]()
    watch = ToldAgain(client, clock)
    watch.again.append(lambda: told.append(clock.now) or 3)

    def go_on(until_seconds: float) -> list[float]:
        told.clear()
        while clock.now < until_seconds:
            assert watch.step() == told_again.LOOK_SECONDS
            clock.now += 0.5
        return list(told)

    assert go_on(10) == [0.0, 1.0, 3.0, 7.0]  # a Redis that knows of nobody yet
    assert lives(client, KNOWN, 30 * 86_400)
    assert go_on(20) == []
    with redis.Redis(port=given.ports[-1]) as node:  # only one, on a cluster
        before = look(client)[0]
        node.execute_command("DEBUG", "CHANGE-REPL-ID")
        assert len(look(client)[0] - before) == 1
    with caplog.at_level(logging.WARNING):
        assert go_on(30) == [20.0, 21.0, 23.0, 27.0]
    assert [record.getMessage() for record in caplog.records] == [
        "Redis has another primary than before; told again: 3"
    ]
    assert go_on(40) == []
    client.close()


def test_a_look_at_one_server_is_one_round_trip() -> None:
    with topology("standalone") as given:
        trips = list[str]()

        def note(trip: Trip, send: Send) -> list[Any]:
            trips.append(trip.label)
            return send(trip)

        client = connect(
            given.url(), pool_size=2, timeout_seconds=5.0, open_seconds=0.5, inside=note
        )
        client.set(KNOWN, " ".join(look(client)[0]))
        trips.clear()
        ToldAgain(client).step()
        assert trips == ["pipeline"]
        client.close()


def test_who_takes_over_in_the_middle_begins_anew() -> None:
    with topology("standalone") as given:
        client = connect(given.url(), pool_size=2, timeout_seconds=5.0, open_seconds=0.5)
        clock, told = Clock(0.0), list[float]()
        first, second = ToldAgain(client, clock), ToldAgain(client, clock)
        for watch in (first, second):
            watch.again.append(lambda: told.append(clock.now) or 0)
        first.step()
        clock.now = 1.5
        second.step()
        assert told == [0.0, 1.5]
        client.close()


def test_what_could_not_be_told_is_tried_again() -> None:
    with topology("standalone") as given:
        client = connect(given.url(), pool_size=2, timeout_seconds=5.0, open_seconds=0.5)
        tries = list[int]()

        def again() -> int:
            tries.append(1)
            if len(tries) == 1:
                raise ConnectionError
            return 0

        watch = ToldAgain(client, Clock(0.0))
        watch.again.append(again)
        with pytest.raises(ConnectionError):
            watch.step()
        watch.step()
        assert len(tries) == 2
        client.close()


def test_where_it_cannot_be_written_down_that_alone_is_tried_again() -> None:
    with topology("standalone") as given:
        given.each("ACL", "SETUSER", "meek", "on", ">pw", "~demo:*", "+@all", "-set")
        client = connect(given.url("meek:pw"), pool_size=2, timeout_seconds=5.0, open_seconds=0.5)
        clock, told = Clock(0.0), list[float]()
        watch = ToldAgain(client, clock)
        watch.again.append(lambda: told.append(clock.now) or 0)
        for clock.now in (0.0, 1.0, 3.0):
            watch.step()
        clock.now = 7.0
        for _ in range(2):
            with pytest.raises(NoPermissionError):
                watch.step()
        given.each("ACL", "SETUSER", "meek", "+set")
        watch.step()
        assert told == [0.0, 1.0, 3.0, 7.0] and client.get(KNOWN)
        client.close()


def test_a_promoted_replica_has_another_id_and_a_replica_none() -> None:
    with (
        tcp_server() as first,
        tcp_server("--replicaof", "127.0.0.1", str(first)) as second,
        redis.Redis(port=first) as primary,
        redis.Redis(port=second) as replica,
    ):
        until(lambda: replica.info("replication")["master_link_status"] == "up")
        assert look(replica)[0] == set()
        before = look(primary)[0]
        replica.replicaof("NO", "ONE")
        assert look(replica)[0] and not look(replica)[0] & before


def test_a_server_that_does_not_permit_it_is_asked_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with topology("standalone") as given:
        given.each("ACL", "SETUSER", "meek", "on", ">pw", "~demo:*", "+@all", "-info")
        client = connect(given.url("meek:pw"), pool_size=2, timeout_seconds=5.0, open_seconds=0.5)
        watch = ToldAgain(client)
        with caplog.at_level(logging.WARNING):
            assert [watch.step(), watch.step()] == [told_again.UNTOLD_SECONDS] * 2
        assert len(caplog.records) == 1
        client.close()
