"""Five ways to keep a cache and a database together. All five strategies read and change the same
products through one interface.

`CommonRecipe` is the one that most articles show. It is here to be measured beside the others, not
to be copied. If a writer commits between a reader's load and its store, only `CommonRecipe` serves
the old row afterwards.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from demo.catalog import products
from demo.catalog.cache_aside import Cache
from demo.catalog.no_cache import NoCache
from demo.catalog.products import Change, Product
from demo.catalog.write_behind import Versioned, WriteBehind
from demo.catalog.write_through import WriteThrough
from demo.client.contract import PREFIX, RedisClient, beginning, checked, errors_of, plain

NAMES = {
    "none": "No cache",
    "recipe": "Common recipe",
    "aside": "Cache-aside",
    "through": "Write-through",
    "behind": "Write-behind",
}


class Strategy(Protocol):
    """How a product is read and changed; the key is its id as text."""

    def read(self, key: str) -> Product | None:
        """The product, None when there is none."""

    def update(self, key: str, change: Callable[[Product], Product]) -> Product | None:
        """The changed product, its version one higher."""


class Rows:
    """The products of one database, and how often it was asked. `visit` is called on the way to it
    and on the way back: it may wait, and raise."""

    def __init__(self, database: Any, visit: Callable[[], None]) -> None:
        self._database, self._visit = database, visit
        self.reads = self.writes = 0
        self._mine = threading.local()

    def visits(self) -> int:
        """How often this thread has asked for a product."""
        return getattr(self._mine, "loads", 0)

    def load(self, key: str) -> Product | None:
        """One product."""
        self._mine.loads = self.visits() + 1
        self._visit()
        self.reads += 1
        with self._database.read() as connection:
            found = products.load_products(connection, [int(key)]).get(int(key))
        self._visit()
        return found

    def load_versioned(self, key: str) -> Versioned[Product] | None:
        """The same with its version beside it."""
        found = self.load(key)
        return None if found is None else Versioned(key, found.version, found)

    def change_row(self, key: str, change: Callable[[Product], Product]) -> Product | None:
        """Changes stock and price of one product in a transaction."""
        self._visit()
        self.writes += 1
        with self._database.write() as connection:
            found = products.load_products(connection, [int(key)]).get(int(key))
            if found is None:
                return None
            changed = change(found)
            wanted = Change(stock=changed.stock, price_cents=changed.price_cents)
            return products.change_product(connection, int(key), wanted)

    def save_batch(self, changes: Sequence[Versioned[Product]]) -> None:
        """Changes that come late, each only over a lower version, in one transaction."""
        self._visit()
        self.writes += 1
        newer = [
            msgspec.structs.replace(change.value, version=change.version) for change in changes
        ]
        with self._database.write() as connection:
            products.write_newer(connection, newer)


class CacheAside:
    """The cache in front, the database changed first, then the entry dropped."""

    def __init__(self, cache: Cache[Product], rows: Rows) -> None:
        self._cache, self._rows = cache, rows

    def read(self, key: str) -> Product | None:
        """From the cache, or loaded under a lease."""
        return self._cache.get_or_load(key, lambda: self._rows.load(key)).value

    def update(self, key: str, change: Callable[[Product], Product]) -> Product | None:
        """Writes, then invalidates. Raises RedisError when it is written and the cache could not be
        told."""
        changed = self._rows.change_row(key, change)
        self._cache.invalidate(key)
        return changed


class CommonRecipe:
    """GET, and SET what was loaded; on a write DEL. Without a lease a slow reader puts an old row
    back."""

    def __init__(self, client: RedisClient, name: str, rows: Rows, prefix: str = PREFIX) -> None:
        self._client, self._rows = checked(client), rows
        self._key = f"{beginning(prefix, 'catalog')}{{{plain('name', name)}:%s}}"
        self._decoder = msgspec.msgpack.Decoder(Product)

    def read(self, key: str) -> Product | None:
        """From the cache, or loaded by each who misses."""
        try:
            raw = self._client.get(self._key % key)
            if raw is not None:
                return self._decoder.decode(raw)
            found = self._rows.load(key)
            self._client.set(self._key % key, msgspec.msgpack.encode(found), ex=60)
        except errors_of(self._client).all:
            return self._rows.load(key)
        return found

    def update(self, key: str, change: Callable[[Product], Product]) -> Product | None:
        """Writes, then deletes. Raises RedisError when it is written and the cache could not be
        told."""
        changed = self._rows.change_row(key, change)
        self._client.delete(self._key % key)
        return changed


def build(kind: str, client: RedisClient, name: str, rows: Rows, prefix: str = PREFIX) -> Strategy:
    """The strategy of that name, with keys of its own: `name` is plain letters, digits and dashes."""
    if kind == "recipe":
        return CommonRecipe(client, name, rows, prefix)
    if kind == "aside":
        return CacheAside(Cache(client, name, Product, ttl_seconds=60, prefix=prefix), rows)
    if kind == "through":
        return WriteThrough(
            Cache(client, name, Product, ttl_seconds=60, prefix=prefix),
            rows.load,
            rows.change_row,
        )
    if kind == "behind":
        return behind(client, name, rows, prefix)
    return NoCache(rows.load, rows.change_row)


def behind(
    client: RedisClient, name: str, rows: Rows, prefix: str = PREFIX
) -> WriteBehind[Product]:
    """Write-behind, for a reader or for a worker."""
    return WriteBehind(
        client,
        name,
        Product,
        rows.load_versioned,
        rows.save_batch,
        keep_seconds=600,
        lease_seconds=1,
        prefix=prefix,
    )
