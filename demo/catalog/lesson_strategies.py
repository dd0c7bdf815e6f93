"""The caching strategies on one workload. Half way Redis forgets everything."""

import random
import time
from collections.abc import Callable
from typing import Any

import msgspec

from demo.catalog.cache_aside import Cache
from demo.catalog.lesson_shop import shop
from demo.catalog.products import Product
from demo.catalog.strategies import Rows
from demo.catalog.write_behind import WriteBehind
from demo.catalog.write_through import NotTold, WriteThrough
from demo.teach.experiments import Bench, Experiment, Found, Row

STEPS, PRODUCTS, WRITES, PENDING = 60, 6, 0.2, 3
STEP_SECONDS, FLUSH_EVERY, TTL_SECONDS, AHEAD_SECONDS = 0.003, 6, 30, 0.06
FORGETS_AT = STEPS // 2


class Aside:
    """Reads by the cache, which loads what is missing; a write changes the database, then deletes."""

    def __init__(self, cache: Cache[Product], rows: Rows) -> None:
        self.cache, self.rows = cache, rows

    def read(self, key: str) -> Product | None:
        """From the cache, or loaded."""
        return self.cache.get_or_load(key, lambda: self.rows.load(key)).value

    def update(self, key: str, change: Callable[[Product], Product]) -> Product | None:
        """The database first."""
        changed = self.rows.change_row(key, change)
        self.cache.invalidate(key)
        return changed


class Around(Aside):
    """A write goes past the cache, which shows it when the entry's time is over."""

    def update(self, key: str, change: Callable[[Product], Product]) -> Product | None:
        return self.rows.change_row(key, change)


class ReadThrough(Aside):
    """Readers know the cache alone: it was given the loader once, when it was made."""

    def read(self, key: str) -> Product | None:
        return self.cache.get_many({key: ()}, self._load_all)[key].value

    def _load_all(self, keys: list[str]) -> dict[str, Product | None]:
        return {key: self.rows.load(key) for key in keys}


def through(bench: Bench, rows: Rows) -> WriteThrough[Product]:
    """Write-through."""
    return WriteThrough(_cache(bench, "through"), rows.load, rows.change_row)


def behind(bench: Bench, rows: Rows) -> WriteBehind[Product]:
    """Write-behind, whose worker is called by hand here."""
    return WriteBehind(
        bench.client,
        bench.name,
        Product,
        rows.load_versioned,
        rows.save_batch,
        ttl_seconds=TTL_SECONDS,
        keep_seconds=2 * TTL_SECONDS,
        lease_seconds=1,
    )


STRATEGIES: dict[str, Callable[[Bench, Rows], Any]] = {
    "Cache-aside": lambda bench, rows: Aside(_cache(bench, "aside"), rows),
    "Read-through": lambda bench, rows: ReadThrough(_cache(bench, "read"), rows),
    "Write-through": through,
    "Write-behind": behind,
    "Write-around": lambda bench, rows: Around(_cache(bench, "around"), rows),
    "Refresh-ahead": lambda bench, rows: Aside(_cache(bench, "ahead", AHEAD_SECONDS), rows),
}


def _cache(bench: Bench, kind: str, ttl_seconds: float = TTL_SECONDS) -> Cache[Product]:
    stale = TTL_SECONDS if ttl_seconds < 1 else 0.0
    cache = Cache(
        bench.client,
        f"{bench.name}-{kind}",
        Product,
        ttl_seconds=ttl_seconds,
        stale_seconds=stale,
        early=1.0 if stale else 0.0,
        wait_seconds=2.0,
    )
    bench.take(*(cache.redis_key(str(number)) for number in range(1, PRODUCTS + 1)))
    return cache


def measure(bench: Bench) -> Found:
    """The same questions in the same order to each."""
    found, counts = list[Row](), dict[str, float]()
    for name, make in STRATEGIES.items():

        def run(name: str = name, make: Callable[[Bench, Rows], Any] = make) -> Row:
            with shop(PRODUCTS, latency_ms=0) as rows:
                return _run(bench, name, make(bench, rows), rows)

        row = bench.part(name, run)
        if row:
            found.append(row)
            counts[f"lost {name}"] = float(str(row.values[4]))
            counts[f"stale {name}"] = float(str(row.values[1]))
    return Found(found, counts)


def _run(bench: Bench, name: str, strategy: Any, rows: Rows) -> Row:
    chance, newest = random.Random(3), dict[str, int]()
    store = strategy if isinstance(strategy, WriteBehind) else None
    ids = [str(number) for number in range(1, PRODUCTS + 1)]
    if store:
        bench.take(store.stream, store.dead, *map(store.entry_key, ids))
    reads = stale = from_redis = written = 0
    for step in range(STEPS):
        time.sleep(STEP_SECONDS)
        if step == FORGETS_AT:
            bench.clean()
            newest.clear()  # what is lost is counted as lost, and not as stale besides
        key = min(int(chance.paretovariate(0.9)), PRODUCTS)
        # a few writes just before Redis forgets, none of which a worker has seen yet
        last = FORGETS_AT - PENDING <= step < FORGETS_AT
        if chance.random() < WRITES or last:
            changed = _update(strategy, str(key))
            written += 1
            newest[str(key)] = changed.version if changed else 0
        else:
            before = rows.visits()
            seen = strategy.read(str(key))
            reads += 1
            from_redis += rows.visits() == before
            stale += bool(seen and seen.version < newest.get(str(key), 0))
        if store and step % FLUSH_EVERY == 0 and not last:
            store.flush("worker", idle_ms=0)
    if store:
        store.flush("worker", idle_ms=0)
    loads, saves = rows.reads, rows.writes
    versions = [found.version for key in ids if (found := rows.load(key))]
    lost = written - sum(version - 1 for version in versions)
    share = 100 * from_redis / max(1, reads)
    return Row(name, [share, stale, loads, saves, max(0, lost)])


def _update(strategy: Any, key: str) -> Product | None:
    """What is written although the cache could not be told is acknowledged."""
    try:
        changed: Product | None = strategy.update(key, _sell)
    except NotTold as told:
        assert isinstance(told.value, Product)
        return told.value
    return changed


def _sell(product: Product) -> Product:
    return msgspec.structs.replace(product, stock=product.stock - 1, version=product.version + 1)


def verdict(found: Found) -> str:
    """The strategies that lost acknowledged writes."""
    if not found.has("lost Write-behind", "lost Write-through"):
        return ""
    lost = {row.name for row in found.rows if found.counts[f"lost {row.name}"]}
    return "none" if not lost else "behind" if lost == {"Write-behind"} else "more"


def tell(found: Found) -> str:
    """What each lost and served stale."""
    if not found.rows:
        return ""
    lost = [f"{row.name} lost {row.values[4]:.0f}" for row in found.rows if row.values[4]]
    stale = [f"{row.name} {row.values[1]:.0f}" for row in found.rows if row.values[1]]
    return (
        f"Redis forgot everything half way: {', '.join(lost) or 'nobody lost'} acknowledged writes. "
        f"Stale reads: {', '.join(stale) or 'none'}."
    )


EXPERIMENT = Experiment(
    measure,
    verdict,
    tell,
    ("Reads from Redis %", "Stale reads", "Database reads", "Database writes", "Lost writes"),
    drawn=0,
)
