"""Tell visitors apart without keeping who they are: a keyed hash of address and browser, whose key
is destroyed.

The first process that asks makes the salt of a period (SET NX), and the salt expires in Redis when
the period is over. Without the salt nobody can link a hash to an address, not even by trying all
addresses. A visitor has a different hash in each period, so nobody can follow a visitor from one
period to the next.
"""

import hashlib
import ipaddress
import secrets
from datetime import date
from functools import lru_cache

from demo.client.contract import PREFIX, RedisClient, beginning, checked

DAY_KEPT_SECONDS = 2 * 86_400
MONTH_KEPT_SECONDS = 33 * 86_400
LONGEST_AGENT = 200


def day(of: date) -> str:
    """The name of a day's salt."""
    return f"day:{of:%Y-%m-%d}"


def month(of: date) -> str:
    """The name of a month's salt."""
    return f"month:{of:%Y-%m}"


class Salts:
    """The salts, each asked for once by this process until it is told to forget them."""

    def __init__(self, client: RedisClient, *, prefix: str = PREFIX) -> None:
        self._client, self._first = checked(client), beginning(prefix, "analytics")
        self._known: dict[str, bytes] = {}

    def of(self, period: str) -> bytes:
        """The salt of a `day` or a `month`. One round trip the first time; raises RedisError."""
        salt = self._known.get(period)
        if salt is None:
            mine = secrets.token_hex(16).encode()
            kept = DAY_KEPT_SECONDS if period.startswith("day") else MONTH_KEPT_SECONDS
            salt = (
                self._client.set(
                    f"{self._first}{{salt}}:{period}", mine, nx=True, get=True, ex=kept
                )
                or mine
            )
            if len(self._known) >= 4:
                self._known.clear()
            self._known[period] = salt
        return salt

    def forget(self) -> None:
        """Asks again: a Redis that has lost its data has another salt by now, which the other
        processes use."""
        self._known.clear()


def hashed(identity: str, salt: bytes) -> str:
    """64 bits of a visitor, as 16 hexadecimal digits."""
    return hashlib.blake2b(identity.encode("utf-8", "replace"), key=salt, digest_size=8).hexdigest()


def identity(address: str, agent: str) -> str:
    """What makes two requests the same visitor: the network address, of IPv6 its /64, and the
    browser's name."""
    return f"{_network(address)} {agent[:LONGEST_AGENT]}"


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.IPv6Network((int(parsed), 64), strict=False))
