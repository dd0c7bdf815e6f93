"""Servers of Redis that can be killed, paused and started again, in the topologies of the trials.
All of it on loopback, and ended by its id."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import RedisError

from tests.servers import find_server, free_port, until

NODE_TIMEOUT_MS = 2000
DOWN_AFTER_MS = 1000


@dataclass
class Node:
    """A server program in a folder of its own."""

    command: list[str]
    folder: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        nowhere = subprocess.DEVNULL
        self.process = subprocess.Popen(
            self.command, cwd=self.folder, stdout=nowhere, stderr=nowhere
        )
        until(self.answers)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return client.execute_command("PING") is not None
        except redis.exceptions.BusyLoadingError:
            return False
        except redis.exceptions.ResponseError:
            return True
        except RedisError:
            return False

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        assert self.process
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process
        os.kill(self.process.pid, signal.SIGCONT)

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=2, retry=None, decode_responses=True)

    def ask(self, *words: Any) -> Any:
        with self.client() as client:
            return client.execute_command(*words)

    def is_primary(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.info("replication")["role"] == "master")
        except RedisError:
            return False


@dataclass
class Given:
    """A topology: its URL, the servers that hold data, the Sentinels, and one that a cluster does not
    know yet."""

    url: str
    nodes: list[Node]
    sentinels: list[Node] = field(default_factory=list)
    spare: Node | None = None

    def primary(self) -> Node:
        """Who takes the writes, or the first of them; not one that is dead."""
        return next(node for node in self.nodes if node.is_primary())

    def primaries(self) -> list[Node]:
        return [node for node in self.nodes if node.is_primary()]


@contextlib.contextmanager
def promotions(nodes: list[Node]) -> Iterator[list[float]]:
    """The moments, of `time.monotonic`, at which a replica was first seen to be a primary; each is asked
    every 10 ms."""
    moments: list[float] = []
    stop = threading.Event()

    def watch(node: Node) -> None:
        was = "none"
        with node.client() as client:
            while not stop.wait(0.01):
                with contextlib.suppress(RedisError):
                    role = str(client.execute_command("ROLE")[0])
                    if (was, role) == ("slave", "master"):
                        moments.append(time.monotonic())
                    was = role

    threads = [threading.Thread(target=watch, args=(node,), daemon=True) for node in nodes]
    for thread in threads:
        thread.start()
    yield moments
    stop.set()
    for thread in threads:
        thread.join(5)


@contextlib.contextmanager
def given(kind: str, binary: str | None, *, must: int = 0) -> Iterator[Given]:
    """`must` is how many replicas a primary needs to take writes."""
    program = binary or find_server()
    with ExitStack() as stack:

        def node(*words: str) -> Node:
            port = free_port()
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-"))
            listen = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
            made = Node([program, *listen, *words], folder, port)
            return running(made)

        def running(made: Node) -> Node:
            made.start()
            stack.callback(_end, made)
            return made

        durable = ["--appendonly", "yes", "--repl-diskless-sync-delay", "0"]
        if must:
            durable += ["--min-replicas-to-write", str(must), "--min-replicas-max-lag", "2"]
        if kind == "standalone":
            one = node(*durable, "--enable-debug-command", "yes")
            yield Given(f"redis://127.0.0.1:{one.port}", [one])
        elif kind == "sentinel":
            first = node(*durable)
            replicas = [
                node(*durable, "--replicaof", "127.0.0.1", str(first.port)) for _ in range(2)
            ]
            until(lambda: len(first.ask("ROLE")[2]) == 2, 30)
            watching = [running(_sentinel(program, first.port, stack)) for _ in range(3)]
            for each in watching:
                until(lambda each=each: _knows_all(each), 30)
            hosts = ",".join(f"127.0.0.1:{each.port}" for each in watching)
            yield Given(f"redis+sentinel://{hosts}/prime", [first, *replicas], watching)
        else:
            options = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS)]
            nodes = [node(*durable, *options) for _ in range(6)]
            _join(nodes)
            hosts = ",".join(f"127.0.0.1:{each.port}" for each in nodes[:3])
            yield Given(f"redis+cluster://{hosts}", nodes, spare=node(*durable, *options))


def _end(node: Node) -> None:
    if node.process and node.process.poll() is None:
        node.process.kill()
        node.process.wait()


def _sentinel(program: str, master: int, stack: ExitStack) -> Node:
    port = free_port()
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-"))
    config = Path(folder) / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor prime 127.0.0.1 {master} 2\n"
        f"sentinel down-after-milliseconds prime {DOWN_AFTER_MS}\n"
        "sentinel failover-timeout prime 10000\n"
    )
    return Node([program, str(config), "--sentinel"], folder, port)


def _knows_all(sentinel: Node) -> bool:
    with sentinel.client() as client:
        told = client.sentinel_master("prime")
    return bool(told["num-slaves"] == 2 and told["num-other-sentinels"] == 2)


def _join(nodes: list[Node]) -> None:
    """Three primaries with a replica each."""
    for number, each in enumerate(nodes[:3]):
        first, last = (16384 * place // 3 for place in (number, number + 1))
        each.ask("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
    for each in nodes[1:]:
        each.ask("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
    for each in nodes:
        until(lambda each=each: _state(each) == ("ok", len(nodes)), 30)
    for primary, replica in zip(nodes[:3], nodes[3:], strict=True):
        name = primary.ask("CLUSTER", "MYID")
        until(lambda replica=replica, name=name: _follows(replica, name), 30)


def _state(node: Node) -> tuple[str, int]:
    told = node.ask("CLUSTER INFO")
    assert isinstance(told, dict)
    return told["cluster_state"], int(told["cluster_known_nodes"])


def _follows(replica: Node, name: object) -> bool:
    with replica.client() as client:
        told = client.info("replication")
        if told["role"] == "slave":
            return bool(told["master_link_status"] == "up")
        with contextlib.suppress(redis.ResponseError):
            client.execute_command("CLUSTER", "REPLICATE", name)
    return False
