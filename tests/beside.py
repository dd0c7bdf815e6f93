"""Our patterns beside what one would pick, under forced races and in round trips: `python -m tests.beside`.

Each race is forced: the other one's part is done inside of the loader, or between a read and a write. What is
measured is wired in as `tests/wired.py` shows, and `lines` counts that. Prints a table for docs/taking.md. What is
not installed is left out.
"""

import asyncio
import importlib.metadata
import importlib.util
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import date
from typing import Any

import redis
import redis.asyncio

from tests import wired
from tests.servers import tcp_server
from tests.wired import lines

TIMES, READERS, LOAD_SECONDS = 50, 20, 0.05


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def version(distribution: str) -> str:
    return f"{distribution} {importlib.metadata.version(distribution)}"


class Row:
    """A row of a database, which a writer changes while somebody has just read it, or which takes
    its time."""

    def __init__(self) -> None:
        self.value, self.loads, self.seconds = 0, 0, 0.0
        self.meanwhile: Callable[[], Any] | None = None

    def load(self, key: str) -> int:
        seen, meanwhile = self._read()
        time.sleep(self.seconds)
        if meanwhile:
            meanwhile()
        return seen

    async def load_async(self, key: str) -> int:
        seen, meanwhile = self._read()
        await asyncio.sleep(self.seconds)
        if meanwhile:
            await meanwhile()
        return seen

    def _read(self) -> tuple[int, Callable[[], Any] | None]:
        self.loads += 1
        meanwhile, self.meanwhile = self.meanwhile, None
        return self.value, meanwhile


