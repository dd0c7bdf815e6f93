"""A stampede on purpose. Many readers ask for one key at the same moment, one of them loads its
value, and each reader reports what it got.
"""

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from demo.catalog.cache_aside import Busy, Cache, CacheStatus


class Reader(msgspec.Struct, frozen=True, array_like=True):
    """One reader: how it got its value, and when, in ms since the first one asked; FAILED when it
    got none."""

    status: str
    began_ms: float
    took_ms: float
    collapsed: bool = False


def run(
    cache: Cache[Any] | None,
    key: str,
    loader: Callable[[], Any],
    readers: int,
    failures: tuple[type[Exception], ...] = (),
) -> tuple[list[Reader], int]:
    """All readers at once, in threads; without a cache each loads for itself. The readers by their
    start, and how often `loader` was called. What `loader` may raise is in `failures`."""
    loads: list[int] = []
    done: list[Reader] = []
    gate = threading.Barrier(readers)
    refused: tuple[type[Exception], ...] = (Busy, *failures)

    def load() -> Any:
        loads.append(1)
        return loader()

    def read() -> None:
        gate.wait()
        began = time.perf_counter()
        collapsed = False
        try:
            if cache is None:
                load()
                status: str = CacheStatus.BYPASS
            else:
                cached = cache.get_or_load(key, load)
                status, collapsed = cached.status, cached.collapsed
        except refused:
            status = "FAILED"
        ended = time.perf_counter()
        done.append(Reader(status, began * 1000, round((ended - began) * 1000, 1), collapsed))

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(read,))
        for _ in range(readers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    zero = min(reader.began_ms for reader in done)
    told = [
        msgspec.structs.replace(reader, began_ms=round(reader.began_ms - zero, 1))
        for reader in done
    ]
    return sorted(told, key=lambda reader: (reader.began_ms, reader.took_ms)), len(loads)
