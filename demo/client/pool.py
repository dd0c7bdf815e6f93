"""The one connection pool: one client on one bounded pool per process, with short timeouts and no
retries.

`connect` makes the client from a URL. It speaks bytes (no `decode_responses`): sessions, pages and
counters share it, and each pattern decodes for itself. What stands around each round trip is the
caller's, see `demo.client.wire`.

Nothing is retried: a retry is at-least-once, and a ZINCRBY whose reply was lost would count twice.
A connection that the server closed while idle is reopened without a retry.
"""

import os
import socket
from collections.abc import Sequence
from typing import Any

from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from demo.client.connections import (
    BoundedPool,
    SafeSentinelConnection,
    SafeSentinelSSLConnection,
    with_quick_lookups,
)
from demo.client.redis_url import Address, AddressError, parse
from demo.client.wire import Around, Client, ClusterClient


def connect(
    url: str, *, pool_size: int, timeout_seconds: float, around: Sequence[Around] = ()
) -> Client:
    """One client on one bounded pool for any REDIS_URL. Opens no connection, but for a cluster,
    whose map it needs.

    Raises AddressError when the URL is wrong or no node of a cluster answers as one.
    """
    address = parse(url)
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
                around=around,
                maint_notifications_config=off,
                **options,
            )
        except (RedisError, RedisClusterException) as error:
            raise AddressError(_sentence(address, error)) from None
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
                    **{
                        key: value
                        for key, value in options.items()
                        if key not in ("username", "password")
                    },
                )
            )
            pool.connection_class(**pool.connection_kwargs)
        except (TypeError, ValueError):
            raise AddressError(
                "REDIS_URL is wrong: an option after its question mark is not known."
            ) from None
    return Client(connection_pool=pool, around=around)


def _sentinels(address: Address, timeout_seconds: float) -> Sentinel:
    """Those that are asked for the master, each once, all together within the timeout; such as have
    a password of their own are taken to have the one of Redis."""
    passwords = [None] if address.password is None else [None, address.password]
    each_seconds = timeout_seconds / (len(passwords) * len(address.hosts))
    options: dict[str, Any] = {
        "socket_timeout": each_seconds,
        "socket_connect_timeout": each_seconds,
        "retry": Retry(NoBackoff(), 0),
        "ssl": address.tls,
    }
    made = [
        Sentinel(list(address.hosts), sentinel_kwargs={**options, "password": password})
        for password in passwords
    ]
    made[0].sentinels = [client for sentinel in made for client in sentinel.sentinels]
    for client in made[0].sentinels:
        with_quick_lookups(client.connection_pool)
    return made[0]


def check(client: Client, url: str) -> str | None:
    """Asks Redis whether it is there and lets us in. None when it is; a sentence when it is away,
    which it may be at a start. Raises AddressError with a sentence for what only a person can
    mend: a wrong password, no permission."""
    try:
        client.ping()
    except (AuthenticationError, NoPermissionError, ResponseError) as error:
        raise AddressError(_sentence(parse(url), error)) from None
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
