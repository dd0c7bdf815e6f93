"""The token bucket: `limit` tokens to begin with, refilled evenly, `limit` in a window; a hit takes
one.

It lets a burst of the whole limit through at once and then a steady stream: by design, some windows
admit up to 2 × limit. What a shop or an API wants where short bursts are fine and the average
counts.

The level is kept in tokens × microseconds, whole numbers, so that no fraction of a token is lost
however odd the rate. Memory of an identity: one short string. Commands: TIME, GET, and SET with PX
for an admitted hit.

Source: J. Turner, "New Directions in Communications (or Which Way to the Information Age?)", 1986.
"""

from pathlib import Path

from demo.rate_limit.limiter import Limiter


class TokenBucket(Limiter):
    """A bucket that is full when it is first asked for; full ones expire."""

    lua = Path(__file__).with_suffix(".lua")
