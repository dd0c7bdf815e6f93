import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo import xray
from demo.pool import Client, connect
from demo.rate_limit.sliding_window import Decision, Quota, SlidingWindowLog
from tests.servers import clean, private_engine

NOW_US = 1_795_408_171_000_000
SECOND = 1_000_000


class Model:
    """The exact log in plain Python."""

    def __init__(self, limit: int, window_us: int) -> None:
        self.limit, self.window_us = limit, window_us
        self.log: list[int] = []

    def hit(self, cost: int, now: int) -> Decision:
        self.log = [moment for moment in self.log if moment > now - self.window_us]
        allowed = len(self.log) + cost <= self.limit
        retry = 0
        if allowed:
            self.log += [now] * cost
        else:
            retry = self.log[len(self.log) + cost - self.limit - 1] + self.window_us - now
        used = len(self.log)
        reset = self.log[-1] + self.window_us - now if self.log else 0
        return Decision(allowed, self.limit, self.limit - used, retry / 1e6, reset / 1e6, used)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 6),
    st.sampled_from([5 * SECOND, 7 * SECOND + 1, 60 * SECOND]),
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, SECOND, 2_333_333, 5 * SECOND - 1, 5 * SECOND, 5 * SECOND + 1, 12 * SECOND]),
            st.integers(1, 6),
        ),
        max_size=40,
    ),
)
def test_every_answer_is_the_models_and_no_window_holds_more_than_the_limit(
    client: Client, limit: int, window_us: int, arrivals: list[tuple[int, int]]
) -> None:
    clean(client)
    limiter = SlidingWindowLog(client, "model", Quota(limit, window_us / 1e6))
    model, now, admitted = Model(limit, window_us), NOW_US, []
    for gap, cost in arrivals:
        now += gap
        if cost > limit:
            with pytest.raises(ValueError, match="cost"):
                limiter.hit("me", cost, now_us=now)
            continue
        decision = limiter.hit("me", cost, now_us=now)
        assert decision == model.hit(cost, now)
        admitted += [now] * cost if decision.allowed else []
        remaining = client.pttl(limiter.redis_key("me"))
        assert remaining > 0 or not decision.used
        assert not decision.allowed or remaining <= window_us // 1000 + 1
        client.pexpire(limiter.redis_key("me"), 3_600_000)  # only the steered clock may end it here
        peeked = limiter.peek("me", now_us=now)
        assert (peeked.used, peeked.remaining) == (decision.used, decision.remaining)
    for moment in admitted:
        assert sum(moment - window_us < other <= moment for other in admitted) <= limit


def test_a_hit_passes_after_retry_after_and_not_five_milliseconds_before(client: Client) -> None:
    limiter = SlidingWindowLog(client, "retry", Quota(2, 10))
    for now in (0, 3 * SECOND):
        limiter.hit("me", now_us=NOW_US + now)
    refused = limiter.hit("me", now_us=NOW_US + 4 * SECOND)
    assert (refused.allowed, refused.retry_after_seconds, refused.reset_after_seconds) == (False, 6.0, 9.0)
    then = NOW_US + 4 * SECOND + round(refused.retry_after_seconds * SECOND)
    assert not limiter.hit("me", now_us=then - 5000).allowed
    assert limiter.hit("me", now_us=then).allowed


def test_refused_hits_are_not_counted(client: Client) -> None:
    limiter = SlidingWindowLog(client, "refused", Quota(1, 10))
    limiter.hit("me", now_us=NOW_US)
    for tenth in range(1, 100):
        assert not limiter.hit("me", now_us=NOW_US + tenth * 100_000).allowed
    assert client.zcard(limiter.redis_key("me")) == 1
    assert limiter.hit("me", now_us=NOW_US + 10 * SECOND).allowed


def test_hits_of_the_same_microsecond_do_not_collapse(client: Client) -> None:
    limiter = SlidingWindowLog(client, "same", Quota(5, 10))
    assert [limiter.hit("me", now_us=NOW_US).allowed for _ in range(7)] == [True] * 5 + [False] * 2


def test_a_burst_at_the_edge_of_a_fixed_window_gets_no_second_quota(client: Client) -> None:
    limiter = SlidingWindowLog(client, "edge", Quota(5, 10))
    before = NOW_US - 100_000
    admitted = [limiter.hit("me", now_us=before).allowed for _ in range(5)]
    admitted += [limiter.hit("me", now_us=before + 200_000).allowed for _ in range(5)]
    assert sum(admitted) == 5


def test_sixteen_threads_get_exactly_the_limit(client: Client) -> None:
    limiter, start = SlidingWindowLog(client, "race", Quota(100, 60)), threading.Barrier(16)
    admitted: list[bool] = []

    def hammer() -> None:
        start.wait()
        admitted.extend(limiter.hit("me").allowed for _ in range(20))

    threads = [threading.Thread(target=hammer) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 320
    assert sum(admitted) == 100


def test_the_clock_is_redis_own(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = SlidingWindowLog(client, "clock", Quota(1, 60))
    assert limiter.hit("me").allowed
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert not limiter.hit("me").allowed


def test_every_call_is_one_round_trip(client: Client) -> None:
    limiter = SlidingWindowLog(client, "trips", Quota(1, 60))
    limiter.hit("warm")
    for call in (
        lambda: limiter.hit("me"),
        lambda: limiter.hit("me"),
        lambda: limiter.peek("me"),
        lambda: limiter.reset("me"),
    ):
        trace = xray.begin()
        call()
        assert trace.round_trips == 1
    xray.end()


def test_identities_and_quotas_do_not_meet(client: Client) -> None:
    one, other = SlidingWindowLog(client, "one", Quota(1, 60)), SlidingWindowLog(client, "other", Quota(1, 60))
    assert one.hit("me").allowed and one.hit("you").allowed and other.hit("me").allowed
    assert not one.hit("me").allowed
    one.reset("me")
    assert one.hit("me").allowed and not one.hit("you").allowed


@pytest.mark.parametrize("typed", ["", "}{", "a b", "\x00", "é", "x" * 500, "*", "::1", "\ud800"])
def test_what_a_caller_typed_never_becomes_a_key(client: Client, typed: str) -> None:
    limiter = SlidingWindowLog(client, "keys", Quota(1, 60))
    name = limiter.redis_key(typed)
    assert name.isascii() and len(name) < 100 and name.count("{") == name.count("}") == 1
    assert limiter.hit(typed).allowed


def test_a_server_that_forgot_the_script_is_told_it_again() -> None:
    with private_engine() as engine:
        limiter = SlidingWindowLog(connect(engine.url, pool_size=2, timeout_seconds=1, open_seconds=1), "n", Quota(2, 60))
        assert limiter.hit("me").used == 1
        limiter._client.script_flush()
        assert limiter.hit("me").used == 2


@pytest.mark.parametrize(("limit", "window"), [(0, 1), (-1, 1), (1, 0), (1, -1), (1, 100_000), (200_000, 1)])
def test_a_quota_that_makes_no_sense_is_refused(limit: int, window: float) -> None:
    with pytest.raises(ValueError, match="a limit is"):
        Quota(limit, window)


@pytest.mark.parametrize("cost", [0, -1, 6])
def test_a_cost_that_never_fits_is_an_error_of_the_call(client: Client, cost: int) -> None:
    limiter: Any = SlidingWindowLog(client, "cost", Quota(5, 60))
    with pytest.raises(ValueError, match="cost has to be from 1 to the limit, 5"):
        limiter.hit("me", cost)
    assert limiter.peek("me").used == 0
