import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import RedisError

from demo.client.breaker import Breaker, BreakerOpen
from demo.client.connections import BoundedPool, PoolExhausted
from demo.client.explain import check
from demo.client.redis_url import AddressError, parse
from demo.client.wire import Client
from tests.clients import connect
from tests.servers import (
    cluster_node,
    free_port,
    private_engine,
    replica_of,
    sentinel_of,
    tcp_server,
    until,
)


def client_for(url: str, **settings: float) -> Client:
    options = {"pool_size": 4, "timeout_seconds": 0.25, "open_seconds": 0.5, **settings}
    return connect(url, **options)  # type: ignore[arg-type]


def test_a_wrong_password_is_one_sentence_without_it() -> None:
    with tcp_server("--requirepass", "secret") as port:
        for url in (f"redis://127.0.0.1:{port}", f"redis://:hunter2@127.0.0.1:{port}"):
            with pytest.raises(AddressError, match="refuses the user or password") as caught:
                check(client_for(url), parse(url), 0.25)
            assert "hunter2" not in str(caught.value)
        url = f"redis://:secret@127.0.0.1:{port}"
        assert check(client_for(url), parse(url), 0.25) is None


def test_a_cluster_url_on_a_standalone_server_is_one_sentence() -> None:
    with tcp_server() as port:
        url = f"redis+cluster://127.0.0.1:{port}"
        with pytest.raises(AddressError, match="is not a cluster; use redis://"):
            check(client_for(url), parse(url), 0.25)


def test_a_server_that_is_away_at_the_start_is_said_not_fatal() -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    assert "does not answer" in str(check(client_for(url), parse(url), 0.25))


def test_every_connection_bears_the_name_of_its_process() -> None:
    with private_engine() as engine_:
        client = client_for(engine_.url)
        names = [entry["name"] for entry in client.client_list()]
        assert names[0].startswith("demo:") and names[0].rpartition(":")[2].isdigit()


def test_the_pool_is_bounded_and_running_out_opens_no_breaker() -> None:
    with private_engine() as engine_:
        client = client_for(engine_.url, pool_size=2, timeout_seconds=0.05)
        assert isinstance(client.connection_pool, BoundedPool)
        held = [client.connection_pool.get_connection() for _ in range(2)]
        with pytest.raises(PoolExhausted):
            client.get("a")
        assert not client.breaker.is_open
        for connection in held:
            client.connection_pool.release(connection)
        assert client.ping()


def test_replies_are_bytes() -> None:
    with private_engine() as engine_:
        client = client_for(engine_.url)
        client.set("a", "b")
        assert client.get("a") == b"b"


