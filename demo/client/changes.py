"""When another server became the primary, for people to read. Redis keeps the last `MOST` changes of
the primary for a week.
"""

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from redis.exceptions import RedisError

KEY = "demo:client:{changes}"
MOST, KEPT_SECONDS = 20, 7 * 86_400


@dataclass(frozen=True)
class Change:
    """`at` is in seconds since 1970, of this machine. Seen by one process: `before`, `now` and how
    many acknowledgements of its own are `at_risk` at most. Or for all: how much was `told` again."""

    at: float
    process: str
    before: str = ""
    now: str = ""
    at_risk: int | None = None
    told: int | None = None


def note(client: Any, process: str, **told: Any) -> bool:
    """Writes one down; whether Redis took it. One round trip."""
    pipeline = client.pipeline(transaction=False)
    pipeline.lpush(KEY, json.dumps(asdict(Change(time.time(), process, **told))))
    pipeline.ltrim(KEY, 0, MOST - 1)
    pipeline.expire(KEY, KEPT_SECONDS)
    try:
        pipeline.execute()
    except RedisError:
        return False
    return True


def decode(raw: Any) -> list[Change]:
    """What lies under KEY, the last first; empty where it could not be read."""
    found = []
    for each in raw if isinstance(raw, list) else []:
        with contextlib.suppress(ValueError, TypeError):
            found.append(Change(**json.loads(each)))
    return found
