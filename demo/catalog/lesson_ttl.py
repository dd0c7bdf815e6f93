"""Which TTL? One workload under six TTLs at once, and under an invalidation by event."""

import random
import time
from dataclasses import dataclass, field

from demo.teach.experiments import Bench, Experiment, Found, Row

STEPS, STEP_SECONDS, KEYS, WRITES = 200, 0.01, 10, 0.15
TTLS_MS = (25, 50, 100, 200, 400, 1600)
LONGEST_MS = TTLS_MS[-1]


@dataclass
class Shelf:
    """One way to keep the same values: its TTL, whether a write deletes, and what came of it."""

    name: str
    ttl_ms: int
    by_event: bool
    hits: int = 0
    stale: int = 0
    oldest_ms: float = 0.0


@dataclass
class Truth:
    """The database of this run: the version of each key, and when the one before was replaced."""

    versions: dict[int, int] = field(default_factory=dict)
    replaced_at: dict[tuple[int, int], float] = field(default_factory=dict)

    def write(self, key: int, now: float) -> None:
        """One version more."""
        version = self.versions.get(key, 0)
        self.replaced_at[key, version] = now
        self.versions[key] = version + 1


def drop(pipeline: object, key: str) -> None:
    """What an invalidation by event sends."""
    pipeline.delete(key)  # type: ignore[attr-defined]


def measure(bench: Bench) -> Found:
    """Every step is one read or write, the same for all shelves at the same moment."""
    shelves = [Shelf(f"{ttl} ms", ttl, False) for ttl in TTLS_MS]
    shelves.append(Shelf(f"{LONGEST_MS} ms and event", LONGEST_MS, True))
    truth, chance, began = Truth(), random.Random(7), time.monotonic()
    reads = 0
    for step in range(STEPS):
        if bench.over:
            break
        time.sleep(max(0.0, began + step * STEP_SECONDS - time.monotonic()))
        key = min(int(chance.paretovariate(0.8)), KEYS)
        names = [bench.key("catalog", f"{place}-{key}") for place in range(len(shelves))]
        pipeline = bench.client.pipeline(transaction=False)
        if chance.random() < WRITES:
            truth.write(key, time.monotonic())
            for shelf, name in zip(shelves, names, strict=True):
                if shelf.by_event:
                    drop(pipeline, name)
            pipeline.execute()
            continue
        reads += 1
        for name in names:
            pipeline.get(name)
        _look(bench, shelves, names, pipeline.execute(), truth, key)
    rows = [
        Row(each.name, [100 * each.hits / reads, 100 * each.stale / reads, each.oldest_ms])
        for each in shelves
        if reads
    ]
    return Found(rows, {"reads": reads, "event_stale": shelves[-1].stale})


def _look(
    bench: Bench,
    shelves: list[Shelf],
    names: list[str],
    replies: list[bytes | None],
    truth: Truth,
    key: int,
) -> None:
    now, current = time.monotonic(), truth.versions.get(key, 0)
    misses = bench.client.pipeline(transaction=False)
    for shelf, name, reply in zip(shelves, names, replies, strict=True):
        if reply is None:
            misses.set(name, current, px=shelf.ttl_ms)
            continue
        shelf.hits += 1
        version = int(reply)
        if version < current:
            shelf.stale += 1
            age_ms = 1000 * (now - truth.replaced_at[key, version])
            shelf.oldest_ms = max(shelf.oldest_ms, age_ms)
    if None in replies:
        misses.execute()


def verdict(found: Found) -> str:
    """Which of those that served nothing stale had the most hits."""
    if not found.rows:
        return ""
    hits = {row.name: float(str(row.values[0])) for row in found.rows if row.values[1] == 0}
    best = max(hits, key=lambda name: hits[name], default="")
    if not best:
        return "none"
    return "event" if "event" in best else "short" if int(best.split()[0]) <= 50 else "long"


def tell(found: Found) -> str:
    """Both ends of the curve, and the point beside it."""
    if not found.rows:
        return ""
    first, *_, last, event = found.rows
    return (
        f"From {first.name} to {last.name} the hit ratio rose from {_figure(first, 0)} % to "
        f"{_figure(last, 0)} %, and the oldest value served from {_figure(first, 2)} ms to "
        f"{_figure(last, 2)} ms past its change. With a delete on each write it was "
        f"{_figure(event, 0)} % and {_figure(event, 2)} ms."
    )


def _figure(row: Row, place: int) -> str:
    return f"{float(str(row.values[place])):.0f}"


EXPERIMENT = Experiment(
    measure,
    verdict,
    tell,
    ("Hit ratio %", "Stale reads %", "Oldest served, ms past its change"),
    plot=(2, 0),
)
