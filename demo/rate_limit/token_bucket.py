"""The token bucket: it begins with `limit` tokens and is refilled evenly, `limit` in a window. Each
hit takes one token.

It admits a burst of the whole limit at once and then a steady stream. By design, some windows of a
token bucket admit up to 2 × limit hits. It suits a shop or an API where short bursts are fine and
the average counts.

The bucket's level is a whole number of tokens × microseconds, so no fraction of a token is lost at
any rate. Memory of an identity: one short string. Commands: TIME, GET, and SET with PX for an
admitted hit.

Source: J. Turner, "New Directions in Communications (or Which Way to the Information Age?)", 1986.
"""

from pathlib import Path

from demo.rate_limit.limiter import Limiter


class TokenBucket(Limiter):
    """A bucket that is full when it is first asked for; full ones expire."""

    lua = Path(__file__).with_suffix(".lua")
