"""What strangers may have Redis keep, in bytes: per network, and for all.

Each thing that is kept counts with its size for as long as it can live. A network may hold a
quarter of a budget. The last quarter is for networks that hold little, so one that has filled the
rest does not shut others out. IPv4 counts by /24, IPv6 by /48: the holder of a whole network is one
caller.

Counted in the process, so it costs no round trip; of several workers each gives out its share. After
a restart it is counted from nothing.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from flask import request

from demo.client.memory import Memory
from demo.observe import addresses
from demo.web.errors import TryLater

NETWORK_PART, RESERVED_PART, LITTLE_PART = 4, 4, 64


class OutOfBudget(TryLater):
    """429: as much as may be kept is kept, until something of it goes."""


@dataclass
class Held:
    """What a network has: of each thing until when, and its size."""

    things: OrderedDict[str, tuple[float, int]] = field(default_factory=OrderedDict)
    size: int = 0


class Budget:
    """`most` tells how many bytes there are for all, in this process; `clock` is monotonic, in
    seconds."""

    def __init__(
        self,
        what: str,
        most: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self._most, self._clock = what, most, clock
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}
        self.size = 0

    @property
    def most(self) -> int:
        """Bytes for all."""
        return int(self._most())

    def take(self, network: str, thing: str, size: int, life_seconds: float) -> None:
        """The thing, which may grow to `size` bytes, is kept for `life_seconds` from now. Raises
        OutOfBudget; then nothing is."""
        with self._lock:
            now, most = self._clock(), self.most
            held = self._held.setdefault(network, Held())
            until, before = held.things.get(thing, (0.0, 0))
            more = max(0, size - before)
            if self._is_over(held, more, most):
                self._forget(now)
                held = self._held.setdefault(network, held)
                until, before = held.things.get(thing, (0.0, 0))
                more = max(0, size - before)
            if self._is_over(held, more, most):
                raise self._refusal(network, held, now)
            held.things[thing] = max(until, now + life_seconds), before + more
            held.size += more
            self.size += more

    def settle(self, network: str, thing: str, size: int = 0) -> None:
        """The thing has become no more than `size` bytes; with 0 it is not kept after all."""
        with self._lock:
            held = self._held.get(network)
            if held is None or thing not in held.things:
                return
            until, before = held.things[thing]
            self._drop(network, held, thing)
            if size:
                held.things[thing] = until, min(size, before)
                held.size += min(size, before)
                self.size += min(size, before)
                self._held[network] = held

    def _is_over(self, held: Held, more: int, most: int) -> bool:
        if not more:
            return False
        if held.size + more > most // NETWORK_PART:
            return True
        is_little = held.size + more <= most // LITTLE_PART
        return self.size + more > (most if is_little else most - most // RESERVED_PART)

    def _forget(self, now: float) -> None:
        for network, held in list(self._held.items()):
            for thing in [name for name, (until, _) in held.things.items() if until <= now]:
                self._drop(network, held, thing)

    def _drop(self, network: str, held: Held, thing: str) -> None:
        _, size = held.things.pop(thing, (0.0, 0))
        held.size -= size
        self.size -= size
        if not held.things:
            self._held.pop(network, None)

    def _refusal(self, network: str, held: Held, now: float) -> OutOfBudget:
        soonest = min((until for until, _ in held.things.values()), default=now + 60)
        whose = "your network" if held.things else "all visitors"
        if not held.things:
            self._held.pop(network, None)
        return OutOfBudget(
            429,
            f"The memory budget of {whose} is used up: {self.what}. Nothing was changed.",
            max(1, round(soonest - now)),
        )


@dataclass(frozen=True)
class Budgets:
    """Those of an app: shares of Redis' memory, of this worker."""

    limits: Budget
    keys: Budget
    boards: Budget
    rows: Budget
    sessions: Budget


# What each is for, and its share of Redis' memory.
SHARES = {
    "limits": ("limits that a visitor sets in the playground, and its requests", 1 / 12),
    "keys": ("idempotency keys of scores, counted for an hour", 1 / 6),
    "boards": ("new boards, counted for two days", 1 / 12),
    "rows": ("new players in batches of scores, counted for a minute", 1 / 12),
    "sessions": ("sessions and carts", 1 / 8),
}


def budgets(memory: Memory, workers: int) -> Budgets:
    """Of one of so many workers."""

    def made(name: str) -> Budget:
        what, part = SHARES[name]
        return Budget(what, lambda: memory.maxmemory_bytes * part / workers)

    return Budgets(**{name: made(name) for name in SHARES})


def network() -> str:
    """The network of who asks."""
    return addresses.network(request.remote_addr)
