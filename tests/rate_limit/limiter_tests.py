"""What holds for every limiter: compared with a model of its algorithm, and on a real server.

A limiter's own file of tests derives from `LimiterTests` and says which algorithm it is.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.rate_limit.limiter import Limiter, Quota
from tests.rate_limit.models import Model
from tests.servers import REPOSITORY, Client, connect, private_engine, trips

NOW_US = 1_795_408_171_000_000
SECOND = 1_000_000
HOUR = 3600 * SECOND
EXAMPLES = 2000 if os.environ.get("CI") else 150
TOLERANT = {
    "deadline": None,
    "suppress_health_check": [
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.differing_executors,
    ],
}
exhaustive = settings(max_examples=EXAMPLES, **TOLERANT)
shorter = settings(max_examples=max(60, EXAMPLES // 10), **TOLERANT)


class Patient:
    """A client after whose scripts the keys live on, in the same step: only the steered clock may
    end them."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.register_script, self.unlink = client.register_script, client.unlink

    def execute_command(self, name: str, sha: bytes, count: int, *rest: Any) -> Any:
        with self.client.pipeline() as pipeline:
            pipeline.execute_command(name, sha, count, *rest)
            for key in rest[:count]:
                pipeline.pexpire(key, 3_600_000)
            return pipeline.execute()[0]


class Lasting:
    """A client that sees to it, by the steered clock, that a key lives on until what it counts weighs
    nothing: until then the quota is not free again. A script that gives a key no lifetime leaves it
    the day that it had before."""

    def __init__(self, client: Client) -> None:
        self.client, self.ends_us = client, dict[str, int]()
        self.register_script, self.unlink = client.register_script, client.unlink

    def execute_command(self, name: str, sha: bytes, count: int, *rest: Any) -> Any:
        keys, now_us = rest[:count], rest[-1]
        seconds, us = self.client.time()
        with self.client.pipeline() as pipeline:
            for key in keys:
                pipeline.pexpire(key, 24 * 3_600_000)
            pipeline.execute_command(name, sha, count, *rest)
            for key in keys:
                pipeline.execute_command("PEXPIRETIME", key)
            reply, *ends = pipeline.execute()[count:]
        for quota, (key, ends_ms) in enumerate(zip(keys, ends, strict=True)):
            left_us = ends_ms * 1000 - seconds * SECOND - us // 1000 * 1000
            if 0 < left_us < 12 * HOUR:
                self.ends_us[key] = now_us + left_us
            resets_us = reply[4 * quota + 3]
            assert not resets_us or now_us + resets_us <= self.ends_us[key]
        return reply


def steered(
    algorithm: type[Limiter], client: Client, *quotas: tuple[int, float], **more: Any
) -> Limiter:
    """A limiter that only the tests' clock moves on, and that nobody has asked yet."""
    name = algorithm.__name__.lower()
    limiter = algorithm(Patient(client), name, *(Quota(*quota) for quota in quotas), **more)
    limiter.peek("warm")  # the server knows the script from here on
    limiter.reset("me")
    return limiter


def make(
    algorithm: type[Limiter], client: Client, *quotas: tuple[int, float], **more: Any
) -> Limiter:
    return algorithm(client, "t", *(Quota(*quota) for quota in quotas), **more)


def fullest_window(limiter: Limiter, window_us: int, between: list[int]) -> int:
    """The most hits in a window of any position, of a caller who always takes what there is."""
    now, admitted = NOW_US, []
    for gap in between:
        now += gap
        while limiter.hit("me", now_us=now).allowed:
            admitted.append(now)
    return max(
        sum(moment - window_us < other <= moment for other in admitted) for moment in admitted
    )


# Four processes of one that has imported it all.
CROWD = """
import importlib, multiprocessing, sys, threading, redis
from demo.rate_limit.limiter import Quota
module, name, kind, url = sys.argv[1:]
algorithm = getattr(importlib.import_module(module), name)
fork = multiprocessing.get_context("fork")
begin = fork.Barrier(4)

def process(number):
    client, admitted = getattr(redis, kind).from_url(url), []
    limiter = algorithm(client, "t", Quota(100, 600))
    def run():
        admitted.extend(limiter.hit("crowd").allowed for _ in range(25))
    threads = [threading.Thread(target=run) for _ in range(4)]
    limiter.peek("crowd")
    begin.wait(30)
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    client.close()
    return len(admitted), sum(admitted)

with fork.Pool(4) as pool:
    for told in pool.map(process, range(4), chunksize=1): print(*told)
"""


