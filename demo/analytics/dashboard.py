"""Everything that the dashboard shows, as one value that can be cached."""

import time
from collections.abc import Collection
from datetime import UTC, date, datetime

import msgspec

from demo.analytics.active_days import Cohort
from demo.analytics.collector import DROPPED, Collector
from demo.analytics.counters import RESOLUTIONS
from demo.analytics.sample_history import SAMPLE
from demo.analytics.trending import SPANS, Rising
from demo.analytics.unique_visitors import Uniques

MADE_UP = "(made up)"
LABELS = {"minute": "%H:%M", "hour": "%d %b %H:00", "day": "%d %b"}


class Bucket(msgspec.Struct, frozen=True):
    """A stretch of time: views of visitors and made-up ones, None where none was written and some
    were dropped."""

    start: int
    label: str
    views: int | None
    made_up: int | None
    dropped: int


class Dashboard(msgspec.Struct, frozen=True):
    """`pages` are the endpoints with the most views of the stretch that the chart shows."""

    at: int
    resolution: str
    buckets: tuple[Bucket, ...]
    pages: tuple[Rising, ...]
    here_now: int
    uniques: Uniques
    products: dict[str, tuple[Rising, ...]]
    cohorts: tuple[Cohort, ...]

    @property
    def dropped(self) -> int:
        """Views that are known to be missing from the chart."""
        return sum(bucket.dropped for bucket in self.buckets)


def read(
    collector: Collector,
    resolution: str,
    now: float | None = None,
    *,
    pages: Collection[str] | None = None,
) -> Dashboard:
    """Asks Redis for all of it, in six round trips; raises RedisError. Of `pages` alone, where they
    are given: an older version may have counted more."""
    at = collector.now() if now is None else now
    today: date = datetime.fromtimestamp(at, UTC).date()
    series = collector.counters.series(RESOLUTIONS[resolution], at)
    named = {
        name: sum(counts)
        for name, counts in series.counts.items()
        if name not in (DROPPED, MADE_UP, SAMPLE) and (pages is None or name in pages)
    }
    buckets = []
    for place, start in enumerate(series.starts):
        made_up, sample, dropped = (
            series.counts.get(name, ())[place : place + 1] for name in (MADE_UP, SAMPLE, DROPPED)
        )
        views = sum(series.counts[name][place] for name in named)
        gap = bool(dropped and dropped[0]) and not views
        buckets.append(
            Bucket(
                start,
                time.strftime(LABELS[resolution], time.gmtime(start)),
                None if gap else views,
                None if gap else sum(made_up) + sum(sample),
                sum(dropped),
            )
        )
    leading = sorted(named.items(), key=lambda pair: (-pair[1], pair[0]))[:10]
    return Dashboard(
        at=int(at),
        resolution=resolution,
        buckets=tuple(buckets),
        pages=tuple(Rising(name, count) for name, count in leading),
        here_now=collector.presence.count(at),
        uniques=collector.uniques.count(today),
        products={name: collector.trending.top(span, at) for name, span in SPANS.items()},
        cohorts=collector.active.cohorts(today),
    )
