"""Signs of life: whether a server answers, and each server of a cluster. The breaker's probe asks
separately, so no request has to find out whether Redis is back.
"""

from typing import Any

from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from demo.client.connections import BoundedPool, PoolExhausted, is_cluster

PROBE_KEY = "demo:client:{probe}"
MOST_PROBES = 16_384


def probe(client: Any, name: str = "") -> Any:
    """Pings a client's server, or the server of that name in a cluster. Uses a free connection, or
    else one of its own, because an exhausted pool does not mean that the server is down. A key is
    asked for: a cluster that is down answers everything else. Raises RedisError."""
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
