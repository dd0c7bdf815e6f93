"""Each kind of error, from real servers: what it is called, whether it opens the breaker."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from demo.client import pool, refusals
from demo.client.breaker import Breaker, BreakerOpen
from demo.client.refusals import Refusal
from tests.clients import connect
from tests.servers import tcp_server, until
from tests.topologies import topology

SET_IN_A_SCRIPT = "return redis.call('SET', KEYS[1], ARGV[1])"


@pytest.mark.parametrize("kind", refusals.ALL, ids=lambda kind: kind.name)
def test_every_kind_is_told_in_a_sentence_and_when_to_come_again(kind: Refusal) -> None:
    assert kind.sentence[0].isupper() and kind.sentence.endswith(".") and len(kind.sentence) > 15
    assert kind.retry_after_seconds is None or 1 <= kind.retry_after_seconds <= 30
    # A setting that is wrong does not mend itself.
    for_good = {refusals.LOGIN, refusals.TLS, refusals.NO_PERMISSION, refusals.NO_COMMAND}
    for_good |= {refusals.WRONG_TYPE, refusals.OTHER}
    assert (kind.retry_after_seconds is None) is (kind in for_good)


class Asked:
    """A client with a breaker on one server, and a direct line to the server."""

    def __init__(self, port: int, login: str = "") -> None:
        self.breaker = Breaker(60)
        self.client = pool.connect(
            f"redis://{login}127.0.0.1:{port}",
            pool_size=2,
            timeout_seconds=1.0,
            around=[self.breaker.around],
        )
        self.direct = redis.Redis(port=port)

    def told(self, ask: Callable[[Any], Any]) -> Refusal:
        """The kind of what is raised; the breaker is open afterwards if, and only if, it says so."""
        with pytest.raises(RedisError) as caught:
            ask(self.client)
        kind = refusals.of(caught.value)
        assert self.breaker.is_open is kind.away
        self.breaker.succeeded()
        return kind

    def both_ways(self, ask: Callable[[Any], Any]) -> Refusal:
        """The same by a pipeline, whose errors are replies among others."""
        kind = self.told(ask)
        assert self.told(lambda client: _piped(client, ask)) is kind
        return kind


def _piped(client: Any, ask: Callable[[Any], Any]) -> None:
    pipeline = client.pipeline(transaction=False)
    ask(pipeline)
    pipeline.execute()


@pytest.fixture
def asked() -> Iterator[Asked]:
    with tcp_server() as port:
        made = Asked(port)
        yield made
        made.client.close()
        made.direct.close()


def test_no_permission(asked: Asked) -> None:
    asked.direct.execute_command("ACL", "SETUSER", "default", "resetkeys", "~demo:*", "-get")
    for ask in (
        lambda client: client.get("demo:a"),
        lambda client: client.set("a", 1),
    ):
        assert asked.both_ways(ask) is refusals.NO_PERMISSION
    for script, key in (("return redis.call('GET', KEYS[1])", "demo:a"), (SET_IN_A_SCRIPT, "a")):
        told = asked.told(lambda client, s=script, k=key: client.eval(s, 1, k, "x"))
        assert told is refusals.NO_PERMISSION


def test_unknown_command_and_wrong_type(asked: Asked) -> None:
    for name in ("NOSUCH", "CLIENT NOSUCH"):
        assert asked.both_ways(lambda c, n=name: c.execute_command(n)) is refusals.NO_COMMAND
    asked.client.set("a", "x")
    assert asked.both_ways(lambda client: client.hget("a", "f")) is refusals.WRONG_TYPE
    for script, kind in (
        ("return redis.call('NOSUCH')", refusals.NO_COMMAND),
        ("return redis.call('HGET', KEYS[1], 'f')", refusals.WRONG_TYPE),
        ("return redis.error_reply('ODD thing')", refusals.OTHER),
    ):
        assert asked.told(lambda client, s=script: client.eval(s, 1, "a")) is kind


def test_a_full_server(asked: Asked) -> None:
    asked.direct.config_set("maxmemory", "1kb")
    assert asked.both_ways(lambda client: client.set("a", "x")) is refusals.FULL
    assert asked.told(lambda client: client.eval(SET_IN_A_SCRIPT, 1, "a", "x")) is refusals.FULL
    assert asked.client.get("a") is None


def test_too_few_replicas(asked: Asked) -> None:
    asked.direct.config_set("min-replicas-to-write", 1)
    assert asked.both_ways(lambda client: client.set("a", "x")) is refusals.NO_REPLICAS


def test_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    with tcp_server("--dir", str(folder), "--save", "3600 1") as port:
        asked = Asked(port)
        asked.direct.set("a", 1)
        folder.rmdir()
        asked.direct.bgsave()
        until(lambda: asked.direct.info("persistence")["rdb_last_bgsave_status"] == "err")
        assert asked.both_ways(lambda client: client.set("a", "x")) is refusals.DISK
        assert asked.client.get("a") == b"1"
        asked.client.close()
        asked.direct.close()


def test_a_busy_script(asked: Asked) -> None:
    asked.direct.config_set("busy-reply-threshold", 20)
    ready = threading.Event()

    def run() -> None:
        with redis.Redis(connection_pool=asked.direct.connection_pool) as other:
            ready.set()
            with pytest.raises(redis.ResponseError):
                other.eval("while true do end", 0)

    busy = threading.Thread(target=run)
    busy.start()
    ready.wait(10)
    until(lambda: _is_busy(asked.direct))
    assert asked.both_ways(lambda client: client.get("a")) is refusals.BUSY
    until(lambda: _killed(asked.direct))
    busy.join(10)


def _is_busy(direct: Any) -> bool:
    try:
        direct.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


def _killed(direct: Any) -> bool:
    try:
        return bool(direct.script_kill())
    except redis.ResponseError as error:
        return "NOTBUSY" in str(error)


def test_replicas() -> None:
    with tcp_server() as master, tcp_server("--replicaof", f"127.0.0.1 {master}") as port:
        asked = Asked(port)
        assert asked.both_ways(lambda client: client.set("a", "x")) is refusals.READ_ONLY
        asked.client.close()
        asked.direct.close()
    stale = "--replica-serve-stale-data", "no"
    with tcp_server("--replicaof", "127.0.0.1 1", *stale) as port:
        asked = Asked(port)
        assert asked.both_ways(lambda client: client.get("a")) is refusals.MASTER_DOWN
        asked.client.close()
        asked.direct.close()


def test_a_login_that_is_refused_and_a_house_that_is_full() -> None:
    with tcp_server("--requirepass", "secret") as port:
        for login in ("", "u:wrong@"):
            asked = Asked(port, login)
            assert asked.told(lambda client: client.get("a")) is refusals.LOGIN
            asked.client.close()
    with tcp_server("--maxclients", "3") as port:
        kept = [redis.Redis(port=port) for _ in range(3)]
        for each in kept:
            each.ping()
        asked = Asked(port)
        assert asked.told(lambda client: client.get("a")) is refusals.FULL_HOUSE
        asked.client.close()
        for each in kept:
            each.close()


def test_a_cluster_that_is_down() -> None:
    with tcp_server("--cluster-enabled", "yes") as port:
        asked = Asked(port)
        asked.direct.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 100)
        served = next(key for key in map(str, range(10_000)) if key_slot(key.encode()) <= 100)
        assert asked.both_ways(lambda client: client.get(served)) is refusals.CLUSTER_DOWN
        asked.direct.config_set("cluster-require-full-coverage", "no")
        until(lambda: asked.direct.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        assert asked.both_ways(lambda client: client.get("a")) is refusals.SHARD_DOWN
        asked.client.close()
        asked.direct.close()


def test_a_slot_that_is_half_moved() -> None:
    """What has one key here and one there cannot be done until it is moved as a whole."""
    with topology("cluster", nodes=2) as given:
        client = connect(given.url(), pool_size=2, timeout_seconds=5.0, open_seconds=60)
        client.mset_nonatomic({"{a}:1": "x", "{a}:3": "x"})
        slot = client.keyslot("{a}:1")
        owner = client.nodes_manager.get_node_from_slot(slot)
        (other,) = [node for node in client.get_primaries() if node.name != owner.name]
        with redis.Redis(port=owner.port) as here, redis.Redis(port=other.port) as there:
            names = [each.execute_command("CLUSTER", "MYID").decode() for each in (here, there)]
            there.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
            here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
            here.execute_command("MIGRATE", "127.0.0.1", other.port, "{a}:3", 0, 5000)
        assert client.get("{a}:1") == client.get("{a}:3") == b"x"
        for ask in (
            lambda: client.mget_nonatomic("{a}:1", "{a}:2"),
            lambda: client.eval("return 1", 2, "{a}:1", "{a}:2"),
            lambda: (
                client.pipeline(transaction=False)
                .execute_command("MGET", "{a}:1", "{a}:2")
                .execute()
            ),
        ):
            with pytest.raises(redis.RedisError) as caught:
                ask()
            assert refusals.of(caught.value) is refusals.MOVING
        assert client.breaker.open == []
        client.close()


def test_a_key_that_moves_to_a_server_which_no_map_has() -> None:
    with topology("cluster") as given, tempfile.TemporaryDirectory() as folder:
        client = connect(given.url(), pool_size=2, timeout_seconds=5.0, open_seconds=60)
        options = ("--cluster-enabled", "yes", "--dir", folder)
        with tcp_server(*options) as port, redis.Redis(port=port) as there:
            (first,) = given.ports
            with redis.Redis(port=first) as here:
                there.execute_command("CLUSTER", "MEET", "127.0.0.1", first)
                names = [each.execute_command("CLUSTER", "MYID").decode() for each in (here, there)]
                until(lambda: names[1] in str(here.execute_command("CLUSTER", "NODES")))
                until(lambda: there.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
                slot = client.keyslot("{a}")
                there.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
                here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
            assert client.set("{a}", "x")
            piped = client.pipeline(transaction=False).get("{a}").set("{a}2", "y").execute()
            assert piped == [b"x", True]
            assert client.get("{a}2") == b"y"
            assert client.incr("{a}count") == 1  # and nothing counts twice
        client.close()


def test_nobody_there() -> None:
    asked = Asked(1)
    assert asked.told(lambda client: client.get("a")) is refusals.UNREACHABLE
    asked.breaker.failed()
    with pytest.raises(BreakerOpen) as caught:
        asked.client.get("a")
    assert refusals.of(caught.value) is refusals.NOT_SENT
    assert not refusals.may_have_counted(caught.value)


def test_each_kind_has_its_own_name_and_a_sentence() -> None:
    names = [kind.name for kind in refusals.ALL]
    assert len(set(names)) == len(names)
    listed = {value for value in vars(refusals).values() if isinstance(value, Refusal)}
    assert listed == set(refusals.ALL)
    for kind in refusals.ALL:
        assert kind.sentence.endswith(".") and kind.sentence[0].isupper()
