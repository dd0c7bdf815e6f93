"""How many different visitors: a HyperLogLog for each day, which takes 12 kB however many come,
with a standard error of 0.81 %.

The visitors of a week or month are the union of its days, so a daily visitor counts once. On the
first of a month everybody is new, because the salt is. While visitors are few, an exact set stands
beside, to show what the estimate is worth. Past MAX_EXACT visitors, the exact set takes no more.
Nobody can see in a HyperLogLog who was counted, and the exact set expires with the day's salt.

Source: Flajolet, Fusy, Gandouet, Meunier, "HyperLogLog", 2007; Redis documentation, "HyperLogLog".
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from demo.client.contract import PREFIX, RedisClient, beginning, checked

STANDARD_ERROR = 0.0081
MAX_EXACT = 2000
DAY_KEPT_SECONDS = 40 * 86_400
MONTH_KEPT_SECONDS = 400 * 86_400
EXACT_KEPT_SECONDS = 2 * 86_400


@dataclass(frozen=True)
class Uniques:
    """Estimates, and for the day the exact number, None when there are too many to keep."""

    day: int
    yesterday: int
    week: int
    month: int
    last_month: int
    exact_day: int | None


class UniqueVisitors:
    """Unique visitors on a client of bytes."""

    def __init__(self, client: RedisClient, *, prefix: str = PREFIX) -> None:
        self._client, self._first = (
            checked(client),
            f"{beginning(prefix, 'analytics')}{{visitors}}:",
        )
        self._script = client.register_script(Path(__file__).with_suffix(".lua").read_text())
        self._full_on: date | None = None

    def add(
        self, pipeline: Any, visitors: Collection[str], by_day: Collection[str], on: date
    ) -> None:
        """Counts visitors by what they are called this month, and by what they are called this day,
        as commands of the caller's pipeline. The answer to the last of them is for `learn`."""
        if visitors:
            pipeline.pfadd(self._day(on), *visitors)
            pipeline.expire(self._day(on), DAY_KEPT_SECONDS)
        if visitors and self._full_on != on:
            pipeline.sadd(self._exact(on), *islice(by_day, MAX_EXACT + 1))
            pipeline.expire(self._exact(on), EXACT_KEPT_SECONDS)
        pipeline.scard(self._exact(on))

    def learn(self, size: int, on: date) -> None:
        """So many are in the exact set of a day."""
        if size > MAX_EXACT:
            self._full_on = on

    def roll_up(self, on: date) -> None:
        """Merges a day and the one before into their months, which are kept for longer. To be done
        now and then, and again without harm. Raises RedisError."""
        for one in (on - timedelta(days=1), on):
            self._client.pfmerge(self._month(one), self._day(one))
            self._client.expire(self._month(one), MONTH_KEPT_SECONDS)

    def count(self, on: date) -> Uniques:
        """The figures of a day, of the week and the month that it is in, and of the month before as
        it was rolled up. One round trip; raises RedisError."""
        yesterday, monday, first = (
            on - timedelta(days=1),
            on - timedelta(days=on.weekday()),
            on.replace(day=1),
        )
        unions = [
            self._days(on, on),
            self._days(yesterday, yesterday),
            self._days(monday, on),
            self._days(first, on),
        ]
        unions.append([self._month(first - timedelta(days=1))])
        keys = [self._exact(on), *(key for union in unions for key in union)]
        exact, day, before, week, month, last = map(
            int, self._script(keys=keys, args=[len(union) for union in unions])
        )
        return Uniques(day, before, week, month, last, exact if exact <= MAX_EXACT else None)

    def _days(self, first: date, last: date) -> list[str]:
        return [
            self._day(first + timedelta(days=ahead)) for ahead in range((last - first).days + 1)
        ]

    def _day(self, on: date) -> str:
        return f"{self._first}day:{on:%Y-%m-%d}"

    def _month(self, on: date) -> str:
        return f"{self._first}month:{on:%Y-%m}"

    def _exact(self, on: date) -> str:
        return f"{self._first}exact:{on:%Y-%m-%d}"
