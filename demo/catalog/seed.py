"""Makes the catalog from a seed: product N is the same on every machine, in any order."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, inspect, select, text

import demo.catalog.outbox  # noqa: F401 - its table is made with the others
from demo.catalog.products import CATEGORIES, SLUGS, batches, metadata, products

SEED = 2026
ADVISORY_LOCK = 7_233_914
SINGULAR = {
    "books": "notebook",
    "knives": "knife",
    "tools": "tool set",
    "shelves": "shelf",
    "boots": "pair of boots",
    "gloves": "pair of gloves",
}
PLACES = [
    "Field",
    "Harbour",
    "Alpine",
    "Meadow",
    "Studio",
    "Workshop",
    "Forest",
    "River",
    "Island",
    "Orchard",
    "Desert",
    "Canyon",
    "Coastal",
    "Northern",
    "Evening",
    "Morning",
]
HARD = ["oak", "ash", "steel", "copper", "enamel", "walnut", "brass", "glass", "bamboo", "titanium"]
SOFT = ["linen", "wool", "canvas", "leather", "felt", "hemp", "cotton"]
SEWN = {"backpacks", "blankets", "boots", "gloves", "jackets", "ropes", "tents"}
OPENINGS = (
    "Made for the long way round",
    "Built by hand in small numbers",
    "A quiet thing that does one job well",
    "Drawn once and never changed since",
    "The kind that is handed down",
    "Light enough to forget, strong enough to trust",
)
MIDDLES = (
    "The joints are made twice as strong as they need to be, and the edges are rounded where a hand will hold them",
    "Every part comes off with one tool, which is in the box",
    "It packs flat and weighs less than it looks",
    "The finish darkens with the years and can be renewed with a cloth",
    "What wears out can be replaced, and we keep the parts",
    "It was tried for two winters before it was sold",
)
CLOSINGS = (
    "Repaired free of charge for ten years.",
    "Comes in a box without plastic.",
    "Spare parts are kept in stock.",
    "If it does not suit you, send it back.",
)


def make_product(number: int) -> dict[str, Any]:
    """The columns of product `number`, from 1 on."""
    dice = random.Random(SEED * 1_000_003 + number)
    slug = SLUGS[number % len(SLUGS)]
    noun = SINGULAR.get(slug, CATEGORIES[slug].lower().removesuffix("s"))
    place, make = dice.choice(PLACES), dice.choice(SOFT if slug in SEWN else HARD)
    description = f"{dice.choice(OPENINGS)}: a {noun} of {make}. {dice.choice(MIDDLES)}. {dice.choice(CLOSINGS)}"
    return {
        "id": number,
        "sku": f"{slug[:3].upper()}-{number:06d}",
        "name": f"{place} {noun}, {make}, no. {number}",
        "description": description,
        "category": slug,
        "price_cents": dice.randrange(4, 400) * 100 + dice.choice((0, 50, 90)),
        "stock": dice.randrange(0, 60),
        "version": 1,
        "updated_at": datetime(2026, 1, 1, tzinfo=UTC),
    }


def seed(engine: Engine, wanted: int, progress: Callable[[int], None] = lambda made: None) -> int:
    """Makes products until there are `wanted`, and returns how many were made. Several processes
    may call it at once: one makes them, the others wait for it and find nothing left to do."""
    with engine.connect() as connection:
        complete = set(metadata.tables) <= set(inspect(connection).get_table_names())
        if complete and _count(connection) >= wanted:
            return 0
    with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
        metadata.create_all(connection)
        there = _count(connection)
        for numbers in batches(there + 1, wanted):
            connection.execute(products.insert(), [make_product(number) for number in numbers])
            progress(len(numbers))
    return max(0, wanted - there)


def _count(connection: Connection) -> int:
    return connection.scalar(select(func.max(products.c.id))) or 0
