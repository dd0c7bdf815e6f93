"""The sliding-window counter: two counters, the one before weighted by how much of it the window
still covers.

It takes the hits of the window before as evenly spread. Where they are, it admits what the log
does, give or take one hit. With the worst traffic, all of them late in one window, a window of some
position admits up to 2 × limit − 1. It never resets at an edge, so the burst that cheats a fixed
window does not pass.

Memory of an identity: one short string, whatever the limit. Commands: TIME, GET, and SET with PX
for an admitted hit.

Source: "How we built rate limiting capable of scaling to millions of domains",
https://blog.cloudflare.com/counting-things-a-lot-of-different-things/
"""

from pathlib import Path

from demo.rate_limit.limiter import Limiter


class SlidingWindowCounter(Limiter):
    """All in whole numbers, so that nothing is lost to rounding."""

    lua = Path(__file__).with_suffix(".lua")
