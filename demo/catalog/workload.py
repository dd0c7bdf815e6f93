"""One workload against any strategy: threads read and buy, something fails in the middle, and the
results are counted.

An answer is stale if it holds the value from before a change that was acknowledged before the read
began. A write is lost if it was acknowledged but is not in the database after all waiting changes
are written. The products that are asked for follow a power law with a seed. With the same seed,
every strategy gets the same requests.
"""

import random
import statistics
import threading
import time
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

from demo.catalog.products import Product
from demo.catalog.strategies import Strategy
from demo.catalog.write_behind import Contended
from demo.catalog.write_through import NotTold
from demo.client.contract import any_errors

PRODUCTS = 50
SECONDS_AT_MOST = 2.0


class DatabaseGone(Exception):
    """The database is away, for this workload."""


def failures() -> tuple[type[Exception], ...]:
    """What an operation may end by, and the run goes on."""
    return (*any_errors(), DatabaseGone, Contended)


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the visitor chooses."""

    operations: Annotated[int, msgspec.Meta(ge=20, le=2000)] = 600
    writes_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 10
    readers: Annotated[int, msgspec.Meta(ge=1, le=32)] = 8
    latency_ms: Annotated[int, msgspec.Meta(ge=0, le=50)] = 10
    failure: Literal["none", "redis", "database", "memory", "worker"] = "none"
    seed: Annotated[int, msgspec.Meta(ge=0, le=999_999)] = 1


class Outcome(msgspec.Struct, frozen=True):
    """What one strategy made of it. Latencies in ms; `reads` and `writes` were answered,
    `from_redis` of the reads without a visit to the database, `fresh` of these were not stale; `pending` waited
    for the database when the worker was killed, `replayed` were taken over from it."""

    kind: str
    operations: int
    database_reads: int
    database_writes: int
    read_p50_ms: float
    read_p99_ms: float
    write_p50_ms: float
    write_p99_ms: float
    stale_reads: int
    lost_writes: int
    errors: int
    seconds: float
    pending: int | None = None
    replayed: int | None = None
    reads: int = 0
    writes: int = 0
    from_redis: int = 0
    fresh: int = 0


class Tally:
    """What all threads have seen so far."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.done = 0
        self.reads: list[float] = []
        self.writes: list[float] = []
        self.stale = self.errors = self.from_redis = self.fresh = 0
        self.newest: dict[str, int] = {}
        self.bought = 0


def run(
    strategy: Strategy,
    options: Options,
    progress: Callable[[float], None],
    visits: Callable[[], int] = lambda: 0,
) -> tuple[Tally, float]:
    """All operations, or as many as fit into SECONDS_AT_MOST; `progress` is told the share that is
    done, `visits` tells how often the thread that asks has visited the database. The tally, and the
    seconds that it took."""
    tally, began = Tally(), time.monotonic()

    def work(number: int) -> None:
        chance = random.Random(options.seed * 100 + number)
        for _ in range(
            options.operations // options.readers + (number < options.operations % options.readers)
        ):
            if time.monotonic() - began > SECONDS_AT_MOST:
                return
            key = str(min(int(chance.paretovariate(0.8)), PRODUCTS))
            write = chance.random() * 100 < options.writes_percent
            _operate(strategy, key, write, tally, visits)
            with tally.lock:
                tally.done += 1
                share = tally.done / options.operations
            progress(share)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(options.readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally, time.monotonic() - began


def _operate(
    strategy: Strategy, key: str, write: bool, tally: Tally, visits: Callable[[], int]
) -> None:
    floor, before = tally.newest.get(key, 0), visits()
    began = time.perf_counter()
    try:
        answer = _buy(strategy, key) if write else strategy.read(key)
    except failures():
        with tally.lock:
            tally.errors += 1
        return
    took_ms = (time.perf_counter() - began) * 1000
    with tally.lock:
        (tally.writes if write else tally.reads).append(took_ms)
        version = answer.version if answer else 0
        if write:
            tally.bought += 1
            tally.newest[key] = max(tally.newest.get(key, 0), version)
        else:
            stale, from_redis = version < floor, visits() == before
            tally.stale += stale
            tally.from_redis += from_redis
            tally.fresh += from_redis and not stale


def _buy(strategy: Strategy, key: str) -> Product | None:
    """Takes one from the stock. Written although the cache could not be told is written: it is
    acknowledged."""

    def take(product: Product) -> Product:
        return msgspec.structs.replace(
            product, stock=product.stock - 1, version=product.version + 1
        )

    try:
        return strategy.update(key, take)
    except NotTold as told:
        assert isinstance(told.value, Product)
        return told.value


def percentile(times: list[float], share: int) -> float:
    """The time that `share` per cent stay below; 0 when there is none."""
    if len(times) < 2:
        return times[0] if times else 0.0
    return statistics.quantiles(times, n=100, method="inclusive")[share - 1]
