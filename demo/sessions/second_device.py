"""A second device. A signed-in session lends a code that signs in one more browser, once and within
a minute.

The session that lends the code keeps its hash. A lent code ends when it is used, when its minute is
over, when its session ends, and when the user's epoch changes. Redis holds only a hash of the code,
never the code itself.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from demo.client.contract import PREFIX, RedisClient, beginning, checked, text
from demo.sessions import session_id
from demo.sessions.session_id import Place

CODE = re.compile(r"[0-9a-f]{32}\.[0-9a-f]{32}\.[A-Za-z0-9_-]{43}")
LIFE_SECONDS = 60
HERE = Path(__file__)


@dataclass(frozen=True)
class Lent:
    """Who may be signed in, and in which epoch."""

    user: str
    epoch: str


class SecondDevice:
    """`client` is a client of bytes, `prefix` that of the sessions. Each method is one round trip and raises RedisError;
    `now_ms` is for tests."""

    def __init__(self, client: RedisClient, *, prefix: str = PREFIX) -> None:
        beginning(prefix, "sessions")
        client, self._prefix = checked(client), prefix
        self._lend = client.register_script(HERE.with_name("second_device_lend.lua").read_text())
        self._take = client.register_script(HERE.with_name("second_device.lua").read_text())

    def lend(self, sid: str, *, now_ms: int | None = None) -> str | None:
        """A code that may be used once within LIFE_SECONDS; None when the session is gone or
        nobody's."""
        place = session_id.place(sid, self._prefix)
        if place is None:
            return None
        code = f"{place.owner}.{place.handle}.{secrets.token_urlsafe(32)}"
        args = [_digest(code), LIFE_SECONDS * 1000, "" if now_ms is None else now_ms]
        return code if self._lend(keys=[place.session, place.epoch], args=args) else None

    def take(self, code: str, *, now_ms: int | None = None) -> Lent | None:
        """Whom the code signs in; it is used up then. None for a code that is not, or no longer,
        good."""
        if not CODE.fullmatch(text("code", code)):
            return None
        place = Place(code[:32], code[33:65], self._prefix)
        found = self._take(
            keys=[place.session, place.epoch],
            args=[_digest(code), "" if now_ms is None else now_ms],
        )
        return Lent(found[0].decode(), found[1].decode()) if found else None


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
