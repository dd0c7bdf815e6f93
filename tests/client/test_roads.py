"""What the client promises holds on each road: a command, a pipeline, a transaction, a script, a
script that is sent as a whole; one server, behind a Sentinel, a cluster; RESP2 and RESP3; threads
and gevent."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Barrier, Thread
from typing import Any

import pytest
import redis
from redis.exceptions import RedisError, ResponseError

from demo.catalog.lease import LeasedCache
from demo.client import connections, refusals
from demo.client.breaker import BreakerOpen
from demo.client.connections import PoolExhausted
from demo.rate_limit.limiter import Quota
from demo.rate_limit.sliding_window import SlidingWindowLog
from demo.sessions.session_store import SessionStore
from tests.roads import MANY, ROADS, WAYS, Lost, Road, address_of, roads
from tests.servers import REPOSITORY
from tests.topologies import Topology

KEY = "demo:{a}:n"
UNDER_GEVENT = "TEST_UNDER_GEVENT"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[dict[str, Topology], ExitStack]]:
    with ExitStack() as stack:
        yield {}, stack


@pytest.fixture(params=ROADS, ids=lambda road: " ".join(filter(None, road)))
def road(request: pytest.FixtureRequest, servers: Any) -> Iterator[Road]:
    with roads(*request.param, *servers) as made:
        made.given.each("CLIENT", "UNPAUSE")
        for port in made.given.ports:
            with redis.Redis(port=port) as node:
                node.flushall()
        yield made


def each_way(road: Road, client: Any) -> Iterator[tuple[str, Any]]:
    """The ways, each with a key that nobody has."""
    for way, run in WAYS.items():
        name = f"{KEY}:{way.replace(' ', '-')}"
        yield name, lambda run=run, name=name: run(road, client, name)


@pytest.mark.parametrize("cut", [True, False], ids=["cut", "late"])
def test_a_write_that_may_have_happened_is_not_sent_again(
    road: Road, monkeypatch: pytest.MonkeyPatch, cut: bool
) -> None:
    """Each write is done, its reply is lost: the caller gets the error, and it was sent once."""
    kind = redis.connection.AbstractConnection
    original = kind.send_packed_command
    with road.client(timeout_seconds=5.0 if cut else 0.5, open_seconds=60) as client:
        client.get(KEY)
        for name, write in each_way(road, client):
            only = b"\r\nEVAL\r\n" if name.endswith("EVAL") else b""
            lost = Lost(name, cut=cut, only=only)
            with monkeypatch.context() as patch:
                patch.setattr(kind, "send_packed_command", lost(original))
                with pytest.raises(RedisError) as caught:
                    write()
            assert refusals.may_have_counted(caught.value), name
            assert len(lost.sent) == 1, name
            with road.direct(name) as direct:
                assert direct.get(name) == b"1", name
            assert not cut or client.breaker.is_open, name
            client.breaker.succeeded()


def test_a_server_that_is_silent_is_given_up_in_time(road: Road) -> None:
    """For a minute no write is answered; nobody waits so long."""
    with road.client(timeout_seconds=0.5) as client:
        client.get(KEY)
        for _, write in each_way(road, client):
            road.given.each("SCRIPT", "FLUSH")
            road.given.each("CLIENT", "PAUSE", "60000", "WRITE")
            try:
                with pytest.raises(redis.TimeoutError):
                    write()
            finally:
                road.given.each("CLIENT", "UNPAUSE")
            client.breaker.succeeded()


def test_an_open_breaker_refuses_before_anything_is_sent(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    with road.client(open_seconds=60) as client:
        client.get(KEY)
        for node in {"", *(each.name for each in getattr(client, "get_nodes", list)())}:
            client.breaker.of(node).failed()
        kind = redis.connection.AbstractConnection
        with monkeypatch.context() as patch:
            sent: list[Any] = []
            patch.setattr(kind, "send_packed_command", lambda *given, **_: sent.append(given))
            for name, write in each_way(Road(_Quiet(), ""), client):
                with pytest.raises(BreakerOpen) as caught:
                    write()
                assert not refusals.may_have_counted(caught.value), name
        assert not sent


class _Quiet(Topology):
    """Servers that are told nothing."""

    def __init__(self) -> None:
        super().__init__("standalone")

    def each(self, *command: str) -> None: ...


def test_what_somebody_else_has_written_under_a_key_is_an_error_and_no_failure(road: Road) -> None:
    with road.client(open_seconds=60) as client:
        for name, write in each_way(road, client):
            client.lpush(name, "foreign")
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                write()
            assert client.lrange(name, 0, -1) == [b"foreign"]
        assert not client.breaker.is_open
        assert connections.use(client)[0] == 0


def test_a_connection_that_the_server_closed_is_reopened_unseen(road: Road) -> None:
    with road.client() as client:
        client.get(KEY)
        for name, write in each_way(road, client):
            for pool in connections.pools(client):
                connection = pool.get_connection()
                with redis.Redis(port=connection._sock.getpeername()[1]) as server:
                    server.client_kill(address_of(connection))
                pool.release(connection)
            assert write() == 1, name
            assert client.get(name) == b"1", name


def test_who_finds_no_connection_free_is_told_that_nothing_was_sent(road: Road) -> None:
    with road.client(timeout_seconds=0.2) as client:
        client.get(KEY)
        kept = [
            (each, each.get_connection()) for each in connections.pools(client) for _ in range(4)
        ]
        for name, write in each_way(road, client):
            with pytest.raises(PoolExhausted) as caught:
                write()
            assert not refusals.may_have_counted(caught.value), name
            with road.direct(name) as direct:
                assert direct.get(name) is None, name
        for each, connection in kept:
            each.release(connection)


FORGETFUL = pytest.mark.parametrize("forgetful", [False, True], ids=["EVALSHA", "EVAL"])


def forget(road: Road, forgetful: bool) -> None:
    """Servers that have forgotten the scripts, or not."""
    if forgetful:
        road.given.each("SCRIPT", "FLUSH")


@FORGETFUL
def test_a_limiter_admits_its_limit_and_no_more(road: Road, forgetful: bool) -> None:
    """Eight threads with two clients, all at once."""
    with road.client(pool_size=8) as one, road.client(pool_size=8) as two:
        limiters = [SlidingWindowLog(client, "roads", Quota(5, 60)) for client in (one, two)]
        begin, admitted = Barrier(8), list[bool]()

        def hit(number: int) -> None:
            begin.wait(30)
            for _ in range(2):
                admitted.append(limiters[number % 2].hit("me").allowed)

        forget(road, forgetful)
        threads = [Thread(target=hit, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert (len(admitted), admitted.count(True)) == (16, 5)
        assert limiters[0].peek("me").used == 5


@FORGETFUL
def test_an_ended_session_is_not_revived(road: Road, forgetful: bool) -> None:
    with road.client() as client:
        store = SessionStore(client, idle_seconds=60, absolute_seconds=600)
        for end in (store.delete, store.rotate, lambda _: store.revoke_all("mara")):
            sid = store.begin({"a": 1}, user="mara", epoch=store.epoch("mara"))
            assert sid and store.load(sid)  # a request that is under way
            forget(road, forgetful)
            end(sid)
            forget(road, forgetful)
            assert store.save(sid, {"b": 2}) is False
            forget(road, forgetful)
            assert store.load(sid) is None


@FORGETFUL
def test_what_was_invalidated_while_it_was_loaded_is_not_stored(
    road: Road, forgetful: bool
) -> None:
    with road.client() as client:
        cache = LeasedCache(client, "roads", str, ttl_seconds=60)

        def load() -> str:
            cache.invalidate("a")
            forget(road, forgetful)
            return "old"

        assert cache.get_or_load("a", load) == "old"
        forget(road, forgetful)
        assert cache.get_or_load("a", lambda: "new") == "new"
        assert cache.get_or_load("a", lambda: "never") == "new"


@pytest.mark.skipif(UNDER_GEVENT in os.environ, reason="this is it")
def test_all_of_this_holds_under_gevent() -> None:
    """One server in the protocol that is used unasked; with TEST_MANY=1 each road."""
    code = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    asked = ["-q", "-n0", "-p", "no:cacheprovider", "tests/client/test_roads.py"]
    only = [] if MANY else ["-k", "standalone and not protocol"]
    done = subprocess.run(
        [sys.executable, "-c", code, *asked, *only],
        cwd=REPOSITORY,
        env={**os.environ, UNDER_GEVENT: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
