"""The one connection pool: one client on one bounded pool per process, with short timeouts, no retries and a breaker.

`connect` makes it from a URL, `get_redis` hands it to views, and views hand it to patterns. It speaks bytes
(no `decode_responses`): sessions, pages and counters share it, and each pattern decodes for itself. Every command passes
through here once, so here is where the x-ray looks, where the breaker stands and where `tally` sums up.

Nothing is retried: a retry is at-least-once, and a ZINCRBY whose reply was lost would count twice. A connection that
the server closed while idle is reopened without one.
"""

import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.cluster import ClusterNode, ClusterPipeline
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    MaxConnectionsError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from demo import chosen, faults, scripts, xray
from demo.breaker import Breaker, BreakerOpen
from demo.config import ConfigError
from demo.connections import BoundedPool, SafeSentinelConnection, SafeSentinelSSLConnection, with_quick_lookups
from demo.redis_url import Address, parse
from demo.tally import Tally

if TYPE_CHECKING:
    from flask import Flask


def get_redis() -> "Client":
    """The client of the running app."""
    from flask import current_app  # here, so that the pool can be taken along without it

    client: Client = current_app.extensions["redis"]
    return client


def get_breaker(app: "Flask | None" = None) -> Breaker:
    """The breaker of an app's pool, of the running one by default."""
    return get_redis().breaker if app is None else cast(Client, app.extensions["redis"]).breaker


