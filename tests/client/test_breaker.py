"""The breaker on real servers: what one server is late with holds up no other, and a probe beside
the calls finds out when it is back."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from redis.exceptions import ConnectionError, RedisError

from demo.client.breaker import Breaker, BreakerOpen, Breakers
from demo.client.probe import PROBE_KEY, probe
from demo.web.services import services
from tests.clients import connect
from tests.clock import Clock
from tests.servers import REPOSITORY, private_engine, shut_down, until
from tests.topologies import Topology, topology

NAMES = ("{a}:n", "{b}:n", "{c}:n")  # one on each of three servers


@pytest.fixture
def cluster() -> Iterator[Topology]:
    with topology("cluster", "--enable-debug-command", "yes", nodes=3) as made:
        yield made


@pytest.fixture
def connected() -> Iterator[Callable[..., Any]]:
    with ExitStack() as stack:

        def make(url: str, **settings: Any) -> Any:
            options = {"pool_size": 4, "timeout_seconds": 0.25, "open_seconds": 0.2, **settings}
            made = connect(url, probed=True, **options)
            stack.callback(made.close)
            return made

        yield make


def held_up(port: int, seconds: float) -> threading.Thread:
    """Holds a server up, and returns when it is."""

    def hold() -> None:
        with redis.Redis(port=port, socket_timeout=30) as node:
            node.execute_command("DEBUG", "SLEEP", str(seconds))

    thread = threading.Thread(target=hold)
    thread.start()
    until(lambda: not answers(port))
    return thread


def answers(port: int) -> bool:
    with redis.Redis(port=port, socket_timeout=0.05, retry=None) as node:
        try:
            return bool(node.ping())
        except RedisError:
            return False


def outcome(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except RedisError as error:
        return type(error)


def test_one_late_answer_costs_the_others_a_moment(connected: Callable[..., Any]) -> None:
    """The server answers the probe at once, so the breaker is closed long before its time."""
    with private_engine() as engine:
        client = connected(engine.url, open_seconds=60)
        breaker = client.breaker.of("")
        client.set("a", 1)
        breaker.failed()
        until(lambda: not breaker.is_open)
        assert client.get("a") == b"1"


def test_a_server_that_is_silent_is_asked_beside_the_calls_until_it_answers(
    connected: Callable[..., Any],
) -> None:
    with private_engine() as engine:
        client = connected(engine.url, open_seconds=0.05)
        client.set("a", 1)
        engine.pause()
        assert outcome(lambda: client.get("a")) is redis.TimeoutError
        # however long it takes, no call is the one that has to find out
        assert {outcome(lambda: client.get("a")) for _ in range(2000)} == {BreakerOpen}
        engine.resume()
        until(lambda: outcome(lambda: client.get("a")) == b"1")


def test_the_probe_needs_no_free_connection(connected: Callable[..., Any]) -> None:
    with private_engine() as engine:
        client = connected(engine.url, pool_size=1)
        kept = client.connection_pool.get_connection()
        assert probe(client) == 0
        client.connection_pool.release(kept)
        assert client.set(PROBE_KEY, 1) and probe(client) == 1


def test_a_server_that_forbids_the_probe_answers_all_the_same() -> None:
    with topology("standalone") as given:
        given.each("ACL", "SETUSER", "meek", "on", ">pw", "~other:*", "+@all")
        client = connect(
            given.url("meek:pw"), pool_size=2, timeout_seconds=2.0, open_seconds=60, probed=True
        )
        client.breaker.of("").failed()
        until(lambda: not client.breaker.is_open)
        client.close()


def test_a_breaker_that_is_closed_by_a_call_is_probed_anew_when_it_opens_again() -> None:
    asked = list[int]()

    def silent() -> None:
        asked.append(1)
        raise ConnectionError

    breaker = Breaker(60, probe=silent)
    for number in (2, 4):  # once more at once, and then not for a minute
        breaker.failed()
        breaker.failed()  # is probed already
        until(lambda number=number: len(asked) == number)
        with pytest.raises(BreakerOpen):
            breaker.before()
        breaker.succeeded()
        breaker.before()


def test_what_one_server_of_a_cluster_is_late_with_holds_up_no_other(
    cluster: Topology, connected: Callable[..., Any]
) -> None:
    client = connected(cluster.url())
    for name in NAMES:
        client.set(name, 1)
    late = client.nodes_manager.get_node_from_slot(client.keyslot(NAMES[0]))
    holding = held_up(late.port, 3)
    pipeline = client.pipeline(transaction=False)
    for name in NAMES:
        pipeline.incr(name)
    replies = pipeline.execute(raise_on_error=False)
    assert isinstance(replies[0], redis.TimeoutError) and replies[1:] == [2, 2]
    for _ in range(50):
        assert outcome(lambda: client.get(NAMES[0])) is BreakerOpen
        assert [outcome(lambda name=name: client.get(name)) for name in NAMES[1:]] == [b"2", b"2"]
    assert client.breaker.open == [late.name] and client.breaker.is_open
    holding.join(30)
    until(lambda: outcome(lambda: client.get(NAMES[0])) == b"2")  # counted once, if late
    assert client.breaker.open == []


def test_a_page_of_many_keys_waits_once_for_a_cluster_that_is_silent(
    cluster: Topology, connected: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three are silent, and the time of the first is the time of all: by a clock that stands
    still but for it, the others are not waited for."""
    client = connected(cluster.url(), open_seconds=60)
    for name in NAMES:
        client.set(name, 1)
    holding = [held_up(port, 1.5) for port in cluster.ports]
    waits = list[float]()
    for pool in (node.redis_connection.connection_pool for node in client.get_nodes()):
        (connection,) = pool.pool.queue[-1:]
        monkeypatch.setattr(
            connection,
            "wait_until",
            lambda moment, connection=connection: (
                waits.append(moment - time.monotonic()),
                type(connection).wait_until(connection, moment),
            ),
        )
    pipeline = client.pipeline(transaction=False)
    for name in NAMES:
        pipeline.get(name)
    replies = pipeline.execute(raise_on_error=False)
    assert [type(reply) for reply in replies] == [redis.TimeoutError] * 3
    assert len(waits) == 3 and waits[1] <= 0.0 and waits[2] <= 0.0
    assert len(client.breaker.open) == 3
    for thread in holding:
        thread.join(30)


