import random
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.catalog import pictures, products, seed
from demo.catalog.products import CATEGORIES, Change, block_of
from demo.database import Database


@pytest.fixture
def database(make_database: Callable[..., Database]) -> Database:
    made = make_database()
    seed.seed(made.engine, 500)
    return made


@given(st.integers(1, products.MAX_ID))
def test_related_is_mutual_and_within_a_category(number: int) -> None:
    block = block_of(number)
    assert number in block
    assert len(block) == 5
    for other in block:
        assert block_of(other) == block
        assert other % len(CATEGORIES) == number % len(CATEGORIES)


def test_the_blocks_cover_every_product_once() -> None:
    last = products.BLOCK * 4
    blocks = {block_of(number) for number in range(last)}
    assert sorted(number for block in blocks for number in block) == list(range(last))


@given(st.integers(-5, 50), st.integers(0, 60), st.integers(1, 9))
def test_batches_cover_what_they_are_asked_for_and_no_more(
    first: int, count: int, size: int
) -> None:
    made = list(products.batches(first, first + count - 1, size))
    assert [number for batch in made for number in batch] == list(range(first, first + count))
    assert all(1 <= len(batch) <= size for batch in made)


def test_a_page_holds_the_product_and_the_rest_of_its_block(database: Database) -> None:
    with database.read() as connection:
        page = products.load_page(connection, 42)
        assert products.load_page(connection, 501) is None
    assert page is not None
    assert page.product.id == 42
    assert {other.id for other in page.related} == set(block_of(42)) - {42}


@pytest.mark.parametrize("words", ["%", "_", "\\", "100%", "'; DROP TABLE products; --"])
def test_words_are_looked_for_as_they_stand(database: Database, words: str) -> None:
    with database.read() as connection:
        assert products.load_listing(connection, None, words, 0, 10) == products.Listing((), 0)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("%", [42]),
        ("_", [43]),
        ("\\", [44]),
        ("100% w", [42]),
        ("MUG_A", [43]),
        ("g\\n", [44]),
        ("mug", [42, 43, 44]),
    ],
)
def test_a_word_with_a_sign_of_the_databases_own_finds_just_that(
    make_database: Callable[..., Database], words: str, found: list[int]
) -> None:
    database = make_database()
    seed.seed(database.engine, 60)
    with database.write() as connection:
        for number in range(1, 61):
            products.change_product(connection, number, Change(name="plain"))
        for number, name in ((42, "100% wool mug"), (43, "mug_a"), (44, "mug\\n")):
            products.change_product(connection, number, Change(name=name))
    with database.read() as connection:
        listing = products.load_listing(connection, None, words, 0, 10)
    # Number 14 and 38 are mugs by their SKU.
    assert [product.id for product in listing.products if product.name != "plain"] == found
    assert words == "mug" or listing.total == len(found)


def test_a_long_list_is_counted_up_to_a_bound_and_read_beyond_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "COUNTED_AT_MOST", 10)
    with database.read() as connection:
        listing = products.load_listing(connection, None, "", 490, 24)
    assert (listing.total, [product.id for product in listing.products]) == (
        10,
        list(range(491, 501)),
    )


def test_a_list_is_by_category_words_and_page(database: Database) -> None:
    with database.read() as connection:
        lamps = products.load_listing(connection, "lamps", "", 0, 100)
        assert (
            lamps.total
            == len(lamps.products)
            == sum(products.SLUGS[n % 24] == "lamps" for n in range(1, 501))
        )
        assert {product.category for product in lamps.products} == {"lamps"}
        second = products.load_listing(connection, "lamps", "", 5, 5)
        assert second.products == lamps.products[5:10]
        word = lamps.products[0].name.split()[0].upper()
        found = products.load_listing(connection, "lamps", word, 0, 100)
        assert found.total and all(
            word.lower() in product.name.lower() for product in found.products
        )
        assert (
            products.load_listing(connection, None, lamps.products[0].sku.lower(), 0, 10).total == 1
        )


