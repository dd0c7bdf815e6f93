"""How would you implement caching? The plain recipe, cold and warm."""

import statistics

import msgspec

from demo.catalog import plain_recipe
from demo.catalog.lesson_shop import ID, shop
from demo.teach.experiments import Bench, Experiment, Found, Row, milliseconds

COLD, READS = 3, 20


def measure(bench: Bench) -> Found:
    """The database alone, then the recipe in front of it."""
    with shop() as rows:

        def load() -> bytes:
            return msgspec.msgpack.encode(rows.load(ID))

        cold = [milliseconds(load) for _ in range(COLD)]
        found = [Row("Database", [len(cold), rows.reads, statistics.median(cold)])]
        counts: dict[str, float] = {"cold_ms": statistics.median(cold)}

        def read_all() -> list[float]:
            key = bench.key("catalog", "recipe")
            return [
                milliseconds(lambda: plain_recipe.get_or_load(bench.client, key, load))
                for _ in range(READS)
            ]

        before = rows.reads
        times = bench.part("The recipe", read_all)
        if times:
            loads = rows.reads - before
            found.append(Row("GET, else load and SET", [READS, loads, statistics.median(times)]))
            counts |= {
                "loads": loads,
                "first_ms": times[0],
                "warm_ms": statistics.median(times[1:]),
            }
    return Found(found, counts)


def verdict(found: Found) -> str:
    """How many of the reads reached the database."""
    loads = found.counts.get("loads")
    if loads is None:
        return ""
    return "one" if loads == 1 else "all" if loads >= READS else "some"


def tell(found: Found) -> str:
    """Cold beside warm."""
    counts = found.counts
    if not found.has("loads"):
        return f"A query took {counts['cold_ms']:.1f} ms; nothing was cached." if counts else ""
    times = counts["cold_ms"] / max(counts["warm_ms"], 0.001)
    return (
        f"Of {READS} reads {counts['loads']:.0f} reached the database. The first took "
        f"{counts['first_ms']:.1f} ms, a later one {counts['warm_ms']:.2f} ms: {times:.0f} times as fast "
        "as a query."
    )


EXPERIMENT = Experiment(measure, verdict, tell, ("Reads", "Database queries", "Median ms"), drawn=2)
