"""The asynchronous limiter decides as the synchronous ones do: same scripts, same keys, same answers,
on redis-py and on valkey-py."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis
import redis.asyncio
import valkey.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.rate_limit.async_limiter import AsyncLimiter
from demo.rate_limit.fixed_window import FixedWindow
from demo.rate_limit.gcra import Gcra
from demo.rate_limit.limiter import Limiter, Quota
from demo.rate_limit.sliding_counter import SlidingWindowCounter
from demo.rate_limit.sliding_window import SlidingWindowLog
from demo.rate_limit.token_bucket import TokenBucket
from tests import async_runs
from tests.servers import Client

KINDS = (SlidingWindowLog, SlidingWindowCounter, FixedWindow, TokenBucket, Gcra)
PACKAGES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {  # of a server, of a cluster
    "redis-py": (redis.asyncio.Redis, redis.asyncio.RedisCluster),
    "valkey-py": (valkey.asyncio.Valkey, valkey.asyncio.ValkeyCluster),
}
NOW_US = 1_795_408_171_000_000


def ask(client: Client, package: str, use: Callable[[Any], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        made = PACKAGES[package][isinstance(client, redis.RedisCluster)]
        async with made(**async_runs.where(client)) as own:
            return await use(own)

    return async_runs.run(run())


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    arrivals=st.lists(
        st.tuples(st.integers(0, 4_000_000), st.integers(1, 3)), min_size=1, max_size=12
    ),
    quotas=st.sampled_from([(Quota(3, 5),), (Quota(3, 5), Quota(5, 60))]),
    count_refused=st.booleans(),
)
def test_it_decides_as_the_synchronous_one(
    client: Client,
    package: str,
    kind: type[Limiter],
    arrivals: list[tuple[int, int]],
    quotas: tuple[Quota, ...],
    count_refused: bool,
) -> None:
    options: dict[str, Any] = {"count_refused": count_refused}
    plain = kind(client, "plain", *quotas, **options)
    plain.reset("me")
    expected, now_us = [], NOW_US
    for ago_us, cost in arrivals:
        now_us += ago_us
        expected.append(plain.hit("me", cost, now_us=now_us))

    async def use(own: Any) -> list[Any]:
        limiter = AsyncLimiter(own, "async", *quotas, algorithm=kind, **options)
        await limiter.reset("me")
        found, at_us = [], NOW_US
        for ago_us, cost in arrivals:
            at_us += ago_us
            found.append(await limiter.hit("me", cost, now_us=at_us))
        assert await limiter.peek("me", now_us=at_us) == plain.peek("me", now_us=now_us)
        back = await limiter.refund("me", now_us=at_us)
        assert back == plain.refund("me", now_us=now_us)
        return found

    assert ask(client, package, use) == expected


@pytest.mark.parametrize("package", PACKAGES)
def test_both_count_for_one_another_and_a_forgotten_script_is_told_again(
    client: Client, package: str
) -> None:
    plain = SlidingWindowLog(client, "shared", Quota(2, 60))
    assert plain.hit("me").remaining == 1
    client.script_flush()

    async def use(own: Any) -> None:
        limiter = AsyncLimiter(own, "shared", Quota(2, 60))
        assert (await limiter.hit("me")).remaining == 0
        assert not (await limiter.hit("me")).allowed

    ask(client, package, use)
    assert not plain.hit("me").allowed


def test_eighty_tasks_at_once_get_the_limit_and_no_more(client: Client) -> None:
    async def use(own: Any) -> int:
        limiter = AsyncLimiter(own, "tasks", Quota(50, 60))
        return sum(
            each.allowed for each in await asyncio.gather(*[limiter.hit("me") for _ in range(80)])
        )

    assert ask(client, "redis-py", use) == 50


@pytest.mark.parametrize(
    ("identity", "cost"), [(5, 1), ("me", 0), ("me", 3), ("me", 1.5), ("me", True)]
)
def test_what_a_limiter_refuses_it_refuses(client: Client, identity: Any, cost: Any) -> None:
    plain = SlidingWindowLog(client, "refused", Quota(2, 60))
    with pytest.raises((TypeError, ValueError), match="^(identity|cost): ") as told:
        plain.hit(identity, cost)

    async def use(own: Any) -> None:
        with pytest.raises(type(told.value)) as same:
            await AsyncLimiter(own, "refused", Quota(2, 60)).hit(identity, cost)
        assert str(same.value) == str(told.value)

    ask(client, "redis-py", use)


def test_a_synchronous_client_is_refused(client: Client) -> None:
    with pytest.raises(TypeError, match="^client: must be asynchronous"):
        AsyncLimiter(client, "x", Quota(1, 1))  # type: ignore[arg-type]


def test_hooks_of_the_synchronous_one_hear_of_every_hit(client: Client) -> None:
    told: list[tuple[str, bool]] = []
    limiter = SlidingWindowLog(
        client,
        "told",
        Quota(1, 60),
        on_allowed=lambda identity, decision: told.append((identity, decision.allowed)),
        on_refused=lambda identity, decision: told.append((identity, decision.allowed)),
    )
    limiter.hit("me")
    limiter.hit("me")
    limiter.peek("me")
    assert told == [("me", True), ("me", False)]
