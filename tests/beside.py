"""Our patterns beside what one would pick, under forced races and in round trips: `python -m tests.beside`.

Each race is forced: the other one's part is done inside of the loader, or between a read and a write. Prints a
table for docs/taking.md. What is not installed is left out.
"""

import asyncio
import importlib.metadata
import importlib.util
import statistics
import threading
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import redis

from demo.catalog.cache_aside import Cache
from demo.leaderboard.ranking import Leaderboard
from demo.rate_limit.limiter import Quota
from demo.rate_limit.sliding_window import SlidingWindowLog
from demo.sessions.session_store import SessionStore
from tests.servers import tcp_server

TIMES = 50


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def version(distribution: str) -> str:
    return f"{distribution} {importlib.metadata.version(distribution)}"


class Row:
    """A row of a database, which a writer changes while somebody has just read it."""

    def __init__(self) -> None:
        self.value, self.meanwhile = 0, lambda: None

    def load(self) -> int:
        seen = self.value
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return seen


def stale(read: Callable[[Row, str], int], invalidate: Callable[[str], Any]) -> int:
    """How often of TIMES a later reader gets what was loaded before an invalidation that has returned."""
    wrong = 0
    for number in range(TIMES):
        row, key = Row(), f"k{number}"

        def write(row: Row = row, key: str = key) -> None:
            row.value = 1
            invalidate(key)

        row.meanwhile = write
        read(row, key)
        wrong += read(row, key) != 1
    return wrong


def loads(read: Callable[[Callable[[], int], str], int]) -> int:
    """How many of 20 readers at once of a cold key load it."""
    called, start = list[int](), threading.Barrier(20)

    def load() -> int:
        called.append(1)
        time.sleep(0.05)
        return 1

    def reader() -> None:
        start.wait()
        read(load, "cold")

    threads = [threading.Thread(target=reader) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(called)


def caches(client: Any, url: str) -> list[tuple[str, str, str]]:
    found = []
    ours: Cache[int] = Cache(client, "beside", int, ttl_seconds=60)
    found.append(
        (
            "ours, cache_aside",
            f"{stale(lambda row, key: ours.get_or_load(key, row.load).value or 0, ours.invalidate)} of {TIMES}",
            str(loads(lambda load, key: ours.get_or_load(key, load).value or 0)),
        )
    )
    if has("flask_caching"):
        from flask import Flask
        from flask_caching import Cache as FlaskCache

        app = Flask("beside")
        other = FlaskCache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url})

        def get(load: Callable[[], int], key: str) -> int:
            value = other.get(key)
            if value is None:
                value = load()
                other.set(key, value, timeout=60)
            return int(value)

        found.append(
            (
                version("Flask-Caching"),
                f"{stale(lambda row, key: get(row.load, key), other.delete)} of {TIMES}",
                str(loads(get)),
            )
        )
    if has("dogpile"):
        from dogpile.cache import make_region

        region = make_region().configure(
            "dogpile.cache.redis",
            arguments={"url": url, "distributed_lock": True, "thread_local_lock": False},
        )

        def create(load: Callable[[], int], key: str) -> int:
            return int(region.get_or_create(key, load, expiration_time=60))

        found.append(
            (
                version("dogpile.cache"),
                f"{stale(lambda row, key: create(row.load, key), region.delete)} of {TIMES}",
                str(loads(create)),
            )
        )
    if has("cashews"):
        found.append((version("cashews"), *asyncio.run(cashews(url))))
    return found


async def cashews(url: str) -> tuple[str, str]:
    from cashews import Cache as Cashews

    cache = Cashews()
    cache.setup(url, client_side=False)
    wrong = 0
    for number in range(TIMES):
        values = [0]
        first = [True]

        @cache(ttl="1m", key=f"k{number}", lock=True)
        async def read(
            values: list[int] = values, first: list[bool] = first, n: int = number
        ) -> int:
            seen = values[0]
            if first.pop() if first else False:
                values[0] = 1
                await cache.delete(f"k{n}")
            return seen

        await read()
        wrong += await read() != 1
    called = list[int]()

    @cache(ttl="1m", key="cold", lock=True)
    async def cold() -> int:
        called.append(1)
        await asyncio.sleep(0.05)
        return 1

    await asyncio.gather(*[cold() for _ in range(20)])
    await cache.close()
    return f"{wrong} of {TIMES}", str(len(called))


