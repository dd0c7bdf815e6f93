"""Readers of one cold key in async code: what they do to an endpoint beside them, on the threads that all
endpoints share, and on threads of their own as the recipe in a zip's README has it."""

import asyncio
import statistics
import time
from typing import Any

import anyio
import redis
from anyio import to_thread

from demo.catalog.cache_aside import Cache
from tests.bench.measure import say
from tests.servers import tcp_server

READERS, LOAD_SECONDS, RUNS = 60, 0.5, 5


def threads() -> None:
    """Prints how long a call beside READERS of one cold key waits for a thread, both ways."""
    say(
        f"\n{READERS} readers of one cold key, a load of {LOAD_SECONDS * 1000:.0f} ms; how long an endpoint beside "
        f"them waits for a thread; median of {RUNS} runs (worst):"
    )
    with tcp_server() as port, redis.Redis(port=port) as client:
        cache: Cache[int] = Cache(client, "bench", int, ttl_seconds=60)
        for name, own in (("on the threads of all endpoints", False), ("on 20 of their own", True)):
            times = [asyncio.run(_beside(cache, f"{own}{run}", own)) for run in range(RUNS)]
            median, worst = statistics.median(times), max(times)
            print(f"  {name:<40} {median:7.1f} ms ({worst:.1f})", flush=True)


async def _beside(cache: Cache[int], key: str, own: bool) -> float:
    """Milliseconds until a sync endpoint that does nothing has run, while the readers wait."""
    loads: list[int] = []
    loading = anyio.Event()
    loop = asyncio.get_running_loop()

    def load() -> int:
        loads.append(1)
        loop.call_soon_threadsafe(loading.set)
        time.sleep(LOAD_SECONDS)
        return 1

    limiter = anyio.CapacityLimiter(20) if own else None

    async def read() -> Any:
        return await to_thread.run_sync(cache.get_or_load, key, load, limiter=limiter)

    async with anyio.create_task_group() as group:
        for _ in range(READERS):
            group.start_soon(read)
        await loading.wait()
        began = time.perf_counter()
        await to_thread.run_sync(lambda: None)
        took = (time.perf_counter() - began) * 1000
    assert len(loads) == 1
    return took
