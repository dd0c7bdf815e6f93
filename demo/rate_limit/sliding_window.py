"""The sliding-window log, which is the default algorithm. The sliding-window log never admits more
than `limit` hits in a window, wherever the window begins.

Each admitted hit is a member of a sorted set, scored by Redis' own clock. One script looks, admits,
trims what left the window and sets the expiry. Two workers cannot both take the last place, because
one script decides. A refused hit writes nothing. Members are the times themselves, and the next
free number for hits of the same microsecond.

Each stored hit takes 20 to 25 bytes while an identity has at most 128 of them. Beyond that it takes
70 to 120 bytes, because Redis changes the encoding. Commands: TIME, ZRANGE; then ZADD,
ZREMRANGEBYSCORE, PEXPIRE, ZCARD for a hit that passes.

Source: "Rate limiting", https://redis.io/glossary/rate-limiting/ (there in several calls, here in
one script).
"""

from pathlib import Path

from demo.rate_limit.limiter import Decision, Limiter, Quota

__all__ = ["Decision", "Quota", "SlidingWindowLog"]


class SlidingWindowLog(Limiter):
    """In no window, of any position, more than `limit` are admitted."""

    lua = Path(__file__).with_suffix(".lua")
