"""The last ten seconds of the whole app in one small value: what flowed where, and which servers
there are.

The sampling process stores it. Every process reads it in the round trip that carries its own report
and keeps it, so a page shows it without asking Redis.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from demo.client.contract import PREFIX, beginning


def key_of(prefix: str) -> str:
    """Where it lies."""
    return f"{beginning(prefix, 'monitor')}{{sampler}}:latest"


KEY = key_of(PREFIX)
KEPT_SECONDS = 60


class Flow(msgspec.Struct, array_like=True):
    """How often in ten seconds, and the p95 in microseconds: 0 where there was nothing."""

    count: int = 0
    p95_us: int = 0


class Node(msgspec.Struct, array_like=True):
    """A server of Redis; `trouble` says what is the matter with it, empty when it is well."""

    name: str
    role: str
    trouble: str = ""


class Latest(msgspec.Struct, array_like=True):
    """The ten seconds before `at_ms`, of Redis' clock. `pool_peak` adds up the most connections that
    each of `processes` had out at once, `waited` counts calls that found none free. `total` is what
    went to Redis, that of no use case included."""

    at_ms: int
    processes: int
    pool_peak: int
    pool_size: int
    waited: int
    rooms: dict[str, Flow]
    answers: Flow
    visits: Flow
    nodes: list[Node]
    total: Flow = msgspec.field(default_factory=Flow)


def store(pipeline: Any, latest: Latest, prefix: str = PREFIX) -> None:
    """As a command of the caller's pipeline."""
    pipeline.set(key_of(prefix), msgspec.msgpack.encode(latest), ex=KEPT_SECONDS)


def p95_of_bounds(counts: Mapping[int, int]) -> int:
    """So long at most were 95 of 100, of counts by their upper bounds; 0 without any."""
    seen, rank = 0, 0.95 * sum(counts.values())
    for bound in sorted(counts):
        seen += counts[bound]
        if rank and seen >= rank:
            return bound
    return 0


class Kept:
    """What this process has read last. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._latest: Latest | None = None
        self._since = 0.0

    def learn(self, raw: Any) -> None:
        """What lies under KEY; what does not decode changes nothing."""
        try:
            found = msgspec.msgpack.decode(raw or b"", type=Latest)
        except (msgspec.MsgspecError, TypeError):
            return
        with self._lock:
            if self._latest is None or found.at_ms != self._latest.at_ms:
                self._latest, self._since = found, self._clock()

    def look(self) -> tuple[Latest | None, float]:
        """What is known, and since how many seconds; its clock is Redis', so its age is counted
        here."""
        with self._lock:
            return self._latest, self._clock() - self._since
