"""The connections behind the one pool: how one is taken, given back, and never handed on with an
answer still on its way. A standalone server, a Sentinel's primary and each node of a cluster have
the same kind of pool.

Taking and giving back are redis-py's own without its meters and its maintenance notices, neither of
which is used here: they cost each command as much as the rest of it. They lean on names that
redis-py keeps to itself, which is why its next major version is kept out, and why the pool's tests
force each of these paths.
"""

import contextlib
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from redis import BlockingConnectionPool, Connection, SSLConnection, UnixDomainSocketConnection
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from demo.client import lookups
from demo.client.wire import NotSent

LEAST_SECONDS = 0.02
PROBE_KEY = "demo:client:{probe}"
MOST_PROBES = 16_384
NONE_FREE = "not sent: no connection was free"


class PoolExhausted(NotSent):
    """No connection of this process was free in time.

    It is no ConnectionError: redis-py takes one for a sign that a cluster's node has died, and the
    breaker for one that Redis is away.
    """


class BoundedPool(BlockingConnectionPool):
    """Waits a moment for a free connection. Running out is this process' matter, not a sign that
    Redis is away. An error of connecting is marked `unsent`: no command was."""

    fewest_free: int | None = None
    taken = 0  # how often a connection was

    def peak(self) -> int:
        """How many connections were out at once at most since this was asked last."""
        free, self.fewest_free = self.fewest_free, None
        return 0 if free is None else int(self.max_connections) - free

    def get_connection(self, *_: Any, **__: Any) -> Any:
        self._checkpid()
        try:
            connection = self.pool.get(block=True, timeout=self.timeout)
        except queue.Empty:
            raise PoolExhausted(NONE_FREE) from None
        free = self.pool.qsize()
        if self.fewest_free is None or free < self.fewest_free:
            self.fewest_free = free
        self.taken += 1
        if connection is None:
            connection = self.make_connection()
        try:
            if not connection.is_connected:
                connection.open(self.timeout)
            elif _is_stale(connection):
                connection.disconnect()
                connection.open(self.timeout)
        except BaseException as error:
            error.unsent = True  # type: ignore[attr-defined]
            self.release(connection)
            raise
        return connection

    def release(self, connection: Any) -> None:
        self._checkpid()
        if not self.owns_connection(connection):
            connection.disconnect()
            connection = None
        elif connection.is_hurried:
            connection.wait_as_ever()
        with contextlib.suppress(queue.Full):  # the pool was made anew, after a fork
            self.pool.put_nowait(connection)

    def leave(self) -> None:
        """Drops idle connections to a server that takes no writes: its address may lead to another
        by now, which only a new connection finds out."""
        self.disconnect(inuse_connections=False)

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Closes all, or those that nobody has: each is taken first, so that nobody gets one that
        is being closed."""
        if inuse_connections:
            super().disconnect()
            return
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self.pool.get_nowait())
        for connection in reversed(idle):
            if connection is not None:
                connection.disconnect()
            with contextlib.suppress(queue.Full):
                self.pool.put_nowait(connection)


class Sentinels(Sentinel):
    """Those that are asked. A connection that is made meanwhile goes to the primary that is known.

    Some hear of a failover later than others: who was just replaced is not believed in for
    `held_seconds`.
    """

    held_seconds = 5.0
    known: Any = None
    _latest: Any = None
    _replaced: Any = None
    _held_until = 0.0

    def ask(self, service: str) -> Any:
        """The primary's address, as the first who knows it says. Raises RedisError."""
        address = super().discover_master(service)
        if address == self._replaced and time.monotonic() < self._held_until:
            return self._latest
        return address

    def discover_master(self, service_name: str) -> Any:
        """The address that is known; asks where none is."""
        self.known = self.known or self.ask(service_name)
        return self.known

    def replace(self, before: Any, address: Any) -> None:
        """From now on the primary is this one."""
        self.known = self._latest = address
        if before != address:
            self._replaced, self._held_until = before, time.monotonic() + self.held_seconds


