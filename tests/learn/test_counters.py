"""One counter, four ways: what each loses where another is between its two steps."""

from typing import Any

import pytest
import redis
import valkey

from demo.client.contract import errors_of
from demo.learn import counters
from demo.learn.counters import Contended, Counter
from tests import async_runs
from tests.servers import Client

KEY = "demo:learn:{counter}:1"
WAYS = (Counter.get_and_set, Counter.incr, Counter.watch, Counter.script)


def skip_without_transactions(client: Client) -> None:
    try:
        client.pipeline(transaction=True)
    except errors_of(client).all:
        pytest.skip("valkey-py's client of a cluster has no transactions")


def another_adds(monkeypatch: pytest.MonkeyPatch, client: Client, often: int = 1) -> None:
    """Right after the next reads of the number somebody else adds 1."""
    original, left = client.get, [often]

    def get(key: Any) -> Any:
        found = original(key)
        if left[0]:
            left[0] -= 1
            client.incr(KEY)
        return found

    monkeypatch.setattr(client, "get", get)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_adds_one_and_gives_the_key_a_life(client: Client, way: Any) -> None:
    if way is Counter.watch:
        skip_without_transactions(client)
    counter = Counter(client, KEY, ttl_ms=5000)
    assert [way(counter) for _ in range(3)] == [0, 0, 0]
    assert counter.read() == 3 and 4000 < client.pttl(KEY) <= 5000


def test_by_get_and_set_an_update_between_the_two_is_lost(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_adds(monkeypatch, client)
    counter = Counter(client, KEY)
    counter.get_and_set()
    assert counter.read() == 1  # two have added


@pytest.mark.parametrize("package", ["given", "valkey-py"])
def test_watch_notices_and_tries_again(
    client: Client, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without_transactions(client)
    own = client
    if package == "valkey-py" and not isinstance(client, redis.RedisCluster):
        own = valkey.Valkey(**async_runs.where(client))  # type: ignore[assignment]
    counter, pipeline = Counter(own, KEY), type(own.pipeline())
    original, left = pipeline.get, [2]

    def get(self: Any, key: str) -> Any:
        found = original(self, key)
        if left[0]:
            left[0] -= 1
            client.incr(KEY)
        return found

    monkeypatch.setattr(pipeline, "get", get)
    assert counter.watch() == 2 and counter.read() == 3
    left[0] = 1000
    monkeypatch.setattr(counters, "MOST_TRIES", 3)
    with pytest.raises(Contended):
        counter.watch()


def test_a_script_keeps_its_bound(client: Client) -> None:
    counter = Counter(client, KEY, most=2)
    for _ in range(4):
        counter.script()
    assert counter.read() == 2
