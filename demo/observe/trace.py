"""The trace of a request: what it asked of Redis and of the database, kept for as long as the
request runs.

Commands are kept as they were sent; `demo.teach.describe` puts them into words only where they are
shown.
"""

import sys
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from demo.client.wire import LateInAll, NotSent, Send, Trip
from demo.observe import recorder
from demo.observe.recorder import Inside

TRACE, ENDPOINT = "demo.trace", "demo.endpoint"  # where a request's environment holds them
Asked = tuple[tuple[Any, ...], Any]
LATE_SHARE, PATIENCE_SHARE = 0.4, 0.8  # of the timeout
DEMO = Path(__file__).resolve().parent.parent
_adding = threading.Lock()  # of all traces: it is held for a moment
PASSES_ON = tuple(
    str(DEMO / name) for name in ("client/", "observe/", "teach/faults.py", "database.py")
)


class Step(NamedTuple):
    """One visit to Redis or to the database. `start_ms` counts from the request's beginning."""

    kind: str
    label: str
    start_ms: float
    duration_ms: float
    source: str
    line: int
    asked: tuple[Asked, ...] = ()
    sent: bool = True


@dataclass(slots=True)
class Trace:
    """All steps of one request; `detailed` ones with their commands and the lines that sent them.

    Sums cover what was really sent: how often and how long this request waited for Redis and the
    database, and how many commands it sent. `late_ms` is the time of round trips that took a good
    part of `timeout_ms`, the longest wait for one; without an end to it none is late. Where
    `recording`, scripts note what they run: `inside`, by the identity of the call's arguments.
    """

    detailed: bool = True
    started: float = field(default_factory=time.perf_counter)
    steps: list[Step] = field(default_factory=list)
    finished: float | None = None
    round_trips: int = 0
    commands: int = 0
    redis_ms: float = 0.0
    visits: int = 0
    database_ms: float = 0.0
    timeout_ms: float = 250.0
    late_ms: float = 0.0
    recording: bool = False
    inside: dict[int, Inside] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        """Takes a step down. Threads that a request has begun add to the same trace."""
        with _adding:
            self.steps.append(step)
            if step.sent and step.kind == "redis":
                self.round_trips += 1
                self.commands += len(step.asked)
                self.redis_ms += step.duration_ms
                if step.duration_ms > LATE_SHARE * self.timeout_ms:
                    self.late_ms += step.duration_ms
            elif step.sent:
                self.visits += 1
                self.database_ms += step.duration_ms

    def total_ms(self) -> float:
        """Milliseconds from the first moment to `finish`, or to now."""
        return ((self.finished or time.perf_counter()) - self.started) * 1000

    def finish(self) -> None:
        """Stops the clock; what follows is the x-ray's own work."""
        self.finished = time.perf_counter()

    def of(self, kind: str) -> list[Step]:
        """The steps of one kind, `redis` or `db`, that were really sent."""
        return [step for step in self.steps if step.kind == kind and step.sent]

    def server_timing(self) -> str:
        """The value of the header Server-Timing."""
        trips, visits = self.round_trips, self.visits
        return (
            f'redis;dur={self.redis_ms:.2f};desc="{trips} round trip{"s" * (trips != 1)}", '
            f'db;dur={self.database_ms:.2f};desc="{visits} visit{"s" * (visits != 1)}", '
            f"total;dur={self.total_ms():.2f}"
        )


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin_trace(*, detailed: bool = True) -> Trace:
    """Starts the trace of a request."""
    trace = Trace(detailed)
    _current.set(trace)
    return trace


def resume_trace(trace: Trace, *, detailed: bool) -> None:
    """Goes on with a trace that was begun before."""
    trace.detailed = detailed
    _current.set(trace)


def current_trace() -> Trace | None:
    """The trace of the request that runs in this context."""
    return _current.get()


def end_trace() -> None:
    """Forgets the trace."""
    _current.set(None)


def record_step(
    kind: str, label: str, began: float, asked: tuple[Asked, ...] = (), sent: bool = True
) -> None:
    """Adds a step that began at `began` (time.perf_counter) and ends now: what was asked, each with
    its reply. Without a running request it does nothing."""
    trace = _current.get()
    if trace is None:
        return
    now = time.perf_counter()
    source, line = _call_site() if trace.detailed else ("", 0)
    trace.add(
        Step(
            kind,
            label,
            (began - trace.started) * 1000,
            (now - began) * 1000,
            source,
            line,
            asked,
            sent,
        )
    )


def around(trip: Trip, send: Send) -> list[Any]:
    """Records each round trip of a running request: what was asked, what came back, how long it
    took. Each may be late once, and all of them together no more than about two are. Raises
    LateInAll from then on, for the rest of the request."""
    trace = _current.get()
    if trace is None:
        return send(trip)
    began = time.perf_counter()
    try:
        if trace.late_ms > PATIENCE_SHARE * trace.timeout_ms:
            raise LateInAll("not sent: this request has waited for Redis long enough")
        if trace.recording and trace.detailed:
            replies, inside = recorder.run(trip, send)
            if inside is not None:
                trace.inside[id(trip.commands[0])] = inside
        else:
            replies = send(trip)
    except RedisError as error:
        asked = tuple((args, error) for args in trip.commands) if trace.detailed else ()
        record_step("redis", trip.label, began, asked, sent=not isinstance(error, NotSent))
        raise
    asked = tuple(zip(trip.commands, replies, strict=True)) if trace.detailed else ()
    record_step("redis", trip.label, began, asked)
    return replies


def visited(label: str, began: float) -> None:
    """Records a visit to the database."""
    record_step("db", label, began)


def _call_site() -> tuple[str, int]:
    frame = sys._getframe(2)
    while frame is not None:
        name = _name(frame.f_code.co_filename)
        if name:
            return name, frame.f_lineno
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "", 0


@cache
def _name(path: str) -> str:
    """The file as the reader knows it; empty for those that only pass a command on."""
    ours = path.startswith(f"{DEMO}/") and not path.startswith(PASSES_ON)
    return Path(path).relative_to(DEMO.parent).as_posix() if ours else ""
