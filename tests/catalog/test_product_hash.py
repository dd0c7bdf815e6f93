import threading
from collections.abc import Callable

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.catalog import hashes_views
from demo.catalog.product_hash import HashStore, StringStore
from demo.web.services import services
from tests.conftest import round_trips
from tests.servers import Client, lives, private_engine

LAB = "/catalog/lab/hashes/"
KEY = "demo:catalog:{object:test}"


class Thing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    stock: int
    tags: tuple[str, ...] = ()


KINDS: list[Callable[..., StringStore[Thing] | HashStore[Thing]]] = [StringStore, HashStore]


@pytest.fixture(params=KINDS, ids=["string", "hash"])
def store(request: pytest.FixtureRequest, client: Client) -> StringStore[Thing] | HashStore[Thing]:
    made: StringStore[Thing] | HashStore[Thing] = request.param(client, Thing, ttl_seconds=60)
    return made


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.text(max_size=80),
    stock=st.integers(-(2**53), 2**53),
    tags=st.lists(st.text(max_size=5), max_size=3),
)
def test_what_is_put_comes_back_whole_and_by_field(
    store: StringStore[Thing], client: Client, name: str, stock: int, tags: list[str]
) -> None:
    thing = Thing(name, stock, tuple(tags))
    store.put(KEY, thing)
    assert store.get(KEY) == thing
    assert (
        store.field(KEY, "name"),
        store.field(KEY, "stock"),
        tuple(store.field(KEY, "tags")),
    ) == (
        name,
        stock,
        tuple(tags),
    )
    assert lives(client, KEY, 60)


def test_what_is_not_there(store: StringStore[Thing]) -> None:
    assert (
        store.get("demo:catalog:{object:none}"),
        store.field("demo:catalog:{object:none}", "stock"),
    ) == (None, None)


def test_twenty_at_once_lose_no_change(store: StringStore[Thing]) -> None:
    store.put(KEY, Thing("a", 0))
    threads = [
        threading.Thread(target=lambda: [store.add(KEY, "stock", 1) for _ in range(10)])
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get(KEY) == Thing("a", 200)


def test_a_change_keeps_the_time_that_is_left(store: StringStore[Thing], client: Client) -> None:
    store.put(KEY, Thing("a", 1))
    client.pexpire(KEY, 20_000)
    assert store.add(KEY, "stock", -3) == -2
    assert lives(client, KEY, 20 if isinstance(store, StringStore) else 60)


def test_a_string_that_is_gone_is_not_made_again(client: Client) -> None:
    assert StringStore(client, Thing, ttl_seconds=60).add(KEY, "stock", 1) is None
    assert not client.exists(KEY)


def test_a_hash_that_is_gone_comes_back_as_a_miss_that_expires(client: Client) -> None:
    store = HashStore(client, Thing, ttl_seconds=60)
    assert store.add(KEY, "stock", 1) == 1
    assert store.get(KEY) is None
    assert lives(client, KEY, 60)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": '"a"'},
        {"name": '"a"', "stock": "1", "tags": "[]", "more": "1"},
        {"name": "x", "stock": "1", "tags": "[]"},
        {"name": '"a"', "stock": '"1"', "tags": "[]"},
        {b"\xff": "1"},
    ],
)
def test_a_hash_with_other_fields_is_a_miss(client: Client, fields: dict[str, str]) -> None:
    client.hset(KEY, mapping=fields)
    assert HashStore(client, Thing, ttl_seconds=60).get(KEY) is None


def test_a_string_that_does_not_decode_is_a_miss(client: Client) -> None:
    client.set(KEY, b"\xc1", ex=60)
    assert StringStore(client, Thing, ttl_seconds=60).get(KEY) is None


def test_putting_leaves_nothing_of_what_was_there(client: Client) -> None:
    client.hset(KEY, "old", "1")
    store = HashStore(client, Thing, ttl_seconds=60)
    store.put(KEY, Thing("a", 1))
    assert store.get(KEY) == Thing("a", 1)


def test_the_page_measures_and_leaves_nothing(web: FlaskClient, client: Client) -> None:
    page = web.get(LAB, query_string={"product": "7"}).text
    assert web.get("/catalog/api/products/7").json["name"] in page
    for encoding in ("raw", "listpack", "hashtable"):
        assert f"<td>{encoding}</td>" in page
    assert page.count("<li>Memory: ") == 2
    assert not list(client.scan_iter("demo:catalog:{object:*"))


def test_a_slow_redis_is_asked_once_each(web: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert round_trips(web.get(LAB)) > 12 * hashes_views.CALLS
    monkeypatch.setattr(hashes_views, "MOST_SECONDS", 0.0)
    assert round_trips(web.get(LAB)) < 40


@pytest.mark.parametrize("product", ["0", "abc", "", "999999", "9" * 30])
def test_a_product_that_is_not_there_is_told_beside_its_field(
    web: FlaskClient, product: str
) -> None:
    answer = web.get(LAB, query_string={"product": product})
    assert answer.status_code == 422
    assert 'aria-invalid="true" aria-describedby="product-error"' in answer.text
    assert f'name="product" inputmode="numeric" value="{product}"' in answer.text


def test_without_redis_the_page_says_that_there_is_nothing_to_measure(away: Flask) -> None:
    answer = away.test_client().get(LAB)
    assert answer.status_code == 200
    assert (
        "Redis did not answer" in answer.text
        and "µs" not in answer.text.partition("<main")[2].partition("stack")[0]
    )


def test_a_full_redis_is_no_500(make_app: Callable[..., Flask]) -> None:
    with private_engine("--maxmemory", "3mb") as engine:
        app = make_app(REDIS_URL=engine.url)
        services(app).redis.config_set("maxmemory", 1)
        assert "Redis did not answer" in app.test_client().get(LAB).text