def sessions(client: Any, url: str) -> list[tuple[str, str, str]]:
    store, lost, revived = SessionStore(client, idle_seconds=60, absolute_seconds=60), 0, 0
    for _ in range(TIMES):
        sid = str(store.begin({}))
        store.load(sid), store.load(sid)
        store.save(sid, {"a": 1})
        store.save(sid, {"b": 1})
        found = store.load(sid)
        lost += found is None or len(found.data) < 2
        store.delete(sid)
        revived += store.save(sid, {"late": 1}) or store.load(sid) is not None
    rows = [("ours, session_store", f"{lost} of {TIMES}", f"{revived} of {TIMES}")]
    if has("django_redis"):
        from django.conf import settings

        if not settings.configured:
            caches = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}}
            settings.configure(CACHES=caches, SECRET_KEY="beside", USE_TZ=True)
        from django.contrib.sessions.backends.base import UpdateError
        from django.contrib.sessions.backends.cache import SessionStore as Engine

        lost = revived = 0
        for _ in range(TIMES):
            begun = Engine()
            begun["at"] = 0
            begun.save()
            one, two = Engine(begun.session_key), Engine(begun.session_key)
            one.load(), two.load()
            one["a"], two["b"] = 1, 1
            one.save(), two.save()
            lost += len(Engine(begun.session_key).load()) < 3
            late = Engine(begun.session_key)
            late["late"] = late.get("at")
            Engine(begun.session_key).flush()
            late.session_key and begun.delete(begun.session_key)
            try:
                late.save()
            except UpdateError:
                continue
            revived += bool(Engine(late.session_key).load())
        rows.append(
            (
                f"{version('django-redis')}, cache sessions",
                f"{lost} of {TIMES}",
                f"{revived} of {TIMES}",
            )
        )
    return rows


def median_us(call: Callable[[], object]) -> int:
    times = []
    for _ in range(300):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times) * 1e6)


def trips(client: Any, call: Callable[[], object]) -> str:
    """How many scripts and commands a call sends, as the server counts them."""
    call()
    names = ("cmdstat_evalsha", "cmdstat_eval")
    before = client.info("commandstats")
    call()
    after = client.info("commandstats")
    each = [
        after[name]["calls"] - before.get(name, {"calls": 0})["calls"]
        for name in names
        if name in after
    ]
    return str(sum(each))


def limiters(client: Any, url: str) -> list[tuple[str, str, str]]:
    """Round trips of a hit with its whole answer, and the median beside a GET of the same client."""
    client.set("get", "x")
    get = median_us(lambda: client.get("get"))
    ours = SlidingWindowLog(client, "beside", Quota(100_000, 60))
    rows = [
        (
            "ours, sliding_window",
            trips(client, lambda: ours.hit("me")),
            f"{median_us(lambda: ours.hit('me')) / get:.1f}",
        )
    ]
    if has("limits"):
        from limits import parse, storage, strategies

        kept = storage.RedisStorage("redis://localhost", connection_pool=client.connection_pool)
        moving, limit = strategies.MovingWindowRateLimiter(kept), parse("100000 per minute")

        def both() -> None:
            moving.hit(limit, "me")
            moving.get_window_stats(limit, "me")

        rows.append(
            (
                f"{version('limits')}, moving window",
                trips(client, both),
                f"{median_us(both) / get:.1f}",
            )
        )
        rows.append(
            (
                f"{version('limits')}, allowed or not alone",
                trips(client, lambda: moving.hit(limit, "me")),
                f"{median_us(lambda: moving.hit(limit, 'me')) / get:.1f}",
            )
        )
    if has("throttled"):
        from throttled import RateLimiterType, Throttled, rate_limiter, store

        made = Throttled(
            using=RateLimiterType.GCRA.value,
            quota=rate_limiter.per_min(100_000),
            store=store.RedisStore(server=url, options={}),
        )
        rows.append(
            (
                f"{version('throttled-py')}, GCRA",
                trips(client, lambda: made.limit("me")),
                f"{median_us(lambda: made.limit('me')) / get:.1f}",
            )
        )
    return rows


def boards(client: Any, url: str) -> list[tuple[str, str, str]]:
    board = Leaderboard(client, "beside")
    for player, score in (("a", 5), ("b", 5), ("c", 3)):
        board.submit(player, score)
    ranks = [entry.rank for entry in board.top(3).entries]
    rows = [("ours, ranking", "yes", f"ranks of 5, 5, 3: {ranks}")]
    if has("leaderboard"):
        from leaderboard.leaderboard import Leaderboard as Other

        try:
            other = Other("beside", connection=client)
            for player, score in (("a", 5), ("b", 5), ("c", 3)):
                other.rank_member(player, score)
            told = f"ranks of 5, 5, 3: {[row['rank'] for row in other.leaders(1)]}"
            runs = "yes"
        except Exception as error:
            told, runs = f"{type(error).__name__}: {str(error)[:60]}", "no"
        rows.append((version("leaderboard"), runs, told))
    return rows


TABLES = {
    "Caches: stale after an invalidation in the middle of a load; loads by 20 readers at once": caches,
    "Sessions: lost of two overlapping writes; ended ones that a late write brings back": sessions,
    "Limiters: round trips of a hit with what remains and when it resets; median, a GET being 1": limiters,
    "Leaderboards: runs on this redis-py; ties": boards,
}


def main() -> None:
    print(f"Measured on {date.today()}, redis-py {redis.__version__}.")
    for title, table in TABLES.items():
        with tcp_server() as port, redis.Redis(port=port) as client:
            print(f"\n{title}\n")
            for row in table(client, f"redis://127.0.0.1:{port}/0"):
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
