"""The catalog as its pages use it: the products behind two caches, and every write followed by its invalidation."""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from redis.exceptions import RedisError

from demo.catalog import outbox, products
from demo.catalog.cache_aside import Cache, Cached
from demo.catalog.outbox import Deliverer, Event
from demo.catalog.products import CATEGORIES, PAGE_SIZE, Change, Listing, Product, ProductPage

log = logging.getLogger(__name__)


class Words(msgspec.Struct, frozen=True):
    """What a list can be asked for; an empty category is all of them."""

    category: str = ""
    q: Annotated[str, msgspec.Meta(max_length=64)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = PAGE_SIZE
    offset: Annotated[int, msgspec.Meta(ge=0, le=products.MAX_ID)] = 0


class Shelf:
    """`client` is a redis-py client of bytes, `database` has `read()` and `write()`, which give a connection each.
    Entries live `ttl_seconds`; `outcomes` counts, in this process, where answers came from."""

    def __init__(self, client: Any, database: Any, *, ttl_seconds: float) -> None:
        self.pages = Cache(client, "product", ProductPage, ttl_seconds=ttl_seconds)
        self.listings = Cache(client, "list", Listing, ttl_seconds=ttl_seconds)
        self.outcomes: Counter[str] = Counter()
        self._database = database
        self.deliverer = Deliverer(database, self._tell)

    def page(self, product_id: int) -> Cached[ProductPage]:
        """One product with its relatives, from one cache entry."""

        def load() -> ProductPage | None:
            with self._database.read() as connection:
                return products.load_page(connection, product_id)

        return self._counted(self.pages.get_or_load(str(product_id), load))

    def listing(self, words: Words) -> Cached[Listing]:
        """One page of a list; lists of a category are one group, lists of all categories another."""

        def load() -> Listing:
            with self._database.read() as connection:
                return products.load_listing(connection, words.category or None, words.q, words.offset, words.limit)

        key = f"{words.q}|{words.offset}|{words.limit}"
        return self._counted(self.listings.get_or_load(key, load, group=words.category or "all"))

    def change(self, product_id: int, change: Change) -> tuple[Product | None, bool]:
        """Writes a change; None when there is no such product. The second tells whether the caches could be told."""
        return self._write(lambda connection: products.change_product(connection, product_id, change))

    def take_one(self, product_id: int) -> tuple[Product | None, bool]:
        """Takes one from the stock; None when there is no such product or it is sold out."""
        return self._write(lambda connection: products.take_one(connection, product_id))

    def drop_page(self, product_id: int) -> int:
        """Invalidates a page by hand; how many entries there were. Raises RedisError."""
        return self.pages.invalidate(str(product_id))

    def drop_lists(self, *categories: str) -> None:
        """Invalidates by hand every list that shows these categories. Raises RedisError."""
        self.listings.invalidate_group(*categories, "all")

    def drop_all_lists(self) -> None:
        """For when products were added. Raises RedisError."""
        self.drop_lists(*CATEGORIES)

    def _write(self, statement: Callable[[Any], Product | None]) -> tuple[Product | None, bool]:
        with self._database.write() as connection:
            written = statement(connection)
            event = outbox.add(connection, written.id, written.category) if written else None
        return written, event is None or self._publish(event)

    def _publish(self, event: Event) -> bool:
        """After the commit: tells the caches, and removes the event. Where Redis is away the event stays in the outbox."""
        try:
            self._tell(event)
        except RedisError as error:
            log.warning("product %s: written, not invalidated yet: %s", event.product_id, type(error).__name__)
            self.deliverer.kick()
            return False
        with self._database.write(wait=False) as connection:
            outbox.remove(connection, [event])
        return True

    def _tell(self, event: Event) -> None:
        """Invalidates every page of the product's block and every list that can show it."""
        self.pages.invalidate(*(str(number) for number in products.block_of(event.product_id)))
        self.drop_lists(event.category)

    def _counted(self, cached: Cached[Any]) -> Cached[Any]:
        self.outcomes[cached.status] += 1
        return cached
