"""The wire. Every round trip of requests to Redis passes through the wrappers, with every kind of
client.

A round trip is one command or one pipeline, which is sent together and passes the wrappers once.
`around` holds the wrappers of a client, outermost first. Each wrapper gets the trip and the
function that sends it on, and returns the replies, one per command. An error that Redis answered is
a reply; an error that kept the replies away is raised. If one server fails in a cluster's pipeline,
its error stands in the places of its replies, beside the replies of the others.

The same wrapper works for a standalone server, a Sentinel's primary and a cluster, because they
differ only in how a trip is sent. Without wrappers a client behaves like redis-py's own.

Connections that only listen do not pass here: those of live boards (`leaderboard/subscription.py`),
of the near cache (`catalog/near_cache.py`) and of Sentinels (`failover.py`). Neither do the probe's
pings (`probe.py`).
"""
# mypy: allow-untyped-calls
# parts of redis-py have no types

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import (
    ConnectionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

Args: TypeAlias = tuple[Any, ...]


class NotSent(RedisError):
    """Kept back by this process: nothing was sent, so nothing was changed."""

    unsent = True


class LateInAll(NotSent):
    """Several replies that are late, each within the timeout, would hold a page up for their sum."""


class Trip(NamedTuple):
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
        return self._replace(
            commands=[commands[place] for place in places],
            parts=[parts[place] for place in places],
        )

    def instead(self, args: Args) -> "Trip":
        """The trip of a single command, with another command in its place."""
        return self._replace(commands=[args], parts=[(args, self.parts[0][1])])


Send: TypeAlias = Callable[[Trip], list[Any]]


class Guard:
    """What stands before one server: it raises NotSent where nothing may go there, and learns of
    replies, or of the error that kept them away. This one lets everything pass."""

    def before(self) -> None:
        """Raises NotSent unless a call may go out."""

    def learn(self, replies: Sequence[Any]) -> None:
        """Judges what has become of a call."""

    def around(self, trip: Trip, send: Send) -> list[Any]:
        """Both, around a trip to the one server that there is."""
        self.before()
        try:
            replies = send(trip)
        except NotSent:  # this process' own matter: Redis was not asked
            raise
        except RedisError as error:
            self.learn([error])
            raise
        self.learn(replies)
        return replies


OPEN = Guard()


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


class Wired:
    """Sends single commands through the wire; a client adds how it carries one."""

    send: Send
    texts: dict[str, str]

    def __init__(self, *args: Any, around: Sequence[Around] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.send, self.texts = through(around), {}

    def remember(self, script: Any) -> Any:
        """A script that was registered, for when the server has forgotten it."""
        self.texts[script.sha] = script.script
        return script

    def execute_command(self, *args: Any, **options: Any) -> Any:
        reply = self.send(Trip(args[0], [args], [(args, options)], self._carry))[0]
        if isinstance(reply, Exception):
            if isinstance(reply, NoScriptError) and args[0] == "EVALSHA" and args[1] in self.texts:
                # Not SCRIPT LOAD: a server that does not permit that may well permit EVAL, which
                # also makes it know the script from then on.
                return self.execute_command("EVAL", self.texts[args[1]], *args[2:], **options)
            raise reply
        return reply

    def _carry(self, trip: Trip) -> list[Any]:
        raise AssertionError("each client has its own")


class Client(Wired, Redis):
    """A redis-py client for one server, or for the primary that a Sentinel names."""

    def register_script(self, script: Any) -> Any:
        return self.remember(super().register_script(script))

    def _carry(self, trip: Trip) -> list[Any]:
        """Sends one command, or several at once, without redis-py's retries and meters: each command
        would pay for them.

        Nothing is retried: a ZINCRBY whose reply was lost would count twice.
        """
        pool: Any = self.connection_pool
        connection = self.connection or pool.get_connection()
        replies, leaves = list[Any](), False
        try:
            if len(trip.parts) == 1:
                args, options = trip.parts[0]
                connection.send_command(*args, **options)
            else:
                packed = connection.pack_commands([args for args, _ in trip.parts])
                connection.send_packed_command(packed)
            for args, options in trip.parts:
                try:
                    replies.append(self.parse_response(connection, args[0], **options))
                except ResponseError as error:
                    replies.append(error)
                    leaves = leaves or _takes_no_writes(error)
        except (ConnectionError, TimeoutError, OSError):
            connection.disconnect()
            raise
        finally:
            if not self.connection:
                pool.release(connection)
        if leaves:
            pool.leave()
        return replies

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        pipeline = _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.send = self.send
        return pipeline


def _takes_no_writes(reply: Any) -> bool:
    return isinstance(reply, ReadOnlyError) or (
        isinstance(reply, ResponseError) and str(reply).startswith("NOREPLICAS")
    )


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
            raise_first(trip, replies)
        return replies

    def _carry(self, trip: Trip) -> list[Any]:
        self.command_stack = trip.parts
        replies = list(super().execute(raise_on_error=False))
        kinds = set(map(type, replies))
        if kinds & {ReadOnlyError, ResponseError} and any(map(_takes_no_writes, replies)):
            pool: Any = self.connection_pool
            pool.leave()
        return replies


def raise_first(trip: Trip, replies: list[Any]) -> None:
    """Raises the first error among the replies of a pipeline, with the command that it is of."""
    for number, (args, reply) in enumerate(zip(trip.commands, replies, strict=True), 1):
        if isinstance(reply, Exception):
            if reply.args:  # which of them it was; never its arguments, which may be secret
                text = f"command {number} of the pipeline, {args[0]}: {reply.args[0]}"
                reply.args = (text, *reply.args[1:])
            raise reply
