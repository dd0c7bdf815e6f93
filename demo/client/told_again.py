"""After another server became the primary, what the old one may have lost is repeated.

Replicas lag behind. When one is promoted, the last writes of the old primary are missing, and what
these invalidated or ended is back. Each server that has been a primary by itself has its own
replication id. So one elected process compares the ids of all primaries with those stored in Redis.
When a primary has a new replication id, one process repeats recent invalidations and session
endings at once, and again over the next seconds. Some processes learn only later which server is
the primary. After that the process writes the ids down. What is told must be safe to tell twice.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/replication/
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from demo.client import changes, refusals
from demo.client.background import process_name
from demo.client.connections import is_cluster

KNOWN = "demo:client:{primaries}"
KNOWN_SECONDS = 30 * 86_400
AGAIN_AT_SECONDS = (0.0, 1.0, 3.0, 7.0)
LOOK_SECONDS, UNTOLD_SECONDS = 1.0, 60.0
log = logging.getLogger(__name__)


class ToldAgain:
    """`again` holds what tells something again, and returns how much that was. `clock` is
    monotonic, in seconds."""

    def __init__(self, client: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self.again: list[Callable[[], int]] = []
        self._client, self._clock = client, clock
        self._ids: set[str] = set()
        self._began, self._passes = 0.0, 0
        self._refused = False

    def step(self, _: int = 0) -> float:
        """Looks, tells what is due, and says after how many seconds to look again. One round trip, on
        a cluster one to each primary and one more. Raises RedisError, and what `again` raises."""
        try:
            ids, known = look(self._client)
        except ResponseError as error:
            if not self._refused:
                log.warning("A failover would not be noticed: %s", refusals.of(error).name)
            self._refused = True
            return UNTOLD_SECONDS
        if known is not None and ids <= set(known.decode().split()):
            self._ids = set()
            return LOOK_SECONDS
        if ids != self._ids:
            self._ids, self._began, self._passes = ids, self._clock(), 0
        is_left = self._passes < len(AGAIN_AT_SECONDS)
        if is_left and self._clock() - self._began >= AGAIN_AT_SECONDS[self._passes]:
            told = sum(again() for again in self.again)
            if known is not None and not self._passes:
                log.warning("Redis has another primary than before; told again: %d", told)
                changes.note(self._client, process_name(), told=told)
            self._passes += 1
        if self._passes == len(AGAIN_AT_SECONDS):
            self._client.set(KNOWN, " ".join(sorted(ids)), ex=KNOWN_SECONDS)
        return LOOK_SECONDS


def look(client: Any) -> tuple[set[str], bytes | None]:
    """The replication ids of all primaries that answer, and those that are known. Raises RedisError
    where no primary answers."""
    told: list[dict[str, Any]] = []
    if not is_cluster(client):
        pipeline = client.pipeline(transaction=False)
        pipeline.info("replication")
        pipeline.get(KNOWN)
        each, known = pipeline.execute()
        told.append(each)
    else:
        primaries = client.get_primaries()
        for number, node in enumerate(primaries, 1):
            try:
                told.append(client.info("replication", target_nodes=node))
            except (ConnectionError, TimeoutError):
                if number == len(primaries) and not told:
                    raise
        known = client.get(KNOWN)
    return {str(each["master_replid"]) for each in told if each.get("role") == "master"}, known
