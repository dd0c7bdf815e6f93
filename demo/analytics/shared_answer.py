"""An answer that is expensive to compute, shared by all workers.

When a shared answer is no longer fresh, one reader computes it again, and the others get the old
one without waiting. A reader that finds no stored answer computes it alone, so nobody waits.
"""

import secrets
from collections.abc import Callable

from demo.client.contract import PREFIX, RedisClient, beginning, checked, plain, positive

KEPT_SECONDS = 60
LEASE_MS = 5000


class SharedAnswer:
    """Bytes by name on a client of bytes."""

    def __init__(
        self,
        client: RedisClient,
        name: str,
        fresh_seconds: float = 2.0,
        *,
        prefix: str = PREFIX,
    ) -> None:
        self._client = checked(client)
        self.key = f"{beginning(prefix, 'analytics')}{{answer:{plain('name', name)}}}"
        self._fresh_ms = int(positive("fresh_seconds", fresh_seconds) * 1000)

    def get(self, compute: Callable[[], bytes]) -> tuple[bytes, bool]:
        """The answer, and whether it came from the cache. One round trip where it is fresh, two
        where another one renews it; raises RedisError."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.get(self.key)
        pipeline.pttl(self.key)
        found, left_ms = pipeline.execute()
        if found is not None and left_ms > KEPT_SECONDS * 1000 - self._fresh_ms:
            return bytes(found), True
        mine = self._client.set(f"{self.key}:lease", secrets.token_hex(4), nx=True, px=LEASE_MS)
        if not mine and found is not None:
            return bytes(found), True
        made = compute()  # when it fails, the lease runs out: nobody waits for it
        if mine:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.set(self.key, made, ex=KEPT_SECONDS)
            pipeline.unlink(f"{self.key}:lease")
            pipeline.execute()
        return made, False

    def forget(self) -> None:
        """The next reader works it out again. One round trip; raises RedisError."""
        self._client.unlink(self.key, f"{self.key}:lease")
