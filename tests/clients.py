"""Clients for tests: the app's kind, with the breaker, the sums and the trace around the wire."""

from functools import partial
from typing import Any

from demo.client import pool
from demo.client.breaker import Breakers
from demo.client.connections import is_cluster
from demo.client.probe import primaries, probe
from demo.observe import trace
from demo.observe.redis_sums import RedisSums


def connect(
    url: str,
    *,
    pool_size: int,
    timeout_seconds: float,
    open_seconds: float,
    inside: Any = None,
    probed: bool = False,
) -> Any:
    """A client whose `breaker` and `sums` a test may look at; `inside` is one more wrapper;
    `probed` sends the app's probes."""
    breakers, sums = Breakers(open_seconds), RedisSums()
    around = [trace.around, sums.around, *([inside] if inside else [])]
    made: Any = pool.connect(
        url,
        pool_size=pool_size,
        timeout_seconds=timeout_seconds,
        around=around,
        guards=breakers.of,
    )
    made.breaker, made.sums = breakers, sums
    if is_cluster(made):
        breakers.names = lambda: primaries(made)
    if probed:
        breakers.probe_by(partial(probe, made))
        end = made.close
        made.close = lambda: (breakers.close(), end())
    return made
