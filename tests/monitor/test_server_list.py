"""Every server is asked: the sums are those of all primaries, and one that is full, evicts or has
died is named."""

from typing import Any

import pytest
import redis
from flask import Flask

from demo.client import changes
from demo.monitor import server_list
from demo.monitor.overview import Known, overview
from demo.monitor.server_list import PRIMARY, REPLICA, SENTINEL, merged, of_cluster, snapshot
from demo.web.services import services
from tests.client.test_failover import pair
from tests.clients import connect
from tests.seen import seen
from tests.servers import shut_down, tcp_server, until
from tests.topologies import topology

KNOWN = Known(("catalog", "sessions", "leaderboard", "monitor"), 8, 2, False)


def titles(found: Any) -> dict[str, str]:
    return {finding.code: finding.title for finding in found.findings}


def test_what_is_wrong_with_one_server_of_a_cluster_is_named() -> None:
    with topology("cluster", "--maxmemory", "64mb", nodes=3, replicas=True) as given:
        client = connect(given.url(), pool_size=4, timeout_seconds=2.0, open_seconds=0.2)
        until(lambda: _mapped(client) == 6)
        found = overview(client, KNOWN)
        assert [server.role for server in found.servers].count(PRIMARY) == 3
        assert [server.role for server in found.servers].count(REPLICA) == 3
        assert not any(server.trouble for server in found.servers)
        assert found.server.maxmemory_bytes == 3 * 64 * 1024 * 1024
        assert found.server.memory_bytes == sum(
            server.snapshot.memory_bytes
            for server in found.servers
            if server.snapshot and server.role == PRIMARY
        )
        assert "server-away" not in titles(found) and "evicts-sessions" not in titles(found)
        primary = client.get_primaries()[1]
        with redis.Redis(port=primary.port) as node:
            node.config_set("maxmemory-policy", "allkeys-lru")
            assert titles(overview(client, KNOWN))["evicts-sessions"].endswith(f"({primary.name})")
            node.config_set("maxmemory-policy", "noeviction")
            node.config_set("maxmemory", str(node.info()["used_memory"] + 1))
            told = titles(overview(client, KNOWN))
            assert "100% full" in told["noeviction-cache"] or "99% full" in told["noeviction-cache"]
            assert told["noeviction-cache"].endswith(f"({primary.name})")
        replica = client.get_replicas()[0]
        shut_down(replica.port)
        found = overview(client, KNOWN)
        assert titles(found)["server-away"] == "1 of 6 servers has a problem"
        (away,) = [server for server in found.servers if server.trouble]
        assert (away.name, away.role, away.snapshot) == (replica.name, REPLICA, None)
        assert snapshot(client).keys == found.server.keys  # it goes on without that one

        until(lambda: _mapped(client) == 5, 30)  # as its map has it
        (away,) = until(  # who is asked may not have heard of it yet
            lambda: [server for server in overview(client, KNOWN).servers if server.trouble]
        )
        assert (away.name, away.role) == (replica.name, REPLICA)
        client.close()


def _mapped(client: Any) -> int:
    client.ask_for_the_map()
    return len(client.get_nodes())


def test_replicas_and_sentinels_are_looked_after_too(make_app: Any) -> None:
    with pair() as two:
        app: Flask = make_app(REDIS_URL=two.url)
        web = app.test_client()
        text = seen(web.get("/monitor/").text)
        host = "127.0.0.1"
        for name, role in zip(
            (f"{host}:{two.ports[0]}", f"{host}:{two.ports[1]}"), (PRIMARY, REPLICA), strict=True
        ):
            assert f'<th scope="row" class="wide">{name}</th><td>{role}</td>' in text
        assert f"<td>{SENTINEL}</td>" in text
        shut_down(two.ports[1])

        def found() -> Any:
            told = web.get("/monitor/api/snapshot").json
            return [each for each in told["servers"] if each["trouble"]] and told

        told = until(found)
        assert "server-away" in {finding["code"] for finding in told["findings"]}
        shut_down(two.sentinel.connection_pool.connection_kwargs["port"])
        watching = [each for each in found()["servers"] if each["role"] == SENTINEL]
        assert [each["trouble"] for each in watching] == ["does not answer"]


def test_one_server_alone_is_no_list() -> None:
    with tcp_server() as port:
        client = connect(
            f"redis://127.0.0.1:{port}", pool_size=2, timeout_seconds=2.0, open_seconds=0.5
        )
        found = overview(client, KNOWN)
        assert found.servers == () and "all servers answer" in found.well
        client.close()


def test_a_cluster_of_which_no_server_answers_is_an_error() -> None:
    with topology("cluster", nodes=2) as given:
        client = connect(given.url(), pool_size=2, timeout_seconds=0.5, open_seconds=0.01)
        for port in given.ports:
            shut_down(port)
        with pytest.raises(redis.RedisError):
            of_cluster(client)
        client.close()


def test_a_primary_that_does_not_answer_is_one_still() -> None:
    with topology("cluster", nodes=2) as given:
        client = connect(given.url(), pool_size=2, timeout_seconds=0.5, open_seconds=0.01)
        until(lambda: _mapped(client) == 2)
        shut_down(given.ports[1])
        found = {server.name: server for server in of_cluster(client)}
        away = found[f"127.0.0.1:{given.ports[1]}"]
        assert (away.role, away.snapshot) == (PRIMARY, None) and away.trouble
        assert found[f"127.0.0.1:{given.ports[0]}"].snapshot
        client.close()


def test_a_limit_that_one_server_lacks_is_none_for_all() -> None:
    with tcp_server("--maxmemory", "64mb") as first, tcp_server() as second:
        told = []
        for port in (first, second):
            with redis.Redis(port=port, decode_responses=True) as client:
                told.append(server_list.Server(str(port), PRIMARY, snapshot(client)))
        both = merged(told)
        assert both.maxmemory_bytes == 0
        assert both.clients == 2 and both.hit_ratio is None
        assert merged(told[:1]) == told[0].snapshot


def test_another_primary_is_told_on_the_page(app: Flask) -> None:
    client, web = services(app).redis, app.test_client()
    assert "Failovers" not in web.get("/monitor/").text
    assert changes.note(client, "host:1", before="10.0.0.1:6379", now="10.0.0.2:6379", at_risk=12)
    assert changes.note(client, "host:1", told=3)
    client.lpush(changes.KEY, b"not one")
    text = seen(web.get("/monitor/").text)
    assert (
        "10.0.0.2:6379" in text
        and "Up to 12 acknowledged writes of process host:1 may be lost" in text
    )
    assert "were sent again: 3" in text
    assert 0 < client.ttl(changes.KEY) <= changes.KEPT_SECONDS
    for _ in range(30):
        changes.note(client, "host:1", told=0)
    assert client.llen(changes.KEY) == changes.MOST
