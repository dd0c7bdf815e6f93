"""`python -m tests.peers`: what other libraries do in the orders of events that the lessons force, on
an engine of its own; kept with date and versions for the pages of the lessons. Their packages are
needed here alone."""

import datetime
import importlib.metadata
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import limits
import redis
import throttled
from dogpile.cache import make_region
from flask import Flask
from flask_caching import Cache as FlaskCache
from limits import strategies
from limits.storage import storage_from_string

from demo.catalog.cache_aside import Cache
from demo.learn.views import PEERS
from demo.rate_limit.algorithms import ALGORITHMS
from demo.rate_limit.limiter import Quota
from demo.teach.experiments import engine_of
from tests.servers import tcp_server

READERS, LOAD_SECONDS, SLOW_SECONDS, LOCK_SECONDS = 50, 0.05, 0.4, 0.1
LIMIT, WINDOW_SECONDS, COST, SPACING_SECONDS, GRACE_SECONDS = 5, 4, 3, 0.4, 0.005
Loader = Callable[[], int]


class Ours:
    """The cache of this app."""

    name = "This app, the lease"

    def __init__(self, client: Any, _: str, lock_seconds: float | None) -> None:
        self._cache = Cache(client, "peers", int, ttl_seconds=60, wait_seconds=10)

    def read(self, load: Loader) -> int:
        return self._cache.get_or_load("1", load, groups=["all"]).value or 0

    def delete(self) -> None:
        self._cache.invalidate("1")

    def clear(self) -> None:
        self._cache.invalidate(groups=["all"])


class ByFlaskCaching:
    """Flask-Caching, a memoized function."""

    name = f"Flask-Caching {importlib.metadata.version('flask-caching')}"

    def __init__(self, _: Any, url: str, __: float | None) -> None:
        self._app = Flask("peers")
        self._cache = FlaskCache(
            self._app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url}
        )
        self._load: Loader = lambda: 0

        @self._cache.memoize(60)
        def number(_: int) -> int:
            return self._load()

        self._number = number

    def read(self, load: Loader) -> int:
        with self._app.app_context():
            self._load = load
            return int(self._number(1))

    def delete(self) -> None:
        with self._app.app_context():
            self._cache.delete_memoized(self._number, 1)

    def clear(self) -> None:
        with self._app.app_context():
            self._cache.clear()


class ByDogpile:
    """dogpile.cache, with its lock in Redis."""

    name = f"dogpile.cache {importlib.metadata.version('dogpile.cache')}, lock in Redis"

    def __init__(self, _: Any, url: str, lock_seconds: float | None) -> None:
        arguments = {"url": url, "distributed_lock": True, "thread_local_lock": False}
        if lock_seconds:
            arguments["lock_timeout"] = lock_seconds
        self._region = make_region().configure(
            "dogpile.cache.redis", expiration_time=60, arguments=arguments
        )

    def read(self, load: Loader) -> int:
        return int(self._region.get_or_create("1", load))

    def delete(self) -> None:
        self._region.delete("1")

    def clear(self) -> None:
        self._region.invalidate()


PEERS_OF_CACHES: tuple[Any, ...] = (ByFlaskCaching, ByDogpile, Ours)


def stale_set(client: Any, url: str) -> list[list[str]]:
    """What the next reader gets after a delete, and after a clear, that met a load."""
    rows = []
    for kind in PEERS_OF_CACHES:
        row = [kind.name]
        for what in ("delete", "clear"):
            client.flushdb()
            peer, truth = kind(client, url, None), [1]

            def load(peer: Any = peer, truth: list[int] = truth, what: str = what) -> int:
                found = truth[0]
                truth[0] = 2
                getattr(peer, what)()
                return found

            peer.read(load)
            row.append("new" if peer.read(lambda truth=truth: truth[0]) == 2 else "old")
        rows.append(row)
    return rows


def stampede(client: Any, url: str) -> list[list[str]]:
    """How often fifty readers at once load, quickly, and for longer than a lock lives."""
    rows = []
    for kind in PEERS_OF_CACHES:
        row = [kind.name]
        for seconds, lock_seconds in ((LOAD_SECONDS, None), (SLOW_SECONDS, LOCK_SECONDS)):
            client.flushdb()
            row.append(str(_loads(kind(client, url, lock_seconds), seconds)))
        rows.append(row)
    return rows


