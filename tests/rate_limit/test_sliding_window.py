import pytest

from demo.rate_limit.sliding_window import SlidingWindowLog
from tests.rate_limit.limiter_tests import LimiterTests, make, sixteen_threads_of_four_processes
from tests.rate_limit.models import Log
from tests.servers import Client


class TestSlidingWindowLog(LimiterTests):
    algorithm, model = SlidingWindowLog, Log
    bytes_at_a_hundred = 2300

    def most_in_a_window(self, limit: int) -> int:
        return limit

    def test_sixteen_threads_of_four_processes_take_no_more_than_there_is(
        self, client: Client, redis_url: str
    ) -> None:
        admitted = sixteen_threads_of_four_processes(self.algorithm, client, redis_url)
        assert admitted == 100


@pytest.mark.parametrize("cost", [1, 999, 1000, 1001, 2500])
def test_a_great_cost_is_as_many_hits(client: Client, cost: int) -> None:
    limiter = make(SlidingWindowLog, client, (5000, 60))
    assert limiter.hit("me", cost).used == cost
    assert limiter.hit("me", cost).used == 2 * cost
    assert client.zcard(limiter.redis_keys("me")[0]) == 2 * cost


def test_a_log_keeps_no_more_of_refused_hits_than_a_full_one(client: Client) -> None:
    limiter = make(SlidingWindowLog, client, (4, 60), count_refused=True)
    for _ in range(50):
        limiter.hit("me", 3)
    assert client.zcard(limiter.redis_keys("me")[0]) == 4


@pytest.mark.parametrize(("limit", "least", "most"), [(128, 18, 26), (400, 65, 130)])
def test_a_long_log_outgrows_the_compact_encoding(
    client: Client, limit: int, least: int, most: int
) -> None:
    limiter = make(SlidingWindowLog, client, (limit, 3600))
    for _ in range(limit):
        limiter.hit("client-1")
    assert (
        least <= client.memory_usage(limiter.redis_keys("client-1")[0], samples=0) / limit <= most
    )
