"""A counter in four ways: by GET and SET, by INCR, by WATCH and MULTI, and by a script.

GET and SET lose what another client adds between the two. INCR is one command, and Redis runs one
command at a time. If another client was quicker, WATCH makes the transaction fail, and the counter
tries again. A script runs as one command, whatever it does in between. The script never raises the
counter above its maximum.

Every way raises the errors of the client's own package. The key expires after `ttl_ms`. valkey-py's
client of a cluster has no transactions, so WATCH is refused there.
"""

import random
import time
from pathlib import Path

from demo.client.contract import RedisClient, checked, errors_of, in_one_step

HERE = Path(__file__)
MOST_TRIES, LONGEST_PAUSE_SECONDS = 100, 0.05


class Contended(Exception):
    """Others were quicker MOST_TRIES times."""


class Counter:
    """One counter under `key`. Each way adds 1 and returns how often it had to try again."""

    def __init__(
        self, client: RedisClient, key: str, *, ttl_ms: int = 60_000, most: int = 1_000_000
    ):
        self._client, self._key, self._ttl_ms, self._most = checked(client), key, ttl_ms, most
        self._changed = errors_of(client).watch
        self._script = client.register_script(HERE.with_suffix(".lua").read_text())

    def read(self) -> int:
        """The number."""
        return int(self._client.get(self._key) or 0)

    def write(self, number: int) -> None:
        """Sets the number, whatever it was."""
        self._client.set(self._key, number, px=self._ttl_ms)

    def get_and_set(self) -> int:
        """Two round trips, between which another may write. Wrong where two do it at once."""
        self.write(self.read() + 1)
        return 0

    def incr(self) -> int:
        """One round trip; the expiry travels with it."""
        pipeline = in_one_step(self._client)
        pipeline.incr(self._key)
        pipeline.pexpire(self._key, self._ttl_ms)
        pipeline.execute()
        return 0

    def watch(self) -> int:
        """Three round trips for each try. Raises Contended."""
        for tries in range(MOST_TRIES):
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.watch(self._key)
                number = int(pipeline.get(self._key) or 0)
                pipeline.multi()
                pipeline.set(self._key, number + 1, px=self._ttl_ms)
                try:
                    pipeline.execute()
                    return tries
                except self._changed:  # wait longer each time, and not as long as the others
                    longest = min(0.001 * 2**tries, LONGEST_PAUSE_SECONDS)
            time.sleep(random.uniform(0, longest))
        raise Contended(self._key)

    def script(self) -> int:
        """One round trip, and a rule with it: nothing is added above `most`."""
        self._script(keys=[self._key], args=[self._most, self._ttl_ms])
        return 0
