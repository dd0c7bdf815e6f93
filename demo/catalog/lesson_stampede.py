"""The stampede: fifty readers of one cold key, with nothing, with two kinds of locks, and with the
lease; also where loading takes longer than the lock lives."""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from redis.exceptions import RedisClusterException, RedisError

from demo.catalog import stampede
from demo.catalog.cache_aside import Busy, Cache, CacheStatus
from demo.teach.experiments import KEY_SECONDS, Bench, Experiment, Found, Row

READERS, PROCESSES = 50, 5
LOAD_SECONDS, SLOW_SECONDS, LOCK_SECONDS = 0.05, 0.25, 0.1
POLL_SECONDS, WAIT_SECONDS = 0.04, 3.0
KEY = "cold"
FAILURES = (threading.BrokenBarrierError, RedisError, RedisClusterException)
Load = Callable[[], Any]


@dataclass(frozen=True)
class Got:
    """What a reader got."""

    status: str
    collapsed: bool = False


class ProcessLocks:
    """A lock in each of PROCESSES processes, played by groups of readers: nobody waits for a load of
    another process."""

    def __init__(self, bench: Bench) -> None:
        self._client, self._key = bench.client, bench.key("catalog", "process-locks")
        self._locks = [threading.Lock() for _ in range(PROCESSES)]
        self._turns = count()
        self._together = threading.Barrier(PROCESSES)

    def get_or_load(self, _: str, load: Load) -> Got:
        """From Redis, or loaded by one of a process."""
        number = next(self._turns)
        with self._locks[number % PROCESSES]:
            found = self._client.get(self._key)
            if number < PROCESSES:  # the first of each has looked before any stores
                self._together.wait(WAIT_SECONDS)
            if found is not None:
                return Got(CacheStatus.HIT)
            load()
            self._client.set(self._key, 1, ex=KEY_SECONDS)
            return Got(CacheStatus.MISS)


class RedisLock:
    """SET NX with a TTL. A reader that does not get it polls for the value."""

    def __init__(self, bench: Bench, lock_seconds: float) -> None:
        self._client, self._lock_ms = bench.client, int(lock_seconds * 1000)
        self._key, self._lock = (
            bench.key("catalog", f"{part}-{self._lock_ms}") for part in ("value", "lock")
        )

    def get_or_load(self, _: str, load: Load) -> Got:
        """From Redis, or loaded by the holder of the lock. Raises Busy."""
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            if self._client.get(self._key) is not None:
                return Got(CacheStatus.HIT, True)
            if self._client.set(self._lock, secrets.token_hex(8), nx=True, px=self._lock_ms):
                load()
                self._client.set(self._key, 1, ex=KEY_SECONDS)
                return Got(CacheStatus.MISS)
            time.sleep(POLL_SECONDS)
        raise Busy("waited in vain")


def lease(bench: Bench, *, after_quick_loads: bool = False) -> Any:
    """The cache with leases. What loads have taken tells readers how long to wait for another."""
    name = f"{bench.name}-{int(after_quick_loads)}"
    cache = Cache(
        bench.client,
        name,
        int,
        ttl_seconds=KEY_SECONDS,
        wait_seconds=WAIT_SECONDS,
    )
    bench.take(cache.redis_key(KEY), f"{cache.redis_key(KEY)}:late")
    if after_quick_loads:
        cache.get_or_load(KEY, lambda: 1)
        cache.invalidate(KEY)
    return cache


def measure(bench: Bench) -> Found:
    """Each way with a quick load, and the two that have a TTL with a slow one."""
    ways: dict[str, tuple[Callable[[], Any], float]] = {
        "Nothing": (lambda: None, LOAD_SECONDS),
        f"A lock in each of {PROCESSES} processes": (lambda: ProcessLocks(bench), LOAD_SECONDS),
        "A lock in Redis": (lambda: RedisLock(bench, 5.0), LOAD_SECONDS),
        "The lease": (lambda: lease(bench), LOAD_SECONDS),
        "A lock in Redis, slow load": (lambda: RedisLock(bench, LOCK_SECONDS), SLOW_SECONDS),
        "The lease, slow load": (lambda: lease(bench, after_quick_loads=True), SLOW_SECONDS),
    }
    found, counts = list[Row](), dict[str, float]()
    for name, (make, seconds) in ways.items():

        def run(make: Callable[[], Any] = make, seconds: float = seconds) -> Any:
            def load() -> int:
                time.sleep(seconds)
                return 1

            return stampede.run(make(), KEY, load, READERS, FAILURES)

        if bench.over:
            bench.cannot.append(f"{name}: the time of this run is up.")
            continue
        done = bench.part(name, run)
        if done is None:
            continue
        readers, loads = done
        failed = sum(reader.status == "FAILED" for reader in readers)
        if failed == len(readers):
            bench.cannot.append(f"{name}: no reader got through, as it needs Redis.")
            continue
        last_ms = max(reader.began_ms + reader.took_ms for reader in readers)
        found.append(Row(name, [loads, last_ms, failed]))
        counts[name] = loads
    return Found(found, counts)


def verdict(found: Found) -> str:
    """How many loads there were with the lease."""
    loads = found.counts.get("The lease")
    if loads is None:
        return ""
    return "one" if loads == 1 else "few" if loads <= PROCESSES else "all"


def tell(found: Found) -> str:
    """Loads by way."""
    if not found.rows:
        return ""
    told = "; ".join(
        f"{row.name[0].lower()}{row.name[1:]} {row.values[0]:.0f}" for row in found.rows
    )
    return f"{READERS} readers asked at once. Loads: {told}."


EXPERIMENT = Experiment(
    measure, verdict, tell, ("Loads", "The last had it after, ms", "Failed"), drawn=0
)
