"""The one connection pool: one client on one bounded pool per process, without retries.

`connect` makes the client from a URL. It speaks bytes (no `decode_responses`): sessions, pages and
counters share it, and each pattern decodes for itself. What stands around each round trip is the
caller's, see `demo.client.wire`.

A command whose reply was lost is never sent again: a ZINCRBY would count twice. A call to a server
that does not answer fails after a short timeout. A connection that the server closed while idle is
reopened without a retry. If no connection is free, a caller waits for one, at most
`timeout_seconds`, with every kind of client. In a cluster each node has `pool_size` connections.
"""
# mypy: allow-untyped-calls
# parts of redis-py have no types

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from redis import Connection
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from demo.client.connections import (
    BoundedPool,
    QuickConnection,
    QuickSSLConnection,
    SocketConnection,
    is_cluster,
)
from demo.client.redis_url import Address, parse
from demo.client.wire import OPEN, Around, Client, Guard

if TYPE_CHECKING:
    from demo.client.sentinel import Sentinels


def connect(
    url: str,
    *,
    pool_size: int,
    timeout_seconds: float,
    around: Sequence[Around] = (),
    guards: Callable[[str], Guard] = lambda name: OPEN,
) -> Client:
    """One client on one bounded pool for any REDIS_URL. Opens no connection, except for a cluster,
    whose slot map it asks for. `guards` gives what stands before each server of a cluster, or,
    named "", before the only one.

    Raises AddressError when the URL is wrong.
    """
    address = parse(url)
    options = connection_options(address, timeout_seconds)
    # Who has one server needs neither of the files that the other two kinds take.
    if address.kind == "cluster":
        from demo.client.cluster import ClusterClient
        from demo.client.cluster_talk import NodePool, Turn

        # To callers it is a Client: it takes the same commands, and tells by `is_cluster` that it is
        # not one; the two share no class but redis-py's commands.
        return ClusterClient(  # type: ignore[return-value]
            hosts=address.hosts,
            retry=options.pop("retry"),
            pool=partial(
                NodePool,
                connection_class=QuickSSLConnection if address.tls else QuickConnection,
                max_connections=pool_size,
                timeout=timeout_seconds,
                **options,
            ),
            turn=Turn(pool_size, timeout_seconds),
            timeout_seconds=timeout_seconds,
            guards=guards,
            around=around,
        )
    around = (*around, guards("").around)
    if address.kind == "sentinel":
        from demo.client.sentinel import (
            SafeSentinelConnection,
            SafeSentinelSSLConnection,
            SentinelPool,
        )

        return Client(
            connection_pool=SentinelPool(
                address.service,
                sentinels(address, timeout_seconds),
                connection_class=SafeSentinelSSLConnection
                if address.tls
                else SafeSentinelConnection,
                db=address.db,
                max_connections=pool_size,
                timeout=timeout_seconds,
                **options,
            ),
            around=around,
        )
    return single(address, None, timeout_seconds, pool_size=pool_size, around=around)


def beside(client: Client, around: Sequence[Around], guard: Guard = OPEN) -> Client:
    """A client on the same connections with other wrappers; `guard` stands before the only server,
    those of a cluster's stay. Opens nothing, and closing it closes nothing."""
    if is_cluster(client):
        from demo.client.cluster import ClusterBeside

        return ClusterBeside(client, around)  # type: ignore[arg-type,return-value]
    return Client(connection_pool=client.connection_pool, around=(*around, guard.around))


def connection_options(address: Address, timeout_seconds: float) -> dict[str, Any]:
    """What each connection to Redis is made with."""
    return {
        "username": address.username,
        "password": address.password,
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "client_name": process_name(),
        **_spoken(address),
    }


def process_name() -> str:
    """What connections of this process are called in Redis' list of them."""
    return f"demo:{socket.gethostname()[:32].replace(' ', '-')}:{os.getpid()}"


def _spoken(address: Address) -> dict[str, Any]:
    """The URL's options. Unset, redis-py speaks RESP3 and answers in the shapes of RESP2, which the
    app expects; told 3, it would answer in others."""
    return {
        name: value for name, value in address.options.items() if (name, value) != ("protocol", 3)
    }


def single(
    address: Address,
    host: tuple[str, int] | None,
    timeout_seconds: float,
    *,
    pool_size: int = 1,
    around: Sequence[Around] = (),
) -> Client:
    """A client for one of the servers of an address alone, the only one by default, with its TLS,
    user and password."""
    where: dict[str, Any] = {"path": address.path}
    connection: type[Connection] | type[SocketConnection] = SocketConnection
    if not address.path:
        name, port = host or address.hosts[0]
        where = {"host": name, "port": port}
        connection = QuickSSLConnection if address.tls else QuickConnection
    pool = BoundedPool(
        connection_class=connection,
        db=address.db if host is None else 0,
        max_connections=pool_size,
        timeout=timeout_seconds,
        **where,
        **connection_options(address, timeout_seconds),
    )
    return Client(connection_pool=pool, around=around)


def sentinels(address: Address, timeout_seconds: float) -> "Sentinels":
    """The Sentinels that are asked for the primary, each once, all together within the timeout.
    Without a Sentinel password in the URL, each Sentinel is asked twice: without a password, then
    with Redis's."""
    from demo.client.sentinel import Sentinels

    logins = sentinel_logins(address)
    each_seconds = timeout_seconds / (len(logins) * len(address.hosts))
    made = Sentinels([])
    made.sentinels = [
        single(login, host, each_seconds, pool_size=4) for login in logins for host in address.hosts
    ]
    return made


def sentinel_logins(address: Address) -> list[Address]:
    """With which users and passwords Sentinels are tried, as addresses."""
    own = (address.sentinel_username, address.sentinel_password)
    if any(own):
        return [replace(address, username=own[0], password=own[1])]
    nobody = replace(address, username=None, password=None)
    return [nobody] if address.password is None else [nobody, replace(address, username=None)]
