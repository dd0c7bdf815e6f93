"""The x-ray: what this request asked of Redis and of the database, kept in this process for as long as the request runs.

`record` is called by the one client (`demo.pool`) and by the one database (`demo.database`). Arguments are shortened,
replies are told by type and size, and nothing of a session is shown: the x-ray never holds a secret.
"""

import sys
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo import scripts

HERE = Path(__file__).resolve().parent
SKIPPED = {str(HERE / name) for name in ("pool.py", "faults.py", "xray.py", "database.py")}
SECRET_PREFIX = "demo:sessions:"
ALL_KEYS = ("MGET", "DEL", "UNLINK", "EXISTS")
SHOWN_ARGUMENTS = 8
SHOWN_CHARACTERS = 48


@dataclass(frozen=True)
class Command:
    """One command as shown: `reply` is a description, `refused` tells an error apart from an answer."""

    name: str
    key: str
    arguments: str
    reply: str
    refused: bool = False


@dataclass(frozen=True)
class Step:
    """One visit to Redis or to the database. `start_ms` counts from the request's beginning."""

    kind: str
    label: str
    start_ms: float
    duration_ms: float
    source: str
    line: int
    commands: tuple[Command, ...] = ()
    sent: bool = True


@dataclass
class Trace:
    """All steps of one request; `detailed` ones with their commands and the lines that sent them."""

    detailed: bool = True
    started: float = field(default_factory=time.perf_counter)
    steps: list[Step] = field(default_factory=list)
    finished: float | None = None

    def total_ms(self) -> float:
        """Milliseconds from the first moment to `finish`, or to now."""
        return ((self.finished or time.perf_counter()) - self.started) * 1000

    def finish(self) -> None:
        """Stops the clock; what follows is the x-ray's own work."""
        self.finished = time.perf_counter()

    def of(self, kind: str) -> list[Step]:
        """The steps of one kind, `redis` or `db`, that were really sent."""
        return [step for step in self.steps if step.kind == kind and step.sent]

    def duration_ms(self, kind: str) -> float:
        """Milliseconds spent in one kind."""
        return sum(step.duration_ms for step in self.of(kind))

    @property
    def round_trips(self) -> int:
        """How often this request waited for Redis."""
        return len(self.of("redis"))

    @property
    def commands(self) -> int:
        """How many commands went along on these round trips."""
        return sum(len(step.commands) for step in self.of("redis"))


_current: ContextVar[Trace | None] = ContextVar("xray", default=None)


def begin(*, detailed: bool = True) -> Trace:
    """Starts the trace of a request."""
    trace = Trace(detailed)
    _current.set(trace)
    return trace


def resume(trace: Trace, *, detailed: bool) -> None:
    """Goes on with a trace that was begun before."""
    trace.detailed = detailed
    _current.set(trace)


def current() -> Trace | None:
    """The trace of the request that runs in this context."""
    return _current.get()


def end() -> None:
    """Forgets the trace."""
    _current.set(None)


def record(kind: str, label: str, began: float, commands: tuple[Command, ...] = (), sent: bool = True) -> None:
    """Adds a step that began at `began` (time.perf_counter) and ends now; without a running request it does nothing."""
    trace = _current.get()
    if trace is None:
        return
    now = time.perf_counter()
    source, line = _call_site() if trace.detailed else ("", 0)
    trace.steps.append(Step(kind, label, (began - trace.started) * 1000, (now - began) * 1000, source, line, commands, sent))


def _call_site() -> tuple[str, int]:
    frame = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(str(HERE)) and path not in SKIPPED:
            return Path(path).relative_to(HERE.parent).as_posix(), frame.f_lineno
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "", 0


def describe(args: tuple[Any, ...], reply: Any) -> Command:
    """One command for the eye: its name, its key, its shortened arguments, and what its reply is."""
    name = str(args[0])
    words = [_text(arg) for arg in args[1:]]
    count = int(words[1]) if name in ("EVALSHA", "EVAL") else len(words) if name in ALL_KEYS else 1
    lead = [scripts.of(words[0]).name, words[1]] if name in ("EVALSHA", "EVAL") else []
    words = words[2:] if lead else words
    keys, rest = words[:count], words[count:]
    if any(key.startswith(SECRET_PREFIX) for key in keys):
        rest = ["••••"] if rest else []
    shown = [_shorten(word) for word in rest[:SHOWN_ARGUMENTS]]
    if len(rest) > SHOWN_ARGUMENTS:
        shown.append(f"… {len(rest) - SHOWN_ARGUMENTS} more")
    lead_text = f"{lead[0]} {lead[1]}" if lead else ""
    return Command(
        f"{name} {lead_text}".strip(),
        " ".join(_shorten_key(key) for key in keys),
        " ".join(shown),
        _reply(reply),
        isinstance(reply, Exception),
    )


def _text(arg: Any) -> str:
    return arg.decode("utf-8", "backslashreplace") if isinstance(arg, bytes) else str(arg)


def _shorten(word: str, most: int = SHOWN_CHARACTERS) -> str:
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in word[:most])
    return shown if len(word) <= most else f"{shown}… {len(word)} characters"


def _shorten_key(key: str) -> str:
    if key.startswith(SECRET_PREFIX):
        head, _, tail = key.removeprefix(SECRET_PREFIX + "{").partition("}")
        parts = [f"{part[:8]}…" if len(part) > 16 else part for part in tail.split(":")]
        return f"{SECRET_PREFIX}{{{head[:8]}…}}{':'.join(parts)}"
    return _shorten(key, 96)


def _reply(reply: Any) -> str:
    match reply:
        case None:
            return "nil"
        case Exception():
            return type(reply).__name__
        case bool() | int() | float():
            return str(int(reply)) if not isinstance(reply, float) else str(reply)
        case bytes() | str():
            return f"{'bytes' if isinstance(reply, bytes) else 'text'}, {size(len(reply))}"
        case dict():
            return f"hash of {len(reply)} fields"
        case list() | tuple() | set():
            return f"array of {len(reply)}"
    return type(reply).__name__


def size(count: int) -> str:
    """A number of bytes for the eye."""
    return f"{count} B" if count < 1000 else f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"
