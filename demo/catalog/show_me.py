"""What "Show me" shows of the catalog: a page cold and cached, a changed price, fifty readers, and
the plug pulled. In a database of the run's own, as slow as the app's, and under keys that go with
the run; nobody else's product is touched."""

import contextlib
import contextvars
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
from flask import current_app
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from demo.catalog import seed, stampede
from demo.catalog.cache_aside import Busy, Cache, CacheStatus
from demo.catalog.products import Product
from demo.catalog.strategies import Rows
from demo.catalog.trials_views import READERS
from demo.client.folders import scratch
from demo.database import Database, sqlite_url
from demo.teach import pull_the_plug
from demo.teach.show_me import Clock, Measured, Row, Step, told
from demo.web.services import get_redis

COLD, CACHED = 3, 20
LOOKERS, LOOK_SECONDS, LONGEST_SECONDS = 5, 0.01, 5.0
PULLED = 5
ID, FAILED = "1", "FAILED"
Found = tuple[list[Row], dict[str, float]]


class Shop:
    """A run's own shop of one product: its database, its cache, and its clock."""

    def __init__(self, database: Database) -> None:
        self.rows = Rows(database, lambda: None)
        self.name = f"show-{secrets.token_hex(6)}"
        self.cache = Cache(get_redis(), "trial", Product, ttl_seconds=60, stale_seconds=60)
        self.clock = Clock()

    def load(self) -> Product | None:
        """From the database."""
        return self.rows.load(ID)

    def read(self) -> str:
        """From the cache, or loaded; where from."""
        return str(self.cache.get_or_load(self.name, self.load).status)

    def read_anew(self) -> None:
        """The same, with nothing in the cache."""
        with contextlib.suppress(RedisError):
            self.cache.invalidate(self.name)
        self.read()

    def price(self) -> int:
        """What a reader sees now."""
        found = self.cache.get_or_load(self.name, self.load).value
        return found.price_cents if found else 0

    def raise_price(self) -> bool:
        """The database first, then the cache; whether that could be told."""
        self.rows.change_row(ID, _dearer)
        try:
            self.cache.invalidate(self.name)
        except RedisError:
            return False
        return True


@contextlib.contextmanager
def _shop() -> Iterator[Shop]:
    with scratch("show") as folder:
        database = Database(sqlite_url(folder), current_app.config["DB_LATENCY_MS"])
        try:
            seed.seed(database.engine, int(ID))
            made = Shop(database)
            try:
                yield made
            finally:
                with contextlib.suppress(RedisError):
                    made.cache.invalidate(made.name)
        finally:
            database.engine.dispose()


def page_cold_and_cached() -> Found:
    """A product read from the database, and from the cache."""
    with _shop() as shop:
        cold = shop.clock.times(shop.read_anew, COLD)
        found: list[str] = []
        cached = shop.clock.times(lambda: found.append(shop.read()), CACHED)
        hits = found.count(CacheStatus.HIT)
    counts: dict[str, float] = {"hits": hits, "reads": len(found)}
    return [Row("Miss", cold, "db"), Row("Hit", cached, "redis")], counts


def _tell_page(found: Measured) -> str:
    cold, cached = (row.median for row in found.rows)
    hits = f"{found.counts['hits']:.0f} of {found.counts['reads']:.0f}"
    if found.counts["hits"] < found.counts["reads"]:
        return (
            f"Without a cached entry, the page took {told(cold)}. After that the cache answered "
            f"{hits} reads, and each took {told(cached)}: Redis stores nothing now."
        )
    return (
        f"The page took {told(cold)} on a miss and {told(cached)} on a hit: "
        f"{cold / max(cached, 0.001):.0f} times as fast, in {hits} reads."
    )


def price_change() -> Found:
    """Readers look all the time while the price changes."""
    with _shop() as shop:
        before, now = shop.price(), shop.clock.now
        looks: list[tuple[float, float, int]] = []
        over = threading.Event()

        def look() -> None:
            while not over.wait(LOOK_SECONDS):
                began = now()
                with contextlib.suppress(SQLAlchemyError, Busy):
                    price = shop.price()
                    looks.append((began, now(), price))

        threads = [_thread(look) for _ in range(LOOKERS)]
        try:
            over.wait(10 * LOOK_SECONDS)
            asked_at = now()
            told_of_it = shop.raise_price()
            done_at = now()
            most_seconds = 0.1 + 2.5 * current_app.config["DB_LATENCY_MS"] / 1000
            _until(
                lambda: sum(look[0] >= done_at for look in looks) > LOOKERS,
                min(most_seconds, LONGEST_SECONDS),
            )
        finally:
            over.set()
            for thread in threads:
                thread.join()
    after = [look for look in looks if look[0] >= done_at]
    rows = [
        Row("Reads before the change", [e - b for b, e, _ in looks if e < asked_at], "redis"),
        Row("Price change", [done_at - asked_at], "app"),
        Row("Reads after the change", [ended - began for began, ended, _ in after], "ok"),
    ]
    counts = {
        "after": len(after),
        "stale": sum(price == before for _, _, price in after),
        "seen_ms": min((ended - done_at for _, ended, _ in after), default=0.0),
        "untold": int(not told_of_it),
    }
    return rows, counts


