"""The sliding-window counter: two counters, the one before weighted by how much of it the window
still covers.

It assumes that the hits of the window before were evenly spread. Where they were, it admits what
the log does, give or take one hit. If all hits come late in one interval, a window across its end
admits up to 2 × limit − 1 hits. The counter does not restart at zero. If a burst just before the
end of an interval used up the limit, a burst just after the end is refused.

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