class SentinelPool(SentinelConnectionPool, BoundedPool):
    """The same for the primary that a Sentinel names.

    It asks once a second who that is: after a failover the one before may live on and take writes
    that will be lost, and nothing on a kept connection tells. Idle connections to it are dropped at
    once, those that are out when they come back.

    `watchers` run from the first connection of a process on, each in a thread, with a weak
    reference to the pool; who of them knows of a new primary tells by `follow`. `changed` is called
    with the address before, the new one, and how many connections at most were handed out while
    the one before may no longer have been the primary: what it acknowledged on these may be lost.
    """

    look_seconds = 1.0
    _watched_by = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.watchers: list[Callable[[Any], None]] = [_watch]
        self.changed: Callable[[Any, Any, int], None] = lambda before, now, most: None
        self._following = threading.Lock()
        self._sure_at = (0, 0)

    def get_connection(self, *_: Any, **__: Any) -> Any:
        if self._watched_by != os.getpid():  # lazily, so after a fork
            self._watched_by = os.getpid()
            for watcher in self.watchers:
                threading.Thread(
                    target=watcher, args=(weakref.ref(self),), name="sentinel", daemon=True
                ).start()
        try:
            return super().get_connection()
        except (ConnectionError, TimeoutError):
            self.sentinel_manager.known = None  # it cannot be reached: the next one asks
            raise

    def leave(self) -> None:
        super().leave()
        self.sentinel_manager.known = None

    def look(self) -> None:
        """Asks who the primary is. Raises RedisError."""
        acknowledged = self.acknowledged()
        self.follow(self.sentinel_manager.ask(self.service_name), acknowledged)

    def follow(self, address: Any, acknowledged: int | None = None) -> None:
        """This is the primary from now on, or still is: so much was acknowledged when that was
        asked."""
        with self._following:
            before, since = self.master_address, self._sure_at[0]
            self.sentinel_manager.replace(before, address)
            if address == before:
                if acknowledged is not None:
                    self._sure_at = (self._sure_at[1], acknowledged)
                return
            self.get_master_address()  # drops what is idle
            self.still(self.acknowledged())
        if before:
            self.changed(before, address, self.taken - since)

    def still(self, acknowledged: int) -> None:
        """No other server was the primary when so much was acknowledged."""
        self._sure_at = (acknowledged, acknowledged)

    def acknowledged(self) -> int:
        """How often a connection was handed out and is back for certain."""
        return self.taken - int(self.max_connections) + int(self.pool.qsize())


def _watch(pool: "weakref.ref[SentinelPool]") -> None:
    """Looks for as long as there is such a pool in this process."""
    pause, pid = threading.Event(), os.getpid()
    while (watched := pool()) is not None and pid == os.getpid():
        with contextlib.suppress(RedisError):  # no Sentinel answers; who connects is told so
            watched.look()
        seconds = watched.look_seconds
        del watched  # or it would never be let go
        pause.wait(seconds)


class NodePool(BoundedPool):
    """The same for a node of a cluster. After a node's failure redis-py marks what is out, to be
    opened anew."""

    def release(self, connection: Any) -> None:
        if connection.should_reconnect():
            connection.disconnect()
        super().release(connection)


class Turn:
    """Lets so many in at a time; who waits longer than `timeout_seconds` gets PoolExhausted."""

    def __init__(self, most: int, timeout_seconds: float) -> None:
        self._free, self._timeout_seconds = threading.Semaphore(most), timeout_seconds

    def __enter__(self) -> None:
        if not self._free.acquire(timeout=self._timeout_seconds):
            raise PoolExhausted(NONE_FREE)

    def __exit__(self, *_: object) -> None:
        self._free.release()


def pools(client: Any) -> list[BoundedPool]:
    """The pool of a client, or those of all nodes that are known of a cluster."""
    if not is_cluster(client):
        return [client.connection_pool]
    nodes = client.get_nodes() if client.has_map else []
    return [node.redis_connection.connection_pool for node in nodes if node.redis_connection]


def ask_each(client: Any) -> dict[str, Any]:
    """What each server of a cluster that takes writes says to a question for a key of its own: a
    number, or an error. One round trip. Raises RedisError where none is known."""
    wanted = set(primaries(client)) or {client.get_primaries()[0].name}
    keys: dict[str, str] = {}
    for number in range(MOST_PROBES):
        key = f"demo:client:{{probe-{number}}}"
        owners = client.nodes_manager.slots_cache.get(client.keyslot(key))
        if owners and owners[0].name in wanted:
            keys.setdefault(owners[0].name, key)
        if len(keys) == len(wanted):
            break
    asked = client.pipeline(transaction=False)
    for key in keys.values():
        asked.exists(key)
    return dict(zip(keys, asked.execute(raise_on_error=False), strict=True))


def primaries(client: Any) -> list[str]:
    """The names of the servers of a cluster that take writes, as far as they are known."""
    return [node.name for node in client.get_primaries()] if client.has_map else []


def is_cluster(client: Any) -> bool:
    """Whether a redis-py client is one for a cluster."""
    return hasattr(type(client), "get_node_from_key")


def use(client: Any) -> tuple[int, int]:
    """How many connections of a client are out now, and how many it may have."""
    if not is_cluster(client):  # asked with every answer, so without a list of one
        most = int(client.connection_pool.max_connections)
        return most - client.connection_pool.pool.qsize(), most
    each = [(int(pool.max_connections), pool.pool.qsize()) for pool in pools(client)]
    return sum(most - free for most, free in each), sum(most for most, _ in each)


