"""Commands to servers of a cluster and what they reply, all within one time.

Everything is sent before anything is read, so several servers are waited for together. What is the
matter with one of them is the error of its own commands. Whatever ends it, no connection is handed on
with a reply still on its way.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ConnectionError, RedisError, ResponseError

from demo.client.connections import NONE_FREE, BoundedPool, PoolExhausted
from demo.client.wire import Guard, NotSent


class NodePool(BoundedPool):
    """The same for a node of a cluster. After a node's failure redis-py marks connections that are
    in use, so that they are opened again."""

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


class Talk:
    """What a cluster's client sends by. `guards` gives what stands before each server; `doubt` has the
    map asked for again."""

    guards: Callable[[str], Guard]
    _timeout_seconds: float
    doubt: Callable[[], None]
    get_redis_connection: Callable[[Any], Any]

    def _talk(
        self, batches: Sequence[tuple[Any, list[Any]]], until: float = 0.0
    ) -> list[list[Any]]:
        """Sends commands to servers, all before any reply is read. Then reads replies until the
        time is over, or for the whole timeout where none is given. Returns a reply or an error for
        each command."""
        hurried = len(batches) > 1 or until
        until = until or time.monotonic() + self._timeout_seconds
        answers: list[list[Any]] = [[] for _ in batches]
        under_way: list[tuple[int, Any, Any]] = []
        try:
            for number, (node, commands) in enumerate(batches):
                self._send_to(node, commands, answers[number], number, under_way)
            while under_way:
                number, connection, _ = under_way[0]
                if hurried:
                    connection.wait_until(until)
                self._read_from(*batches[number], connection, answers[number])
                _, _, pool = under_way.pop(0)
                pool.release(connection)
        finally:  # whatever ended it: what was not read must not be handed on
            for _, connection, pool in under_way:
                connection.disconnect()
                pool.release(connection)
        return answers

    def _send_to(
        self,
        node: Any,
        commands: Sequence[Any],
        answers: list[Any],
        number: int,
        under_way: list[tuple[int, Any, Any]],
    ) -> None:
        try:
            self.guards(node.name).before()
            pool = self.get_redis_connection(node).connection_pool
            connection = pool.get_connection()
            under_way.append((number, connection, pool))
            connection.send_packed_command(connection.pack_commands([args for args, _ in commands]))
        except RedisError as error:
            answers += [error] * len(commands)
            if under_way and under_way[-1][0] == number:
                under_way.pop()
                connection.disconnect()
                pool.release(connection)
            self._failed(node, error)

    def _read_from(
        self, node: Any, commands: Sequence[Any], connection: Any, answers: list[Any]
    ) -> None:
        parse = node.redis_connection.parse_response
        try:
            for args, options in commands:
                try:
                    reply = parse(connection, args[0], **options)
                except ResponseError as error:
                    reply = error
                answers.append(reply)
            self.guards(node.name).learn(answers)
        except RedisError as error:
            connection.disconnect()
            answers += [error] * (len(commands) - len(answers))
            self._failed(node, error)

    def _failed(self, node: Any, error: RedisError) -> None:
        if isinstance(error, NotSent):
            return
        if isinstance(error, ConnectionError):  # one that was late may only be late
            self.doubt()
        self.guards(node.name).learn([error])
