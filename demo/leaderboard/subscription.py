"""One connection that hears on which channels something was published. The subscription has a
connection outside the pool, so it takes none from requests. It is made as the client's pool makes
its connections.
"""

import time
from collections.abc import Set
from typing import Any

from demo.client.contract import RedisClient, checked, errors_of

PING_SECONDS = 1.0


class Subscription:
    """`confirmed` are the channels that the server says it tells of. `refused` is whether it does
    not let us subscribe, as Redis 7 does with new users that were given no channels. Then all count
    as confirmed, and a caller has to look for changes now and then. Everything but `close` raises
    RedisError."""

    def __init__(self, client: RedisClient) -> None:
        self.confirmed: set[str] = set()
        self.refused = False
        self._subscribed: Set[str] = set()
        self._errors = errors_of(client)
        self._pool, self._connection = own_connection(checked(client))
        self._heard = 0.0

    def connect(self) -> None:
        """Begins it."""
        self._connection.connect()
        self._heard = time.monotonic()

    def close(self) -> None:
        """Ends it."""
        self._connection.disconnect()

    def follow(self, wanted: Set[str]) -> None:
        """From here on these channels and no others."""
        if wanted - self._subscribed:
            self._connection.send_command("SUBSCRIBE", *wanted - self._subscribed)
        if self._subscribed - wanted:
            self._connection.send_command("UNSUBSCRIBE", *self._subscribed - wanted)
        self._subscribed = wanted
        self.confirmed &= wanted

    def hear(self, timeout_seconds: float) -> set[str]:
        """The channels of all that has arrived, confirmations included; waits so long for a first
        one."""
        if not self._pool.owns_connection(self._connection):
            raise self._errors.connection("another server is the primary by now")
        if not self._connection.can_read(timeout=timeout_seconds):
            if time.monotonic() - self._heard <= PING_SECONDS:
                return set()
            self._connection.send_command("PING")  # one that died in silence answers no more
        told = self._take()
        self._heard = time.monotonic()
        return told

    def _take(self) -> set[str]:
        told: set[str] = set()
        while True:
            try:
                answer = self._connection.read_response(push_request=True)
            except self._errors.response:  # nothing else is asked here that could be refused
                self.refused = True
                told |= self._subscribed
            else:
                if isinstance(answer, list) and answer[0] in (b"message", b"subscribe"):
                    told.add(answer[1].decode())
            if not self._connection.can_read(timeout=0):
                break
        self.confirmed |= told
        return told


def own_connection(client: Any) -> tuple[Any, Any]:
    """A client's pool, and a connection to its server that is not one of the pool's; in a cluster
    any node hears of every message."""
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        pool = client.get_redis_connection(client.get_random_node()).connection_pool
    return pool, pool.connection_class(**pool.connection_kwargs)
