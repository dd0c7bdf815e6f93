"""How full Redis is, and what is refused then."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import OutOfMemoryError

from demo.client import refusals
from demo.client.memory import (
    AGAIN_SECONDS,
    BOARDS_SHARE,
    CACHES_SHARE,
    IDLE_SECONDS,
    LESSONS_SHARE,
    REFUSED_SECONDS,
    SHORT_SECONDS,
    LessonsFull,
    Memory,
)
from demo.client.pool import beside
from demo.client.wire import Trip, deliver
from demo.teach.faults import Plugs
from demo.teach.pull_the_plug import Waits
from tests.clients import connect
from tests.servers import tcp_server
from tests.topologies import topology

MB = 1 << 20


def trip(*args: Any) -> Trip:
    return Trip(args[0], [args], [], deliver)


@pytest.fixture(scope="module")
def bounded() -> Iterator[int]:
    with tcp_server("--maxmemory", "20mb", "--maxmemory-policy", "noeviction") as port:
        yield port


@pytest.fixture
def server(bounded: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=bounded) as made:
        made.config_set("maxmemory", 20 * MB)
        made.config_set("maxmemory-policy", "noeviction")
        yield made
        made.unlink("demo:test:{ballast}")


def fill(server: redis.Redis, share: float) -> None:
    server.unlink("demo:test:{ballast}")
    told = server.info("memory")
    used = told["used_memory"] - told["mem_not_counted_for_evict"]
    server.setrange("demo:test:{ballast}", int(told["maxmemory"] * share) - used, b"x")


def test_it_is_as_full_as_the_server_says(server: redis.Redis) -> None:
    memory = Memory()
    for share in (0.3, 0.55, 0.75):
        fill(server, share)
        memory.used = True
        memory.look(server)
        assert memory.share == pytest.approx(share, abs=0.03)
        assert memory.is_short == (share >= CACHES_SHARE)
    assert memory.maxmemory_bytes == 20 * MB


@pytest.mark.parametrize(
    ("name", "value"), [("maxmemory", "0"), ("maxmemory-policy", "volatile-lru")]
)
def test_who_has_no_limit_or_evicts_is_never_full(
    server: redis.Redis, name: str, value: str
) -> None:
    memory = Memory()
    fill(server, 0.75)
    server.config_set(name, value)
    memory.look(server)
    assert (memory.share, memory.is_short) == (0.0, False)


def test_it_is_asked_where_something_was_sent_or_now_and_then(server: redis.Redis) -> None:
    now = [0.0]
    asked = 0

    class Counting:
        def info(self, part: str) -> Any:
            nonlocal asked
            asked += 1
            return server.info(part)

    memory = Memory(clock=lambda: now[0])
    memory.look(Counting())
    memory.look(Counting())
    assert asked == 1
    memory.used = True
    memory.look(Counting())
    assert asked == 2
    now[0] += IDLE_SECONDS + 1
    memory.look(Counting())
    assert asked == 3


def test_idle_it_rests_until_somebody_sends(server: redis.Redis) -> None:
    """It looks twice where it looked ten times, and is as soon told of what is sent."""
    now, woken = [0.0], list[float]()
    memory = Memory(clock=lambda: now[0])
    memory.wake = lambda: woken.append(now[0])
    assert memory.look(server) == AGAIN_SECONDS
    memory.use()  # looked at again soon anyway
    now[0] += AGAIN_SECONDS
    assert memory.look(server) == AGAIN_SECONDS
    assert woken == []
    now[0] += AGAIN_SECONDS
    assert memory.look(server) == pytest.approx(IDLE_SECONDS - AGAIN_SECONDS)
    now[0] += 0.5
    memory.use()
    memory.use()
    assert (woken, memory.used) == ([now[0]], True)
    assert memory.look(server) == AGAIN_SECONDS
    assert not memory.used


def test_a_server_that_is_short_is_looked_at_sooner_to_learn_when_it_has_room(
    server: redis.Redis,
) -> None:
    now = [0.0]
    memory = Memory(clock=lambda: now[0])
    fill(server, 0.75)
    memory.look(server)
    now[0] += AGAIN_SECONDS
    assert memory.look(server) == pytest.approx(SHORT_SECONDS - AGAIN_SECONDS)


def test_who_does_not_answer_is_not_known_to_be_full(server: redis.Redis) -> None:
    memory = Memory()
    fill(server, 0.75)
    memory.look(server)
    with redis.Redis(port=1) as nobody:
        memory.used = True
        memory.look(nobody)
    assert memory.is_short  # what was known stands


def test_who_is_not_permitted_to_ask_asks_once_a_minute(server: redis.Redis) -> None:
    server.acl_setuser("blind", enabled=True, nopass=True, commands=["+@all", "-info"], keys=["*"])
    port = server.connection_pool.connection_kwargs["port"]
    with redis.Redis(port=port, username="blind", password="") as blind:
        assert Memory().look(blind) == REFUSED_SECONDS
    assert Memory().look(server) == AGAIN_SECONDS


def test_caches_stop_first_then_lessons_then_boards() -> None:
    memory = Memory()
    told = []
    for share in (0.0, CACHES_SHARE, LESSONS_SHARE, BOARDS_SHARE):
        memory.share, memory.is_short = share, share >= CACHES_SHARE
        told.append(
            [
                memory.refuses(trip("SET", "demo:catalog:{page:1}", "x")),
                memory.refuses(trip("EVALSHA", "sha", 1, b"demo:rate_limit:{api:me}")),
                memory.refuses(trip("EVALSHA", b"sha", 1, "demo:leaderboard:{main}:all")),
            ]
        )
    assert told == [
        [False, False, False],
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.mark.parametrize("kind", ["standalone", "cluster"])
def test_what_grows_is_refused_the_rest_and_who_protects_goes_on(kind: str) -> None:
    with topology(kind) as there:
        memory = Memory()
        plugs = Plugs(5.0, 0.5, memory, Waits(lambda: 1))
        lessons = connect(
            there.url(), pool_size=4, timeout_seconds=5.0, open_seconds=60, inside=plugs.around
        )
        protected = beside(lessons, ())
        grow = lessons.register_script("return redis.call('SET', KEYS[1], ARGV[1], 'EX', 60)")
        read = lessons.register_script("return redis.call('GET', KEYS[1])")
        assert grow(keys=["demo:test:{a}"], args=["before"])
        assert memory.used
        memory.share, memory.is_short = LESSONS_SHARE, True
        for refused in (
            lambda: lessons.set("demo:test:{a}", "after"),
            lambda: grow(keys=["demo:test:{a}"], args=["after"]),
            lambda: lessons.pipeline(transaction=False).set("demo:test:{a}", "after").execute(),
        ):
            with pytest.raises(LessonsFull) as caught:
                refused()
            assert refusals.of(caught.value) is refusals.LESSONS_FULL
            assert isinstance(caught.value, OutOfMemoryError)  # what handles that handles this
        assert lessons.get("demo:test:{a}") == read(keys=["demo:test:{a}"]) == b"before"
        assert lessons.unlink("demo:test:{a}") == 1
        assert protected.set("demo:test:{a}", "kept")
        assert protected.pipeline(transaction=False).get("demo:test:{a}").execute() == [b"kept"]
        lessons.close()


def test_a_server_that_is_too_old_to_tell_whether_a_script_writes_has_it_refused() -> None:
    plugs = Plugs(5.0, 0.5, memory := Memory(), Waits(lambda: 1))
    memory.share, memory.is_short = LESSONS_SHARE, True
    for said in (
        "unknown command 'EVALSHA_RO', with args beginning with: ",
        "User lessons has no permissions to run the 'evalsha_ro' command",
    ):

        def carry(_: Trip, said: str = said) -> list[Any]:
            return [redis.exceptions.ResponseError(said)]

        args = ("EVALSHA", "0" * 40, 1, "demo:test:{a}")
        asked = Trip("EVALSHA", [args], [(args, {})], carry)
        (reply,) = plugs.around(asked, lambda trip: trip.carry(trip))
        assert isinstance(reply, LessonsFull)


def test_a_cluster_is_as_full_as_its_fullest_server() -> None:
    """Whichever that is, and it is asked by itself."""
    with topology("cluster", nodes=2) as there:
        client = connect(there.url(), pool_size=2, timeout_seconds=5.0, open_seconds=60)
        for port in there.ports:
            with redis.Redis(port=port) as node:
                node.config_set("maxmemory", node.info("memory")["used_memory"] + 100_000)
                memory = Memory()
                memory.look(client)
                assert memory.is_bounded and memory.share > 0.8
                node.config_set("maxmemory", 0)
        client.close()
