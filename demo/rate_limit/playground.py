"""The same traffic through five limiters: what each admits, on one time line.

Every hit is really sent to every lane, at one time that was read from Redis' clock for all of them.
Patterns that would take a while, a steady stream or a burst around a window's edge, are sent with
the clock set back. So they lie in the recent past and a visitor need not wait. A sixth lane asks
the application's clock instead of Redis': two workers take turns, with a limit's worth of hits
each, and one clock is ahead.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from demo.client.contract import PREFIX, RedisClient, beginning, checked
from demo.rate_limit.algorithms import ALGORITHMS
from demo.rate_limit.limiter import Decision, Limiter, Quota

Pattern = Literal["burst", "edge", "steady"]
MOST_HITS, HIT_BYTES = 150, 40
SKEWED = "sliding_window_log, the application’s clock"
EDGE_US = 100_000


@dataclass(frozen=True)
class Hit:
    """One hit: when, in microseconds by Redis' clock, and whether each lane admitted it."""

    at_us: int
    admitted: tuple[bool, ...]


@dataclass(frozen=True)
class Lane:
    """What a lane shows: its state now, its bytes in Redis, None where Redis does not tell, and how
    its admitted hits differ from those of the exact log: `worst` is the most in one window of any position, `extra` and
    `missing` count hits that the log refused or admitted."""

    name: str
    state: Decision
    bytes: int | None
    worst: int
    extra: int
    missing: int


class Playground:
    """The lanes under one quota, for any visitor. `skew_seconds` above 0 adds the lane with the
    application's clock. Raises RedisError."""

    def __init__(
        self,
        client: RedisClient,
        quota: Quota,
        *,
        count_refused: bool = False,
        skew_seconds: float = 0.0,
        prefix: str = PREFIX,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.quota, self._client, self._clock = quota, checked(client), clock
        self._beginning = beginning(prefix, "rate_limit")
        self._skew_us = round(skew_seconds * 1e6)
        flags = f"{quota.limit}-{quota.window_seconds:g}{'-r' * count_refused}{'-s' * bool(skew_seconds)}"
        names = [*ALGORITHMS, *([SKEWED] if skew_seconds else [])]
        self.lanes: dict[str, Limiter] = {
            name: ALGORITHMS.get(name, ALGORITHMS["sliding_window_log"])(
                client,
                f"play{number}-{flags}",
                quota,
                count_refused=count_refused,
                prefix=prefix,
            )
            for number, name in enumerate(names)
        }
        self._name = f"play-{flags}"
        self._script = client.register_script(Path(__file__).with_suffix(".lua").read_text())
        self.life_seconds = 3 * quota.window_seconds + 60
        self._life_ms = round(self.life_seconds * 1000)

    @property
    def history_bytes(self) -> int:
        """What a visitor's history takes at most."""
        return 300 + MOST_HITS * HIT_BYTES

    def play(self, visitor: str, pattern: Pattern, count: int = 1) -> None:
        """Sends a pattern. A burst is sent now, `count` hits at once; the others begin with empty
        lanes."""
        history = self._history_key(visitor)
        now, before = self._ask(history, lines=False)
        if pattern == "burst":
            times = [now] * count
        else:
            self.reset(visitor)
            times, before = self._edge(now) if pattern == "edge" else self._steady(now), 0
        live = pattern == "burst"
        lines = []
        for number, at in enumerate(times[:MOST_HITS], before):
            admitted = "".join(
                str(int(limiter.hit(visitor, now_us=self._time_of(name, number, at, live)).allowed))
                for name, limiter in self.lanes.items()
            )
            lines.append(f"{at} {admitted}")
        with self._client.pipeline() as pipeline:
            pipeline.rpush(history, *lines)
            pipeline.ltrim(history, -MOST_HITS, -1)
            pipeline.pexpire(history, self._life_ms)
            pipeline.execute()

    def reset(self, visitor: str) -> None:
        """Empties all lanes."""
        for limiter in self.lanes.values():
            limiter.reset(visitor)
        self._client.unlink(self._history_key(visitor))

    def redis_keys(self, visitor: str) -> list[str]:
        """The key of each lane."""
        return [limiter.redis_keys(visitor)[0] for limiter in self.lanes.values()]

    def look(self, visitor: str) -> tuple[list[Hit], list[Lane], int]:
        """The hits of the last windows, the lanes, and the time in microseconds. Two round trips,
        and one for each lane."""
        states = {name: limiter.peek(visitor) for name, limiter in self.lanes.items()}
        now, lines = self._ask(self._history_key(visitor), lines=True)
        with self._client.pipeline(transaction=False) as pipeline:
            for key in self.redis_keys(visitor):
                pipeline.memory_usage(key)
            sizes = pipeline.execute(raise_on_error=False)
        hits = [_hit(line.decode()) for line in lines]
        exact = {number for number, hit in enumerate(hits) if hit.admitted[0]}
        lanes = []
        for place, ((name, state), size) in enumerate(zip(states.items(), sizes, strict=True)):
            admitted = {number for number, hit in enumerate(hits) if hit.admitted[place]}
            lanes.append(
                Lane(
                    name,
                    state,
                    None if isinstance(size, Exception) else size or 0,
                    fullest_window(
                        [hits[number].at_us for number in sorted(admitted)], self.quota.window_us
                    ),
                    len(admitted - exact),
                    len(exact - admitted),
                )
            )
        return hits, lanes, now

    def _history_key(self, visitor: str) -> str:
        return f"{self._beginning}{{{self._name}:{visitor}}}:history"

    def _ask(self, history: str, *, lines: bool) -> tuple[int, Any]:
        """The time in microseconds by the server that holds the history, and its lines or their
        number."""
        seconds, microseconds, kept = self._script(keys=[history], args=[int(lines)])
        return int(seconds) * 1_000_000 + int(microseconds), kept

    def _time_of(self, name: str, number: int, at: int, live: bool) -> int:
        if name != SKEWED:
            return at
        ahead = self._skew_us * (number // self.quota.limit % 2)
        return (round(self._clock() * 1e6) if live else at) + ahead

    def _edge(self, now: int) -> list[int]:
        """The whole limit just before an edge of the fixed windows, and once more just after."""
        edge = now // self.quota.window_us * self.quota.window_us
        return [edge - EDGE_US] * self.quota.limit + [min(now, edge + EDGE_US)] * self.quota.limit

    def _steady(self, now: int) -> list[int]:
        """Half as many again as are allowed, evenly over the last two windows."""
        count = 3 * self.quota.limit
        return [
            now - 2 * self.quota.window_us * (count - number) // count for number in range(count)
        ]


def fullest_window(times: list[int], window_us: int) -> int:
    """The most of these moments, in order, that lie in one window of any position."""
    most = first = 0
    for number, moment in enumerate(times):
        while times[first] <= moment - window_us:
            first += 1
        most = max(most, number - first + 1)
    return most


def _hit(line: str) -> Hit:
    at, admitted = line.split()
    return Hit(int(at), tuple(mark == "1" for mark in admitted))
