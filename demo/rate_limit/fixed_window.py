"""The fixed window: a counter for each window of the clock. The cheapest, and the one that can be
cheated.

A caller can send `limit` hits just before a window ends and `limit` just after it. So a window that
begins elsewhere than the clock's interval admits up to 2 × limit. Use it to count, for example hits
by the hour.

Memory of an identity: one short string. Commands: TIME, GET, and SET with PX for an admitted hit.
"""

from pathlib import Path

from demo.rate_limit.limiter import Limiter


class FixedWindow(Limiter):
    """Windows begin at multiples of their length since 1970 by Redis' clock, the same for all
    identities."""

    lua = Path(__file__).with_suffix(".lua")