@contextlib.contextmanager
def proxy(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port where each visitor is served so, in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with contextlib.suppress(OSError):  # it is closed
                while True:
                    visitor, _ = listening.accept()
                    threading.Thread(target=serve, args=(visitor,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]


WRITES: dict[str, Callable[[Client], Any]] = {
    "command": lambda client: client.zincrby("board", 5, "mara"),
    "pipeline": lambda client: (
        client.pipeline(transaction=False).zincrby("board", 5, "mara").get("a").execute()
    ),
    "transaction": lambda client: client.pipeline().zincrby("board", 5, "mara").execute(),
    "script": lambda client: client.register_script(
        "return redis.call('ZINCRBY', KEYS[1], 5, 'mara')"
    )(keys=["board"]),
}


@pytest.mark.parametrize("road", WRITES)
def test_a_write_whose_reply_is_lost_is_not_sent_again(road: str) -> None:
    """A proxy swallows the reply of the first ZINCRBY and hangs up: redis-py sends each of these in a
    way of its own."""
    swallowed = threading.Event()

    def relay(visitor: socket.socket) -> None:
        with visitor, socket.create_connection(("127.0.0.1", port)) as backend:
            while data := visitor.recv(65536):
                backend.sendall(data)
                reply = backend.recv(65536)
                if b"ZINCRBY" in data and not swallowed.is_set():
                    swallowed.set()
                    break
                visitor.sendall(reply)

    with tcp_server() as port, proxy(relay) as at:
        client = client_for(f"redis://127.0.0.1:{at}", timeout_seconds=5.0)
        with pytest.raises(redis.ConnectionError):
            WRITES[road](client)
        assert swallowed.is_set()
        with redis.Redis(port=port) as direct:
            assert direct.zscore("board", "mara") == 5
        client.close()


def test_a_server_that_never_answers_is_found_out_and_then_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = client_for(f"redis://127.0.0.1:{silent.getsockname()[1]}", open_seconds=30)
        with pytest.raises(redis.TimeoutError):
            client.get("a")
        for _ in range(100):
            with pytest.raises(BreakerOpen):
                client.get("a")
            with pytest.raises(BreakerOpen):
                client.pipeline().get("a").execute()


def test_a_paused_server_is_used_again_when_it_returns() -> None:
    with private_engine() as engine_:
        client = client_for(engine_.url, timeout_seconds=0.1, open_seconds=0.1)
        client.set("a", 1)
        engine_.pause()
        with pytest.raises(redis.TimeoutError):
            client.get("a")
        engine_.resume()
        until(lambda: _try(client) == b"1", 2)
        assert not client.breaker.is_open


def test_an_error_that_redis_answered_opens_no_breaker() -> None:
    with private_engine() as engine_:
        client = client_for(engine_.url)
        client.set("a", "text")
        with pytest.raises(redis.ResponseError):
            client.incr("a")
        assert not client.breaker.is_open


def test_a_connection_that_the_server_closed_is_reopened_unseen() -> None:
    with private_engine() as engine_:
        client = client_for(engine_.url, pool_size=1)
        client.ping()
        with redis.Redis.from_url(engine_.url) as other:
            other.client_kill_filter(_type="normal", skipme=True)
        assert client.ping()


@pytest.mark.long
@pytest.mark.parametrize("guarded", ["none", "redis", "both"])
def test_sentinel_finds_the_master_and_follows_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, guarded: str
) -> None:
    caplog.set_level(logging.CRITICAL)
    password = "" if guarded == "none" else "pass-of-tests"
    options = ["--requirepass", password, "--masterauth", password] if password else []
    more = (f"sentinel auth-pass prime {password}\n" if password else "") + (
        f"requirepass {password}\n" if guarded == "both" else ""
    )
    with (
        tcp_server(*options) as master,
        replica_of(master, *options, password=password) as replica,
        sentinel_of(master, more) as port,
    ):
        url = f"redis+sentinel://{f':{password}@' if password else ''}127.0.0.1:{port}/prime"
        client = client_for(url, timeout_seconds=0.5, open_seconds=0.1)
        until(lambda: check(client, parse(url), 0.25) is None)
        client.set("a", 1)
        own = password if guarded == "both" else None
        follower = redis.Redis(port=replica, password=password or None)
        with follower, redis.Redis(port=port, password=own) as sentinel:
            until(lambda: follower.get("a") == b"1")
            until(lambda: sentinel.execute_command("SENTINEL REPLICAS", "prime"))
            until(lambda: _ordered(sentinel))
            until(lambda: follower.info("replication")["role"] == "master")
            # A write that the old master took before it was told is lost: that is what asynchronous
            # replication means.
            until(lambda: _wrote(client) and follower.get("b") == b"2", 20)


def test_a_master_that_lives_on_after_a_failover_is_left_when_the_sentinels_have_another() -> None:
    """The old one is cut off from its Sentinel, so that nobody tells it to be a replica."""
    with tcp_server() as master, tcp_server() as other, sentinel_of(master) as port:
        client = client_for(f"redis+sentinel://127.0.0.1:{port}/prime", timeout_seconds=1.0)
        client.connection_pool.look_seconds = 0.05
        until(lambda: _wrote(client))
        with redis.Redis(port=port) as sentinel, redis.Redis(port=other) as successor:
            sentinel.execute_command("SENTINEL", "REMOVE", "prime")
            sentinel.execute_command("SENTINEL", "MONITOR", "prime", "127.0.0.1", str(other), "1")
            until(lambda: _wrote(client) and successor.get("b") == b"2")
        client.close()


def test_an_address_that_leads_to_another_server_by_now_is_followed() -> None:
    """Behind a name or a proxy: the server that connections were made to became a replica."""
    backend: list[int] = []

    def pass_on(visitor: socket.socket) -> None:
        with visitor, socket.create_connection(("127.0.0.1", backend[0])) as server:
            while data := visitor.recv(65536):
                server.sendall(data)
                visitor.sendall(server.recv(65536))

    with tcp_server() as first, tcp_server() as second, proxy(pass_on) as at:
        backend.append(first)
        client = client_for(f"redis://127.0.0.1:{at}", timeout_seconds=1.0)
        client.set("a", 1)
        backend[0] = second
        with redis.Redis(port=first) as direct:
            direct.replicaof("127.0.0.1", second)
            until(lambda: direct.info("replication")["role"] == "slave")
        for write in (
            lambda: client.set("b", 2),
            lambda: client.pipeline(transaction=False).set("b", 2).execute(),
        ):
            until(lambda write=write: _done(write))
        with redis.Redis(port=second) as direct:
            assert direct.get("b") == b"2"
        client.close()


def _done(write: Any) -> bool:
    try:
        return bool(write())
    except redis.ReadOnlyError:
        return False


def test_opening_a_connection_and_the_first_answer_have_one_deadline() -> None:
    """Each answer comes within the timeout, and all of them together do not."""

    def take_time(visitor: socket.socket) -> None:
        with visitor, socket.create_connection(("127.0.0.1", port)) as server:
            while data := visitor.recv(65536):
                server.sendall(data)
                answer = server.recv(65536)
                threading.Event().wait(0.3)
                answers.append(answer)
                with contextlib.suppress(OSError):
                    visitor.sendall(answer)

    answers: list[bytes] = []
    with tcp_server() as port, proxy(take_time) as at:
        client: Any = client_for(f"redis://127.0.0.1:{at}", timeout_seconds=0.5, open_seconds=60)
        with pytest.raises(redis.TimeoutError):
            client.get("a")
        assert client.breaker.is_open
        client.breaker.succeeded()
        kept = client.connection_pool.make_connection()
        kept.open(10)  # one that is open has each answer for itself
        assert kept.is_hurried
        client.connection_pool.pool.get_nowait()
        client.connection_pool.release(kept)
        assert not kept.is_hurried
        assert client.get("a") is None and client.get("a") is None
        client.close()


def test_without_any_sentinel_it_is_told_at_once() -> None:
    ports = [free_port() for _ in range(3)]
    url = f"redis+sentinel://:pass@{','.join(f'127.0.0.1:{port}' for port in ports)}/prime"
    client = client_for(url, timeout_seconds=0.25, open_seconds=60)
    began = time.monotonic()
    assert "does not answer (nobody listens there)" in (check(client, parse(url), 0.25) or "")
    assert time.monotonic() - began < 2  # with redis-py's own retries it would be eleven seconds


def _ordered(sentinel: redis.Redis) -> bool:
    try:
        return bool(sentinel.execute_command("SENTINEL FAILOVER", "prime"))
    except redis.ResponseError:
        return False


def _wrote(client: Client) -> bool:
    try:
        return bool(client.set("b", 2))
    except RedisError:
        return False


def test_a_name_that_is_not_looked_up_in_time_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known, asked, told, look_up = threading.Event(), [], [], socket.getaddrinfo

    def slow(host: str, *more: Any, **options: Any) -> Any:
        if host != "redis.test":
            return look_up(host, *more, **options)
        asked.append(host)
        assert known.wait(30)
        told.append(host)
        return look_up("127.0.0.1", *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with tcp_server() as port:
        client = client_for(f"redis://redis.test:{port}", timeout_seconds=0.05, open_seconds=0.0)
        for _ in range(3):
            with pytest.raises(redis.TimeoutError) as caught:
                client.ping()
            assert getattr(caught.value, "unsent", False)
        by_sentinel = client_for(f"redis+sentinel://redis.test:{port}/prime", timeout_seconds=0.05)
        with pytest.raises(RedisError):
            by_sentinel.ping()
        assert (len(asked), told) == (1, [])
        known.set()
        until(lambda: told)
        client.close()
        assert client_for(f"redis://redis.test:{port}").ping()


def test_a_process_that_ends_and_may_begin_no_thread_connects_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with tcp_server() as port:
        monkeypatch.setattr(threading.Thread, "start", refused)
        assert all(client_for(f"redis://localhost:{port}").ping() for _ in range(2))


def test_a_name_that_is_not_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror("not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(redis.ConnectionError, match="not known"):
        client_for("redis://redis.test:6379").ping()


def test_after_a_timeout_no_later_call_gets_the_earlier_reply(tmp_path: Path) -> None:
    with private_engine() as engine_:
        client = client_for(engine_.url, pool_size=1, timeout_seconds=0.1, open_seconds=0.01)
        client.mset({"a": "of a", "b": "of b"})
        engine_.pause()
        with pytest.raises(redis.TimeoutError):
            client.get("a")
        engine_.resume()
        until(lambda: _get(client, "b") is not None)
        assert _get(client, "b") == b"of b"


def test_cluster_serves_every_command_of_the_app() -> None:
    with cluster_node() as port:
        url = f"redis+cluster://127.0.0.1:{port}"
        client = client_for(url)
        assert check(client, parse(url), 0.25) is None
        client.set("a", 1)
        pipeline = client.pipeline(transaction=False)
        pipeline.get("a")
        pipeline.get("b")
        assert pipeline.execute() == [b"1", None]
        assert (
            client.register_script("-- x.lua: y\nreturn redis.call('GET', KEYS[1])")(keys=["a"])
            == b"1"
        )
        client.close()


def test_the_breaker_lets_one_probe_through_and_closes_on_its_success() -> None:
    now = [0.0]
    breaker = Breaker(1.0, clock=lambda: now[0])
    breaker.before()
    breaker.failed()
    with pytest.raises(BreakerOpen) as caught:
        breaker.before()
    assert caught.value.retry_in_seconds == pytest.approx(1.0)
    now[0] = 1.0
    breaker.before()
    with pytest.raises(BreakerOpen):
        breaker.before()
    breaker.succeeded()
    assert not breaker.is_open
    breaker.before()


def test_a_failed_probe_opens_the_breaker_anew_and_a_lost_one_does_not_keep_it_open() -> None:
    now = [0.0]
    breaker = Breaker(1.0, clock=lambda: now[0])
    breaker.failed()
    now[0] = 1.5
    breaker.before()
    breaker.failed()
    now[0] = 2.4
    with pytest.raises(BreakerOpen):
        breaker.before()
    now[0] = 2.5
    breaker.before()  # its thread is killed: no word comes back
    now[0] = 3.5
    breaker.before()


def _get(client: Client, key: str) -> bytes | None:
    try:
        value: bytes | None = client.get(key)
        return value
    except RedisError:
        return None


def _try(client: Client) -> bytes | None:
    return _get(client, "a")


def test_a_primary_that_too_few_follow_is_left_for_the_one_that_the_sentinels_have() -> None:
    """It was cut off and takes no writes; nobody has told of another yet."""
    with tcp_server() as first, tcp_server() as other, sentinel_of(first) as port:
        client = client_for(f"redis+sentinel://127.0.0.1:{port}/prime", timeout_seconds=1.0)
        of_sentinel: Any = client.connection_pool
        of_sentinel.look_seconds = 3600
        for write in (
            lambda: client.set("b", 2),
            lambda: client.pipeline(transaction=False).set("b", 2).execute(),
        ):
            until(lambda write=write: _done(write))
        with redis.Redis(port=first) as old, redis.Redis(port=port) as sentinel:
            old.config_set("min-replicas-to-write", "1")
            with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
                client.set("b", 3)
            sentinel.execute_command("SENTINEL", "REMOVE", "prime")
            sentinel.execute_command("SENTINEL", "MONITOR", "prime", "127.0.0.1", str(other), "1")
            for write in (
                lambda: client.pipeline(transaction=False).set("b", 4).execute(),
                lambda: client.set("b", 4),
            ):
                until(lambda write=write: _written(write))
            assert old.get("b") == b"2"
        client.close()


def _written(write: Any) -> bool:
    try:
        return bool(write())
    except redis.ResponseError:
        return False
