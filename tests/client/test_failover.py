"""A failover that happens under the app's feet: the primary before lives on, and takes writes."""

import contextlib
import logging
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from demo.catalog.near_cache import NearCache
from demo.client import changes, failover, told_again
from demo.client.redis_url import parse
from demo.client.told_again import AGAIN_AT_SECONDS, KNOWN
from demo.client.wire import Client
from demo.leaderboard.subscription import Subscription
from demo.sessions import accounts
from demo.web.cookies import SESSION
from demo.web.services import services
from tests.clients import connect
from tests.servers import replica_of, sentinel_of, shut_down, tcp_server, until

PRODUCT = "/catalog/api/products/42"


@dataclass
class Pair:
    """A primary and its replica, and the Sentinel that watches them."""

    url: str
    primary: redis.Redis
    replica: redis.Redis
    sentinel: redis.Redis
    ports: tuple[int, int]


@contextlib.contextmanager
def pair(*arguments: str) -> Iterator[Pair]:
    with (
        tcp_server(*arguments) as first,
        replica_of(first, *arguments) as second,
        sentinel_of(first) as watching,
        redis.Redis(port=first) as primary,
        redis.Redis(port=second) as replica,
        redis.Redis(port=watching) as sentinel,
    ):
        until(lambda: knows_a_good_one(sentinel))
        url = f"redis+sentinel://127.0.0.1:{watching}/prime"
        yield Pair(url, primary, replica, sentinel, (first, second))


def knows_a_good_one(sentinel: redis.Redis) -> bool:
    """Whether it would promote a replica: it has to have asked that one too."""
    found = sentinel.sentinel_slaves("prime")
    return any(each["master-link-status"] == "ok" for each in found)


@pytest.fixture
def two() -> Iterator[Pair]:
    with pair() as made:
        yield made


def client_of(two: Pair) -> Client:
    client: Client = connect(two.url, pool_size=4, timeout_seconds=1.0, open_seconds=0.1)
    failover.follow(client, parse(two.url), 1.0)
    return client


def selected(two: Pair) -> list[str]:
    """What a Sentinel says of the replica that it has selected."""
    host, (old, new) = "127.0.0.1", two.ports
    return f"slave {host}:{new} {host} {new} @ prime {host} {old}".split()