def raced(row: Row, read: Callable[[str], Any], invalidate: Callable[[str], Any]) -> list[str]:
    """How often of TIMES a later reader gets what was loaded before an invalidation that has returned; how
    many of READERS at once of a cold key load it."""
    stale = 0
    for number in range(TIMES):
        key, row.value = f"k{number}", 0

        def write(key: str = key) -> None:
            row.value = 1
            invalidate(key)

        row.meanwhile = write
        read(key)
        stale += read(key) != 1
    row.loads, row.seconds, start = 0, LOAD_SECONDS, threading.Barrier(READERS)

    def reader() -> None:
        start.wait()
        read("cold")

    threads = [threading.Thread(target=reader) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [f"{stale} of {TIMES}", str(row.loads)]


async def raced_async(
    row: Row, read: Callable[[str], Awaitable[int]], invalidate: Callable[[str], Awaitable[Any]]
) -> list[str]:
    """As `raced`, of what is awaited."""
    stale = 0
    for number in range(TIMES):
        key, row.value = f"k{number}", 0

        async def write(key: str = key) -> None:
            row.value = 1
            await invalidate(key)

        row.meanwhile = write
        await read(key)
        stale += await read(key) != 1
    row.loads, row.seconds = 0, LOAD_SECONDS
    await asyncio.gather(*[read("cold") for _ in range(READERS)])
    return [f"{stale} of {TIMES}", str(row.loads)]


def caches(client: Any, url: str) -> list[list[str]]:
    row = Row()
    rows = [["ours, cache_aside", *raced(row, *wired.cache_aside(url, row.load))]]
    rows[0].append(str(lines(wired.cache_aside)))
    if has("cashews"):
        row = Row()
        told = asyncio.run(raced_async(row, *wired.cashews(url, row.load_async)))
        rows.append([version("cashews"), *told, str(lines(wired.cashews))])
    if has("dogpile"):
        row = Row()
        told = raced(row, *wired.dogpile(url, row.load))
        rows.append([version("dogpile.cache"), *told, str(lines(wired.dogpile))])
    if has("flask_caching"):
        from flask import Flask

        row, app = Row(), Flask("beside")
        read, invalidate = wired.flask_caching(app, url, row.load)

        def within(call: Callable[[str], Any]) -> Callable[[str], Any]:
            def called(key: str) -> Any:
                with app.app_context():
                    return call(key)

            return called

        told = raced(row, within(read), within(invalidate))
        rows.append([version("Flask-Caching"), *told, str(lines(wired.flask_caching))])
    if has("redis_fastapi"):
        told = asyncio.run(of_sdk(url))
        rows.append([version("fastapi-redis-sdk"), *told, str(lines(wired.fastapi_redis_sdk))])
    return rows


async def asked(stack: AsyncExitStack, app: Any) -> Any:
    """A client of an app that has begun."""
    import httpx

    await stack.enter_async_context(app.router.lifespan_context(app))
    transport = httpx.ASGITransport(app)
    return await stack.enter_async_context(
        httpx.AsyncClient(transport=transport, base_url="https://beside")
    )


async def of_sdk(url: str) -> list[str]:
    from fastapi import FastAPI

    row, app = Row(), FastAPI()
    wired.fastapi_redis_sdk(app, url, row.load_async)
    async with AsyncExitStack() as stack:
        http = await asked(stack, app)

        async def read(key: str) -> int:
            return int((await http.get(f"/{key}")).raise_for_status().text)

        async def invalidate(key: str) -> None:
            (await http.delete(f"/{key}")).raise_for_status()

        return await raced_async(row, read, invalidate)


def sessions(client: Any, url: str) -> list[list[str]]:
    lost = revived = 0
    for _ in range(TIMES):
        store, sid, change = wired.session_store(url)
        store.load(sid), store.load(sid)
        change("a"), change("b")
        lost += len(store.load(sid).data) < 2
        store.delete(sid)
        revived += change("late") or store.load(sid) is not None
    told = [f"{lost} of {TIMES}", f"{revived} of {TIMES}", str(lines(wired.session_store))]
    rows = [["ours, session_store", *told]]
    if has("django_redis"):
        rows.append([version("django-redis"), *of_django(url), str(lines(wired.django_sessions))])
    if has("redis_fastapi"):
        told = [*asyncio.run(sessions_of_sdk(url)), str(lines(wired.sdk_sessions))]
        rows.append([version("fastapi-redis-sdk"), *told])
    return rows


def of_django(url: str) -> list[str]:
    from types import SimpleNamespace

    from django.conf import settings

    wanted, change = wired.django_sessions(url)
    settings.configure(**wanted, SECRET_KEY="beside", USE_TZ=True)
    from django.contrib.sessions.backends.base import UpdateError
    from django.contrib.sessions.backends.cache import SessionStore as Engine

    lost = revived = 0
    for _ in range(TIMES):
        begun = Engine()
        begun["at"] = 0
        begun.save()
        one, two = (SimpleNamespace(session=Engine(begun.session_key)) for _ in range(2))
        one.session.load(), two.session.load()
        change(one, "a"), change(two, "b")
        one.session.save(), two.session.save()
        lost += len(Engine(begun.session_key).load()) < 3
        late = SimpleNamespace(session=Engine(begun.session_key))
        late.session.load()
        change(late, "late")
        begun.delete(begun.session_key)
        try:
            late.session.save()
        except UpdateError:
            continue
        revived += bool(Engine(late.session.session_key).load())
    return [f"{lost} of {TIMES}", f"{revived} of {TIMES}"]


async def sessions_of_sdk(url: str) -> list[str]:
    from fastapi import FastAPI
    from redis_fastapi import SessionDep

    app, lost, revived = FastAPI(), 0, 0
    meanwhile: list[str] = []
    wired.sdk_sessions(app, url)

    @app.post("/slow/{name}")
    async def slow(session: SessionDep, name: str) -> None:  # type: ignore[valid-type]
        dict(session)
        await http.post(meanwhile[0], headers=cookie)
        session[name] = 1  # type: ignore[index]

    @app.post("/out/now")
    async def out(session: SessionDep) -> None:  # type: ignore[valid-type]
        session.clear()  # type: ignore[attr-defined]

    @app.get("/all")
    async def all_of_it(session: SessionDep) -> dict[str, int]:  # type: ignore[valid-type]
        return dict(session)  # type: ignore[call-overload,no-any-return]

    async with AsyncExitStack() as stack:
        http = await asked(stack, app)
        for _ in range(TIMES):
            http.cookies.clear()
            await http.post("/at")
            cookie = {"Cookie": "; ".join(f"{name}={text}" for name, text in http.cookies.items())}
            assert cookie["Cookie"]
            http.cookies.clear()
            meanwhile[:] = ["/b"]
            (await http.post("/slow/a", headers=cookie)).raise_for_status()
            lost += len((await http.get("/all", headers=cookie)).json()) < 3
            meanwhile[:] = ["/out/now"]
            await http.post("/slow/late", headers=cookie)
            revived += bool((await http.get("/all", headers=cookie)).json())
    return [f"{lost} of {TIMES}", f"{revived} of {TIMES}"]


def median_us(call: Callable[[], object]) -> float:
    times = []
    for _ in range(300):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def scripts(client: Any, call: Callable[[], object]) -> str:
    """How many scripts a call runs, as the server counts them."""

    def count() -> int:
        told = client.info("commandstats")
        names = ("cmdstat_evalsha", "cmdstat_eval")
        return sum(told[name]["calls"] for name in names if name in told)

    call()
    before = count()
    call()
    return str(count() - before)


def limiters(client: Any, url: str) -> list[list[str]]:
    """Round trips of a hit with its whole answer, and the median beside a GET of the same kind of client."""
    client.set("get", "x")
    get = median_us(lambda: client.get("get"))

    def row(name: str, wiring: Callable[..., Any]) -> list[str]:
        hit = wiring(url)
        ratio = median_us(lambda: hit("me")) / get
        return [name, scripts(client, lambda: hit("me")), f"{ratio:.1f}", str(lines(wiring))]

    rows = [row("ours, sliding_window", wired.sliding_window)]
    if has("limits"):
        rows.append(row(f"{version('limits')}, moving window", wired.limits))
        rows.append(row(f"{version('limits')}, allowed or not alone", wired.limits_alone))
    if has("throttled"):
        rows.append(row(f"{version('throttled-py')}, GCRA", wired.throttled))
    if has("redis_fastapi"):
        told = asyncio.run(limiter_of_sdk(client, url))
        told.append(str(lines(wired.sdk_limiter)))
        rows.append([f"{version('fastapi-redis-sdk')}, fixed window", *told])
    return rows


async def limiter_of_sdk(client: Any, url: str) -> list[str]:
    async def median(call: Callable[[], Awaitable[object]]) -> float:
        times = []
        for _ in range(300):
            began = time.perf_counter()
            await call()
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    hit = wired.sdk_limiter(url)
    async with redis.asyncio.Redis.from_url(url) as own:
        ratio = await median(lambda: hit("me")) / await median(lambda: own.get("get"))
    counted = int(client.info("commandstats")["cmdstat_evalsha"]["calls"])
    await hit("me")
    counted = int(client.info("commandstats")["cmdstat_evalsha"]["calls"]) - counted
    return [str(counted), f"{ratio:.1f}"]


def boards(client: Any, url: str) -> list[list[str]]:
    def row(name: str, wiring: Callable[..., Any]) -> list[str]:
        try:
            submit, ranks = wiring(url)
            for player, score in (("a", 5), ("b", 5), ("c", 3)):
                submit(player, score)
            told = f"ranks of 5, 5, 3: {ranks()}"
            runs = "yes"
        except Exception as error:  # what a library cannot do is a result
            told, runs = f"{type(error).__name__}: {str(error)[:60]}", "no"
        return [name, runs, told, str(lines(wiring))]

    rows = [row("ours, ranking", wired.ranking)]
    if has("leaderboard"):
        rows.append(row(version("leaderboard"), wired.leaderboard))
    return rows


TABLES = {
    "Caches: stale after an invalidation in the middle of a load; loads by 20 readers at once; lines": caches,
    "Sessions: lost of two overlapping writes; ended ones that a late write brings back; lines": sessions,
    "Limiters: round trips of a hit with what remains and when it resets; median, a GET being 1; lines": limiters,
    "Leaderboards: runs on this redis-py; ties; lines": boards,
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
