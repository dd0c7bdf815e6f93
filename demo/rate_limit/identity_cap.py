"""How many identities a caller may make up at once, so that nobody fills Redis with them.

Kept in the process and bounded itself: it costs no round trip, and with several workers each has
its own count. An identity holds its place for as long as its key can live.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable


class IdentityCap:
    """At most `most` identities a caller, of the `callers` that were seen last. `clock` is
    monotonic, in seconds."""

    def __init__(
        self, most: int = 50, callers: int = 2000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most, self._callers, self._clock = most, callers, clock
        self._lock = threading.Lock()
        self._held: OrderedDict[str, dict[str, float]] = OrderedDict()

    def take(self, caller: str, identity: str, life_seconds: float) -> bool:
        """Whether the identity has a place, which it then holds for `life_seconds` from now."""
        with self._lock:
            now = self._clock()
            held = self._held.pop(caller, {})
            if identity not in held and len(held) >= self.most:
                held = {name: until for name, until in held.items() if until > now}
            self._held[caller] = held
            if len(self._held) > self._callers:
                self._held.popitem(last=False)
            if identity not in held and len(held) >= self.most:
                return False
            held[identity] = max(held.get(identity, 0.0), now + life_seconds)
            return True
