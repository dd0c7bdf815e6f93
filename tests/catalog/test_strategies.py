import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from demo.catalog import products, seed, strategies
from demo.catalog.products import Product
from demo.catalog.strategies import NAMES, Rows, build
from demo.catalog.write_behind import WriteBehind
from demo.database import Database
from tests.servers import Client


def take(product: Product) -> Product:
    return msgspec.structs.replace(product, stock=product.stock - 1, version=product.version + 1)


@pytest.fixture
def rows(make_database: Callable[..., Database]) -> Rows:
    database = make_database()
    seed.seed(database.engine, 50)
    return Rows(database, lambda: None)


@pytest.mark.parametrize("kind", NAMES)
def test_every_strategy_reads_and_changes_the_same_products(
    client: Client, rows: Rows, kind: str
) -> None:
    strategy = build(kind, client, f"lab-{kind}", rows)
    first = strategy.read("7")
    assert first and (first.id, first.version) == (7, 1)
    changed = strategy.update("7", take)
    assert changed and (changed.stock, changed.version) == (first.stock - 1, 2)
    for _ in range(2):
        assert strategy.read("7") == changed
    if isinstance(strategy, WriteBehind):
        assert rows.load("7") == first
        strategy.flush("one")
    assert rows.load("7") == changed
    assert (strategy.read("999"), strategy.update("999", take)) == (None, None)
    assert all(client.pttl(key) > 0 for key in client.scan_iter("demo:*"))


@pytest.mark.parametrize(
    ("kind", "reads"), [("none", 3), ("recipe", 1), ("aside", 1), ("through", 1), ("behind", 1)]
)
def test_what_three_reads_cost_the_database(
    client: Client, rows: Rows, kind: str, reads: int
) -> None:
    strategy = build(kind, client, "lab-cost", rows)
    for _ in range(3):
        strategy.read("7")
    assert (rows.reads, rows.writes) == (reads, 0)


def test_the_common_recipe_puts_an_old_row_back_and_the_others_do_not(
    client: Client, rows: Rows
) -> None:
    """A reader has loaded; before it stores, a writer commits and drops the entry."""
    stale = {}
    for kind in NAMES:
        strategy = build(kind, client, f"lab-{kind}", rows)
        _overtake(rows, strategy)
        strategy.read("7")
        newest = (
            strategy.update("7", lambda product: product) if kind == "behind" else rows.load("7")
        )
        assert newest
        found = strategy.read("7")
        assert found
        stale[kind] = found.version < newest.version
    assert [kind for kind, is_stale in stale.items() if is_stale] == ["recipe"]


def _overtake(rows: Rows, strategy: Any) -> None:
    original, once = Rows.load, threading.Lock()

    def load(key: str) -> Product | None:
        found = original(rows, key)
        if once.acquire(blocking=False):
            if isinstance(strategy, WriteBehind):
                return found
            strategy.update(key, take)
        return found

    rows.load = load  # type: ignore[method-assign]
    if hasattr(strategy, "_load") and not isinstance(strategy, WriteBehind):
        strategy._load = load


def test_late_changes_are_written_over_lower_versions_only(
    make_database: Callable[..., Database],
) -> None:
    database = make_database()
    seed.seed(database.engine, 10)
    with database.read() as connection:
        before = products.load_products(connection, [7])[7]
    newer = [
        msgspec.structs.replace(before, version=version, stock=version) for version in (3, 2, 4, 4)
    ]
    with database.write() as connection:
        products.write_newer(connection, newer)
    with database.read() as connection:
        after = products.load_products(connection, [7])[7]
    assert (after.version, after.stock, after.name) == (4, 4, before.name)


def test_an_unknown_kind_is_no_cache(client: Client, rows: Rows) -> None:
    assert isinstance(build("none", client, "x", rows), strategies.NoCache)
