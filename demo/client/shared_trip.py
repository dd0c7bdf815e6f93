"""A command that shares the round trip of its request's next MGET, though another client sends that.

A page reads its session and its cache entry, each by a file that knows nothing of the other. `offer`
says which command the request will send anyway. `lend`, around one client, adds the command to the
first MGET. `collect`, around the other, answers from what came with it. Whatever else happens, the
command is sent by itself, as if nobody had offered it. A cluster has no trip to share.
"""

from contextvars import ContextVar
from typing import Any

from demo.client.wire import Args, Send, Trip


class _Offer:
    """A command, and its reply once it was sent: errors that Redis answered are replies."""

    def __init__(self, args: Args) -> None:
        self.args = args
        self.replies: list[Any] = []


offered: ContextVar[_Offer | None] = ContextVar("offered", default=None)


def offer(args: Args) -> None:
    """This request will send `args`, its name first, at most once."""
    offered.set(_Offer(args))


def withdraw() -> None:
    """Forgets what was offered; an answer that nobody collected goes with it."""
    offered.set(None)


def replies() -> list[Any]:
    """What came of the command that is offered, empty while nothing did; `collect` still has it."""
    held = offered.get()
    return held.replies if held else []


def lend(trip: Trip, send: Send) -> list[Any]:
    """Adds what was offered to an MGET, as its last command."""
    held = offered.get()
    if held is None or held.replies or trip.label != "MGET":
        return send(trip)
    came = send(
        trip._replace(
            label="pipeline",
            commands=[*trip.commands, held.args],
            parts=[*trip.parts, (held.args, {})],
        )
    )
    held.replies = came[1:]
    return came[:1]


def collect(trip: Trip, send: Send) -> list[Any]:
    """Answers what was offered from the reply that came with an MGET, once."""
    held = offered.get()
    if held is None or trip.commands[0] != held.args:
        return send(trip)
    withdraw()
    return held.replies or send(trip)