def sixteen_threads_of_four_processes(
    algorithm: type[Limiter], client: Client, redis_url: str
) -> int:
    """How many of 400 hits pass that they make at once, of a quota of 100."""
    kind = "RedisCluster" if isinstance(client, redis.RedisCluster) else "Redis"
    command = [
        sys.executable,
        "-c",
        CROWD,
        algorithm.__module__,
        algorithm.__name__,
        kind,
        redis_url,
    ]
    done = subprocess.run(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, timeout=60, check=True
    )
    told = [line.split() for line in done.stdout.splitlines()]
    assert [int(count) for count, _ in told] == [100] * 4
    return sum(int(count) for _, count in told)


windows = st.sampled_from([5 * SECOND, 7 * SECOND + 1, 60 * SECOND])
gaps = st.sampled_from(
    [0, 1, SECOND // 3, SECOND, 2_333_333, 5 * SECOND - 1, 5 * SECOND, 5 * SECOND + 1, 12 * SECOND]
)
arrivals = st.lists(st.tuples(gaps, st.integers(-2, 6)), min_size=1, max_size=12)


class LimiterTests:
    """`most_in_a_window` is what a window of any position may hold, `at_the_edge` how many of two
    bursts of five pass around the edge of a fixed window with a limit of five, and
    `allowed_after_refusals` what a hit may get a window after the last that passed, when refused
    ones came all the time; the second where those count."""

    algorithm: ClassVar[type[Limiter]]
    model: ClassVar[type[Model]]
    bytes_at_a_hundred = 200
    at_the_edge = 5
    allowed_after_refusals: ClassVar[tuple[set[bool], set[bool]]] = ({True}, {False})

    def most_in_a_window(self, limit: int) -> int:
        return 2 * limit

    def steered(self, client: Client, *quotas: tuple[int, float], **more: Any) -> Limiter:
        return steered(self.algorithm, client, *quotas, **more)

    def make(self, client: Client, *quotas: tuple[int, float], **more: Any) -> Limiter:
        return make(self.algorithm, client, *quotas, **more)

    @pytest.mark.long
    @exhaustive
    @given(st.integers(1, 6), windows, arrivals, st.booleans())
    def test_every_decision_is_the_models(
        self,
        client: Client,
        limit: int,
        window_us: int,
        arrivals: list[tuple[int, int]],
        count_refused: bool,
    ) -> None:
        limiter = self.steered(client, (limit, window_us / 1e6), count_refused=count_refused)
        model, now = self.model(limit, window_us), NOW_US
        for gap, cost in arrivals:
            now += gap
            if cost > limit or -cost > limit:
                with pytest.raises(ValueError, match="cost"):
                    limiter.hit("me", cost, now_us=now)
            elif cost > 0:
                assert limiter.hit("me", cost, now_us=now) == model.hit(cost, now, count_refused)
            elif cost < 0:
                model.give_back(-cost, now)
                assert limiter.refund("me", -cost, now_us=now) == model.decision(
                    model.fits(1, now), 1, now
                )
            else:
                assert limiter.peek("me", now_us=now) == model.decision(model.fits(1, now), 1, now)

    @shorter
    @given(st.integers(1, 6), windows, st.lists(gaps, min_size=1, max_size=16))
    def test_no_window_of_any_position_holds_more_than_the_algorithm_says(
        self, client: Client, limit: int, window_us: int, between: list[int]
    ) -> None:
        limiter = self.steered(client, (limit, window_us / 1e6))
        assert fullest_window(limiter, window_us, between) <= self.most_in_a_window(limit)

    @shorter
    @given(
        st.integers(1, 6),
        windows,
        st.lists(st.tuples(gaps, st.integers(1, 6)), min_size=1, max_size=6),
    )
    def test_a_hit_passes_at_retry_after_and_not_five_milliseconds_before(
        self, client: Client, limit: int, window_us: int, arrivals: list[tuple[int, int]]
    ) -> None:
        limiter = self.steered(client, (limit, window_us / 1e6))
        now = NOW_US
        for gap, cost in arrivals:
            now, cost = now + gap, min(cost, limit)
            decision = limiter.hit("me", cost, now_us=now)
        then = now + round(decision.reset_after_seconds * SECOND)
        assert limiter.peek("me", now_us=then).remaining == limit
        assert limiter.peek("me", now_us=then - 1).remaining < limit
        if not decision.allowed:
            then = now + round(decision.retry_after_seconds * SECOND)
            if then - 5000 > now:
                assert not limiter.hit("me", cost, now_us=then - 5000).allowed
            assert limiter.hit("me", cost, now_us=then).allowed

    @shorter
    @given(st.lists(st.tuples(gaps, st.integers(1, 3)), min_size=1, max_size=12), st.booleans())
    def test_several_quotas_are_counted_all_or_nothing(
        self, client: Client, arrivals: list[tuple[int, int]], count_refused: bool
    ) -> None:
        quotas = ((3, 5), (5, 60))
        limiter = self.steered(client, *quotas, count_refused=count_refused)
        models, now = [self.model(limit, window * SECOND) for limit, window in quotas], NOW_US
        for gap, cost in arrivals:
            now += gap
            decision = limiter.hit("me", cost, now_us=now)
            fits = [model.fits(cost, now) for model in models]
            if all(fits) or count_refused:
                for model in models:
                    model.record(cost, now)
            assert decision.allowed is all(fits)
            assert [part.allowed for part in decision.by_quota] == fits
            left = [model.decision(True, 1, now).remaining for model in models]
            assert [part.remaining for part in decision.by_quota] == left
            if not decision.allowed:
                wait = max(model.first(cost, now) for model in models)
                assert round(decision.retry_after_seconds * SECOND) == wait

    @pytest.mark.parametrize("count_refused", [False, True])
    def test_every_key_bears_a_ttl_at_every_moment(
        self, client: Client, count_refused: bool
    ) -> None:
        limiter = self.make(client, (2, 5), (3, 60), count_refused=count_refused)
        steps: list[Callable[[], Any]] = [
            lambda: limiter.peek("me"),
            *[lambda: limiter.hit("me")] * 4,
            lambda: limiter.refund("me"),
            lambda: limiter.hit("me", 2),
            lambda: limiter.refund("me", 2),
            lambda: limiter.refund("me", 2),
            lambda: limiter.peek("me"),
            lambda: limiter.hit("me"),
        ]
        for number, step in enumerate(steps):
            step()
            for key, window in zip(limiter.redis_keys("me"), (5, 60), strict=True):
                left = client.pttl(key)
                assert left == -2 or 0 <= left <= 2000 * window, f"step {number}"
        assert all(client.exists(key) for key in limiter.redis_keys("me"))

    @pytest.mark.parametrize("count_refused", [False, True])
    def test_no_key_ends_before_what_it_counts_is_out_of_the_window(
        self, client: Client, count_refused: bool
    ) -> None:
        quotas = [Quota(3, 5), Quota(4, 60)]
        limiter = self.algorithm(Lasting(client), "t", *quotas, count_refused=count_refused)
        limiter.peek("warm")  # the server knows the script from here on
        steps = [limiter.hit] * 5 + [limiter.refund, limiter.peek, limiter.hit]
        for number, gap in enumerate((SECOND, -2 * SECOND, -HOUR)):  # on, and back as clocks may go
            for step_number, step in enumerate(steps):
                step(f"me-{number}", now_us=NOW_US + step_number * gap)

    @pytest.mark.parametrize("count_refused", [False, True])
    def test_a_key_lives_until_it_is_as_if_never_written(
        self, client: Client, count_refused: bool
    ) -> None:
        """No shorter, or hits that still count would be forgotten, and no longer: wherever in a
        window they come, and whether they fill the quota, are given back or are refused."""
        limiter = self.make(client, (3, 60), (7, 600), count_refused=count_refused)
        for at_us in (0, 20 * SECOND + 1, 50 * SECOND):
            limiter.reset("me")
            now = NOW_US // (600 * SECOND) * (600 * SECOND) + at_us
            for cost in (1, 2, 3, -2, 1):
                began = time.monotonic()
                before = [client.pttl(key) for key in limiter.redis_keys("me")]
                call = limiter.hit if cost > 0 else limiter.refund
                decision = call("me", abs(cost), now_us=now)
                left = [client.pttl(key) for key in limiter.redis_keys("me")]
                passed_ms = (time.monotonic() - began) * 1000 + 20
                written = cost < 0 or decision.allowed or count_refused
                for was, lives, part in zip(before, left, decision.by_quota, strict=True):
                    life = part.reset_after_seconds * 1000 if written else was
                    if cost < 0 and self.algorithm.__name__ == "SlidingWindowLog":
                        life = was  # the hits that stay end when they would have ended
                    assert life - passed_ms <= lives <= life + 1, (at_us, cost)
                now += 1_000

    def test_ttls_and_counts_outlive_a_restart_and_a_forgotten_script_is_told_again(self) -> None:
        with private_engine("--appendonly", "yes", "--appendfsync", "always") as engine:
            client = connect(engine.url, pool_size=2, timeout_seconds=5)
            limiter = self.make(client, (2, 600))
            limiter.hit("me")
            limiter.hit("me")
            assert not limiter.hit("me").allowed
            engine.kill()
            engine.start()
            client.connection_pool.disconnect()
            key = limiter.redis_keys("me")[0]
            lasts = round(limiter.peek("me").reset_after_seconds * 1000)
            assert lasts - 10_000 < client.pttl(key) <= lasts + 50
            refused = limiter.hit("me")  # the script is gone with the process that held it
            assert (refused.allowed, refused.used) == (False, 2)
            client.script_flush()
            assert limiter.peek("me").used == 2
            client.close()

    @pytest.mark.parametrize("back_us", [1, SECOND, HOUR])
    def test_a_clock_that_goes_back_frees_nothing_and_locks_nobody_out(
        self, client: Client, back_us: int
    ) -> None:
        limiter = self.make(client, (3, 2))
        for _ in range(3):
            assert limiter.hit("me", now_us=NOW_US + 100_000).allowed
        now_us = NOW_US + 100_000 - back_us
        seen = limiter.peek("me", now_us=now_us)
        assert (seen.allowed, seen.remaining, seen.used) == (False, 0, 3)
        for _ in range(5):
            refused = limiter.hit("me", now_us=now_us)
            assert (refused.allowed, refused.remaining, refused.used) == (False, 0, 3)
            assert 0 < refused.retry_after_seconds <= 4
        assert all(0 < client.pttl(key) <= 4000 for key in limiter.redis_keys("me"))
        assert limiter.hit(
            "me", now_us=now_us + round(refused.retry_after_seconds * SECOND)
        ).allowed

    @pytest.mark.parametrize("shift_us", [0, SECOND, -SECOND, -HOUR])
    def test_a_check_writes_nothing_whatever_the_clock_does(
        self, client: Client, shift_us: int
    ) -> None:
        limiter = self.make(client, (3, 5), (4, 60))
        for _ in range(3):
            limiter.hit("me", now_us=NOW_US)

        def kept() -> list[Any]:
            keys = limiter.redis_keys("me")
            return [(client.dump(key), client.execute_command("PEXPIRETIME", key)) for key in keys]

        before = kept()
        assert not limiter.peek("me", now_us=NOW_US + shift_us).allowed
        assert kept() == before

    @pytest.mark.parametrize("cost", [1, 2])
    def test_a_hit_alone_brings_back_what_lies_ahead(self, client: Client, cost: int) -> None:
        """Refused as it is: else what the clock counted before it went back would count for an hour,
        until the clock has caught up."""
        limiter = self.steered(client, (3, 2))
        for _ in range(3):
            assert limiter.hit("me", now_us=NOW_US + HOUR).allowed
        refused = limiter.hit("me", cost, now_us=NOW_US)
        assert not refused.allowed and refused.retry_after_seconds <= 4
        then = NOW_US + round(refused.retry_after_seconds * SECOND)
        assert limiter.hit("me", cost, now_us=then).allowed

    def test_the_clock_is_redis_own(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        limiter = self.make(client, (1, 86_400))
        assert limiter.hit("me").allowed
        monkeypatch.setattr("time.time", lambda: 4e9)
        assert not limiter.hit("me").allowed

    def test_the_clock_is_in_microseconds(self, client: Client) -> None:
        """What a hit of now counts is there for a check that names the moment."""
        limiter, day = self.make(client, (2, 86_400)), 86_400 * SECOND

        def now_us() -> int:
            seconds, us = client.time()
            return int(seconds) * SECOND + int(us)

        for _ in range(2):  # midnight may pass once
            limiter.reset("me")
            before = now_us()
            assert limiter.hit("me").used == 1
            after = now_us()
            if before // day == after // day:
                break
        seen = limiter.peek("me", now_us=after)
        assert (seen.allowed, seen.used) == (True, 1)
        assert 0 < seen.reset_after_seconds <= 2 * 86_400
        assert limiter.peek("me", now_us=after + 2 * day).used == 0

    def test_every_call_is_one_round_trip_several_quotas_included(self, client: Client) -> None:
        limiter = self.make(client, (1, 60), (5, 600))
        limiter.hit("warm")
        for call in (
            lambda: limiter.hit("me"),
            lambda: limiter.hit("me"),
            lambda: limiter.peek("me"),
            lambda: limiter.refund("me"),
            lambda: limiter.reset("me"),
        ):
            with trips() as seen:
                call()
            assert len(seen) == 1

    def test_identities_and_names_do_not_meet_and_a_reset_forgets(self, client: Client) -> None:
        one, other = (
            self.algorithm(client, called, Quota(1, 60), Quota(1, 600))
            for called in ("one", "other")
        )
        assert one.hit("me").allowed and one.hit("you").allowed and other.hit("me").allowed
        assert not one.hit("me").allowed
        one.reset("me")
        assert one.hit("me").allowed and not one.hit("you").allowed

    def test_a_burst_at_the_edge_of_a_fixed_window_gets_a_second_quota_there_alone(
        self, client: Client
    ) -> None:
        limiter, edge = self.steered(client, (5, 10)), NOW_US - NOW_US % (10 * SECOND)
        admitted = sum(limiter.hit("me", now_us=edge - 100_000).allowed for _ in range(5))
        admitted += sum(limiter.hit("me", now_us=edge + 100_000).allowed for _ in range(5))
        assert admitted == self.at_the_edge

    def test_refused_hits_count_only_where_that_is_wanted(self, client: Client) -> None:
        start = NOW_US - NOW_US % (10 * SECOND)
        for count_refused in (False, True):
            limiter = self.steered(client, (1, 10), count_refused=count_refused)
            assert limiter.hit("me", now_us=start).allowed
            for tenth in range(1, 100):
                assert not limiter.hit("me", now_us=start + tenth * 100_000).allowed
            then = limiter.hit("me", now_us=start + 10 * SECOND)
            # A fixed window forgets at its edge; the counter still covers all of the window before.
            assert then.allowed in self.allowed_after_refusals[count_refused]
            if count_refused and True not in self.allowed_after_refusals[True]:
                assert then.retry_after_seconds > 9

    def test_the_memory_of_an_identity_at_a_limit_of_a_hundred(self, client: Client) -> None:
        limiter = self.make(client, (100, 60))
        for _ in range(110):
            limiter.hit("client-1")
        assert client.memory_usage(limiter.redis_keys("client-1")[0]) <= self.bytes_at_a_hundred

    @pytest.mark.parametrize("count", [0, 6])
    def test_a_limiter_has_one_to_five_quotas(self, client: Client, count: int) -> None:
        with pytest.raises(ValueError, match="^quotas: must be from 1 to 5"):
            self.algorithm(client, "t", *[Quota(1, 1)] * count)

    @pytest.mark.parametrize("limit", [3, 7, 99_999])
    def test_the_largest_quota_is_counted_to_the_last_hit(self, client: Client, limit: int) -> None:
        limiter = self.steered(client, (limit, 86_400))
        start = NOW_US - NOW_US % (86_400 * SECOND)
        first = limiter.hit("me", limit - 1, now_us=start)
        assert (first.allowed, first.remaining, first.used) == (True, 1, limit - 1)
        last = limiter.hit("me", now_us=start)
        assert (last.allowed, last.remaining, last.used) == (True, 0, limit)
        refused = limiter.hit("me", now_us=start)
        assert (refused.allowed, refused.used) == (False, limit)
        then = start + round(refused.retry_after_seconds * SECOND)
        assert not limiter.peek("me", now_us=then - 1).allowed
        assert limiter.peek("me", now_us=then).allowed
