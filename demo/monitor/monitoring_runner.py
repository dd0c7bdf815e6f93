"""The figures of a cache, provoked in a process of its own: a line of JSON on standard input, one on
standard output.

A private engine, without a port and without a file, lives in the folder that the process is given.
Both end with the run, and as soon as standard input is closed.
"""

import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from demo.client import children
from demo.monitor.eviction_runner import begin_engine, client_of

MEMORY_MB, START_SECONDS = 512, 3.0
READS, MISSES, TOUCHED, FILLED, FILL_BYTES = 40, 10, 30, 60, 100_000
MAXMEMORY, SHORT_MS, SLOW_US, DEADLINE_SECONDS = "4mb", 20, 2000, 3.0
# A loop of so many steps, as TIME stands still within a script on newer engines.
SLOW_LOOP = "local n = 0 for i = 1, ARGV[1] do n = n + i % 7 end return n"
STEPS = 1_000_000


class Task(msgspec.Struct, frozen=True):
    """The server binary, a folder, and how often other clients look for what is not there."""

    binary: str
    folder: str
    touched: int = TOUCHED


class Told(msgspec.Struct, frozen=True):
    """What was measured: ratios in per cent, counts, and times in ms."""

    engine: str
    own_ratio: float
    server_ratio: float
    evicted: int
    expired: int
    memory_bytes: int
    slow_ms: float
    p95_ms: float


def main() -> None:
    """Reads the task, does it, and leaves no process."""
    children.bound(MEMORY_MB)
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    engines: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    children.end_with_owner()
    try:
        place = begin_engine(task.binary, Path(task.folder), engines)
        told = provoke(client_of(place, time.monotonic() + START_SECONDS), task.touched)
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        sys.stdout.buffer.flush()
    finally:
        for process in engines:
            process.kill()
            process.wait()


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


def provoke(client: Any, touched: int = TOUCHED) -> Told:
    """Reads, keys that expire, memory that fills, a slow command. Raises RedisError."""
    client.config_set("slowlog-log-slower-than", SLOW_US)
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", MAXMEMORY)
    before = client.info("stats")
    hits, reads, times = cached_reads(client)
    for number in range(touched):  # others look on the same server, and do not find
        client.exists(f"session:{number}")
    after = client.info("stats")
    found = after["keyspace_hits"] - before["keyspace_hits"]
    missed = after["keyspace_misses"] - before["keyspace_misses"]
    client.set("short", b"x", px=SHORT_MS)
    until = time.monotonic() + DEADLINE_SECONDS
    while client.exists("short") and time.monotonic() < until:
        time.sleep(SHORT_MS / 1000)
    for number in range(FILLED):
        client.set(f"big:{number}", b"x" * FILL_BYTES, px=60_000)
    client.eval(SLOW_LOOP, 1, "short", STEPS)
    stats, memory, server = client.info("stats"), client.info("memory"), client.info("server")
    slow = client.slowlog_get(1)
    name = "Valkey" if "valkey_version" in server else "Redis"
    return Told(
        f"{name} {server.get('valkey_version', server['redis_version'])}",
        100 * hits / reads,
        100 * found / max(1, found + missed),
        stats["evicted_keys"],
        stats["expired_keys"],
        memory["used_memory"],
        slow[0]["duration"] / 1000 if slow else 0.0,
        statistics.quantiles(times, n=20)[-1],
    )


if __name__ == "__main__":
    main()
