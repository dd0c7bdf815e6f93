"""How do you monitor a cache? Each figure provoked on an engine of the run's own, and read back."""

import statistics
import time
from typing import Any

from werkzeug.exceptions import ServiceUnavailable

from demo.client import engine, folders
from demo.client.pool import connect
from demo.teach.experiments import Bench, Experiment, Found, Row

READS, MISSES, TOUCHED, FILLED, FILL_BYTES = 40, 10, 30, 60, 100_000
MAXMEMORY_MB, SHORT_MS, SLOW_US, DEADLINE_SECONDS = 4, 20, 2000, 3.0
# A loop of so many steps, as TIME stands still within a script on newer engines.
SLOW_LOOP = "local n = 0 for i = 1, ARGV[1] do n = n + i % 7 end return n"
STEPS = 3_000_000


def measure(bench: Bench) -> Found:
    """Everything, where an engine can be started."""
    return bench.part("The figures", provoke) or Found()


def provoke() -> Found:
    """Starts an engine and ends it. Raises RedisError, ServiceUnavailable."""
    with folders.scratch("monitoring") as folder:
        try:
            url = engine.start(folder, keep=False, maxmemory_mb=MAXMEMORY_MB)
        except engine.EngineError:
            raise ServiceUnavailable(
                "No engine is installed here, and figures of a shared one are not this run's."
            ) from None
        client = connect(url, pool_size=2, timeout_seconds=2.0)
        try:
            return _provoked(client)
        finally:
            client.close()
            engine.release(folder, wait_seconds=2)


def cached_reads(client: Any) -> tuple[int, int, list[float]]:
    """What an application sees of its cache: hits, reads, and the time of each in ms."""
    hits, times = 0, list[float]()
    for number in range(READS):
        key = f"cache:{number % (READS - MISSES)}" if number < READS - MISSES else f"no:{number}"
        if number < READS - MISSES:
            client.set(key, b"x", px=60_000)
        began = time.perf_counter()
        hits += client.get(key) is not None
        times.append(1000 * (time.perf_counter() - began))
    return hits, READS, times


def _provoked(client: Any) -> Found:
    client.config_set("slowlog-log-slower-than", SLOW_US)
    client.config_set("maxmemory-policy", "allkeys-lru")
    before = client.info("stats")
    hits, reads, times = cached_reads(client)
    for number in range(TOUCHED):  # others read on the same server, and do not find
        client.exists(f"session:{number}")
    after = client.info("stats")
    found_there = after["keyspace_hits"] - before["keyspace_hits"]
    missed_there = after["keyspace_misses"] - before["keyspace_misses"]
    client.set("short", b"x", px=SHORT_MS)
    until = time.monotonic() + DEADLINE_SECONDS
    while client.exists("short") and time.monotonic() < until:
        time.sleep(SHORT_MS / 1000)
    for number in range(FILLED):
        client.set(f"big:{number}", b"x" * FILL_BYTES, px=60_000)
    client.eval(SLOW_LOOP, 1, "short", STEPS)
    told, memory = client.info("stats"), client.info("memory")
    slow = client.slowlog_get(1)
    own, server = 100 * hits / reads, 100 * found_there / max(1, found_there + missed_there)
    slow_ms = slow[0]["duration"] / 1000 if slow else 0.0
    p95 = statistics.quantiles(times, n=20)[-1]
    rows = [
        Row("Hit ratio of the cache", [own, "hits / (hits + misses), counted by the application"]),
        Row(
            "Hit ratio of the server",
            [server, "keyspace_hits / (hits + misses), of all its clients"],
        ),
        Row("Evicted keys", [told["evicted_keys"], "INFO stats; memory was full"]),
        Row("Expired keys", [told["expired_keys"], "INFO stats; a TTL had passed"]),
        Row("Memory used, MB", [memory["used_memory"] / 2**20, "INFO memory, beside maxmemory"]),
        Row("Slowest command, ms", [slow_ms, "SLOWLOG GET: a script that counted"]),
        Row("p95 of a read, ms", [p95, "the client’s clock, with the network"]),
    ]
    counts = {
        "own": own,
        "server": server,
        "evicted": told["evicted_keys"],
        "expired": told["expired_keys"],
        "slow_ms": slow_ms,
    }
    return Found(rows, counts)


def verdict(found: Found) -> str:
    """The server's ratio beside the cache's own."""
    if not found.has("own", "server"):
        return ""
    own, server = found.counts["own"], found.counts["server"]
    return "same" if abs(own - server) < 1 else "lower" if server < own else "higher"


def tell(found: Found) -> str:
    """Both ratios, then what was provoked."""
    if not found.has("own", "server"):
        return ""
    counts = found.counts
    return (
        f"The cache answered {counts['own']:.0f} % of its reads; INFO says {counts['server']:.0f} %, as it "
        f"counts every client’s look-ups. {counts['evicted']:.0f} keys were evicted, {counts['expired']:.0f} "
        f"expired, and the slow log holds a command of {counts['slow_ms']:.0f} ms."
    )


EXPERIMENT = Experiment(measure, verdict, tell, ("Measured", "Where to find it"))
