"""The connections behind the one pool: how one is taken and given back. A connection that still
waits for a reply is never given to another call. A standalone server, a Sentinel's primary and each
node of a cluster have the same kind of pool.

Taking and giving back are redis-py's own, without its meters and its maintenance notices. Neither
is used here, and they would double the cost of a command. They rely on names that redis-py keeps to
itself, which is why its next major version is kept out, and why the pool's tests force each of
these paths.
"""
# mypy: allow-untyped-calls
# parts of redis-py have no types

import contextlib
import queue
import select
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis import BlockingConnectionPool, Connection, SSLConnection, UnixDomainSocketConnection
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from demo.client import lookups
from demo.client.wire import NotSent

_pack: Any = None
with contextlib.suppress(ImportError):
    from hiredis import pack_command as _pack
LEAST_SECONDS = 0.02
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
    waits = 0  # how often somebody had to wait for one, since it was asked last

    def peak(self) -> int:
        """How many connections were out at once at most since this was asked last."""
        free, self.fewest_free = self.fewest_free, None
        return 0 if free is None else int(self.max_connections) - free

    def waited(self) -> int:
        """How often somebody found none free and had to wait since this was asked last."""
        waits, self.waits = self.waits, 0
        return waits

    def forget(self) -> None:
        """Begins to count again."""
        self.fewest_free, self.taken, self.waits = None, 0, 0

    def get_connection(self, *_: Any, **__: Any) -> Any:
        self._checkpid()
        try:
            connection = self.pool.get(block=False)
        except queue.Empty:
            connection = self._wait_for_one()
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

    def _wait_for_one(self) -> Any:
        self.waits += 1
        try:
            return self.pool.get(block=True, timeout=self.timeout)
        except queue.Empty:
            raise PoolExhausted(NONE_FREE) from None

    def release(self, connection: Any) -> None:
        self._checkpid()
        if not self.owns_connection(connection):
            connection.disconnect()
            connection = None
        elif connection.is_hurried:
            connection.wait_as_ever()
        # not `suppress`, which is three calls for each command
        try:  # noqa: SIM105
            self.pool.put_nowait(connection)
        except queue.Full:  # the pool was made anew, after a fork
            pass

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


def pools(client: Any) -> list[BoundedPool]:
    """The pool of a client, or those of all nodes that are known of a cluster."""
    if not is_cluster(client):
        return [client.connection_pool]
    nodes = client.get_nodes() if client.has_map else []
    return [node.redis_connection.connection_pool for node in nodes if node.redis_connection]


def disconnect(client: Any) -> None:
    """Closes all connections of a client. Its own `close` leaves those of a pool that it was given."""
    client.close()
    for pool in pools(client):
        pool.disconnect()


def is_cluster(client: Any) -> bool:
    """Whether a redis-py client is one for a cluster."""
    return hasattr(type(client), "get_node_from_key")


def usage(client: Any) -> Callable[[], tuple[int, int]]:
    """What tells how many connections of a client are out now, and how many it may have: asked with
    every answer."""
    if is_cluster(client):
        return lambda: _sums(pools(client))

    def one() -> tuple[int, int]:
        pool = client.connection_pool
        return pool.max_connections - len(pool.pool.queue), pool.max_connections

    return one


def use(client: Any) -> tuple[int, int]:
    """The same once."""
    return usage(client)()


def _sums(those: Sequence["BoundedPool"]) -> tuple[int, int]:
    each = [(int(pool.max_connections), pool.pool.qsize()) for pool in those]
    return sum(most - free for most, free in each), sum(most for most, _ in each)


def _is_stale(connection: Any) -> bool:
    """Whether the server closed it while it was idle, or something unread is left in it."""
    try:
        return not connection.is_quiet() and bool(connection.can_read())
    except (ConnectionError, TimeoutError, OSError, AttributeError, TypeError):
        return True  # the last two where another thread has closed it in this moment


def _poll() -> Any:
    """What looks at a socket, None where there is no such thing. gevent's own check takes forty
    times as long, because it passes by the hub even where nobody waits."""
    monkey = sys.modules.get("gevent.monkey")
    poll = monkey.get_original("select", "poll") if monkey else getattr(select, "poll", None)
    return poll() if poll else None


class Timed(AbstractConnection):
    """Is opened within a time in which its first command is answered, too: the answers that opening
    it takes, and that one, have one deadline. Tells the server its name, where the server takes
    one: without CLIENT SETNAME the list of connections has no names, and everything else works."""

    is_hurried = False
    _until = 0.0
    _looked_at: tuple[Any, Any] = (None, None)  # a socket, and what looks at it

    def open(self, seconds: float) -> None:
        """Connects; the next answer is waited for until these seconds are over."""
        self._until = time.monotonic() + seconds
        self.connect()
        self.wait_until(self._until)

    def send_command(self, *args: Any, **options: Any) -> Any:
        """Packs what is plain in one call; redis-py looks at each argument before."""
        if _pack and not options and type(args[0]) is str and " " not in args[0]:
            try:
                packed = _pack(args)
            except TypeError:
                packed = b""
            if packed:
                return self.send_packed_command([packed])
        return super().send_command(*args, **options)

    def is_quiet(self) -> bool:
        """Whether nothing at all has come, the end neither. False where only `can_read` can tell."""
        sock, reader = self._sock, getattr(self._parser, "_reader", None)
        if sock is None or reader is None or reader.has_data():
            return False
        looked_at, looks = self._looked_at
        if looked_at is not sock:
            looks = None if hasattr(sock, "pending") else _poll()  # TLS holds some back itself
            if looks:
                looks.register(sock, select.POLLIN)
            self._looked_at = sock, looks
        return looks is not None and not looks.poll(0)

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

    port = 0  # redis-py looks for it when the connecting takes too long, and finds none
