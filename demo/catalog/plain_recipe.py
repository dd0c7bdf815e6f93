"""The plain recipe, which most applications begin with: GET, and on a miss load and SET with a TTL.

It is right while values do not change, one process reads, and Redis can be reached. Otherwise three
things go wrong. A slow reader can store an old value after a delete. Many readers of a cold key all
load it. Without Redis a read raises. `lease.py` mends these.

Takes a redis-py client of bytes.
"""

from collections.abc import Callable
from typing import Any


def get_or_load(
    client: Any, key: str, load: Callable[[], bytes], *, ttl_seconds: float = 60.0
) -> bytes:
    """The value under `key`, from Redis or from `load`. A hit is one round trip, a miss two. Raises
    RedisError."""
    found: bytes | None = client.get(key)
    if found is not None:
        return found
    value = load()
    client.set(key, value, px=int(ttl_seconds * 1000))
    return value


def invalidate(client: Any, key: str) -> None:
    """After a change: deletes, so that the next reader loads again. Raises RedisError."""
    client.delete(key)
