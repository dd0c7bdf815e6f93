"""The pool of the primary that Sentinels name. The pool follows the primary that the Sentinels name
now, even if the replaced one still accepts writes. For `held_seconds`, the pool does not go back to
a primary that was just replaced.
"""
# mypy: allow-untyped-calls
# parts of redis-py have no types

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError, RedisError, TimeoutError
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from demo.client.connections import BoundedPool, QuickConnection


class Sentinels(Sentinel):
    """Those that are asked. A connection that is made meanwhile goes to the primary that is known.

    Some hear of a failover later than others: a primary that was just replaced is not accepted for
    `held_seconds`. `heard` gives what is called with another primary than the one before.
    """

    held_seconds = 5.0
    heard: Callable[[], Callable[[Any], None] | None] = staticmethod(lambda: None)
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
        if self.known is None:
            address, follow = self.ask(service_name), self.heard()
            if follow and self._latest not in (None, address):
                follow(address)
            self.known = address
        return self.known

    def replace(self, before: Any, address: Any) -> None:
        """From now on the primary is this one."""
        self.known = self._latest = address
        if before != address:
            self._replaced, self._held_until = before, time.monotonic() + self.held_seconds


class SentinelPool(SentinelConnectionPool, BoundedPool):
    """The same for the primary that a Sentinel names.

    It asks once a second which server that is. After a failover the old primary may live on and
    accept writes that will be lost, and a kept connection does not show it. Idle connections to it
    are dropped at once, those that are out when they come back.

    `watchers` run from the first connection of a process on, each in a thread with a weak reference
    to the pool. A process that will fork sets `may_watch` to False and its children set it to True:
    under gevent a thread would go on in each of them. A watcher that learns of a new primary calls
    `follow`. `changed` is called with the old address, the new one, and the largest number of
    connections that were handed out while the old server may no longer have been the primary.
    Writes acknowledged on these may be lost.
    """

    look_seconds = 1.0
    may_watch = True  # of all pools of a process
    _watched_by = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.watchers: list[Callable[[Any], None]] = [_watch]
        self.changed: Callable[[Any, Any, int], None] = lambda before, now, most: None
        self._following = threading.Lock()
        self.sentinel_manager.heard = weakref.WeakMethod(self.follow)
        self._sure_at = (0, 0)

    def get_connection(self, *_: Any, **__: Any) -> Any:
        if self.may_watch and self._watched_by != os.getpid():  # lazily, so after a fork
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

    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                sentinel.connection_pool.disconnect()

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