class _Watched:
    """Wraps what goes over the wire: breaker before, x-ray and tally after, every library error a RedisError."""

    breaker: Breaker
    tally: Tally
    plugs: faults.Plugs

    def _watch(self, label: str, commands: list[tuple[Any, ...]], call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        choice = chosen.current()
        lost = choice.redis in faults.LOST
        breaker = self.plugs.breaker(choice.visitor) if lost else self.breaker
        try:
            breaker.before()
        except BreakerOpen as refusal:
            xray.record("redis", label, began, _asked(commands, [refusal] * len(commands)), sent=False)
            raise
        try:
            if lost:
                self.plugs.wait(choice.redis)
            reply = call()
        except RedisClusterException as error:
            breaker.failed()
            xray.record("redis", label, began, _asked(commands, [error] * len(commands)))
            raise ConnectionError(str(error)) from error
        except RedisError as error:
            if not isinstance(error, ConnectionError):
                self.tally.note(commands, [error] * len(commands), time.perf_counter() - began)
            if not isinstance(error, (ConnectionError, TimeoutError)):
                breaker.succeeded()
            elif not isinstance(error, MaxConnectionsError):
                breaker.failed()
            xray.record("redis", label, began, _asked(commands, [error] * len(commands)))
            raise
        breaker.succeeded()
        replies = [reply] if label != "pipeline" else reply
        self.tally.note(commands, replies, time.perf_counter() - began)
        if xray.current() is not None:
            xray.record("redis", label, began, _asked(commands, replies))
        return reply


def _asked(commands: list[tuple[Any, ...]], replies: list[Any]) -> tuple[xray.Asked, ...]:
    trace = xray.current()
    if trace is None or not trace.detailed:
        return ()
    return tuple(zip(commands, replies, strict=True))


class _WatchedPipeline(_Watched, Pipeline):
    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands = [args for args, _ in self.command_stack]
        if not commands:
            return []
        call = super().execute
        choice = chosen.current()
        if faults.refuses(choice):
            result = self._watch("pipeline", commands, lambda: self._in_part(choice.redis, call, raise_on_error))
        else:
            result = self._watch("pipeline", commands, lambda: call(raise_on_error))
        return list(result)

    def _in_part(self, fault: str, call: Callable[[bool], list[Any]], raise_on_error: bool) -> list[Any]:
        """What such a server refuses is not sent; a transaction is then refused as a whole."""
        refusals = [faults.refused(fault, args) for args, _ in self.command_stack]
        first = next(filter(None, refusals), None)
        if first is not None and (self.transaction or self.explicit_transaction):  # type: ignore[truthy-function]
            self.reset()
            raise first
        self.command_stack = [command for command, no in zip(self.command_stack, refusals, strict=True) if no is None]
        replies = iter(call(False) if self.command_stack else [])
        whole = [next(replies) if refusal is None else refusal for refusal in refusals]
        failed = next((reply for reply in whole if isinstance(reply, Exception)), None)
        if raise_on_error and failed is not None:
            raise failed
        return whole


class _WatchedClusterPipeline(_Watched, ClusterPipeline):
    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands = [command.args for command in self._execution_strategy.command_queue]
        if not commands:
            return []
        call = super().execute
        choice = chosen.current()

        def ask() -> list[Any]:
            refusals = (faults.refused(choice.redis, args) for args in commands) if faults.refuses(choice) else ()
            first = next(filter(None, refusals), None)
            if first is not None:
                raise first
            return list(call(raise_on_error))

        result: list[Any] = self._watch("pipeline", commands, ask)
        return result


class Client(_Watched, Redis):
    """A Redis client that is watched; the same holds for its pipelines."""

    def __init__(self, *args: Any, breaker: Breaker | None = None, plugs: faults.Plugs | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.breaker = breaker or Breaker(0.5)
        self.plugs = plugs or faults.Plugs(0.25, 0.5)
        self.tally = Tally()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        call = super().execute_command
        choice = chosen.current()
        if faults.refuses(choice):
            call = faults.refusing(choice.redis, call)
        return self._watch(str(args[0]), [args], lambda: call(*args, **options))

    def _execute_command(self, *args: Any, **options: Any) -> Any:
        """redis-py's own without its retries and its meters: neither is used here, and each command pays for them."""
        pool = self.connection_pool
        connection = self.connection or pool.get_connection()
        try:
            connection.send_command(*args, **options)
            return self.parse_response(connection, args[0], **options)
        except (ConnectionError, TimeoutError, OSError):
            connection.disconnect()
            raise
        finally:
            if not self.connection:
                pool.release(connection)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        pipeline = _WatchedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.breaker, pipeline.plugs, pipeline.tally = self.breaker, self.plugs, self.tally
        return pipeline

    def register_script(self, script: Any) -> Any:
        scripts.learn(script)
        return super().register_script(script)


class ClusterClient(_Watched, RedisCluster):
    """The same for a cluster."""

    def __init__(self, *args: Any, breaker: Breaker, plugs: faults.Plugs, **kwargs: Any) -> None:
        self.breaker, self.plugs = breaker, plugs
        self.tally = Tally()
        self._ready = False
        super().__init__(*args, **kwargs)
        self._ready = True

    def execute_command(self, *args: Any, **options: Any) -> Any:
        call = super().execute_command
        if not self._ready:
            return call(*args, **options)
        choice = chosen.current()
        if faults.refuses(choice):
            call = faults.refusing(choice.redis, call)
        return self._watch(str(args[0]), [args], lambda: call(*args, **options))

    def pipeline(self, transaction: bool | None = None, shard_hint: str | None = None) -> ClusterPipeline:
        plain = super().pipeline(transaction, shard_hint)
        plain.__class__ = _WatchedClusterPipeline
        plain.breaker, plain.plugs, plain.tally = self.breaker, self.plugs, self.tally
        watched: ClusterPipeline = plain
        return watched

    def register_script(self, script: Any) -> Any:
        scripts.learn(script)
        return super().register_script(script)


def connect(url: str, *, pool_size: int, timeout_seconds: float, open_seconds: float) -> Client:
    """One client on one bounded pool for any REDIS_URL. Opens no connection, but for a cluster, whose map it needs.

    Raises ConfigError when the URL is wrong or no node of a cluster answers as one.
    """
    address = parse(url)
    breaker, plugs = Breaker(open_seconds), faults.Plugs(timeout_seconds, open_seconds)
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
        "client_name": f"demo:{socket.gethostname()[:32].replace(' ', '-')}:{os.getpid()}",
        "driver_info": None,
    }
    off = MaintNotificationsConfig(enabled=False)
    if address.kind == "cluster":
        try:
            return ClusterClient(  # type: ignore[return-value]
                startup_nodes=[ClusterNode(*host) for host in address.hosts],
                ssl=address.tls,
                max_connections=pool_size,
                breaker=breaker,
                plugs=plugs,
                maint_notifications_config=off,
                **options,
            )
        except (RedisError, RedisClusterException) as error:
            raise ConfigError(_sentence(address, error)) from None
    if address.kind == "sentinel":
        pool: Any = SentinelConnectionPool(
            address.service,
            _sentinels(address, timeout_seconds),
            db=address.db,
            max_connections=pool_size,
            connection_class=SafeSentinelSSLConnection if address.tls else SafeSentinelConnection,
            check_connection=False,
            **{key: value for key, value in options.items() if key != "driver_info"},
        )
    else:
        try:
            pool = with_quick_lookups(
                BoundedPool.from_url(
                    url,
                    max_connections=pool_size,
                    timeout=timeout_seconds,
                    maint_notifications_config=off,
                    **{key: value for key, value in options.items() if key not in ("username", "password")},
                )
            )
            pool.connection_class(**pool.connection_kwargs)
        except (TypeError, ValueError):
            raise ConfigError("REDIS_URL is wrong: an option after its question mark is not known.") from None
    return Client(connection_pool=pool, breaker=breaker, plugs=plugs)


def _sentinels(address: Address, timeout_seconds: float) -> Sentinel:
    """Those that are asked for the master, each once, all together within the timeout; such as have a password of their own
    are taken to have the one of Redis."""
    passwords = [None] if address.password is None else [None, address.password]
    each_seconds = timeout_seconds / (len(passwords) * len(address.hosts))
    options: dict[str, Any] = {
        "socket_timeout": each_seconds,
        "socket_connect_timeout": each_seconds,
        "retry": Retry(NoBackoff(), 0),
        "ssl": address.tls,
    }
    made = [Sentinel(list(address.hosts), sentinel_kwargs={**options, "password": password}) for password in passwords]
    made[0].sentinels = [client for sentinel in made for client in sentinel.sentinels]
    for client in made[0].sentinels:
        with_quick_lookups(client.connection_pool)
    return made[0]


def check(client: Client, url: str) -> str | None:
    """Asks Redis whether it is there and lets us in. None when it is; a sentence when it is away, which it may be at a
    start. Raises ConfigError with a sentence for what only a person can mend: a wrong password, no permission."""
    try:
        client.ping()
    except (AuthenticationError, NoPermissionError, ResponseError) as error:
        raise ConfigError(_sentence(parse(url), error)) from None
    except RedisError as error:
        return _sentence(parse(url), error)
    return None


def _sentence(address: Address, error: Exception) -> str:
    text = str(error)
    if isinstance(error, AuthenticationError) or "WRONGPASS" in text or "NOAUTH" in text:
        return f"REDIS_URL: {address} refuses the user or password."
    if "cluster support disabled" in text.lower() or "cluster mode is not enabled" in text.lower():
        return f"REDIS_URL: {address} is no cluster; use redis:// or rediss:// for it."
    if address.kind == "cluster":
        return f"REDIS_URL: no node of {address} answers as a cluster."
    if isinstance(error, ResponseError):
        return f"REDIS_URL: {address} answers: {text.rstrip('.')}."
    return f"REDIS_URL: {address} does not answer ({type(error).__name__})."
