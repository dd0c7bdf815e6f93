"""What the lessons of the catalog share: a shop of the run's own, with a database as slow as the
app's, that goes with the run."""

import contextlib
from collections.abc import Iterator

import msgspec
from flask import current_app

from demo.catalog import seed
from demo.catalog.cache_aside import Cache
from demo.catalog.products import Product
from demo.catalog.strategies import Rows
from demo.client.folders import scratch
from demo.database import Database, sqlite_url
from demo.teach.experiments import KEY_SECONDS, Bench

ID = "1"


@contextlib.contextmanager
def shop_database(products: int = 1, latency_ms: int | None = None) -> Iterator[Database]:
    """A database of so many products. Raises SQLAlchemyError."""
    wanted = current_app.config["DB_LATENCY_MS"] if latency_ms is None else latency_ms
    with scratch("learn") as folder:
        database = Database(sqlite_url(folder), wanted)
        try:
            seed.seed(database.engine, products)
            yield database
        finally:
            database.engine.dispose()


@contextlib.contextmanager
def shop(products: int = 1, latency_ms: int | None = None) -> Iterator[Rows]:
    """The same as rows, which count how often they were asked."""
    with shop_database(products, latency_ms) as database:
        yield Rows(database, lambda: None)


def dearer(product: Product) -> Product:
    """The change that a writer makes."""
    return msgspec.structs.replace(product, price_cents=product.price_cents + 100)


def leased(bench: Bench, *keys: str) -> Cache[Product]:
    """A cache with leases, whose entries of these keys go with the run."""
    cache = Cache(bench.client, bench.name, Product, ttl_seconds=KEY_SECONDS, wait_seconds=2.0)
    bench.take(*(cache.redis_key(key) for key in keys))
    return cache
