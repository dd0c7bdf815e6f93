"""Pros and cons of Redis as a cache: how fast, and what is left when it is away, full or restarted."""

import secrets
import statistics
import time
from collections.abc import Callable
from typing import Any

import msgspec
from redis.exceptions import RedisClusterException, RedisError

from demo.catalog.cache_aside import Busy, CacheStatus
from demo.catalog.lesson_shop import ID, leased, shop
from demo.catalog.products import Product
from demo.catalog.strategies import Rows
from demo.teach import pull_the_plug
from demo.teach.experiments import Bench, Experiment, Found, Row, milliseconds

READS, QUERIES, TRIED = 20, 3, 5
FAILED = (RedisError, RedisClusterException, Busy)


def measure(bench: Bench) -> Found:
    """Three ways to read, then three kinds of trouble, each for this run alone."""
    with shop() as rows:
        cache = leased(bench, ID, "full")

        def read(key: str = ID) -> Any:
            return cache.get_or_load(key, lambda: rows.load(ID))

        own = {ID: rows.load(ID)}
        found = [
            Row("Dict in the process", [READS, READS, _median(lambda: own[ID], READS)]),
            Row("Database query", [QUERIES, QUERIES, _median(lambda: rows.load(ID), QUERIES)]),
        ]
        counts = {"query_ms": float(str(found[1].values[2]))}
        read()
        if read().status is CacheStatus.HIT:
            hit_ms = _median(read, READS)
            found.insert(1, Row("Redis, a hit", [READS, READS, hit_ms]))
            counts["hit_ms"] = hit_ms
        else:
            bench.cannot.append("A hit: Redis keeps nothing just now.")
        tried: tuple[tuple[str, pull_the_plug.Redis, Callable[[], Any]], ...] = (
            ("away", "refused", read),
            ("full", "full", lambda: read("full")),
        )
        for name, fault, ask in tried:
            row, more = _tried(name, fault, ask, rows)
            found.append(row)
            counts |= more
        loads = rows.reads
        bench.part("A restart", lambda: bench.client.unlink(cache.redis_key(ID)))
        read()
        counts["restart_loads"] = rows.reads - loads
    return Found(found, counts)


def _tried(
    name: str, fault: pull_the_plug.Redis, read: Callable[[], Any], rows: Rows
) -> tuple[Row, dict[str, float]]:
    """What reads are answered with this trouble, for this run alone."""
    chosen = pull_the_plug.current()
    now = rows.load(ID)
    right = wrong = failed = 0
    began = time.perf_counter()
    pull_the_plug.take(msgspec.structs.replace(chosen, redis=fault, visitor=secrets.token_hex(6)))
    try:
        for _ in range(TRIED):
            try:
                seen: Product | None = read().value
            except FAILED:
                failed += 1
            else:
                right += seen == now
                wrong += seen != now
    finally:
        pull_the_plug.take(chosen)
    mean_ms = 1000 * (time.perf_counter() - began) / TRIED
    counts = {f"{name}_right": right, f"{name}_wrong": wrong, f"{name}_failed": failed}
    return Row(f"Redis {name}, mean", [TRIED, right, mean_ms]), dict(counts)


def _median(do: Callable[[], Any], times: int) -> float:
    return statistics.median(milliseconds(do) for _ in range(times))


def verdict(found: Found) -> str:
    """What readers got while Redis was away."""
    if not found.has("away_right"):
        return ""
    counts = found.counts
    return "errors" if counts["away_failed"] else "stale" if counts["away_wrong"] else "right"


def tell(found: Found) -> str:
    """Both sides of it."""
    counts = found.counts
    if not found.has("away_right"):
        return ""
    hit = (
        f"A hit took {counts['hit_ms']:.2f} ms, a query {counts['query_ms']:.1f} ms. "
        if found.has("hit_ms")
        else f"A query took {counts['query_ms']:.1f} ms. "
    )
    return (
        f"{hit}With Redis away {counts['away_right']:.0f} of {TRIED} reads were right, with Redis full "
        f"{counts['full_right']:.0f}. After a restart without persistence the next read took "
        f"{counts['restart_loads']:.0f} query."
    )


EXPERIMENT = Experiment(measure, verdict, tell, ("Reads", "Right", "Each, ms"), drawn=2)
