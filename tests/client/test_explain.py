"""Each server of REDIS_URL asked by itself, and a sentence for each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from demo.client import explain, pool
from demo.client.redis_url import AddressError, parse
from tests.servers import REPOSITORY, free_port, sentinel_of, tcp_server, until
from tests.topologies import topology


def told(url: str) -> list[str]:
    return [str(each) for each in explain.each(parse(url), 0.5)]


def at_the_start(url: str) -> str:
    """What is said at a start; with an exclamation mark what ends it."""
    client = pool.connect(url, pool_size=1, timeout_seconds=0.5)
    try:
        return explain.check(client, parse(url), 0.5) or "ok"
    except AddressError as error:
        return f"! {error}"
    finally:
        client.close()


def test_one_server_and_what_is_no_server_of_its_kind() -> None:
    with tcp_server() as port, sentinel_of(port) as sentinel, topology("cluster") as cluster:
        server, node = f"127.0.0.1:{port}", f"127.0.0.1:{cluster.ports[0]}"
        assert told(f"redis://{server}") == [
            f"ok   redis://{server} answers, and its clock agrees with this one."
        ]
        assert told(f"redis+cluster://{node}") == [f"ok   {node} reports that the cluster is up."]
        assert at_the_start(f"redis://127.0.0.1:{sentinel}").startswith("! REDIS_URL: ")
        assert "is a Sentinel, or no Redis" in at_the_start(f"redis://127.0.0.1:{sentinel}")
        assert "is no Sentinel" in at_the_start(f"redis+sentinel://{server}/prime")
        assert "is not a cluster; use redis://" in at_the_start(f"redis+cluster://{server}")
        wrong = at_the_start(f"redis+sentinel://127.0.0.1:{sentinel}/first")
        assert (
            wrong
            == f"! REDIS_URL: the Sentinel 127.0.0.1:{sentinel} knows no first; it knows prime."
        )
        good = f"redis+sentinel://127.0.0.1:{sentinel}/prime"
        until(lambda: at_the_start(good) == "ok")
        assert told(good) == [
            f"ok   the Sentinel 127.0.0.1:{sentinel} names the primary {server}.",
            f"ok   {server} answers, and its clock agrees with this one.",
        ]


@pytest.mark.parametrize("guarded", [False, True])
def test_a_sentinel_is_asked_without_a_password_and_then_with_that_of_redis(guarded: bool) -> None:
    more = "sentinel auth-pass prime pw\n" + ("requirepass pw\n" if guarded else "")
    with tcp_server("--requirepass", "pw") as port, sentinel_of(port, more) as sentinel:
        url = f"redis+sentinel://:pw@127.0.0.1:{sentinel}/prime"
        until(lambda: at_the_start(url) == "ok")
        assert told(url) == [
            f"ok   the Sentinel 127.0.0.1:{sentinel} names the primary 127.0.0.1:{port}.",
            f"ok   127.0.0.1:{port} answers, and its clock agrees with this one.",
        ]


def test_each_node_that_a_cluster_tells_of_is_asked_too() -> None:
    with topology("cluster", nodes=3) as cluster:
        named, *others = (f"127.0.0.1:{port}" for port in cluster.ports)
        first, *rest = told(f"redis+cluster://{named}")
        assert first == f"ok   {named} reports that the cluster is up."
        assert sorted(rest) == sorted(f"ok   the node {other} answers." for other in others)


@pytest.mark.parametrize(
    "slots",
    [
        {(0, 9): {"primary": ("h", 1), "replicas": [("i", 2)]}, (10, 19): {"primary": ("j", 3), "replicas": []}},
        [[0, 9, [b"h", 1, b"id"], [b"i", 2, b"id"]], [10, 19, [b"j", 3, b"id"]]],
        [{"primary": ("h", 1), "replicas": [("", 7), ("i", 2)]}, [10, 19, ["j", 3]]],
    ],
)  # fmt: skip
def test_the_map_of_a_cluster_is_read_in_each_shape(slots: object) -> None:
    assert list(explain._nodes(slots)) == [("h", 1), ("i", 2), ("j", 3)]


def test_a_server_without_hello_is_asked_in_the_older_protocol() -> None:
    with tcp_server("--rename-command", "HELLO", "") as port:
        url = f"redis://127.0.0.1:{port}"
        assert at_the_start(url).endswith("does not know HELLO; add the option protocol=2.")
        assert at_the_start(f"{url}?protocol=2") == "ok"


def test_users_and_passwords_of_redis_and_of_a_sentinel() -> None:
    more = "sentinel auth-pass prime secret\nuser watcher on >seen ~* &* +@all\nuser default off\n"
    with tcp_server("--requirepass", "secret") as port, sentinel_of(port, more) as sentinel:
        here = f"127.0.0.1:{sentinel}/prime?sentinel_username=watcher&sentinel_password="
        until(lambda: at_the_start(f"redis+sentinel://:secret@{here}seen") == "ok")
        sentence = at_the_start(f"redis+sentinel://:secret@{here}wrong")
        assert (
            sentence
            == f"! REDIS_URL: the Sentinel 127.0.0.1:{sentinel} refuses the user or password."
        )
        sentence = at_the_start(f"redis+sentinel://:wrong@{here}seen")
        assert sentence == f"! REDIS_URL: 127.0.0.1:{port} refuses the user or password."
        assert "wrong" not in sentence


def test_no_quorum_is_named_and_ends_no_start() -> None:
    with tcp_server() as port, sentinel_of(port) as sentinel:
        with redis.Redis(port=sentinel) as direct:
            direct.execute_command("SENTINEL", "SET", "prime", "quorum", "2")
        url = f"redis+sentinel://127.0.0.1:{sentinel}/prime"
        until(lambda: at_the_start(url) == "ok")
        assert told(url)[0] == (
            f"no   the Sentinel 127.0.0.1:{sentinel} could not replace a primary, because there is no quorum."
        )


def test_what_is_away_is_named_and_ends_no_start(tmp_path: Path) -> None:
    with tcp_server() as port:
        ports = [free_port(), free_port()]
        away = [f"127.0.0.1:{each}" for each in ports]
        for url in (
            f"redis://{away[0]}",
            f"redis+sentinel://{away[0]},{away[1]}/prime",
            f"redis+cluster://{away[0]},{away[1]}",
        ):
            assert at_the_start(url).startswith("REDIS_URL: ")
            assert "does not answer (nobody listens there)." in at_the_start(url)
            assert len(told(url)) == (1 if url.startswith("redis://") else 2)
        assert "the socket does not exist" in at_the_start(f"unix://{tmp_path}/none.sock")
        assert "its name cannot be resolved" in at_the_start(f"redis://nowhere.invalid:{port}")


def test_a_server_that_is_there_and_cannot_serve_ends_no_start() -> None:
    with tcp_server("--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "no") as port:
        assert at_the_start(f"redis://127.0.0.1:{port}").endswith(
            "This Redis replica has lost its primary."
        )
    with tcp_server("--cluster-enabled", "yes") as port:
        assert "cluster is down" in at_the_start(f"redis+cluster://127.0.0.1:{port}")


@pytest.mark.parametrize("good", [True, False])
def test_the_command_line_asks_each_by_itself(tmp_path: Path, good: bool) -> None:
    with topology("sentinel") as given, redis.Redis(port=given.ports[0]) as admin:
        until(lambda: at_the_start(given.url()) == "ok")
        admin.execute_command(
            "ACL", "SETUSER", "u", "on", ">p/w", "~demo:*", "&demo:*", "+@all", "-pfadd", "-slowlog"
        )
        environment = {
            **os.environ,
            "REDIS_URL": given.url("u:p%2Fw" if good else "u:wrong%23"),
            "DEMO_INSTANCE_PATH": str(tmp_path),
            "DEMO_PRODUCTS": "20",
        }
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", "check", "--explain"],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok   the Sentinel 127.0.0.1:")
    if good:
        assert done.returncode == 1 and "ok" not in lines
        assert "no   analytics needs PFADD" in lines
        assert (
            "--   SLOWLOG GET is not permitted; you lose: the slow commands on the monitor" in lines
        )
    else:
        assert done.returncode == 1
        assert lines[1].endswith("refuses the user or password.")
        assert "Traceback" not in done.stderr and "wrong" not in done.stdout + done.stderr