def probe(client: Any, name: str = "") -> Any:
    """Asks a client's server, or a cluster's of that name, for a sign of life, on a connection that
    is free, or else on one of its own: a pool that is empty is no sign of death. A key is asked
    for: a cluster that is down answers everything else. Raises RedisError."""
    if not is_cluster(client):
        return _exists(client.connection_pool)
    try:
        if not name:
            return client.ask_for_the_map()
        node = client.nodes_manager.get_node(node_name=name)
        return node and _exists(client.get_redis_connection(node).connection_pool)
    except ResponseError as error:
        return error
    except (ConnectionError, TimeoutError):
        client.doubt()
        raise


def _exists(pool: BoundedPool) -> Any:
    try:
        connection = pool.get_connection() if pool.pool.qsize() else None
    except PoolExhausted:
        connection = None
    if connection is not None:
        try:
            connection.send_command("EXISTS", PROBE_KEY)
            return connection.read_response()
        except (ConnectionError, TimeoutError):
            connection.disconnect()
            raise
        finally:
            pool.release(connection)
    connection = pool.connection_class(**pool.connection_kwargs)
    try:
        connection.open(pool.timeout)
        connection.send_command("EXISTS", PROBE_KEY)
        return connection.read_response()
    finally:
        connection.disconnect()


def _is_stale(connection: Any) -> bool:
    """Whether the server closed it while it was idle, or something unread is left in it."""
    try:
        return bool(connection.can_read())
    except (ConnectionError, TimeoutError, OSError, AttributeError, TypeError):
        return True  # the last two where another thread has closed it in this moment


class Timed(AbstractConnection):
    """Is opened within a time in which its first command is answered, too: the answers that opening
    it takes, and that one, have one deadline. Tells the server its name, where the server takes
    one: without CLIENT SETNAME the list of connections has no names, and everything else works."""

    is_hurried = False
    _until = 0.0

    def open(self, seconds: float) -> None:
        """Connects; the next answer is waited for until these seconds are over."""
        self._until = time.monotonic() + seconds
        self.connect()
        self.wait_until(self._until)

    def wait_until(self, moment: float) -> None:
        """Answers are waited for until then, of `time.monotonic`."""
        if self._sock is not None:
            self.is_hurried = True
            self._sock.settimeout(max(moment - time.monotonic(), LEAST_SECONDS))

    def wait_as_ever(self) -> None:
        """Each answer is waited for as long as any."""
        self.is_hurried = False
        if self._sock is not None:
            self._sock.settimeout(self.socket_timeout)

    def on_connect_check_health(self, check_health: bool = True) -> None:
        name, self.client_name = self.client_name, None
        # of this instance alone, and only while it opens: every command would pay for the call
        self.__dict__["read_response"] = self._read_in_time
        try:
            super().on_connect_check_health(check_health)
            if name:
                self.send_command("CLIENT", "SETNAME", name, check_health=False)
                with contextlib.suppress(ResponseError):
                    self.read_response()
        finally:
            self.client_name = name
            del self.__dict__["read_response"]

    def _read_in_time(self, *args: Any, **options: Any) -> Any:
        if self._until:
            self.wait_until(self._until)
        return type(self).read_response(self, *args, **options)


class QuickConnection(Timed, Connection):
    """Waits for a name no longer than for the connection."""

    def _connect(self) -> Any:
        whole, began = self.socket_connect_timeout, time.monotonic()
        lookups.wait_for(self.host, whole)
        if whole is not None:
            self.socket_connect_timeout = max(whole - (time.monotonic() - began), LEAST_SECONDS)
        try:
            return super()._connect()
        finally:
            self.socket_connect_timeout = whole


class QuickSSLConnection(QuickConnection, SSLConnection):
    """The same over TLS."""


class SocketConnection(Timed, UnixDomainSocketConnection):
    """To a socket of this machine."""


class _Safe(AbstractConnection):
    """After a timeout the late reply is still on its way: keeping the connection would hand it to
    the next caller. After a failure the Sentinels are asked for the primary again."""

    connection_pool: Any

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **{**options, "disconnect_on_error": True})
        except ConnectionError:
            self.connection_pool.sentinel_manager.known = None
            raise


class SafeSentinelConnection(QuickConnection, _Safe, SentinelManagedConnection):
    """To a Sentinel's primary."""


class SafeSentinelSSLConnection(QuickConnection, _Safe, SentinelManagedSSLConnection):
    """The same over TLS."""
