"""What is counted for operators, in the words of Prometheus, over all workers.

Under gunicorn every worker writes into files of one folder (PROMETHEUS_MULTIPROC_DIR, set before
the workers start), so /metrics tells the sum, no matter which worker answers. Nothing is lost when
a worker is recycled or killed: it adds in the file itself, see `cells.py`. Without that variable
there is one process, and it counts for itself.
"""

import collections
import math
import os
from bisect import bisect_left
from collections import Counter as Counted
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from demo.observe import cells, metric_files

cells.in_place()
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
registry = CollectorRegistry()

RATE_LIMIT_DECISIONS = Counter(
    "demo_rate_limit_decisions",
    "Decisions of the rate limits, by limit and outcome. With Redis: passed, refused, blocked, or would_refuse in a dry "
    "run. Without Redis: fallback_allow, fallback_deny, fallback_local_passed, fallback_local_refused.",
    ("limit", "outcome"),
    registry=registry,
)
STREAMS_OPEN = Gauge(
    "demo_streams_open",
    "Current viewers of live boards",
    registry=registry,
    multiprocess_mode="livesum",
)


REQUESTS = Counter(
    "demo_http_requests",
    "Responses, by endpoint (none if no endpoint matched), method and status",
    ("endpoint", "method", "status"),
    registry=registry,
)
LATENCY = Histogram(
    "demo_http_request_seconds",
    "Time until the response headers are sent, by endpoint",
    ("endpoint",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    registry=registry,
)
ROUND_TRIPS = Histogram(
    "demo_redis_round_trips",
    "Round trips to Redis in requests, by endpoint",
    ("endpoint",),
    buckets=(0, 1, 2, 3, 5, 8, 13),
    registry=registry,
)
CACHE_OUTCOMES = Counter(
    "demo_cache_outcomes",
    "Cache lookups by result: HIT, MISS, EXPIRED, STALE, NEGATIVE, BYPASS",
    ("cache", "outcome"),
    registry=registry,
)
ANALYTICS_DROPPED = Counter(
    "demo_analytics_dropped",
    "Views that were not counted, because Redis did not accept them or too many arrived within a second",
    registry=registry,
)
OUTBOX_PENDING = Gauge(
    "demo_outbox_pending",
    "Changes in the database that are not yet delivered to the caches, at the last check; NaN without a database",
    multiprocess_mode="livemostrecent",
    registry=registry,
)
GIVEN_UP = Counter(
    "demo_leaderboard_given_up",
    "Boards and rows of boards that were deleted because Redis was short of memory, by kind",
    ("what",),
    registry=registry,
)
BREAKERS_OPEN = Gauge(
    "demo_breakers_open",
    "Workers that cannot reach Redis",
    multiprocess_mode="livesum",
    registry=registry,
)
POOL_SIZE = Gauge(
    "demo_pool_connections_max",
    "Maximum number of connections to Redis of all workers together",
    multiprocess_mode="livesum",
    registry=registry,
)
POOL_IN_USE = Gauge(
    "demo_pool_connections_in_use",
    "Busy connections to Redis at each worker's last answer or report",
    multiprocess_mode="livesum",
    registry=registry,
)


Add = Callable[[float], None]


@lru_cache(maxsize=4096)
def adder(counter: Counter, *labels: str) -> Add:
    """Adds under these values of the labels, in their order."""
    # The value itself: what prometheus_client checks around it each time is known here.
    add: Add = counter.labels(*labels)._value.inc
    return add


def count(counter: Counter, *labels: str) -> None:
    """Adds one."""
    adder(counter, *labels)(1)


def observe(histogram: Histogram, value: float, *labels: str) -> None:
    """Notes a value."""
    observer(histogram, *labels)(value)


@lru_cache(maxsize=4096)
def observer(histogram: Histogram, *labels: str) -> Add:
    """Notes values under these of the labels."""
    child = histogram.labels(*labels)
    add, bounds = child._sum.inc, list(child._upper_bounds)
    found: Any = child._buckets
    buckets: list[Add] = [bucket.inc for bucket in found]

    def note(value: float) -> None:
        add(value)
        buckets[bisect_left(bounds, value)](1)

    return note


def by_bound(histogram: Histogram) -> dict[int, int]:
    """What this process has noted in all, by upper bound in microseconds; past the last bound by
    twice that."""
    sums: collections.Counter[float] = collections.Counter()
    for family in histogram.collect():
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                sums[float(sample.labels["le"])] += int(sample.value)
    found, below, last = {}, 0, 0
    for bound in sorted(sums):  # each holds those below it too
        last = 2 * last if math.isinf(bound) else round(bound * 1_000_000)
        found[last] = sums[bound] - below
        below = sums[bound]
    return found


def in_this_process(counter: Counter, **labels: str) -> int:
    """What this process has counted under these values of some labels, the others whatever they
    are; a value that ends in * stands for all that begin so."""
    wanted = {name: value.removesuffix("*") for name, value in labels.items()}
    exact = {name for name, value in labels.items() if not value.endswith("*")}
    samples = [
        sample
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    ]
    return int(
        sum(
            sample.value
            for sample in samples
            if all(
                sample.labels[name] == value
                if name in exact
                else sample.labels[name].startswith(value)
                for name, value in wanted.items()
            )
        )
    )


def limited() -> tuple[int, int]:
    """How many requests the limits have let pass in this process, and how many they refused."""
    outcomes = Counted[str]()
    for family in RATE_LIMIT_DECISIONS.collect():
        for sample in family.samples:
            if sample.name.endswith("_total"):
                outcomes[sample.labels["outcome"]] += int(sample.value)
    return outcomes["passed"], outcomes["refused"] + outcomes["blocked"]


def exposition() -> bytes:
    """All metrics of all workers in the text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(registry)
    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together)
    held = metric_files.reading(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    try:
        return generate_latest(together)
    finally:
        if held:
            held.close()
