"""Which visitors came back: a bitmap for each day, in which each visitor of the day has set one
bit, at an offset that stays the same all month.

The offset is the visitor's hash modulo POSITIONS, so no list of visitors is kept. The visitors of a
day are one bitmap of fixed size that expires, and nobody can see whose bit is set. Two visitors may
share a bit. Linear counting corrects the counts for visitors who share a bit. Of n visitors the
error is about n / √(2 · POSITIONS) · n / POSITIONS, far below one for a thousand; a bitmap takes 32
kB.

Source: Whang, Vander-Zanden, Taylor, "A linear-time probabilistic counting algorithm", 1990.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from demo.client.contract import PREFIX, RedisClient, beginning, checked

POSITIONS = 2**18
KEPT_SECONDS = 16 * 86_400
OFFSETS = (1, 7)


@dataclass(frozen=True)
class Cohort:
    """The visitors of a day, and how many of them came again so many days later; None where that
    cannot be known: the day has not come, or it is in another month, when everybody has another
    place."""

    day: date
    visitors: int
    returned: tuple[int | None, ...]


class ActiveDays:
    """Active days on a client of bytes."""

    def __init__(self, client: RedisClient, *, prefix: str = PREFIX) -> None:
        self._client, self._first = checked(client), f"{beginning(prefix, 'analytics')}{{active}}:"
        self._script = client.register_script(Path(__file__).with_suffix(".lua").read_text())

    def add(self, pipeline: Any, visitors: Collection[str], on: date) -> None:
        """They came on this day, by their month's hashes, as commands of the caller's pipeline."""
        for visitor in visitors:
            pipeline.setbit(self._key(on), int(visitor, 16) % POSITIONS, 1)
        if visitors:
            pipeline.expire(self._key(on), KEPT_SECONDS)

    def cohorts(self, today: date, days: int = 8) -> tuple[Cohort, ...]:
        """The visitors of each of the last days, today included, and who of them came back. One
        round trip; raises RedisError."""
        dates = [today - timedelta(days=ago) for ago in range(days - 1, -1, -1)]
        reply = self._script(keys=[f"{self._first}both", *map(self._key, dates)], args=OFFSETS)
        width = 1 + len(OFFSETS)
        rows = [reply[i : i + width] for i in range(0, len(reply), width)]
        bits = [row[0] for row in rows]
        return tuple(
            Cohort(
                on,
                _estimate(bits[i]),
                tuple(_again(dates, bits, i, row[1:], place) for place in range(len(OFFSETS))),
            )
            for i, (on, row) in enumerate(zip(dates, rows, strict=True))
        )

    def _key(self, on: date) -> str:
        return f"{self._first}{on:%Y-%m-%d}"


def _again(
    dates: Sequence[date], bits: Sequence[int], i: int, both: Sequence[int], place: int
) -> int | None:
    later = i + OFFSETS[place]
    if later >= len(dates) or dates[later].month != dates[i].month:
        return None
    either = bits[i] + bits[later] - both[place]
    return max(0, round(_linear(bits[i]) + _linear(bits[later]) - _linear(either)))


def _estimate(bits: int) -> int:
    return round(_linear(bits))


def _linear(bits: int) -> float:
    return -POSITIONS * math.log1p(-min(bits, POSITIONS - 1) / POSITIONS)
