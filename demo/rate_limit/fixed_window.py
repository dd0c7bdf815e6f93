"""The fixed window: a counter for each window of the clock. It is the cheapest algorithm, and the
one that can be cheated.

A caller can send `limit` hits just before a window of the clock ends and `limit` just after. A
window that does not begin with an interval of the clock can admit up to 2 × limit hits. Use it to
count, for example hits by the hour.

Memory of an identity: one short string. Commands: TIME, GET, and SET with PX for an admitted hit.
"""

from pathlib import Path

from demo.rate_limit.limiter import Limiter


class FixedWindow(Limiter):
    """Windows begin at multiples of their length since 1970 by Redis' clock, the same for all
    identities."""

    lua = Path(__file__).with_suffix(".lua")