def test_a_selected_replica_is_followed_the_moment_that_it_is_promoted(
    two: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    client, asked = client_of(two), threading.Event()
    pool: Any = client.connection_pool
    client.set("a", 1)
    still, pool.look_seconds = pool.still, 3600

    def told(acknowledged: int) -> None:
        asked.set()
        still(acknowledged)

    pool.still = told
    login = failover.partial(failover.single, parse(two.url), timeout_seconds=1.0)
    watching = threading.Thread(
        target=failover._act, args=(lambda: pool, failover.SELECTED, selected(two), login)
    )
    watching.start()
    assert asked.wait(10)
    assert pool.master_address == ("127.0.0.1", two.ports[0])
    client.set("b", 2)
    with caplog.at_level(logging.WARNING):
        two.replica.replicaof("NO", "ONE")
        watching.join(10)
    assert pool.master_address == ("127.0.0.1", two.ports[1])
    assert "acknowledgements at risk: " in caplog.text
    client.set("c", 3)
    assert two.replica.get("c") == b"3" and two.primary.get("c") is None
    pool.look()  # the Sentinel, who knows nothing of it, is not believed in
    assert pool.master_address == ("127.0.0.1", two.ports[1])
    pool.sentinel_manager.held_seconds = 0.0
    pool.follow(("127.0.0.1", two.ports[0]))
    pool.follow(("127.0.0.1", two.ports[1]))
    pool.look()  # for ever so
    assert pool.master_address == ("127.0.0.1", two.ports[0])
    client.close()


@pytest.mark.parametrize("refused", [None, ResponseError("NOPERM"), AuthenticationError("no")])
def test_a_candidate_that_is_late_once_is_asked_again(refused: RedisError | None) -> None:
    told, followed = [TimeoutError("late"), ConnectionError("reset")], list[tuple[str, int]]()

    class Candidate:
        def execute_command(self, _: str) -> Any:
            if told:
                raise told.pop(0)
            if refused:
                raise refused
            return [b"master"]

    class Pool:
        service_name, master_address = "prime", ("127.0.0.1", 1)

        def acknowledged(self) -> int:
            return 0

        def follow(self, address: tuple[str, int]) -> None:
            followed.append(address)
            self.master_address = address

    candidate: Any = Candidate()
    pool: Any = Pool()
    failover._await(pool, ("127.0.0.1", 2), candidate)
    assert followed == ([] if refused else [("127.0.0.1", 2)]) and not told


def test_a_failover_by_hand_is_followed_and_its_losses_are_bounded_and_told(
    two: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """No question a second: it is what the Sentinel says that is followed."""
    client, acknowledged = client_of(two), list[int]()
    pool: Any = client.connection_pool
    pool.look_seconds = 3600
    stop = threading.Event()

    def write() -> None:
        for number in range(1_000_000):
            with contextlib.suppress(RedisError):
                client.set(f"n:{number}", 1)
                acknowledged.append(number)
            if stop.wait(0.001):
                return

    writer = threading.Thread(target=write)
    with caplog.at_level(logging.WARNING):
        writer.start()
        until(lambda: len(acknowledged) > 100)
        two.sentinel.execute_command("SENTINEL FAILOVER", "prime")
        until(lambda: pool.master_address == ("127.0.0.1", two.ports[1]), 20)
        followed = len(acknowledged)
        until(lambda: len(acknowledged) > followed + 100, 20)
        stop.set()
        writer.join(10)
    lost = [number for number in acknowledged if not two.replica.exists(f"n:{number}")]
    (told,) = [
        int(record.args[-1])
        for record in caplog.records
        if "at risk" in record.getMessage() and isinstance(record.args, tuple)
    ]
    assert len(lost) <= told < followed
    # All in a row: nothing that was acknowledged afterwards.
    assert not lost or lost[-1] - lost[0] == len(lost) - 1
    client.close()


def test_who_may_not_ask_or_listen_goes_on_with_a_question_a_second(two: Pair) -> None:
    two.replica.execute_command(
        "ACL", "SETUSER", "default", "-role"
    )  # the Sentinel asks by INFO alone
    client = client_of(two)
    pool: Any = client.connection_pool
    pool.look_seconds = 0.05
    client.set("a", 1)
    two.sentinel.execute_command("SENTINEL FAILOVER", "prime")
    until(lambda: pool.master_address == ("127.0.0.1", two.ports[1]), 20)
    client.close()


def test_another_primary_that_is_found_by_who_connects_is_told_too(
    two: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """The one before has died, and nobody has listened or looked."""
    client = client_of(two)
    pool: Any = client.connection_pool
    pool.watchers = []
    client.set("a", 1)
    pool.look()
    two.replica.replicaof("NO", "ONE")
    two.sentinel.execute_command("SENTINEL", "REMOVE", "prime")
    two.sentinel.execute_command("SENTINEL", "MONITOR", "prime", "127.0.0.1", two.ports[1], 1)
    shut_down(two.ports[0])
    with caplog.at_level(logging.WARNING):
        until(lambda: wrote(client))
    assert two.replica.get("b") == b"2"
    assert f"Redis has another primary: 127.0.0.1:{two.ports[1]}" in caplog.text
    until(lambda: two.replica.exists(changes.KEY))
    client.close()


def wrote(client: Client) -> bool:
    try:
        return bool(client.set("b", 2))
    except RedisError:
        return False


def test_words_of_another_service_are_not_for_us(two: Pair) -> None:
    client = client_of(two)
    pool: Any = client.connection_pool
    client.set("a", 1)
    for event, words in (
        (failover.SWITCHED, "other 127.0.0.1 1 127.0.0.1 2"),
        (failover.SWITCHED, "prime 127.0.0.1"),
        (failover.SELECTED, "slave 127.0.0.1:2 127.0.0.1 2 @ other 127.0.0.1 1"),
        (failover.SELECTED, ""),
    ):
        failover._act(lambda: pool, event, words.split(), lambda _: pytest.fail("asked"))
    assert pool.master_address == ("127.0.0.1", two.ports[0])
    client.close()


def test_what_only_listens_goes_to_the_new_primary_too(two: Pair) -> None:
    """The one before lives on, and would be listened to in vain."""
    client = client_of(two)
    pool: Any = client.connection_pool
    pool.look_seconds, pool.watchers = 3600, []
    near = NearCache(client, "demo:catalog:{page:", heartbeat_seconds=0.05)
    near.reserve("first")
    until(lambda: near.subscribed)
    hearing = Subscription(client)
    hearing.connect()
    hearing.follow({"a"})
    until(lambda: hearing.hear(0.05) == {"a"})
    two.replica.replicaof("NO", "ONE")
    pool.follow(("127.0.0.1", two.ports[1]))
    with pytest.raises(redis.ConnectionError):
        hearing.hear(0.05)
    hearing.close()
    assert until(lambda: tracked(two.replica))
    until(lambda: near.subscribed)
    assert not tracked(two.primary)
    near.close()
    client.close()


def tracked(server: redis.Redis) -> list[Any]:
    return [each for each in server.client_list() if "B" in each["flags"]]


def test_a_failover_revives_no_session_and_no_price(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app learns of the promotion only after it has done all this on the old primary."""
    with pair() as two:
        app = make_app(REDIS_URL=two.url, BACKGROUND="web")
        pool: Any = services(app).redis.connection_pool
        pool.look_seconds, pool.watchers = 3600, pool.watchers[:1]
        guest, stolen, phone = (app.test_client() for _ in range(3))
        for web in (stolen, phone):
            sign_in(web, "mara")
        thief = app.test_client()
        for cookie in [stolen.get_cookie(SESSION)]:
            assert cookie
            thief.set_cookie(SESSION, cookie.value)
        assert me(thief) == me(phone) == "mara"
        before = guest.get(PRODUCT).json["price_cents"]
        assert guest.get(PRODUCT).headers["Cache-Status"].startswith("catalog; hit")
        with monkeypatch.context() as sooner:  # a first primary is known after seven seconds
            sooner.setattr(told_again, "AGAIN_AT_SECONDS", (0.0,) * len(AGAIN_AT_SECONDS))
            until(lambda: services(app).redis.exists(KNOWN))
        until(lambda: two.primary.execute_command("WAIT", 1, 1000) == 1)
        two.replica.replicaof("NO", "ONE")
        assert guest.patch(PRODUCT, json={"price_cents": before + 1}).status_code == 200
        assert stolen.post("/sessions/logout").status_code == 303
        sign_in(other := app.test_client(), "mara")
        assert other.post("/sessions/devices/revoke-all").status_code == 303
        assert two.replica.get(KNOWN) is not None
        pool.follow(("127.0.0.1", two.ports[1]))
        until(lambda: me(thief) is None and me(phone) is None)
        until(lambda: guest.get(PRODUCT).json["price_cents"] == before + 1)


def sign_in(web: FlaskClient, user: str) -> None:
    form = {"name": user, "password": accounts.DEMO_PASSWORD}
    assert web.post("/sessions/login", data=form).status_code == 303


def me(web: FlaskClient) -> Any:
    return web.get("/sessions/api/me").json["user"]


def test_who_finds_no_sentinel_waits_before_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a thread would take a whole processor while they are away."""
    pool, tries, waits = [Counter[str]()], list[int](), list[float]()

    class Connection:
        def __init__(self, **_: Any) -> None:
            tries.append(1)

        def connect(self) -> None:
            if len(tries) == 5:
                pool.clear()  # then there is no such pool in this process any more
            raise redis.ConnectionError

        def disconnect(self) -> None:
            pass

    own = SimpleNamespace(connection_class=Connection, connection_kwargs={})
    pause = SimpleNamespace(wait=waits.append)
    monkeypatch.setattr(failover, "threading", SimpleNamespace(Event=lambda: pause))
    failover._listen(weakref.ref(pool[0]), SimpleNamespace(connection_pool=own), lambda _: None)
    assert (len(tries), waits) == (5, [failover.PING_SECONDS] * 5)
