"""What goes wrong: the stale set. Three orders of events, each forced, on plain code and on the
lease."""

import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from demo.catalog import plain_recipe
from demo.catalog.cache_aside import Cache
from demo.catalog.lesson_shop import ID, dearer, shop
from demo.catalog.products import Product
from demo.catalog.strategies import Rows
from demo.teach.experiments import KEY_SECONDS, Bench, Experiment, Found, Row

ALL = "all"
AGE_SECONDS = 0.005
Loader = Callable[[], Product | None]


class LoadFailed(Exception):
    """The database did not answer this one load."""


class Side(Protocol):
    """One of the two caches."""

    def read(self, load: Loader) -> Product | None:
        """The product, from the cache or loaded."""

    def keep_past_its_time(self, load: Loader) -> None:
        """Stores an entry whose time is over, and that is kept in case a load fails."""

    def drop(self) -> None:
        """The writer's delete."""


class Plain:
    """A few plain lines: the recipe, with a copy that is served when a load fails, as a fail-safe
    does it. Nothing tells them that a value is from before a delete."""

    def __init__(self, bench: Bench) -> None:
        self._client = bench.client
        self._key, self._copy = (bench.key("catalog", part) for part in ("plain", "plain-copy"))
        self._decoder = msgspec.msgpack.Decoder(Product)

    def read(self, load: Loader) -> Product | None:
        copy = self._client.get(self._copy)
        try:
            raw = plain_recipe.get_or_load(
                self._client, self._key, lambda: msgspec.msgpack.encode(load())
            )
        except LoadFailed:
            if copy is None:
                raise
            raw = copy
            self._client.set(self._key, copy, ex=KEY_SECONDS)
        return self._decoder.decode(raw)

    def keep_past_its_time(self, load: Loader) -> None:
        self._client.set(self._copy, msgspec.msgpack.encode(load()), ex=KEY_SECONDS)

    def drop(self) -> None:
        for key in (self._key, self._copy):
            plain_recipe.invalidate(self._client, key)


class Leased:
    """The cache with leases, its entry in a group."""

    def __init__(self, bench: Bench) -> None:
        self._past, self._cache = (
            Cache(
                bench.client,
                bench.name,
                Product,
                ttl_seconds=seconds,
                stale_seconds=KEY_SECONDS,
                wait_seconds=2.0,
            )
            for seconds in (0.001, KEY_SECONDS)
        )
        bench.take(self._cache.redis_key(ID), self._cache.version_key(ALL))

    def read(self, load: Loader) -> Product | None:
        return self._cache.get_or_load(ID, load, groups=[ALL]).value

    def keep_past_its_time(self, load: Loader) -> None:
        self._past.get_or_load(ID, load, groups=[ALL])
        time.sleep(AGE_SECONDS)

    def drop(self) -> None:
        self._cache.invalidate(ID)

    def clear(self) -> None:
        """All of the group at once."""
        self._cache.invalidate(groups=[ALL])


def during_a_load(side: Side, rows: Rows) -> None:
    """A reader loads; a writer commits and deletes; the reader stores."""

    def load() -> Product | None:
        found = rows.load(ID)
        rows.change_row(ID, dearer)
        side.drop()
        return found

    side.read(load)


def before_a_fail_safe(side: Side, rows: Rows) -> None:
    """A refresh begins; a writer commits and deletes; the load fails, and the fail-safe serves."""
    side.keep_past_its_time(lambda: rows.load(ID))

    def load() -> Product | None:
        rows.change_row(ID, dearer)
        side.drop()
        raise LoadFailed

    try:
        side.read(load)
    except LoadFailed:
        return  # this one reader is told the truth


def during_a_refresh(side: Side, rows: Rows) -> None:
    """A refresh loads; a writer commits and clears everything; the refresh stores."""
    side.keep_past_its_time(lambda: rows.load(ID))
    clear = getattr(side, "clear", side.drop)

    def load() -> Product | None:
        found = rows.load(ID)
        rows.change_row(ID, dearer)
        clear()
        return found

    side.read(load)


ORDERS: dict[str, Callable[[Side, Rows], None]] = {
    "Delete during a load": during_a_load,
    "Delete before a fail-safe": before_a_fail_safe,
    "Clear during a refresh": during_a_refresh,
}
SIDES: dict[str, Callable[[Bench], Side]] = {"plain": Plain, "lease": Leased}


def measure(bench: Bench) -> Found:
    """Every order on both sides."""
    found, counts = list[Row](), dict[str, float]()
    with shop(latency_ms=0) as rows:
        for name, order in ORDERS.items():

            def on_both(order: Callable[[Side, Rows], None] = order) -> list[bool]:
                return [_is_stale(make(bench), rows, order) for make in SIDES.values()]

            stale = bench.part(name, on_both)
            if stale:
                found.append(Row(name, ["old" if each else "new" for each in stale]))
                for side, each in zip(SIDES, stale, strict=True):
                    counts[side] = counts.get(side, 0) + each
    return Found(found, counts)


def _is_stale(side: Side, rows: Rows, order: Callable[[Side, Rows], None]) -> bool:
    """Whether the next reader gets something else than the database has."""
    side.drop()
    order(side, rows)
    now, seen = rows.load(ID), side.read(lambda: rows.load(ID))
    side.drop()
    return not (now and seen and seen.version == now.version)


def verdict(found: Found) -> str:
    """Who served an old value."""
    return found.wrong(*SIDES)


def tell(found: Found) -> str:
    """How often each was wrong."""
    if not found.has(*SIDES):
        return ""
    tried = len(found.rows)
    return (
        f"In {found.counts['plain']:.0f} of {tried} orders the plain code left the old value in the cache, until "
        f"its TTL of {KEY_SECONDS} s ends; the lease did so in {found.counts['lease']:.0f}."
    )


EXPERIMENT = Experiment(measure, verdict, tell, ("Plain code then serves", "The lease then serves"))
