"""The lines of the labs, what takes turns in them, and as whom a visitor stands in one.

A visitor is a session. Without one a visitor is an address, in IPv6 a /64. However many sessions an
address makes, it holds half of a line at most.
"""

import hashlib
import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from flask import current_app, request, session
from redis.exceptions import RedisError
from werkzeug import Response

from demo.observe import addresses
from demo.teach.turns import Turns, Who
from demo.web.services import services


@dataclass(frozen=True)
class Line:
    """Labs that take turns with each other. A page asks again every `again_seconds`."""

    name: str
    at_once: int
    again_seconds: int
    run_seconds: float = 10.0

    def turns(self) -> Turns:
        """The line itself. The order of turns is no part of a lesson: no visitor's choice reaches
        it."""
        made: Lines = services().parts.setdefault(Lines, Lines())
        if self.name not in made:
            made[self.name] = Turns(
                services().protected_redis,
                self.name,
                at_once=self.at_once,
                run_seconds=self.run_seconds,
            )
        return made[self.name]


class Lines(dict[str, Turns]):
    """The lines of an app, by name."""


# What has the machine for seconds, in processes of its own, and what is over within a request.
RUNS = Line("runs", at_once=1, again_seconds=2)
TRIES = Line("tries", at_once=1, again_seconds=1, run_seconds=30.0)


class Run:
    """A run whose turn it is."""

    def __init__(self, turns: Turns | None, id: str) -> None:
        self.id, self._turns = id, turns

    def keep(self) -> bool:
        """Keeps the turn for a while; False when it is lost, and the run has to end. Raises
        RedisError."""
        return self._turns is None or self._turns.keep(self.id)

    def leave(self) -> None:
        """Gives the turn to the next; where Redis cannot be told it runs out."""
        with suppress(RedisError):
            if self._turns is not None:
                self._turns.leave(self.id)


@dataclass(frozen=True)
class Lab:
    """An experiment. `begin` runs `what` and answers; where the run goes on after the answer it
    keeps and leaves its turn itself. `page` is where it is told of, `kept` whether that page
    knows a run by its id. One that can do without Redis is bounded in this process then."""

    name: str
    title: str
    line: Line
    begin: Callable[[str, Run], Response]
    page: Callable[[str, str], str]
    kept: bool = True
    goes_on: bool = False
    without_redis: bool = False


LABS: dict[str, Lab] = {}


def add(lab: Lab) -> Lab:
    """Makes a lab known to the page of those who wait."""
    LABS[lab.name] = lab
    return lab


def who() -> Who:
    """The visitor. A cookie alone is no session: Redis has to know it."""
    address = request.remote_addr
    one = addresses.identity(address)
    session.get("user")
    sid = None if getattr(session, "away", None) else getattr(session, "sid", None)
    visitor = f"session {sid}" if sid else f"address {one}"
    return Who(*map(_hidden, (visitor, f"at {one}", f"in {addresses.network(address)}")))


def _hidden(text: str) -> str:
    """Neither an address nor an id of a session lies in a line, where other visitors may look."""
    secret = str(current_app.secret_key).encode()
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()[:20]
