"""Which data structure? One product as a string and as a hash: bytes, round trips, and what
changing one field costs."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from demo.catalog.lesson_shop import ID, shop
from demo.catalog.product_hash import HashStore, StringStore
from demo.catalog.products import Product
from demo.teach.experiments import KEY_SECONDS, Bench, Experiment, Found, Row, counter, milliseconds

CALLS = 20
FIELD_MS = 5000


def measure(bench: Bench) -> Found:
    """Both, and fields that expire by themselves where the engine has them."""
    with shop(latency_ms=0) as rows:
        product = rows.load(ID)
    assert product
    stores: dict[str, Any] = {
        "String": StringStore(bench.client, Product, ttl_seconds=KEY_SECONDS),
        "Hash": HashStore(bench.client, Product, ttl_seconds=KEY_SECONDS),
    }
    found, counts = list[Row](), dict[str, float]()
    for name, store in stores.items():
        row = bench.part(name, partial(_row, bench, name, store, product))
        if row:
            found.append(row)
            counts[name] = float(str(row.values[3]))
    if "Hash" in counts:
        left = bench.part("A TTL of one field", lambda: _field_ttl(bench, stores["Hash"], product))
        if left:
            counts["field_ms"] = left
    return Found(found, counts)


def _row(bench: Bench, name: str, store: Any, product: Product) -> Row:
    key = bench.key("catalog", name.lower())
    store.put(key, product)
    size = bench.part(f"Bytes of the {name.lower()}", lambda: bench.client.memory_usage(key))
    sent = counter()
    store.add(key, "stock", 1)
    trips = sent()
    return Row(
        name,
        [
            size,
            1000 * _median(lambda: store.field(key, "price_cents")),
            1000 * _median(lambda: store.add(key, "stock", 1)),
            trips,
        ],
    )


def _field_ttl(bench: Bench, store: Any, product: Product) -> int:
    """What is left of one field's own time, in ms. Raises RedisError where the engine has none."""
    key = bench.key("catalog", "field")
    store.put(key, product)
    bench.client.execute_command("HPEXPIRE", key, FIELD_MS, "FIELDS", 1, "stock")
    (left,) = bench.client.execute_command("HPTTL", key, "FIELDS", 1, "stock")
    return int(left)


def _median(do: Callable[[], Any]) -> float:
    return statistics.median(milliseconds(do) for _ in range(CALLS))


def verdict(found: Found) -> str:
    """Round trips to change one field."""
    if not found.has("String", "Hash"):
        return ""
    string, table = found.counts["String"], found.counts["Hash"]
    return "same" if string == table else "hash" if table < string else "string"


def tell(found: Found) -> str:
    """Changing and bytes."""
    if not found.has("String", "Hash"):
        return ""
    sizes = [row.values[0] for row in found.rows]
    told = (
        f"Adding to one field took {found.counts['String']:.0f} round trips on the string and "
        f"{found.counts['Hash']:.0f} on the hash."
    )
    if None not in sizes:
        told += f" The string takes {sizes[0]:.0f} bytes, the hash {sizes[1]:.0f}."
    if found.has("field_ms"):
        told += f" One field of the hash was given a time of its own: {found.counts['field_ms']:.0f} ms left."
    return told


EXPERIMENT = Experiment(
    measure,
    verdict,
    tell,
    ("Bytes", "Read a field, µs", "Change it, µs", "Round trips to change it"),
    drawn=2,
)
