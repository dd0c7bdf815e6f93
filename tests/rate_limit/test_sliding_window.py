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
        return self._decision(allowed, retry, now)

    def peek(self, now: int) -> Decision:
        allowed = len(self.log) < self.limit
        retry = 0 if allowed else self.log[len(self.log) - self.limit] + self.window_us - now
        return self._decision(allowed, retry, now)

    def _decision(self, allowed: bool, retry: int, now: int) -> Decision:
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
        assert limiter.peek("me", now_us=now) == model.peek(now)
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


def test_looking_at_a_full_log_tells_when_a_hit_would_pass_and_counts_nothing(client: Client) -> None:
    limiter = SlidingWindowLog(client, "peek", Quota(2, 10))
    for now in (0, 3 * SECOND):
        limiter.hit("me", now_us=NOW_US + now)
    looks = [limiter.peek("me", now_us=NOW_US + 4 * SECOND) for _ in range(5)]
    assert set(looks) == {Decision(False, 2, 0, 6.0, 9.0, 2)}
    assert limiter.peek("me", now_us=NOW_US + 10 * SECOND) == Decision(True, 2, 1, 0.0, 3.0, 1)
    assert limiter.peek("nobody", now_us=NOW_US) == Decision(True, 2, 2, 0.0, 0.0, 0)
    assert client.exists(limiter.redis_key("nobody")) == 0


@pytest.mark.parametrize(("cost", "retry"), [(1, 4.0), (2, 5.0), (3, 6.0)])
def test_a_costly_hit_waits_until_so_many_have_left(client: Client, cost: int, retry: float) -> None:
    limiter = SlidingWindowLog(client, "costly", Quota(3, 10))
    for second in range(3):
        limiter.hit("me", now_us=NOW_US + second * SECOND)
    refused = limiter.hit("me", cost, now_us=NOW_US + 6 * SECOND)
    assert (refused.allowed, refused.retry_after_seconds, refused.used) == (False, retry, 3)
    then = NOW_US + 6 * SECOND + round(retry * SECOND)
    assert not limiter.hit("me", cost, now_us=then - 1).allowed
    assert limiter.hit("me", cost, now_us=then).allowed


def test_a_limit_that_was_lowered_holds_at_once(client: Client) -> None:
    before, after = SlidingWindowLog(client, "lowered", Quota(5, 10)), SlidingWindowLog(client, "lowered", Quota(2, 10))
    for second in range(5):
        before.hit("me", now_us=NOW_US + second * SECOND)
    refused = after.hit("me", now_us=NOW_US + 5 * SECOND)
    assert (refused.allowed, refused.remaining, refused.used, refused.retry_after_seconds) == (False, 0, 5, 8.0)
    assert not after.hit("me", now_us=NOW_US + 13 * SECOND - 1).allowed
    assert after.hit("me", now_us=NOW_US + 13 * SECOND).allowed


def test_no_step_leaves_a_key_without_an_end_nor_a_refusal_makes_it_longer(client: Client) -> None:
    limiter = SlidingWindowLog(client, "ends", Quota(2, 100))
    key = limiter.redis_key("me")
    for _ in range(2):
        assert limiter.hit("me").allowed
        assert 0 < client.pttl(key) <= 100_000
    client.pexpire(key, 50_000)
    for step in (limiter.hit, limiter.peek, limiter.hit):
        assert not step("me").allowed
        assert 0 < client.pttl(key) <= 50_000
    limiter.reset("me")
    assert client.exists(key) == 0


def test_two_threads_at_the_last_place_never_both_get_it(client: Client) -> None:
    for turn in range(20):
        limiter, start = SlidingWindowLog(client, "last", Quota(1, 60)), threading.Barrier(2)
        admitted: list[bool] = []

        def take(identity: str) -> None:
            start.wait()  # noqa: B023
            admitted.append(limiter.hit(identity).allowed)  # noqa: B023

        threads = [threading.Thread(target=take, args=(f"turn{turn}",)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(admitted) == [False, True]


def test_a_look_and_a_refusal_survive_a_server_that_forgot_the_script() -> None:
    with private_engine() as engine:
        limited = SlidingWindowLog(connect(engine.url, pool_size=2, timeout_seconds=1, open_seconds=1), "n", Quota(1, 60))
        limited.hit("me")
        for call in (limited.hit, limited.peek):
            limited._client.script_flush()
            assert not call("me").allowed
        limited._client.close()
