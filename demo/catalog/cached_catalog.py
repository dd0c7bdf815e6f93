"""The catalog as its pages use it: rendered answers behind one cache, and every write followed by
its invalidation.

Each answer belongs to groups: a product's page to its category and to the block of products that
show each other, a list to its category and to the category's lists. A write makes the block and the
lists a miss; by hand a category goes whole.
"""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from redis.exceptions import RedisError

from demo.catalog import outbox, products
from demo.catalog.cache_aside import Cache, Cached, CacheStatus
from demo.catalog.near_cache import NearCache
from demo.catalog.outbox import Deliverer, Event
from demo.catalog.products import (
    CATEGORIES,
    PAGE_SIZE,
    Change,
    Listing,
    Product,
    ProductPage,
    Stored,
)
from demo.catalog.rendered import Rendered, render

log = logging.getLogger(__name__)
NEAR_PREFIX = "demo:catalog:{page:"


class Words(msgspec.Struct, frozen=True):
    """What a list can be asked for; an empty category is all of them."""

    category: str = ""
    q: Annotated[str, msgspec.Meta(max_length=64)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = PAGE_SIZE
    offset: Annotated[int, msgspec.Meta(ge=0, le=products.MAX_ID)] = 0


class CachedCatalog:
    """`client` is a redis-py client of bytes, `database` has `read()` and `write()`, which give a
    connection each.

    `schema` tells answers apart that other templates have rendered. `outcomes` counts, in this
    process, where answers came from, and `counted` is told of each. A `corner` is a visitor's own:
    the same answers under other keys, so that nobody else waits for a database that somebody has
    made slow for himself. `below` is where the app begins on its host, as answers name addresses:
    those of another place lie under other keys, in the same groups. `late` is called when an event was left in the outbox.
    """

    def __init__(
        self,
        client: Any,
        database: Any,
        *,
        ttl_seconds: float,
        stale_seconds: float,
        schema: str,
        near: NearCache | None,
        late: Callable[[], None],
        counted: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.cache = Cache(
            client,
            "page",
            Rendered,
            ttl_seconds=ttl_seconds,
            stale_seconds=stale_seconds,
            early=1.0,
            schema=schema,
            near=near,
        )
        self.trials = Cache(client, "trial", ProductPage, ttl_seconds=60, stale_seconds=60)
        self.overdue = Cache(client, "trial", ProductPage, ttl_seconds=0.001, stale_seconds=60)
        self.outcomes: Counter[str] = Counter()
        self._tell_outcome = counted
        self._database = database
        self._late = late
        self.deliverer = Deliverer(database, self._tell)

    def product(
        self,
        product_id: int,
        draw: Callable[[ProductPage], str],
        *,
        corner: str = "",
        below: str = "",
        cached: bool = True,
    ) -> Cached[Rendered]:
        """One product's page, made by `draw`; with `cached` false straight from the database."""

        def load() -> Rendered | None:
            page = self.load_page(product_id)
            return None if page is None else render(draw(page).encode())

        def load_for_the_corner() -> Rendered | None:
            found = None
            with suppress(RedisError):  # both may be broken for the same visitor
                found = self.cache.peek(key, groups=groups)
            return found.value if found and found.value else load()

        groups, key = groups_of(product_id), f"html-{product_id}{_suffix(below)}"
        if not cached:
            began = time.perf_counter()
            return self._counted(
                Cached(load(), CacheStatus.BYPASS, load_ms=(time.perf_counter() - began) * 1000)
            )
        loader = load_for_the_corner if corner else load
        return self._counted(self.cache.get_or_load(key + corner, loader, groups=groups))

    def products_json(
        self, ids: Sequence[int], *, corner: str = "", below: str = ""
    ) -> dict[int, Cached[Rendered]]:
        """Products as JSON, each its own answer: one round trip when all are cached."""

        def load(keys: list[str]) -> dict[str, Rendered | None]:
            with self._database.read() as connection:
                found = products.load_stored(connection, [wanted[key] for key in keys])
            return {
                key: represent(found[wanted[key]], below) for key in keys if wanted[key] in found
            }

        corner = _suffix(below) + corner
        wanted = {f"json-{number}{corner}": number for number in ids}
        answers = self.cache.get_many(
            {key: groups_of(number) for key, number in wanted.items()}, load
        )
        return {number: self._counted(answers[key]) for key, number in wanted.items()}

    def listing(
        self,
        words: Words,
        kind: str,
        draw: Callable[[Listing], bytes | None],
        *,
        corner: str = "",
        below: str = "",
    ) -> Cached[Rendered]:
        """One page of a list, made by `draw`, as `kind`: html or json; none where `draw` says that
        there is none."""

        def load() -> Rendered | None:
            with self._database.read() as connection:
                listing = products.load_listing(
                    connection, words.category or None, words.q, words.offset, words.limit
                )
            drawn = draw(listing)
            return None if drawn is None else render(drawn)

        key = f"{kind}{_suffix(below)}{corner}|{words.category}|{words.q}|{words.offset}|{words.limit}"
        groups = (words.category, f"lists-{words.category}") if words.category else ("lists-all",)
        return self._counted(self.cache.get_or_load(key, load, groups=groups))

    def load_page(self, product_id: int) -> ProductPage | None:
        """A product with its relatives, from the database."""
        with self._database.read() as connection:
            return products.load_page(connection, product_id)

    def lookups(self) -> tuple[int, int]:
        """How many answers of this process came from the cache, and how many had to be loaded."""
        served = self.outcomes["HIT"] + self.outcomes["STALE"] + self.outcomes["NEGATIVE"]
        return served, self.outcomes["MISS"] + self.outcomes["EXPIRED"]

    def change(
        self,
        product_id: int,
        change: Change,
        allowed: Callable[[Stored], None] | None = None,
    ) -> tuple[Product | None, bool]:
        """Writes a change; None when there is no such product. The second tells whether the caches
        could be told. `allowed` is told of the product as this transaction finds it, and raises
        where nothing may be written."""

        def write(connection: Any) -> Product | None:
            if allowed:
                found = products.lock(connection, product_id)
                if found is None:
                    return None
                allowed(found)
            return products.change_product(connection, product_id, change)

        return self._write(write)

    def take_one(self, product_id: int) -> tuple[Product | None, bool]:
        """Takes one from the stock; None when there is no such product or it is sold out."""
        return self._write(lambda connection: products.take_one(connection, product_id))

    def drop_product(self, product_id: int, corner: str = "", below: str = "") -> int:
        """Invalidates a product's answers by hand; how many there were. Raises RedisError."""
        names = {
            f"{kind}-{product_id}{place}"
            for kind in ("html", "json")
            for place in ("", _suffix(below))
        }
        if corner:
            names.add(f"html-{product_id}{_suffix(below)}{corner}")
        dropped = self.cache.invalidate(*sorted(names))
        self.deliverer.remember({(product_id, products.category_of(product_id))})
        return dropped

    def drop_category(self, category: str) -> None:
        """Invalidates by hand every page and list that shows the category; an empty one: the lists
        of all. Raises RedisError."""
        self._tell([Event(0, 0, category)])
        self.deliverer.remember({(0, category)})

    def drop_all_lists(self) -> None:
        """For when products were added. Raises RedisError."""
        self._tell([Event(0, 0, category) for category in CATEGORIES])
        self.deliverer.remember({(0, category) for category in CATEGORIES})

    def untold(self) -> int:
        """How many changes wait in the outbox. Raises SQLAlchemyError."""
        with self._database.read(wait=False) as connection:
            return outbox.count(connection)

    def _write(self, statement: Callable[[Any], Product | None]) -> tuple[Product | None, bool]:
        with self._database.write() as connection:
            written = statement(connection)
            event = outbox.add(connection, written.id, written.category) if written else None
        return written, event is None or self._publish(event)

    def _publish(self, event: Event) -> bool:
        """After the commit: tells the caches, and removes the event. Where Redis is away the event
        stays in the outbox."""
        try:
            self._tell([event])
        except RedisError as error:
            log.warning(
                "product %s: written, not invalidated yet: %s",
                event.product_id,
                type(error).__name__,
            )
            self._late()
            return False
        with self._database.write(wait=False) as connection:
            outbox.settle(connection, [event])
        return True

    def _tell(self, events: Sequence[Event]) -> None:
        """Invalidates every answer that shows one of the products: its block's pages, and every
        list that can; of an event without a product, every answer of its category."""
        groups = {"lists-all"}
        for event in events:
            if event.product_id:
                groups |= {block_group(event.product_id), f"lists-{event.category}"}
            elif event.category:
                groups.add(event.category)
        self.cache.invalidate(groups=sorted(groups))

    def _counted(self, cached: Cached[Any]) -> Cached[Any]:
        self.outcomes[cached.status] += 1
        self._tell_outcome(cached.status)
        return cached


def represent(stored: Stored, below: str = "") -> Rendered:
    """A product as JSON."""
    return render(msgspec.json.encode(placed(stored.product, below)), stored.written_at)


def placed(product: Product, below: str) -> Product:
    """A product with the address of its picture, of an app that begins `below` its host."""
    if not below:
        return product
    return msgspec.structs.replace(product, image_url=below + product.image_url)


def _suffix(below: str) -> str:
    return f"~{hashlib.sha256(below.encode()).hexdigest()[:12]}" if below else ""


@lru_cache(maxsize=4096)
def cache_groups(product_id: int) -> str:
    """The value of Cache-Groups (RFC 9875) of what shows a product."""
    category, block = groups_of(product_id)
    return f'"product-{product_id}", "{block}", "category-{category}"'


def list_groups(category: str) -> str:
    """The same of a list; an empty category is all."""
    return f'"list-{category}", "category-{category}"' if category else '"list-all"'


def changed_groups(product_id: int) -> str:
    """The value of Cache-Group-Invalidation when a product has changed: what shows it."""
    category, block = groups_of(product_id)
    return f'"product-{product_id}", "{block}", "list-{category}", "list-all"'


@lru_cache(maxsize=4096)
def groups_of(product_id: int) -> tuple[str, str]:
    """The groups of a product's answers."""
    return products.category_of(product_id), block_group(product_id)


def block_group(product_id: int) -> str:
    """The group of the products that show each other."""
    return f"block-{products.block_of(product_id).start}"
