"""The connections behind the one pool: how one is taken, given back, and never handed on with an
answer still on its way.

Taking and giving back are redis-py's own without its meters and its maintenance notices, neither of
which is used here: they cost each command as much as the rest of it. They lean on names that
redis-py keeps to itself, which is why its next major version is kept out, and why the pool's tests
force each of these paths.
"""

import contextlib
import queue
from typing import Any

from redis import BlockingConnectionPool, Connection, SSLConnection
from redis.exceptions import ConnectionError, MaxConnectionsError, TimeoutError
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from demo.client import lookups


class BoundedPool(BlockingConnectionPool):
    """Waits a moment for a free connection. Running out is this process' matter, not a sign that
    Redis is away: it is told apart by its type, so that it opens no breaker. An error of
    connecting is marked `unsent`: no command was."""

    fewest_free: int | None = None

    def peak(self) -> int:
        """How many connections were out at once at most since this was asked last."""
        free, self.fewest_free = self.fewest_free, None
        return 0 if free is None else int(self.max_connections) - free

    def get_connection(self, *_: Any, **__: Any) -> Any:
        self._checkpid()
        try:
            connection = self.pool.get(block=True, timeout=self.timeout)
        except queue.Empty:
            raise MaxConnectionsError("No connection available.") from None
        free = self.pool.qsize()
        if self.fewest_free is None or free < self.fewest_free:
            self.fewest_free = free
        if connection is None:
            connection = self.make_connection()
        try:
            connection.connect()
            if _is_stale(connection):
                connection.disconnect()
                connection.connect()
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
        with contextlib.suppress(queue.Full):  # the pool was made anew, after a fork
            self.pool.put_nowait(connection)


def use(client: Any) -> tuple[int, int]:
    """How many connections of a redis-py client are out now, and how many it may have: of one pool,
    or of those of all nodes of a cluster."""
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        pools = [
            node.redis_connection.connection_pool
            for node in client.get_nodes()
            if node.redis_connection
        ]
    else:
        pools = [pool]
    return sum(map(_out, pools)), sum(int(each.max_connections) for each in pools)


def _out(pool: Any) -> int:
    if isinstance(pool, BoundedPool):
        return int(pool.max_connections - pool.pool.qsize())
    return len(pool._in_use_connections)


def _is_stale(connection: Any) -> bool:
    """Whether the server closed it while it was idle, or something unread is left in it."""
    try:
        return bool(connection.can_read())
    except (ConnectionError, TimeoutError, OSError):
        return True


class QuickConnection(Connection):
    """Waits for a name no longer than for the connection."""

    def _connect(self) -> Any:
        lookups.wait_for(self.host, self.socket_connect_timeout)
        return super()._connect()


class QuickSSLConnection(QuickConnection, SSLConnection):
    """The same over TLS."""


def with_quick_lookups(pool: Any) -> Any:
    """The pool, from now on with connections that look a name up in time."""
    quick = {Connection: QuickConnection, SSLConnection: QuickSSLConnection}
    pool.connection_class = quick.get(pool.connection_class, pool.connection_class)
    return pool


class SafeSentinelConnection(QuickConnection, SentinelManagedConnection):
    """After a timeout the late reply is still on its way: keeping the connection would hand it to
    the next caller."""

    def read_response(self, *args: Any, **options: Any) -> Any:
        return super().read_response(*args, **{**options, "disconnect_on_error": True})


class SafeSentinelSSLConnection(QuickConnection, SentinelManagedSSLConnection):
    """The same over TLS."""

    def read_response(self, *args: Any, **options: Any) -> Any:
        return super().read_response(*args, **{**options, "disconnect_on_error": True})
