"""The wire: every round trip to Redis passes here, whatever client sends it.

A trip is what goes out at once: one command or one pipeline. `around` holds the wrappers of a
client, outermost first. Each wrapper gets the trip and the function that sends it on, and returns
the replies, one per command. An error that Redis answered is a reply; an error that kept the
replies away is raised.

A standalone server, a Sentinel's primary and a cluster differ in how a trip is sent and in nothing
else, so a wrapper holds for all three. Without wrappers a client behaves like redis-py's own.

Two connections that only listen are no client's and do not pass here: the messages of live boards
(`leaderboard/subscription.py`) and of the near cache (`catalog/near_cache.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeAlias

from redis import Redis, RedisCluster
from redis.client import Pipeline
from redis.cluster import ClusterPipeline, TransactionStrategy
from redis.exceptions import (
    ConnectionError,
    RedisClusterException,
    ResponseError,
    TimeoutError,
)

Args: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Trip:
    """One round trip: `commands` as a caller gave them, name first; `atomic` if all or none count.

    `parts` are redis-py's own records of the commands, in the same order; `carry` sends them.
    """

    label: str
    commands: list[Args]
    parts: list[Any]
    carry: "Send"
    atomic: bool = False

    def only(self, places: Sequence[int]) -> "Trip":
        """The same trip with the commands at these places alone."""
        commands, parts = self.commands, self.parts
        return replace(
            self,
            commands=[commands[place] for place in places],
            parts=[parts[place] for place in places],
        )

    def instead(self, args: Args) -> "Trip":
        """The trip of a single command, with another command in its place."""
        return replace(self, commands=[args], parts=[(args, self.parts[0][1])])


Send: TypeAlias = Callable[[Trip], list[Any]]


class Around(Protocol):
    """What stands around a trip: it sends the trip on, or does not, and returns the replies."""

    def __call__(self, trip: Trip, send: Send) -> list[Any]: ...


def deliver(trip: Trip) -> list[Any]:
    """The end of the chain: sends the trip over the connection."""
    return trip.carry(trip)


def through(around: Sequence[Around]) -> Send:
    """One function that takes a trip through all wrappers and delivers it."""
    send: Send = deliver
    for wrapper in reversed(around):
        send = partial(wrapper, send=send)
    return send


class _Wired:
    """Sends single commands through the wire; a client adds how it carries one."""

    send: Send = staticmethod(deliver)  # a cluster's client asks for the map while it is made

    def __init__(self, *args: Any, around: Sequence[Around] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.send = through(around)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        reply = self.send(Trip(args[0], [args], [(args, options)], self._carry))[0]
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _carry(self, trip: Trip) -> list[Any]:
        raise AssertionError("each client has its own")


class Client(_Wired, Redis):
    """A redis-py client for one server, or for the primary that a Sentinel names."""

    def _carry(self, trip: Trip) -> list[Any]:
        args, options = trip.parts[0]
        try:
            return [self._execute_command(*args, **options)]
        except ResponseError as error:
            return [error]

    def _execute_command(self, *args: Any, **options: Any) -> Any:
        """Sends one command without redis-py's retries and meters: each command would pay for them.

        Nothing is retried: a ZINCRBY whose reply was lost would count twice.
        """
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
        pipeline = _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.send = self.send
        return pipeline


class _Pipeline(Pipeline):
    send: Send

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        parts = self.command_stack
        if not parts:
            return []
        atomic = bool(self.transaction or self.explicit_transaction)  # type: ignore[truthy-function]
        trip = Trip("pipeline", [args for args, _ in parts], parts, self._carry, atomic)
        try:
            replies = self.send(trip)
        finally:
            if self.command_stack:  # it never went out
                self.reset()
        if raise_on_error:
            _raise_first(trip, replies)
        return replies

    def _carry(self, trip: Trip) -> list[Any]:
        self.command_stack = trip.parts
        return list(super().execute(raise_on_error=False))


class ClusterClient(_Wired, RedisCluster):
    """A redis-py client for a cluster."""

    def _carry(self, trip: Trip) -> list[Any]:
        args, options = trip.parts[0]
        try:
            return [RedisCluster.execute_command(self, *args, **options)]
        except ResponseError as error:
            return [error]
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error

    def pipeline(
        self, transaction: bool | None = None, shard_hint: str | None = None
    ) -> ClusterPipeline:
        made: Any = super().pipeline(transaction, shard_hint)
        made.__class__ = _ClusterPipeline
        made.send = self.send
        pipeline: ClusterPipeline = made
        return pipeline


class _ClusterPipeline(ClusterPipeline):
    send: Send

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        parts = list(self._execution_strategy.command_queue)
        if not parts:
            return []
        atomic = isinstance(self._execution_strategy, TransactionStrategy)
        trip = Trip("pipeline", [part.args for part in parts], parts, self._carry, atomic)
        try:
            replies = self.send(trip)
        finally:
            if self._execution_strategy.command_queue:  # it never went out
                self.reset()
        if raise_on_error:
            _raise_first(trip, replies)
        return replies

    def _carry(self, trip: Trip) -> list[Any]:
        strategy: Any = self._execution_strategy
        strategy.command_queue = trip.parts
        try:
            return list(super().execute(raise_on_error=False))
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error


def _raise_first(trip: Trip, replies: list[Any]) -> None:
    for number, (args, reply) in enumerate(zip(trip.commands, replies, strict=True), 1):
        if isinstance(reply, Exception):
            if reply.args:  # which of them it was; never its arguments, which may be secret
                text = f"command {number} of the pipeline, {args[0]}: {reply.args[0]}"
                reply.args = (text, *reply.args[1:])
            raise reply