def _dearer(product: Product) -> Product:
    return msgspec.structs.replace(product, price_cents=product.price_cents + 100)


def _tell_price(found: Measured) -> str:
    counts, change = found.counts, found.rows[1].median
    untold = ", but Redis could not be told" if counts["untold"] else ""
    beginning = f"The price change took {told(change)}{untold}."
    if not counts["after"]:
        return (
            f"{beginning} No read that began after the change ended within {LONGEST_SECONDS:.0f} s."
        )
    seen = f"{counts['stale']:.0f} showed the old price"
    beginning = f"{beginning} Of {counts['after']:.0f} reads that began after the change, {seen}"
    if counts["stale"]:
        return f"{beginning}."
    return f"{beginning}; the first of them showed the new price after {told(counts['seen_ms'])}."


def fifty_readers() -> Found:
    """All at once, each for himself and then with the cache between."""
    with _shop() as shop:
        failures = (SQLAlchemyError,)
        bare, loads = stampede.run(None, shop.name, shop.load, READERS, failures)
        cached, loads_cached = stampede.run(shop.cache, shop.name, shop.load, READERS, failures)
    rows = [
        Row("Without cache", [reader.took_ms for reader in bare], "db"),
        Row("With cache", [reader.took_ms for reader in cached], "redis"),
    ]
    failed = sum(reader.status == FAILED for reader in (*bare, *cached))
    return rows, {"readers": len(bare), "loads": loads, "cached": loads_cached, "failed": failed}


def _tell_readers(found: Measured) -> str:
    bare, cached = (max(row.ms, default=0.0) for row in found.rows)
    counts = found.counts
    failed = f" {counts['failed']:.0f} got no value, because the database was too slow."
    return (
        f"Without the cache, {counts['readers']:.0f} readers loaded {counts['loads']:.0f} times "
        f"and the last waited {told(bare)}. With it, they loaded {_times(counts['cached'])} and "
        f"the last waited {told(cached)}.{failed if counts['failed'] else ''}"
    )


def plug_pulled() -> Found:
    """For this visitor alone Redis hangs; then it is back."""
    chosen = pull_the_plug.current()
    with _shop() as shop:
        shop.read()
        plugged = shop.clock.times(shop.read, PULLED)
        pull_the_plug.take(
            msgspec.structs.replace(chosen, redis="paused", visitor=secrets.token_hex(6))
        )
        found: list[str] = []

        def read() -> None:
            with contextlib.suppress(SQLAlchemyError, Busy):
                found.append(shop.read())

        try:
            pulled = shop.clock.times(read, PULLED)
        finally:
            pull_the_plug.take(chosen)
        again = shop.clock.times(shop.read, PULLED)
    rows = [
        Row("Before the failure", plugged, "redis"),
        Row("During it: first read", pulled[:1], "bad"),
        Row("During it: other reads", pulled[1:], "db"),
        Row("After the failure", again, "ok"),
    ]
    past = found.count(CacheStatus.BYPASS)
    return rows, {"asked": len(pulled), "came": len(found), "past": past}


def _tell_plug(found: Measured) -> str:
    _, first, others, again = (row.median for row in found.rows)
    return (
        f"While Redis hung, {found.counts['came']:.0f} of {found.counts['asked']:.0f} reads were "
        f"answered, {found.counts['past']:.0f} of them from the database. The first took "
        f"{told(first)}, because it waited for Redis; the others took {told(others)}. When Redis "
        f"was back, a read took {told(again)}."
    )


def _times(count: float) -> str:
    return "once" if count == 1 else f"{count:.0f} times"


def _thread(do: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=partial(contextvars.copy_context().run, do))
    thread.start()
    return thread


def _until(done: Callable[[], bool], most_seconds: float) -> None:
    end = time.monotonic() + most_seconds
    while not done() and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)


STEPS = (
    Step(
        1,
        "page",
        "Cache a page",
        f"Reads a product {COLD} times from the database, then {CACHED} times from the cache.",
        page_cold_and_cached,
        _tell_page,
    ),
    Step(
        2,
        "price",
        "Change a price",
        f"{LOOKERS} readers read all the time while the price changes.",
        price_change,
        _tell_price,
    ),
    Step(
        3,
        "readers",
        f"Send {READERS} readers, with and without the cache",
        f"{READERS} readers ask for one product at the same moment: once without the cache, once with it.",
        fifty_readers,
        _tell_readers,
    ),
    Step(
        4,
        "plug",
        "Pull the plug on Redis",
        "Redis hangs for this run only, while readers keep reading the product.",
        plug_pulled,
        _tell_plug,
    ),
)
