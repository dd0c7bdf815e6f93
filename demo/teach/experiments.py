"""What a lesson measures: small, bounded experiments that use cases bring along.

An experiment runs once, when it is the visitor's turn, under keys of its own. It comes to rows and
counts; which answer is right and the sentence about it are computed from these and from nothing
else. What cannot be shown here and now is said in a sentence, and the rest goes on.
"""

import contextvars
import logging
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from redis.exceptions import RedisClusterException, RedisError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import ServiceUnavailable

from demo.client import refusals
from demo.observe.trace import begin_trace, current_trace

T = TypeVar("T")
Value = float | str | None
RUN_SECONDS = 8.0  # after that an experiment begins nothing new
KEY_SECONDS = 60  # the longest that a key of an experiment lives
MOST_CHARACTERS = 60
BROKE_OFF = "This experiment broke off, and its keys were removed. Run it again."
log = logging.getLogger(__name__)
AWAY = (RedisError, RedisClusterException, SQLAlchemyError, ServiceUnavailable)


class Row(msgspec.Struct, array_like=True):
    """One line of the table: what was measured, and a value for each head; None where it has none."""

    name: str
    values: list[Value]

    def __post_init__(self) -> None:
        self.values = [_short(value) for value in self.values]


class Found(msgspec.Struct, array_like=True):
    """What an experiment has come to. `cannot` holds a sentence for each part that could not be
    shown; `engine` names the one of the run's own, where it had one."""

    rows: list[Row] = []
    counts: dict[str, float] = {}
    cannot: list[str] = []
    engine: str = ""

    def __post_init__(self) -> None:
        self.counts = {name: float(count) for name, count in self.counts.items()}

    def has(self, *names: str) -> bool:
        """Whether all of these were counted."""
        return set(names) <= self.counts.keys()

    def wrong(self, *sides: str) -> str:
        """Which of two sides was wrong at all: one of them, "both" or "none", empty where one was
        not counted."""
        if not self.has(*sides):
            return ""
        found = [side for side in sides if self.counts[side] > 0]
        return found[0] if len(found) == 1 else "both" if found else "none"


@dataclass(frozen=True)
class Experiment:
    """`heads` name the columns; the one of the number `drawn` becomes bars. With `plot` two columns
    are the axes of a chart. `verdict` gives the name of the option that this run has shown to be
    right, empty where it has shown none; `tell` makes the sentence."""

    measure: Callable[["Bench"], Found]
    verdict: Callable[[Found], str]
    tell: Callable[[Found], str]
    heads: tuple[str, ...]
    drawn: int | None = None
    plot: tuple[int, int] | None = None


class Bench:
    """What an experiment works with: the visitor's Redis, a name that is its own, and a clock. Keys
    that it takes here are removed when the run is over; each needs a TTL all the same."""

    def __init__(self, client: Any, seconds: float = RUN_SECONDS) -> None:
        self.client, self.name = client, f"learn-{secrets.token_hex(6)}"
        self.cannot: list[str] = []
        self._keys: dict[str, None] = {}
        self._until = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """Whether the time of the run is up."""
        return time.monotonic() >= self._until

    def take(self, *keys: str) -> None:
        """Has these keys removed at the end."""
        self._keys.update(dict.fromkeys(keys))

    def key(self, use_case: str, part: str) -> str:
        """A key of this run; all of them lie in one slot of a cluster."""
        made = f"demo:{use_case}:{{{self.name}}}:{part}"
        self.take(made)
        return made

    def part(self, what: str, do: Callable[[], T]) -> T | None:
        """One part of the experiment; None, with a sentence kept, where it cannot be shown."""
        try:
            return do()
        except AWAY as error:
            self.cannot.append(f"{what}: {why(error)}")
            return None

    def clean(self) -> None:
        """Removes the keys that were taken. Where Redis cannot be told, they expire."""
        pipeline = self.client.pipeline(transaction=False)
        for key in self._keys:
            pipeline.unlink(key)
        if self._keys:
            try:
                pipeline.execute(raise_on_error=False)
            except AWAY:
                return


def why(error: Exception) -> str:
    """Why something cannot be shown, in one sentence."""
    if isinstance(error, SQLAlchemyError):
        return "The database is away, and this cannot be shown without it."
    if isinstance(error, ServiceUnavailable):
        return str(error.description)
    if isinstance(error, RedisError):
        return refusals.of(error).sentence
    return "Redis is away, and this cannot be done without it."


def run(experiment: Experiment, client: Any) -> tuple[Found, str]:
    """What an experiment comes to, and the engine that it ran on. In a trace of its own: a page does
    without what is late, and this has to wait for it."""

    def measure() -> tuple[Found, str]:
        begin_trace(detailed=False).timeout_ms = math.inf
        bench = Bench(client)
        found: Found | None = None
        try:
            found = bench.part("This experiment", lambda: experiment.measure(bench))
        except Exception:
            log.exception("an experiment broke off")
            bench.cannot.append(BROKE_OFF)
        finally:
            bench.clean()
        shown = found or Found()
        shown.cannot = [*bench.cannot, *shown.cannot]
        return shown, shown.engine or engine_of(client)

    return contextvars.copy_context().run(measure)


def engine_of(client: Any) -> str:
    """The engine by name and version; empty where it does not tell. One round trip."""
    try:
        told: Any = client.info("server")
    except AWAY:
        return ""
    by_node = "redis_version" not in told  # as a cluster tells it
    info = next(iter(told.values()), {}) if by_node else told
    name = "valkey_version" if "valkey_version" in info else "redis_version"
    return f"{name.partition('_')[0].capitalize()} {info.get(name, '')}".strip()


def counter() -> Callable[[], int]:
    """A function that tells how many round trips this thread, and those begun in its context, have
    made since."""
    trace = current_trace()
    before = trace.round_trips if trace else 0
    return lambda: trace.round_trips - before if trace else 0


def milliseconds(do: Callable[[], Any]) -> float:
    """How long something takes."""
    began = time.perf_counter()
    do()
    return (time.perf_counter() - began) * 1000


def _short(value: Value) -> Value:
    if isinstance(value, str):
        return value if len(value) <= MOST_CHARACTERS else f"{value[:MOST_CHARACTERS]}…"
    return value if value is None or value == int(value) else float(f"{value:.3g}")
