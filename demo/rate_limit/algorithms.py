"""The five algorithms by name."""

from demo.rate_limit.fixed_window import FixedWindow
from demo.rate_limit.gcra import Gcra
from demo.rate_limit.limiter import Limiter
from demo.rate_limit.sliding_counter import SlidingWindowCounter
from demo.rate_limit.sliding_window import SlidingWindowLog
from demo.rate_limit.token_bucket import TokenBucket

ALGORITHMS: dict[str, type[Limiter]] = {
    "sliding_window_log": SlidingWindowLog,
    "sliding_window_counter": SlidingWindowCounter,
    "fixed_window": FixedWindow,
    "token_bucket": TokenBucket,
    "gcra": Gcra,
}
