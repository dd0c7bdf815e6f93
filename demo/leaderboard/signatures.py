"""Signed submissions. A request is accepted once, and only if a holder of the secret has just made
exactly this request.

A client sends three headers: `Demo-Timestamp`, seconds since the epoch; `Demo-Nonce`, 16 to 64
letters, digits, - or _ of its own choice; `Demo-Signature`, the HMAC-SHA-256 in hex, under the
secret, of the lines timestamp, nonce, method, path with its query, and the SHA-256 of the body in
hex. The path is the one that the client asks for, with whatever a proxy takes off its beginning.
The time is compared with Redis' clock. Redis remembers a nonce for as long as its signature is
valid. The nonce is checked in one round trip, before anything is counted, and only if the signature
is right.

A nonce is used up even if the request fails afterwards. To send a request again, sign it again with
another nonce. With the same Idempotency-Key it does not count twice.
"""

import hashlib
import hmac
import re
from pathlib import Path

from demo.client.contract import PREFIX, RedisClient, beginning, checked, text, whole

WINDOW_SECONDS = 60
NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")
TIMESTAMP = re.compile(r"[0-9]{1,12}")


class Unsigned(Exception):
    """A request that is not taken; the message says why, and nothing of the secret."""


def sign(secret: str, timestamp: str, nonce: str, method: str, path: str, body: bytes) -> str:
    """The signature of a request."""
    lines = "\n".join((timestamp, nonce, method.upper(), path, hashlib.sha256(body).hexdigest()))
    return hmac.new(secret.encode(), lines.encode(), hashlib.sha256).hexdigest()


class Signatures:
    """Checks them. `client` is a redis-py client of bytes; `window_seconds` is how far a clock may
    be off either way."""

    def __init__(
        self,
        client: RedisClient,
        secret: str,
        *,
        window_seconds: int = WINDOW_SECONDS,
        prefix: str = PREFIX,
    ) -> None:
        self._secret, self.window_seconds = (
            text("secret", secret),
            whole("window_seconds", window_seconds),
        )
        self._client, self._beginning = checked(client), beginning(prefix, "leaderboard")
        self._script = client.register_script(Path(__file__).with_suffix(".lua").read_text())

    def check(
        self,
        timestamp: str,
        nonce: str,
        signature: str,
        method: str,
        path: str,
        body: bytes,
        *,
        now_ms: int | None = None,
    ) -> None:
        """Raises Unsigned unless it is signed, on time and not seen before; RedisError. One round
        trip, none for a signature that is wrong."""
        if not timestamp or not nonce or not signature:
            raise Unsigned(
                "The headers Demo-Timestamp, Demo-Nonce and Demo-Signature are required."
            )
        if not TIMESTAMP.fullmatch(timestamp):
            raise Unsigned("Demo-Timestamp must be whole seconds since the epoch.")
        if not NONCE.fullmatch(nonce):
            raise Unsigned("Demo-Nonce must have 16 to 64 letters, digits, - or _.")
        expected = sign(self._secret, timestamp, nonce, method, path, body)
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape")):
            raise Unsigned(
                "Demo-Signature does not match this timestamp, nonce, method, path and body."
            )
        key = f"{self._beginning}{{nonce:{hashlib.sha256(nonce.encode()).hexdigest()}}}"
        args = [timestamp, self.window_seconds, "" if now_ms is None else now_ms]
        answer = self._script(keys=[key], args=args)
        if answer == -1:
            raise Unsigned(
                f"Demo-Timestamp is more than {self.window_seconds} seconds from the server's time."
            )
        if answer == 0:
            raise Unsigned("This nonce was already used. Sign the request again with a new nonce.")
