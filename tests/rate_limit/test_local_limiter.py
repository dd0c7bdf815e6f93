import random
import threading
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.rate_limit.limiter import Quota
from demo.rate_limit.local_limiter import LocalLimiter, share
from tests.clock import Clock
from tests.rate_limit.models import Log

SECOND = 1_000_000


@given(
    st.integers(1, 6),
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.25, 1.0, 4.5, 5.0, 12.0]), st.integers(0, 6)), max_size=20
    ),
    st.booleans(),
)
def test_every_decision_is_that_of_an_exact_log(
    limit: int, arrivals: list[tuple[float, int]], count_refused: bool
) -> None:
    clock = Clock()
    local, model = (
        LocalLimiter(Quota(limit, 5), clock=clock, count_refused=count_refused),
        Log(limit, 5 * SECOND),
    )
    for gap, cost in arrivals:
        clock.now += gap
        now, cost = round(clock.now * SECOND), min(cost, limit)
        if cost:
            assert local.hit("me", cost) == model.hit(cost, now, count_refused)
        else:
            assert local.peek("me") == model.decision(model.fits(1, now), 1, now)


@pytest.mark.parametrize(
    ("limit", "workers"), [(100, 1), (100, 2), (10, 3), (7, 7), (3, 4), (1, 8)]
)
def test_all_workers_together_admit_no_more_than_the_limit(limit: int, workers: int) -> None:
    clock = Clock()
    fleet = [LocalLimiter(Quota(limit, 60), workers=workers, clock=clock) for _ in range(workers)]
    admitted: deque[float] = deque()
    most, chance = 0, random.Random(7)
    for _ in range(4000):
        clock.now += chance.choice((0, 0, 0.5, 3))
        if chance.choice(fleet).hit("me").allowed:
            admitted.append(clock.now)
        while admitted and admitted[0] <= clock.now - 60:
            admitted.popleft()
        most = max(most, len(admitted))
    # Where there is less than one hit a worker, it is the rate that is kept.
    assert most <= (limit if limit >= workers else workers)


def test_a_share_rounds_down_and_never_to_nothing() -> None:
    assert share(Quota(100, 60), 3) == Quota(33, 60)
    assert share(Quota(3, 60), 4) == Quota(1, 80)
    assert share(Quota(1, 80_000), 8) == Quota(1, 86_400)


def test_several_quotas_are_counted_all_or_nothing() -> None:
    clock = Clock()
    local = LocalLimiter(Quota(2, 1), Quota(3, 60), clock=clock)
    assert [local.hit("me").allowed for _ in range(3)] == [True, True, False]
    assert [part.used for part in local.peek("me").by_quota] == [2, 2]
    clock.now += 1
    assert [local.hit("me").allowed for _ in range(2)] == [True, False]
    assert local.peek("me").retry_after_seconds == 59


def test_a_refund_and_a_reset_give_back() -> None:
    local = LocalLimiter(Quota(2, 60))
    assert local.refund("me").remaining == 2
    local.hit("me", 2)
    assert local.refund("me").remaining == 1
    local.hit("me")
    local.reset("me")
    assert local.peek("me").remaining == 2


def test_a_cost_above_the_share_is_the_whole_share() -> None:
    local = LocalLimiter(Quota(10, 60), workers=4)
    assert (local.hit("me", 8).allowed, local.hit("me").allowed) == (True, False)


def test_what_it_holds_is_bounded() -> None:
    local = LocalLimiter(Quota(5, 60), most=3)
    for name in "abca":
        local.hit(name)
    local.peek("nobody")
    local.hit("d")
    assert [local.peek(name).used for name in "acd"] == [2, 1, 1]
    assert local.peek("b").used == 0


def test_threads_take_no_more_than_the_share() -> None:
    local, start = LocalLimiter(Quota(200, 60), workers=2), threading.Barrier(8)
    admitted: list[bool] = []

    def hammer() -> None:
        start.wait()
        admitted.extend(local.hit("me").allowed for _ in range(50))

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 100


def test_there_is_one_worker_at_least() -> None:
    with pytest.raises(ValueError, match="worker"):
        LocalLimiter(Quota(1, 1), workers=0)
