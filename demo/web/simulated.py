"""Simulated visitors: how their requests are told from real ones.

Each has a header that only this app can have made: which visitor it is and until when, signed. Such
a request gets an address of its own from the range for documentation. So limits and budgets never
count it for another client of this machine, and analytics can leave it out. A header that is forged
or over changes nothing.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any

HEADER, MARK = "X-Simulated-Visitor", "demo.simulated"
IN_ENVIRON = "HTTP_X_SIMULATED_VISITOR"
FIGURES_SECONDS = 10  # a figure of the last ten seconds has them that much longer
LONGEST_SECONDS = 120


class Seen:
    """Until when the figures of this process have simulated visitors in them, in seconds since 1970."""

    until = 0.0


seen = Seen()


class Simulated:
    """`secret` signs. `clock` tells the seconds since 1970."""

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._secret, self._clock = secret.encode(), clock

    def header(self, number: int, until: int) -> str:
        """What visitor `number` sends until then."""
        return f"{number}.{until}.{self._signature(number, until)}"

    def mark(self, environ: dict[str, Any]) -> None:
        """Marks a request that has the header."""
        number, _, rest = environ[IN_ENVIRON].partition(".")
        until, _, signature = rest.partition(".")
        if not (number.isdecimal() and until.isdecimal() and number.isascii() and until.isascii()):
            return
        if len(number) > 4 or len(until) > 12:
            return
        if not hmac.compare_digest(self._signature(int(number), int(until)), signature):
            return
        now = self._clock()
        if not now < int(until) <= now + LONGEST_SECONDS:
            return
        environ["REMOTE_ADDR"] = f"2001:db8:b:{int(number):x}::1"
        environ[MARK] = True
        seen.until = max(seen.until, int(until) + FIGURES_SECONDS)

    def _signature(self, number: int, until: int) -> str:
        text = f"simulated visitor {number} until {until}"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
