"""GCRA, the generic cell rate algorithm, which stores a single timestamp.

That is the theoretical arrival time: when the caller would have used up its hits if they had come
evenly. A hit passes while that time is less than a window ahead, and moves it on by `window /
limit`. GCRA makes the same decisions as a token bucket. Only what they store differs.

GCRA keeps the fraction of a microsecond as a numerator over `limit`, so no rate is rounded. Memory
of an identity: one short string, the smallest of the five. Commands: TIME, GET, and SET with PX for
an admitted hit.

Source: ITU-T I.371; "Rate limiting, cells, and GCRA", https://brandur.org/rate-limiting
"""

from pathlib import Path

from demo.rate_limit.limiter import Limiter


class Gcra(Limiter):
    """A burst of `limit`, then one hit each `window / limit`."""

    lua = Path(__file__).with_suffix(".lua")
