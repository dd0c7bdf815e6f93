"""The five algorithms by name, and what an identity of each takes in Redis."""

from demo.rate_limit.fixed_window import FixedWindow
from demo.rate_limit.gcra import Gcra
from demo.rate_limit.limiter import Limiter
from demo.rate_limit.sliding_counter import SlidingWindowCounter
from demo.rate_limit.sliding_window import SlidingWindowLog
from demo.rate_limit.token_bucket import TokenBucket

LOG_ENTRY_BYTES = 100
ALGORITHMS: dict[str, type[Limiter]] = {
    "sliding_window_log": SlidingWindowLog,
    "sliding_window_counter": SlidingWindowCounter,
    "fixed_window": FixedWindow,
    "token_bucket": TokenBucket,
    "gcra": Gcra,
}


def bytes_of(algorithm: str, limit: int) -> int:
    """What an identity takes at most, key included: the log has each hit, the others a few numbers.
    Measured by MEMORY USAGE, with room to spare."""
    return 400 + (LOG_ENTRY_BYTES * limit if algorithm == "sliding_window_log" else 0)
