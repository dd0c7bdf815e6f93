"""The products: a table, what a page needs of it, and the rule which products are related.

Related are the other products of the same category in the same block of `BLOCK` ids. The rule is
symmetric, so an edit of a product knows without asking which cached pages show it: those of its
block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    func,
    or_,
    select,
    update,
)

MAX_PRICE_CENTS = 100_000_000
MAX_STOCK = 1_000_000
MAX_ID = 2**31 - 1
PAGE_SIZE = 24
COUNTED_AT_MOST = 10_000
CATEGORIES: dict[str, str] = {
    "backpacks": "Backpacks",
    "bicycles": "Bicycles",
    "blankets": "Blankets",
    "books": "Notebooks",
    "boots": "Boots",
    "bowls": "Bowls",
    "chairs": "Chairs",
    "clocks": "Clocks",
    "desks": "Desks",
    "gloves": "Gloves",
    "jackets": "Jackets",
    "kettles": "Kettles",
    "knives": "Knives",
    "lamps": "Lamps",
    "mugs": "Mugs",
    "pans": "Pans",
    "radios": "Radios",
    "ropes": "Ropes",
    "scales": "Scales",
    "shelves": "Shelves",
    "stoves": "Stoves",
    "tents": "Tents",
    "tools": "Tool sets",
    "vases": "Vases",
}
SLUGS = tuple(CATEGORIES)
BLOCK = len(CATEGORIES) * 5

metadata = MetaData()
products = Table(
    "products",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sku", String(16), nullable=False, unique=True),
    Column("name", String(120), nullable=False),
    Column("description", Text, nullable=False),
    Column("category", String(32), nullable=False),
    Column("price_cents", BigInteger, nullable=False),
    Column("stock", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Index("products_by_category", "category", "id"),
)
COLUMNS = tuple(
    products.c[name]
    for name in ("id", "sku", "name", "description", "category", "price_cents", "stock", "version")
)


class Product(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One product as the API gives it. `version` rises by 1 with each write."""

    id: int
    sku: str
    name: str
    description: str
    category: str
    price_cents: int
    stock: int
    version: int
    image_url: str


class Related(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a product page shows of another product."""

    id: int
    name: str
    price_cents: int
    image_url: str


class ProductPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a product page shows: one cache entry."""

    product: Product
    related: tuple[Related, ...]


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One page of a list: the products from `offset` on, and how many there are (at most
    COUNTED_AT_MOST are counted)."""

    products: tuple[Product, ...]
    total: int


@dataclass(frozen=True)
class Stored:
    """A product and when it was written last."""

    product: Product
    written_at: datetime


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What may change of a product; an absent field stays. Prices in cents."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=120)] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    description: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    price_cents: Annotated[int, msgspec.Meta(ge=0, le=MAX_PRICE_CENTS)] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    stock: Annotated[int, msgspec.Meta(ge=0, le=MAX_STOCK)] | msgspec.UnsetType = msgspec.UNSET


def image_url(product_id: int) -> str:
    """Where the app draws the product's picture."""
    return f"/catalog/images/{product_id}.svg"


def block_of(product_id: int) -> range:
    """The ids whose pages show each other: same category, same block."""
    first = product_id // BLOCK * BLOCK
    return range(first + product_id % len(SLUGS), first + BLOCK, len(SLUGS))


def category_of(product_id: int) -> str:
    """The category of a product of this id."""
    return SLUGS[product_id % len(SLUGS)]


def load_stored(connection: Connection, ids: Sequence[int]) -> dict[int, Stored]:
    """Those of the products that there are, by id."""
    rows = connection.execute(select(*COLUMNS, products.c.updated_at).where(products.c.id.in_(ids)))
    return {row.id: _stored(row) for row in rows}


def load_products(connection: Connection, ids: Sequence[int]) -> dict[int, Product]:
    """The same without the times."""
    return {number: one.product for number, one in load_stored(connection, ids).items()}


def load_page(connection: Connection, product_id: int) -> ProductPage | None:
    """A product and its relatives, or None when there is none of that id."""
    rows = connection.execute(
        select(*COLUMNS).where(products.c.id.in_(block_of(product_id))).order_by(products.c.id)
    ).all()
    found = {row.id: row for row in rows}
    if product_id not in found:
        return None
    related = tuple(
        Related(row.id, row.name, row.price_cents, image_url(row.id))
        for row in rows
        if row.id != product_id
    )
    return ProductPage(_product(found[product_id]), related)


def load_listing(
    connection: Connection, category: str | None, words: str, offset: int, limit: int
) -> Listing:
    """Products by id, of one category or all, whose name or SKU holds `words` (any case)."""
    where = []
    if category is not None:
        where.append(products.c.category == category)
    if words:
        pattern = "%" + words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        where.append(
            or_(
                products.c.name.ilike(pattern, escape="\\"),
                products.c.sku.ilike(pattern, escape="\\"),
            )
        )
    matching = select(products.c.id).where(*where).limit(COUNTED_AT_MOST).subquery()
    total = connection.scalar(select(func.count()).select_from(matching)) or 0
    rows = connection.execute(
        select(*COLUMNS).where(*where).order_by(products.c.id).offset(offset).limit(limit)
    ).all()
    return Listing(tuple(_product(row) for row in rows), total)


def lock(connection: Connection, product_id: int) -> Stored | None:
    """A product that nobody else changes until this transaction is over; None when there is none.
    SQLite lets one transaction write at a time."""
    row = connection.execute(
        select(*COLUMNS, products.c.updated_at).where(products.c.id == product_id).with_for_update()
    ).one_or_none()
    return None if row is None else _stored(row)


def change_product(connection: Connection, product_id: int, change: Change) -> Product | None:
    """Writes a change and raises the version by 1 in one statement; None when there is no such
    product."""
    values = msgspec.structs.asdict(change)
    values = {name: value for name, value in values.items() if value is not msgspec.UNSET}
    statement = (
        update(products)
        .where(products.c.id == product_id)
        .values(**values, version=products.c.version + 1, updated_at=datetime.now(UTC))
        .returning(*COLUMNS)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else _product(row)


def write_newer(connection: Connection, newer: Sequence[Product]) -> None:
    """Writes stock and price of products whose version is higher than the one that is there; others
    are left alone."""
    for product in newer:
        connection.execute(
            update(products)
            .where(products.c.id == product.id, products.c.version < product.version)
            .values(
                stock=product.stock,
                price_cents=product.price_cents,
                version=product.version,
                updated_at=datetime.now(UTC),
            )
        )


def take_one(connection: Connection, product_id: int) -> Product | None:
    """Takes one from the stock; None when there is no such product or it is sold out."""
    statement = (
        update(products)
        .where(products.c.id == product_id, products.c.stock > 0)
        .values(
            stock=products.c.stock - 1, version=products.c.version + 1, updated_at=datetime.now(UTC)
        )
        .returning(*COLUMNS)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else _product(row)


def _stored(row: object) -> Stored:
    fields = dict(row._mapping)  # type: ignore[attr-defined]
    written_at = fields.pop("updated_at")
    return Stored(Product(**fields, image_url=image_url(fields["id"])), written_at)


def _product(row: object) -> Product:
    fields = row._mapping  # type: ignore[attr-defined]
    return Product(**fields, image_url=image_url(fields["id"]))


def batches(first: int, last: int, size: int = 1000) -> Iterator[range]:
    """Ranges of at most `size` that cover first..last."""
    for start in range(first, last + 1, size):
        yield range(start, min(start + size, last + 1))
