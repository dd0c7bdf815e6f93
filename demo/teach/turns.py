"""Turns: a limited number of runs at once in all processes, and a line for the visitors who wait.
Visitors get their turns in the order in which they joined the line.

A visitor has one place in a line, running or waiting. Each address and each network can hold only a
limited number of places, so one client cannot fill the line. No request stays open for a turn. A waiting
visitor asks again now and then and learns how many are ahead. When a turn comes, exactly one answer
says that the run begins. A place is a lease by Redis' clock. A visitor who does not ask again loses
it, and so does a run that is not renewed. A closed browser delays the others for `wait_seconds` at
most, and a killed worker for `run_seconds`.

At most `at_once` runs hold a place at any moment. A run loses its place when it was held up for too
long and another has begun, or when Redis has lost the line. If a run has lost its place, `keep`
says so, and the run has to end. Until it asks, both run side by side.

A line has at most `at_once + most_waiting` places. It is one hash under one key, so one script call
does everything, on a cluster too, and the key expires by itself. Takes a client of bytes. Every
method is one round trip and raises RedisError; `now_ms` is for tests.
"""

import secrets
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from demo.client.contract import PREFIX, RedisClient, beginning, checked, plain, positive, whole

HERE = Path(__file__)


class State(StrEnum):
    """What an answer says. BEGINS is said once for each place; FULL, ADDRESS and NETWORK are
    refusals: the line, the address or the network holds all the places that it may."""

    BEGINS = "begins"
    RUNS = "runs"
    WAITS = "waits"
    FULL = "full"
    ADDRESS = "address"
    NETWORK = "network"
    GONE = "gone"


@dataclass(frozen=True)
class Who:
    """A visitor, their address and its network: each without spaces, and not empty."""

    visitor: str
    address: str
    network: str


@dataclass(frozen=True)
class Turn:
    """A place in a line: `before` others are before it, of a refusal the number that hold one.
    `what` is to be run; `new` is false for a place that the visitor had before asking."""

    state: State
    before: int
    id: str
    what: str
    new: bool = False


class Turns:
    """The line of this name. Those who use one line have to give it the same figures."""

    def __init__(
        self,
        client: RedisClient,
        line: str,
        *,
        at_once: int = 1,
        most_waiting: int = 20,
        of_address: int = 10,
        of_network: int = 15,
        wait_seconds: float = 10.0,
        run_seconds: float = 10.0,
        prefix: str = PREFIX,
    ) -> None:
        positive("wait_seconds", wait_seconds)
        positive("run_seconds", run_seconds)
        self.key = f"{beginning(prefix, 'turns')}{{{plain('line', line)}}}"
        self.at_once = whole("at_once", at_once)
        self.wait_seconds, self.run_seconds = wait_seconds, run_seconds
        leases = (wait_seconds, run_seconds, 2 * max(wait_seconds, run_seconds))
        self._leases = [int(seconds * 1000) for seconds in leases]
        self._bounds = (at_once, most_waiting, of_address, of_network)
        self._client = checked(client)
        self._ask = client.register_script(HERE.with_suffix(".lua").read_text())
        self._keep = client.register_script(HERE.with_name("turns_keep.lua").read_text())

    def join(self, who: Who, what: str, *, now_ms: int | None = None) -> Turn:
        """The visitor's place: the one they have, else a new one at the end of the line, unless it
        is refused."""
        return self._asked(secrets.token_hex(8), who, what, now_ms)

    def look(self, id: str, *, now_ms: int | None = None) -> Turn:
        """A place, kept for `wait_seconds` more if it waits; GONE when nobody asked for it for so
        long, or its run is over."""
        return self._asked(id, Who("", "-", "-"), "", now_ms)

    def keep(self, id: str, *, now_ms: int | None = None) -> bool:
        """Keeps the place of a run for `run_seconds` more. False when it has lost it, and has to
        end."""
        args = [id, *self._leases[1:], "" if now_ms is None else now_ms]
        return bool(self._keep(keys=[self.key], args=args))

    def leave(self, id: str) -> None:
        """Gives a place back, so that nobody has to wait until its time is up."""
        self._client.hdel(self.key, id)

    def _asked(self, id: str, who: Who, what: str, now_ms: int | None) -> Turn:
        args = [id, who.visitor, who.address, who.network, what, *self._bounds, *self._leases]
        found = self._ask(keys=[self.key], args=[*args, "" if now_ms is None else now_ms])
        state, held = State(found[0].decode()), found[2].decode()
        return Turn(state, found[1], held, found[3].decode(), bool(who.visitor) and held == id)
