"""Clients for tests: the app's kind, with the breaker, the sums and the trace around the wire."""

from typing import Any

from demo.client import pool
from demo.client.breaker import Breaker
from demo.observe import trace
from demo.observe.redis_sums import RedisSums


def connect(
    url: str, *, pool_size: int, timeout_seconds: float, open_seconds: float, inside: Any = None
) -> Any:
    """A client whose `breaker` and `sums` a test may look at; `inside` is one more wrapper."""
    breaker, sums = Breaker(open_seconds), RedisSums()
    around = [trace.around, sums.around, *([inside] if inside else []), breaker.around]
    made: Any = pool.connect(
        url, pool_size=pool_size, timeout_seconds=timeout_seconds, around=around
    )
    made.breaker, made.sums = breaker, sums
    return made
