"""Coroutines in a thread of their own: browser tests leave an event loop running in the thread of the tests."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """What it returns. Raises what it raises."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def where(client: Any) -> dict[str, Any]:
    """How another client reaches the server and database of this one."""
    if isinstance(client, redis.RedisCluster):
        node = client.get_default_node()
        return {"host": node.host, "port": node.port}
    told = client.connection_pool.connection_kwargs
    if "path" in told:
        return {"unix_socket_path": told["path"]}
    return {
        name: told[name]
        for name in ("host", "port", "db", "username", "password")
        if told.get(name)
    }