def test_a_cluster_that_is_down_opens_its_breakers_and_closes_them_when_it_is_up() -> None:
    with topology("cluster", nodes=3) as cluster:
        client = connect(
            cluster.url(), pool_size=4, timeout_seconds=2.0, open_seconds=0.1, probed=True
        )
        for name in NAMES:
            client.set(name, 1)
        slot = client.keyslot("nobody's")
        with redis.Redis(port=cluster.ports[0]) as node:
            owner = client.nodes_manager.get_node_from_slot(slot)
            with redis.Redis(port=owner.port) as losing:
                losing.execute_command("CLUSTER", "DELSLOTS", slot)
                until(lambda: losing.execute_command("CLUSTER INFO")["cluster_state"] == "fail")
                name = next(
                    name
                    for name in NAMES
                    if client.nodes_manager.get_node_from_slot(client.keyslot(name)) == owner
                )
                assert outcome(lambda: client.get(name)) is redis.exceptions.ClusterDownError
                assert outcome(lambda: client.get(name)) is BreakerOpen
                losing.execute_command("CLUSTER", "ADDSLOTS", slot)
            until(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok", 30)
        until(lambda: outcome(lambda: client.get(name)) == b"1")
        client.close()


def test_of_several_servers_those_that_are_away_are_named() -> None:
    breakers = Breakers(60)
    assert not breakers.is_open
    breakers.of("").failed()
    assert breakers.is_open and breakers.open == [""]
    breakers.names = lambda: ["a", "b"]
    assert not breakers.is_open
    breakers.of("a").failed()
    assert breakers.is_open and breakers.open == ["a"]
    breakers.of("b").failed()
    assert breakers.open == ["a", "b"]
    breakers.succeeded()
    assert breakers.open == []
    breakers.names = list  # a cluster whose map is not known
    assert not breakers.is_open


def test_a_part_of_a_cluster_that_is_away_is_told_and_the_rest_goes_on(
    make_app: Callable[..., Flask],
) -> None:
    with topology(
        "cluster",
        "--cluster-require-full-coverage",
        "no",
        "--cluster-node-timeout",
        "60000",
        nodes=3,
    ) as given:
        app = make_app(REDIS_URL=given.url(), POOL_SIZE=2, REDIS_TIMEOUT_SECONDS=0.25)
        web, client = app.test_client(), services(app).redis
        assert web.get("/readyz").json["redis"] == "ok"
        node = client.nodes_manager.get_node_from_slot(
            client.keyslot("demo:leaderboard:{lost}:all")
        )
        boards = {
            name: client.nodes_manager.get_node_from_slot(
                client.keyslot(f"demo:leaderboard:{{{name}}}:all")
            ).name
            for name in ("lost", *(f"b-{number}" for number in range(20)))
        }
        shut_down(node.port)
        statuses = {
            name: web.post(
                f"/leaderboard/api/boards/{name}/scores", json={"player": "ada", "score": 1}
            ).status_code
            for name in boards
        }
        assert statuses == {
            name: 503 if owner == node.name else 201 for name, owner in boards.items()
        }
        ready = web.get("/readyz")
        assert ready.status_code == 503
        assert ready.json["redis"].endswith("(1 of 3 servers)")
        page = web.get("/leaderboard/")
        assert page.status_code == 200
        assert "Redis: 1 of 3 servers away." in page.text and 'id="redis-away">' in page.text


def test_an_answer_that_is_late_while_others_come_back_opens_nothing() -> None:
    now = [100.0]
    breaker = Breaker(60, clock=lambda: now[0])
    breaker.learn([b"x"])
    now[0] += 0.04
    breaker.learn([redis.TimeoutError()])
    assert not breaker.is_open
    now[0] += 0.02  # nothing has come back since
    breaker.learn([redis.TimeoutError()])
    assert breaker.is_open
    breaker.succeeded()
    breaker.learn([b"x"])
    breaker.learn([ConnectionError()])  # nobody listens there
    assert breaker.is_open


def test_a_probe_that_is_late_is_sent_again_at_once() -> None:
    tries, back = list[int](), threading.Event()

    def probe() -> None:
        tries.append(1)
        if len(tries) < 5:
            raise redis.TimeoutError
        back.set()

    breaker = Breaker(3600, probe=probe)
    breaker.failed()
    assert back.wait(10)
    until(lambda: not breaker.is_open)


def test_one_that_is_used_no_more_asks_nobody_and_lets_a_call_try_after_its_time() -> None:
    clock, asked = Clock(100.0), list[int]()
    breaker = Breaker(10.0, clock, lambda: asked.append(1))
    breaker.close()
    breaker.failed()
    for seconds in (0.0, 9.0):
        clock.now += seconds
        with pytest.raises(BreakerOpen):
            breaker.before()
    clock.now += 1.0
    breaker.before()
    assert not asked and breaker.is_open


def test_each_probe_that_fails_puts_the_next_try_off() -> None:
    clock, took = Clock(100.0), [7.0, 1.0]

    def ask() -> None:
        clock.now += took.pop(0)
        raise ConnectionError

    def left() -> float:
        with pytest.raises(BreakerOpen) as refused:
            breaker.before()
        return refused.value.retry_in_seconds

    breaker = Breaker(10.0, clock, ask)
    breaker.failed()
    until(lambda: not took and left() == 10.0)
    breaker.close()


def test_a_probe_that_fails_late_opens_nothing_that_a_call_has_closed() -> None:
    closed, asking = threading.Event(), list[threading.Thread]()

    def ask() -> None:
        asking.append(threading.current_thread())
        closed.wait(10)
        raise ConnectionError

    breaker = Breaker(0.001, probe=ask)
    breaker.failed()
    until(lambda: asking)
    breaker.succeeded()
    closed.set()
    asking[0].join(10)
    assert not (breaker.is_open or asking[0].is_alive())
    breaker.before()


def test_a_probe_that_fails_in_another_way_goes_on_asking(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = [AttributeError("port"), ValueError("a reply that cannot be read")]

    def ask() -> str:
        if failures:
            raise failures.pop(0)
        return "PONG"

    breaker = Breaker(0.01, probe=ask)
    breaker.failed()
    until(lambda: not breaker.is_open)
    assert not failures and "a probe failed: AttributeError" in caplog.text
    breaker.close()


def test_a_socket_that_takes_nobody_in_is_late_under_gevent_too(tmp_path: Path) -> None:
    """The queue of a server that hangs is full after a while. gevent waits for a place in it."""
    code = """if True:
        from gevent import monkey; monkey.patch_all()
        import contextlib, socket, sys
        from redis.exceptions import TimeoutError
        from demo.client.pool import connect
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(sys.argv[1])
        listening.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for each in waiting:
            each.settimeout(0.1)
            with contextlib.suppress(OSError):
                each.connect(sys.argv[1])
        client = connect(f"unix://{sys.argv[1]}", pool_size=1, timeout_seconds=0.1)
        try:
            client.get("a")
        except TimeoutError as error:
            assert error.unsent
            print("late")
    """
    command = [sys.executable, "-c", code, str(tmp_path / "redis.sock")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "late\n"), done.stderr
