import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.rate_limit.gcra import Gcra
from demo.rate_limit.limiter import Decision, Quota
from demo.rate_limit.sliding_window import SlidingWindowLog
from demo.rate_limit.token_bucket import TokenBucket
from tests.rate_limit.limiter_tests import NOW_US, arrivals, make, shorter, steered, windows
from tests.servers import Client


@shorter
@given(st.integers(1, 6), windows, arrivals, st.booleans())
def test_gcra_and_the_token_bucket_decide_alike(
    client: Client, limit: int, window_us: int, arrivals: list[tuple[int, int]], count_refused: bool
) -> None:
    quota = (limit, window_us / 1e6)
    bucket, cells = (
        steered(algorithm, client, quota, count_refused=count_refused)
        for algorithm in (TokenBucket, Gcra)
    )
    now = NOW_US
    for gap, cost in arrivals:
        now += gap
        if 1 <= cost <= limit:
            assert bucket.hit("me", cost, now_us=now) == cells.hit("me", cost, now_us=now)


def test_of_several_quotas_the_tightest_is_told(client: Client) -> None:
    limiter = make(SlidingWindowLog, client, (10, 1), (3, 60))
    first = limiter.hit("me", now_us=NOW_US)
    assert (first.limit, first.remaining, first.retry_after_seconds) == (3, 2, 0)
    assert [part.limit for part in first.by_quota] == [10, 3]
    limiter.hit("me", 2, now_us=NOW_US)
    refused = limiter.hit("me", now_us=NOW_US)
    assert (refused.allowed, refused.limit, refused.retry_after_seconds) == (False, 3, 60)
    assert refused.by_quota[0] == Decision(True, 10, 7, 0, 1, 3)


@pytest.mark.parametrize("typed", ["", "}{", "a b", "\x00", "é", "x" * 500, "*", "::1", "\ud800"])
def test_what_a_caller_typed_never_becomes_a_key(client: Client, typed: str) -> None:
    limiter = make(Gcra, client, (1, 60), (2, 600))
    for name in limiter.redis_keys(typed):
        assert name.isascii() and len(name) < 100 and name.count("{") == name.count("}") == 1
    assert limiter.hit(typed).allowed


@pytest.mark.parametrize(
    ("limit", "window"), [(0, 1), (-1, 1), (1, 0), (1, -1), (1, 100_000), (200_000, 1)]
)
def test_a_quota_that_makes_no_sense_is_refused(limit: int, window: float) -> None:
    with pytest.raises(ValueError, match="^(limit|window_seconds): must be from"):
        Quota(limit, window)
