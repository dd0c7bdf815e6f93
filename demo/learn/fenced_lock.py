"""A lock with a fencing token. A holder that was paused until its lock expired cannot overwrite
what the next holder wrote.

A lock alone is no proof. Its holder may be paused for longer than the lock lives, by a garbage
collector or a full disk; another takes it, and then both write. So each hold has a token that is
higher than all before. The store refuses a write whose token is lower than the last one that it has
seen. The store has to be the one that refuses: here it is Redis, in a script.

Source: M. Kleppmann, "How to do distributed locking", 2016, https://martin.kleppmann.com. Takes a
redis-py client of bytes. Each method is one round trip and raises RedisError.
"""

from pathlib import Path
from typing import Any

HERE = Path(__file__)


class FencedLock:
    """The lock of this name, for `hold_ms` at most, and one value that it guards, kept for
    `keep_ms`. `name` is plain letters, digits and dashes."""

    def __init__(self, client: Any, name: str, *, hold_ms: int, keep_ms: int = 60_000) -> None:
        if not 0 < hold_ms <= keep_ms:
            raise ValueError("hold_ms, keep_ms: must be positive, and keep_ms no less")
        tag = f"demo:learn:{{{name}}}"
        self.lock_key, self.token_key, self.value_key = (
            f"{tag}:{part}" for part in ("lock", "token", "value")
        )
        self._client, self._hold_ms, self._keep_ms = client, hold_ms, keep_ms
        self._acquire = client.register_script(HERE.with_suffix(".lua").read_text())
        self._store = client.register_script(HERE.with_name("fenced_lock_store.lua").read_text())

    def acquire(self) -> int | None:
        """The token of a new hold; None while another holds the lock."""
        args = [self._hold_ms, self._keep_ms]
        token = self._acquire(keys=[self.lock_key, self.token_key], args=args)
        return token or None

    def store(self, token: int, value: bytes) -> bool:
        """Stores the value, unless a higher token was given since. Whether it is stored."""
        keys = [self.token_key, self.value_key]
        return bool(self._store(keys=keys, args=[token, value, self._keep_ms]))

    def value(self) -> bytes | None:
        """What was stored last."""
        found: bytes | None = self._client.get(self.value_key)
        return found
