"""GCRA, the generic cell rate algorithm: one timestamp tells all.

It holds the theoretical arrival time: when the caller would have used up what it was given, had it
come evenly. A hit passes while that lies less than a window ahead, and moves it on by `window /
limit`. Its decisions are those of a token bucket (a test compares them); what differs is what is
kept.

The fraction of a microsecond is kept as a numerator over `limit`, so that no rate is rounded.
Memory of an identity: one short string, the smallest of the five. Commands: TIME, GET, and SET with
PX for an admitted hit.

Source: ITU-T I.371; "Rate limiting, cells, and GCRA", https://brandur.org/rate-limiting
"""

from pathlib import Path

from demo.rate_limit.limiter import Limiter


class Gcra(Limiter):
    """A burst of `limit`, then one hit each `window / limit`."""

    lua = Path(__file__).with_suffix(".lua")
