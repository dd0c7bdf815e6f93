"""The lab of objects: the same product as a string and as a hash, measured in the request."""

import secrets
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from flask import Blueprint, Response, current_app, render_template, request
from redis.exceptions import RedisError

from demo.catalog import products
from demo.catalog.answering import is_integer
from demo.catalog.product_hash import HashStore, StringStore
from demo.catalog.products import Product
from demo.client import refusals
from demo.client.wire import Client
from demo.teach import listing
from demo.web.services import get_database, get_redis

CALLS, MOST_SECONDS = 40, 0.2
TTL_SECONDS = 60
SHORT = 60  # below what Redis packs closely, hash-max-listpack-value
bp = Blueprint("hashes", __name__, url_prefix="/lab/hashes", cli_group=None)


@dataclass(frozen=True)
class Shape:
    """What one way of keeping one product costs: bytes in Redis, and medians in microseconds."""

    name: str
    encoding: str
    bytes: int
    read_all_us: float
    read_one_us: float
    change_one_us: float


@bp.get("/")
def index() -> Response:
    """Writes the product that is asked for, else the first, both ways under keys of this request,
    measures, and removes them."""
    given = request.args.get("product")
    number = int(given) if given and is_integer(given) and 1 <= int(given) <= products.MAX_ID else 0
    with get_database().read() as connection:
        if given is None:
            product = next(iter(products.load_listing(connection, None, "", 0, 1).products), None)
        else:
            product = products.load_products(connection, [number]).get(number)
    if product is None:
        return _page(None, given or "", {}, 422)
    short = msgspec.structs.replace(product, description=product.description[:SHORT])
    try:
        tables = {
            "Original product": _measure(product),
            f"Product with its description cut to {SHORT} characters": _measure(short),
        }
    except RedisError as error:
        current_app.logger.warning("hashes: nothing measured: %s", refusals.of(error).name)
        return _page(product, "", {}, 200, refusals.of(error).sentence)
    return _page(product, "", tables, 200)


def _page(
    product: Product | None,
    given: str,
    tables: dict[str, tuple[Shape, Shape]],
    status: int,
    away: str = "",
) -> Response:
    body = render_template(
        "catalog/hashes.html",
        product=product,
        given=given,
        tables=tables,
        away=away,
        verdicts={name: _verdicts(*shapes) for name, shapes in tables.items()},
        calls=CALLS,
        listings=[
            listing.of_function(StringStore.add),
            listing.of_function(HashStore.add),
            listing.of_file(Path(__file__).with_name("product_hash.lua")),
        ],
    )
    return Response(body, status)


def _measure(product: Product) -> tuple[Shape, Shape]:
    client = get_redis()
    tag = f"demo:catalog:{{object:{secrets.token_hex(6)}}}"
    stores: dict[str, StringStore[Product] | HashStore[Product]] = {
        "string": StringStore(client, Product, ttl_seconds=TTL_SECONDS),
        "hash": HashStore(client, Product, ttl_seconds=TTL_SECONDS),
    }
    try:
        string, table = (
            _shape(client, name, store, f"{tag}:{name}", product) for name, store in stores.items()
        )
    finally:
        with suppress(RedisError):
            client.unlink(f"{tag}:string", f"{tag}:hash")
    return string, table


def _shape(
    client: Client,
    name: str,
    store: StringStore[Product] | HashStore[Product],
    key: str,
    product: Product,
) -> Shape:
    store.put(key, product)
    return Shape(
        name,
        client.object("encoding", key).decode(),
        client.memory_usage(key, samples=0) or 0,
        _median_us(lambda: store.get(key)),
        _median_us(lambda: store.field(key, "price_cents")),
        _median_us(lambda: store.add(key, "stock", 1)),
    )


def _median_us(call: Callable[[], object]) -> float:
    """Of as many calls as fit into the time, one at least: a slow Redis must not hold the worker."""
    times: list[float] = []
    until = time.perf_counter() + MOST_SECONDS
    while not times or (len(times) < CALLS and time.perf_counter() < until):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)


def _verdicts(string: Shape, table: Shape) -> list[str]:
    """What these figures say, in words."""
    said = []
    for what, field in (
        ("Reading the whole product", "read_all_us"),
        ("Reading one field", "read_one_us"),
        ("Incrementing one field", "change_one_us"),
        ("Memory", "bytes"),
    ):
        ours, theirs = getattr(string, field), getattr(table, field)
        times = max(ours, theirs) / min(ours, theirs)
        better = f"the {'string' if ours < theirs else 'hash'} needs {times:.1f} times less"
        said.append(f"{what}: {better if times >= 1.1 else 'no significant difference'}.")
    return said