def _loads(peer: Any, seconds: float) -> int:
    loads, gate = list[int](), threading.Barrier(READERS)

    def load() -> int:
        loads.append(1)
        time.sleep(seconds)
        return 1

    def read() -> None:
        gate.wait()
        try:
            peer.read(load)
        except Exception as error:  # a lock that has run out may be told when it is given back
            print(f"{peer.name}: {type(error).__name__}")

    threads = [threading.Thread(target=read) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(loads)


def windows(client: Any, url: str) -> list[list[str]]:
    """Whether a caller of cost 3 who waits as told gets in."""
    rows = []
    for name, hit in (*_limits(url), *_throttled(url), *_ours(client)):
        client.flushdb()
        time.sleep(WINDOW_SECONDS - time.time() % WINDOW_SECONDS)  # a fixed window begins
        for _ in range(LIMIT):
            hit(1)
            time.sleep(SPACING_SECONDS)
        passed, wait_seconds = hit(COST)
        if passed:
            rows.append([name, "not refused", "–"])
            continue
        time.sleep(max(0.0, wait_seconds) + GRACE_SECONDS)
        rows.append([name, f"{max(0.0, wait_seconds):.2f} s", "yes" if hit(COST)[0] else "no"])
    return rows


Hit = Callable[[int], tuple[bool, float]]


def _limits(url: str) -> Iterator[tuple[str, Hit]]:
    storage = storage_from_string(url)
    item = limits.RateLimitItemPerSecond(LIMIT, WINDOW_SECONDS)
    for strategy in ("MovingWindow", "SlidingWindowCounter", "FixedWindow"):
        limiter = getattr(strategies, f"{strategy}RateLimiter")(storage)

        def hit(cost: int, limiter: Any = limiter) -> tuple[bool, float]:
            passed = limiter.hit(item, "one", cost=cost)
            return passed, limiter.get_window_stats(item, "one").reset_time - time.time()

        yield f"limits {importlib.metadata.version('limits')}, {strategy}", hit


def _throttled(url: str) -> Iterator[tuple[str, Hit]]:
    store = throttled.RedisStore(server=url)
    quota = throttled.per_duration(datetime.timedelta(seconds=WINDOW_SECONDS), LIMIT)
    for kind in throttled.RateLimiterType.choice():
        limiter = throttled.Throttled(using=kind, quota=quota, store=store)

        def hit(cost: int, limiter: Any = limiter) -> tuple[bool, float]:
            result = limiter.limit("one", cost=cost)
            return not result.limited, result.state.retry_after

        yield f"throttled-py {importlib.metadata.version('throttled-py')}, {kind}", hit


def _ours(client: Any) -> Iterator[tuple[str, Hit]]:
    for name, kind in ALGORITHMS.items():
        limiter = kind(client, "peers", Quota(LIMIT, WINDOW_SECONDS))

        def hit(cost: int, limiter: Any = limiter) -> tuple[bool, float]:
            decision = limiter.hit("one", cost)
            return decision.allowed, decision.retry_after_seconds

        yield f"This app, {name}", hit


@contextmanager
def server() -> Iterator[tuple[Any, str]]:
    """An engine that nobody else uses."""
    with tcp_server() as port, redis.Redis(port=port) as client:
        yield client, f"redis://127.0.0.1:{port}"


TABLES: dict[str, tuple[list[str], Callable[[Any, str], list[list[str]]]]] = {
    "stale-set": (
        ["Library", "After a delete during a load", "After a clear during a load"],
        stale_set,
    ),
    "stampede": (
        [
            f"Loads of {READERS} readers",
            f"A load of {LOAD_SECONDS * 1000:.0f} ms",
            f"One of {SLOW_SECONDS * 1000:.0f} ms; a lock, where one can be set, of "
            f"{LOCK_SECONDS * 1000:.0f} ms",
        ],
        stampede,
    ),
    "windows": (
        [
            f"Limiter, {LIMIT} in {WINDOW_SECONDS} s",
            f"Told wait for a cost of {COST}",
            "Passes after it",
        ],
        windows,
    ),
}


def main() -> None:
    """Measures all tables and keeps them."""
    with server() as (client, url):
        kept = {
            name: {
                "heads": heads,
                "rows": measure(client, url),
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "engine": engine_of(client),
            }
            for name, (heads, measure) in TABLES.items()
        }
    Path(PEERS).write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(kept, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
