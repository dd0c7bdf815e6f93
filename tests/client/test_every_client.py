"""What the pool promises holds for every client: one server, a Sentinel's primary, a cluster."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from redis.exceptions import RedisError

from demo.client import connections, pool, refusals
from demo.client.connections import PoolExhausted
from tests.clients import connect
from tests.servers import cluster_node, free_port, until
from tests.topologies import KINDS, Topology, topology

Connect = Callable[..., Any]


@pytest.fixture(params=KINDS)
def given(request: pytest.FixtureRequest) -> Iterator[Topology]:
    with topology(request.param, nodes=3) as made:
        yield made


@pytest.fixture
def connected(given: Topology) -> Iterator[Connect]:
    with ExitStack() as stack:

        def make(**settings: Any) -> Any:
            options = {"pool_size": 2, "timeout_seconds": 5.0, "open_seconds": 0.5, **settings}
            made = connect(given.url(), **options)
            stack.callback(made.close)
            return made

        yield make


def test_who_finds_no_connection_free_waits_for_one(connected: Connect) -> None:
    """Twice as many writers as connections, all at once, many times: each gets his turn."""
    client, begin, failed = connected(), threading.Barrier(4), list[RedisError]()

    def write() -> None:
        begin.wait(10)
        for _ in range(50):
            try:
                client.incr("{a}:n")
                client.pipeline(transaction=False).incr("{a}:n").incr("{b}:n").incr(
                    "{c}:n"
                ).execute()
            except RedisError as error:
                failed.append(error)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert not failed
    assert client.mget("{a}:n")[0] == b"400"
    assert connections.use(client)[0] == 0
    assert max(each.peak() for each in connections.pools(client)) == 2


def test_who_waits_in_vain_is_told_that_nothing_was_sent(connected: Connect) -> None:
    client = connected(timeout_seconds=0.2)
    client.set("{a}:1", "before")
    kept = [(each, each.get_connection()) for each in connections.pools(client) for _ in range(2)]
    map_before = getattr(client, "nodes_manager", None) and client.nodes_manager._epoch
    for write in (
        lambda: client.set("{a}:1", "after"),
        lambda: client.pipeline(transaction=False).set("{a}:1", "after").execute(),
    ):
        with pytest.raises(PoolExhausted) as caught:
            write()
        assert refusals.of(caught.value) is refusals.BUSY_POOL
        assert not refusals.may_have_counted(caught.value)
    assert not client.breaker.is_open
    for each, connection in kept:
        each.release(connection)
    assert client.get("{a}:1") == b"before"
    # a pool that is busy is no node that has died: the cluster's map was not asked for again
    assert map_before == (getattr(client, "nodes_manager", None) and client.nodes_manager._epoch)


def test_what_a_server_is_late_with_is_not_sent_again(given: Topology, connected: Connect) -> None:
    """Every server stands still; what reaches it meanwhile is done afterwards, once."""
    client = connected(timeout_seconds=0.2)
    numbers = ["{a}:n", "{b}:n", "{c}:n"]
    # Two connections to each server, so that it is the commands that are late, the second time too.
    kept = [(each, each.get_connection()) for each in connections.pools(client) for _ in range(2)]
    for each, connection in kept:
        each.release(connection)
    if given.kind == "cluster":  # however long they stand still, they call nobody dead
        given.each("CONFIG", "SET", "cluster-node-timeout", "60000")
    pipeline = client.pipeline(transaction=False)
    for name in numbers:
        pipeline.incr(name)
    with _standing_still(given), pytest.raises(RedisError):
        pipeline.execute()
    client.breaker.succeeded()
    until(lambda: _answers(lambda: [client.get(name) for name in numbers] == [b"1"] * 3))


def test_a_pipeline_follows_keys_that_have_moved() -> None:
    with topology("cluster", nodes=3) as given:
        client = connect(given.url(), pool_size=2, timeout_seconds=5.0, open_seconds=0.5)
        nodes = {node.name: node for node in client.get_nodes()}
        for slot, (node, *_) in list(client.nodes_manager.slots_cache.items()):
            others = [other for name, other in nodes.items() if name != node.name]
            client.nodes_manager.slots_cache[slot] = others[:1]  # a map that is right nowhere
        pipeline = client.pipeline(transaction=False)
        for name in ("{a}:n", "{b}:n", "{c}:n", "{a}:n"):
            pipeline.incr(name)
        assert pipeline.execute() == [1, 1, 1, 2]
        client.close()


@contextlib.contextmanager
def _standing_still(given: Topology) -> Iterator[None]:
    """No server that holds data does anything; what is sent to it waits in its socket."""
    pids = []
    for port in given.ports:
        with redis.Redis(port=port) as node:
            pids.append(node.info("server")["process_id"])
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_connection_that_the_server_closed_is_reopened_unseen(
    given: Topology, connected: Connect
) -> None:
    client = connected()
    client.set("{a}:1", "x")
    given.each("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert client.get("{a}:1") == b"x"


def test_a_script_that_the_server_has_forgotten_is_sent_as_a_whole(
    given: Topology, connected: Connect
) -> None:
    client = connected()
    script = client.register_script("return redis.call('INCR', KEYS[1])")
    given.each("ACL", "SETUSER", "default", "-script")
    for expected in (1, 2):
        given.each("FUNCTION", "FLUSH")
        assert script(keys=["{a}:n"]) == expected


def test_a_server_that_takes_no_names_is_served_all_the_same(given: Topology) -> None:
    given.each("ACL", "SETUSER", "meek", "on", ">pw", "~demo:*", "+@all", "-client", "-command")
    made = pool.connect(given.url("meek:pw"), pool_size=2, timeout_seconds=2.0)
    made.set("demo:{a}", "x")
    assert made.mget("demo:{a}") == [b"x"]
    assert made.pipeline(transaction=False).get("demo:{a}").get("demo:{b}").execute() == [
        b"x",
        None,
    ]
    assert made.bitop("AND", "demo:{a}:1", "demo:{a}:2") == 0
    made.close()


def test_a_cluster_that_is_away_at_the_start_is_used_when_it_is_back() -> None:
    port = free_port()
    client = connect(
        f"redis+cluster://127.0.0.1:{port}", pool_size=2, timeout_seconds=0.5, open_seconds=0.01
    )
    for ask in (
        lambda: client.get("a"),
        lambda: client.pipeline(transaction=False).get("a").execute(),
        client.get_nodes,
    ):
        with pytest.raises(redis.ConnectionError):
            ask()
    assert client.breaker.is_open
    assert connections.use(client) == (0, 0)
    client.register_script("return 1")
    with cluster_node(port=port):
        until(lambda: _answers(lambda: client.set("a", 1)))
        assert client.pipeline(transaction=False).get("a").execute() == [b"1"]
        client.close()


def test_the_first_that_asks_a_cluster_for_its_nodes_when_it_is_back_is_told_them() -> None:
    port = free_port()
    client = connect(
        f"redis+cluster://127.0.0.1:{port}", pool_size=2, timeout_seconds=0.5, open_seconds=0.01
    )
    with cluster_node(port=port):
        until(lambda: _answers(lambda: [node.port for node in client.get_nodes()] == [port]))
        client.close()


def _answers(ask: Callable[[], Any]) -> bool:
    try:
        return bool(ask())
    except RedisError:
        return False


def test_waiting_for_a_connection_ends(connected: Connect) -> None:
    client = connected(timeout_seconds=0.05)
    kept = [(each, each.get_connection()) for each in connections.pools(client) for _ in range(2)]
    began = time.monotonic()
    with pytest.raises(PoolExhausted):
        client.get("{a}:1")
    assert time.monotonic() - began < 5
    for each, connection in kept:
        each.release(connection)


def test_what_ends_in_the_middle_of_a_pipeline_hands_no_connection_on() -> None:
    """Interrupted between two servers: what the second was asked is not read by the next caller."""
    with topology("cluster", nodes=3) as given:
        client = connect(given.url(), pool_size=1, timeout_seconds=5.0, open_seconds=0.5)
        names = ("{a}:n", "{b}:n", "{c}:n")
        for name in names:
            client.set(name, name)
        read, original = list[str](), client._read_from

        def interrupted(node: Any, *rest: Any) -> None:
            if read:
                raise KeyboardInterrupt
            read.append(node.name)
            original(node, *rest)

        client._read_from = interrupted
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.get(name)
        with pytest.raises(KeyboardInterrupt):
            pipeline.execute()
        del client._read_from
        assert connections.use(client)[0] == 0
        assert [client.strlen(name) for name in names] == [5, 5, 5]
        client.close()
