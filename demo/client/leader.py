"""One leader among any number of processes: a lock with a TTL and a fencing token.

The leader renews the lead well before it expires. If the leader dies, the lead expires and the next
process that asks gets it. A lock alone is no proof: a process that was paused goes on as if it
still led. So each lead has a token. A new lead has a higher token than all leads before it. If
Redis loses the last token, the next leader's token is higher still. The script that stores a leader's
data refuses if `token_key` now holds the token of another leader. Work that is not stored in Redis
must be safe to do twice.

Source: M. Kleppmann, "How to do distributed locking", 2016, https://martin.kleppmann.com. Takes a
client of bytes.
"""

import time
from collections.abc import Callable
from pathlib import Path

from demo.client.contract import PREFIX, RedisClient, beginning, checked, plain, positive, text

REMEMBERED_SECONDS = 30 * 86_400
HERE = Path(__file__)


def token_key(job: str, prefix: str = PREFIX) -> str:
    """Where the last token lies. A script that stores a leader's data compares it with the leader's
    own token. Its other keys have the same hash tag `{job}`."""
    return f"{lead_key(job, prefix)}:token"


def lead_key(job: str, prefix: str = PREFIX) -> str:
    """Where the lead lies: token and name."""
    return f"{beginning(prefix, 'leader')}{{{plain('job', job)}}}"


class Leader:
    """Asks for the lead of one job, under a `name` that is this process' alone. `clock` is
    monotonic, in seconds."""

    def __init__(
        self,
        client: RedisClient,
        job: str,
        name: str,
        *,
        ttl_seconds: float = 3.0,
        prefix: str = PREFIX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        client = checked(client)
        self._keys = [lead_key(job, prefix), token_key(job, prefix)]
        self._name, self._clock = text("name", name), clock
        self.ttl_seconds = positive("ttl_seconds", ttl_seconds)
        self._token, self._until = 0, 0.0
        self._take = client.register_script(HERE.with_suffix(".lua").read_text())
        self._give = client.register_script(HERE.with_name("leader_resign.lua").read_text())

    @property
    def token(self) -> int:
        """The token of the running lead; 0 without one. By this process' own clock it ends a little
        before Redis gives it to another."""
        return self._token if self._clock() < self._until else 0

    def campaign(self) -> float:
        """Takes or renews the lead. Returns after how many seconds to ask again: the leader after a
        third of `ttl_seconds`, another process when the leader's lead runs out, after `ttl_seconds`
        at most. One round trip. Raises RedisError, and a lead that is not renewed runs out."""
        asked = self._clock()
        ttl_ms = int(self.ttl_seconds * 1000)
        token, left_ms = self._take(
            keys=self._keys, args=[self._token, self._name, ttl_ms, REMEMBERED_SECONDS * 1000]
        )
        self._token, self._until = token, asked + self.ttl_seconds if token else 0.0
        again = self.ttl_seconds / 3 if token else self.ttl_seconds
        return float(min(again, max(left_ms, 1) / 1000))

    def resign(self) -> None:
        """Gives the lead back: the next process that asks gets it. Raises RedisError."""
        token, self._until = self._token, 0.0
        if token:
            self._token = 0
            self._give(keys=self._keys[:1], args=[token, self._name])
