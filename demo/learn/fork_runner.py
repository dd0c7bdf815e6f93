"""What happens to a connection when its process forks: a process of its own, as a web server's
workers are forked with whatever they had open.

One line of JSON on standard input, one on standard output. One connection is used by parent and
child in a forced order: the parent asks first, the child reads first. Then both ask by the pool,
which notices that it is in another process.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec
from redis.exceptions import RedisError

from demo.client import children
from demo.client.pool import connect

MEMORY_MB, SECONDS, KEY_MS = 512, 1.0, 60_000


class Task(msgspec.Struct, frozen=True):
    """The server, and two keys of the run."""

    redis_url: str
    keys: tuple[str, str]


class Told(msgspec.Struct, frozen=True):
    """What the child got who asked for the value "child": by the connection that it shares with its
    parent, and by the pool."""

    shared: str
    pooled: str


def main() -> None:
    """Reads the task and does it. Raises RedisError."""
    children.bound(MEMORY_MB)
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    client = connect(task.redis_url, pool_size=2, timeout_seconds=SECONDS)
    for key, value in zip(task.keys, ("parent", "child"), strict=True):
        client.set(key, value, px=KEY_MS)
    told = Told(_shared(client, task.keys), _in_child(lambda: _text(client.get(task.keys[1]))))
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")


def _shared(client: Any, keys: tuple[str, str]) -> str:
    """What the child reads of a connection on which its parent has asked just before."""
    connection = client.connection_pool.get_connection()
    connection.send_command("GET", keys[0])

    def ask() -> str:
        connection.send_command("GET", keys[1])
        return _text(connection.read_response())

    try:
        return _in_child(ask)
    finally:
        connection.disconnect()


def _in_child(ask: Callable[[], str]) -> str:
    """What a forked child says."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = ask()
        except RedisError as error:
            said = type(error).__name__
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as told:
        return told.read(100).decode()


def _text(reply: object) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)


if __name__ == "__main__":
    main()