def test_each_write_raises_the_version_by_one(database: Database) -> None:
    def write(_: int) -> None:
        with database.write() as connection:
            products.change_product(connection, 42, Change(stock=random.randrange(9)))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        page = products.load_page(connection, 42)
    assert page is not None and page.product.version == 9


def test_a_change_leaves_what_it_does_not_name(database: Database) -> None:
    with database.read() as connection:
        page = products.load_page(connection, 42)
    with database.write() as connection:
        changed = products.change_product(connection, 42, Change(price_cents=7))
        assert products.change_product(connection, 999, Change(price_cents=7)) is None
    assert page and changed
    assert (changed.price_cents, changed.name, changed.stock) == (
        7,
        page.product.name,
        page.product.stock,
    )


def test_eight_that_buy_the_last_three_at_once_get_three(database: Database) -> None:
    with database.write() as connection:
        products.change_product(connection, 42, Change(stock=3))
    start, left = threading.Barrier(8), []

    def buy(_: int) -> None:
        start.wait()
        with database.write() as connection:
            bought = products.take_one(connection, 42)
        left.append(bought.stock if bought else None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(buy, range(8)))
    assert sorted(filter(lambda stock: stock is not None, left)) == [0, 1, 2]
    assert left.count(None) == 5


def test_a_write_that_fails_leaves_the_product_as_it_was(database: Database) -> None:
    with pytest.raises(LookupError):
        with database.write() as connection:
            products.change_product(connection, 42, Change(stock=7_777))
            raise LookupError
    with database.read() as connection:
        page = products.load_page(connection, 42)
    assert page is not None and (page.product.version, page.product.stock != 7_777) == (1, True)


def test_stock_is_sold_down_to_zero_and_no_further(database: Database) -> None:
    with database.write() as connection:
        products.change_product(connection, 42, Change(stock=2))
    left = []
    for _ in range(3):
        with database.write() as connection:
            bought = products.take_one(connection, 42)
            left.append(bought.stock if bought else None)
    assert left == [1, 0, None]


def test_a_product_is_the_same_on_every_machine_whoever_makes_it() -> None:
    assert seed.make_product(42) == seed.make_product(42)
    assert seed.make_product(42)["name"] == "Studio scale, bamboo, no. 42"
    for number in range(1, 2000):
        product = seed.make_product(number)
        assert 0 <= product["stock"] <= products.MAX_STOCK
        assert 0 < product["price_cents"] <= products.MAX_PRICE_CENTS
        assert len(product["name"]) <= 120 and len(product["sku"]) <= 16
        assert product["description"].count(".") >= 3


def test_seeding_again_adds_only_what_is_missing(database: Database) -> None:
    told: list[int] = []
    with database.write() as connection:
        products.change_product(connection, 42, Change(price_cents=7))
    assert seed.seed(database.engine, 500) == 0
    assert seed.seed(database.engine, 1700, told.append) == 1200
    assert sum(told) == 1200
    with database.read() as connection:
        page = products.load_page(connection, 42)
        assert page is not None and page.product.price_cents == 7
        assert products.load_listing(connection, None, "", 0, 1).total == 1700


def test_several_that_seed_at_once_make_each_product_once(
    make_database: Callable[..., Database],
) -> None:
    made: list[int] = []
    start = threading.Barrier(4)

    def run() -> None:
        database = make_database()
        start.wait()
        made.append(seed.seed(database.engine, 1500))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [0, 0, 0, 1500]


def test_every_picture_is_well_formed_and_has_nothing_inline() -> None:
    seen = set()
    for number in (*range(1, 200), products.MAX_ID):
        svg = pictures.draw(number)
        assert ET.fromstring(svg).tag.endswith("svg")
        assert "style" not in svg and "script" not in svg
        seen.add(svg)
    assert len(seen) == len(CATEGORIES) * len(pictures.COLOURS)
