"""How do you handle invalidation? Five ways on the same writes, and a writer that dies between its
commit and its delete."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from demo.catalog import outbox, products
from demo.catalog.cache_aside import Cache
from demo.catalog.lesson_shop import ID, shop_database
from demo.catalog.outbox import Deliverer, Event
from demo.catalog.products import Change
from demo.teach.experiments import KEY_SECONDS, Bench, Experiment, Found, Row, counter

WRITES, READS = 12, 3
GROUP = "shelf"
Tell = Callable[[], object]


@dataclass(frozen=True)
class Way:
    """How readers read, what a writer does after its commit, and what an operator does in the end."""

    read: Callable[[], int | None]
    commit: Callable[[], None]
    tell: Tell
    repair: Tell = lambda: None


def measure(bench: Bench) -> Found:
    """Each way on writes of one value."""
    found, counts = list[Row](), dict[str, float]()
    ways: dict[str, Callable[[], Row]] = {
        "By time alone": lambda: _row(bench, "By time alone", "time"),
        "By event": lambda: _row(bench, "By event", "event"),
        "By group version": lambda: _row(bench, "By group version", "group"),
        "By hand": lambda: _row(bench, "By hand", "hand"),
        "By event with an outbox": lambda: _outbox_row(bench),
    }
    for name, do in ways.items():
        row = bench.part(name, do)
        if row:
            found.append(row)
            counts[f"crash {name}"] = float(str(row.values[2]))
    return Found(found, counts)


def _row(bench: Bench, name: str, kind: str) -> Row:
    """The same cache and another way to invalidate; the database is a number of this run."""
    cache = Cache(bench.client, f"{bench.name}-{kind}", int, ttl_seconds=KEY_SECONDS)
    bench.take(cache.redis_key(ID), cache.version_key(GROUP))
    truth = [1]
    groups = [GROUP] if kind == "group" else []

    def commit() -> None:
        truth[0] += 1

    tells: dict[str, Tell] = {
        "time": lambda: None,
        "event": lambda: cache.invalidate(ID),
        "group": lambda: cache.invalidate(groups=[GROUP]),
        "hand": lambda: None,
    }
    read = lambda: cache.get_or_load(ID, lambda: truth[0], groups=groups).value  # noqa: E731
    repair = (lambda: cache.invalidate(ID)) if kind == "hand" else (lambda: None)
    return _tried(name, Way(read, commit, tells[kind], repair), lambda: truth[0])


def _outbox_row(bench: Bench) -> Row:
    """In a real database: the event is written in the transaction of the change."""
    cache = Cache(bench.client, f"{bench.name}-outbox", int, ttl_seconds=KEY_SECONDS)
    bench.take(cache.redis_key(ID))
    with shop_database(1, 0) as database:
        events: list[Event] = []

        def stock(connection: Connection) -> int:
            return products.load_products(connection, [int(ID)])[int(ID)].stock

        def now() -> int:
            with database.read() as connection:
                return stock(connection)

        def commit() -> None:
            with database.write() as connection:
                change = Change(stock=stock(connection) + 1)
                products.change_product(connection, int(ID), change)
                events.append(outbox.add(connection, int(ID), ""))

        def tell() -> None:
            cache.invalidate(ID)
            if events:
                with database.write() as connection:
                    outbox.settle(connection, events)
            events.clear()

        def publish(_: object) -> None:
            cache.invalidate(ID)

        deliverer = Deliverer(database, publish)
        read = lambda: cache.get_or_load(ID, now).value  # noqa: E731
        return _tried("By event with an outbox", Way(read, commit, tell, deliverer.deliver), now)


def _tried(name: str, way: Way, now: Callable[[], int]) -> Row:
    """Stale reads and extra round trips over all writes; then stale reads after a writer has died
    before it told anybody, and after what repairs that by itself."""
    way.read()
    stale = trips = 0
    for _ in range(WRITES):
        way.commit()
        sent = counter()
        way.tell()
        trips += sent()
        stale += sum(way.read() != now() for _ in range(READS))
    way.tell()
    way.read()
    way.commit()  # and dies
    if name == "By event with an outbox":
        way.repair()  # any process does this by itself, within a second
    crash = sum(way.read() != now() for _ in range(READS))
    if name == "By hand":
        way.repair()
    after = sum(way.read() != now() for _ in range(READS))
    return Row(name, [stale, trips / WRITES, crash, after])


def verdict(found: Found) -> str:
    """Which ways showed the new value although the writer had died."""
    if len(found.rows) < 5:
        return ""
    well = {name.removeprefix("crash ") for name, stale in found.counts.items() if not stale}
    if "By event" in well:
        return "event"
    return "outbox" if "By event with an outbox" in well else "none"


def tell(found: Found) -> str:
    """Stale reads by way, then the crash."""
    if not found.rows:
        return ""
    of_all = WRITES * READS
    stale = "; ".join(f"{row.name.lower()} {row.values[0]:.0f}" for row in found.rows)
    died = [row.name.lower() for row in found.rows if row.values[2] == 0]
    return (
        f"Stale, of {of_all} reads after a write: {stale}. When a writer died before its delete, "
        f"readers saw the new value {' and '.join(died) or 'by none of these ways'}"
        f"{'' if not died else ' alone'}."
    )


EXPERIMENT = Experiment(
    measure,
    verdict,
    tell,
    ("Stale reads", "Round trips a write", "Stale after a crash", "Stale after the repair"),
    drawn=0,
)
