import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from demo.monitor.survey import BATCH, MOST, survey
from tests.servers import Client, connect, private_engine, trips


@pytest.fixture(scope="module")
def filled() -> Iterator[Client]:
    """6,000 keys of three use cases and of somebody else: small strings, hashes, sorted sets, a few
    of them large."""
    with private_engine() as engine:
        client = connect(engine.url, pool_size=2, timeout_seconds=5)
        dice, pipeline = random.Random(7), client.pipeline(transaction=False)
        for number in range(3000):
            pipeline.set(f"demo:catalog:{{page:{number}}}", "x" * dice.randint(100, 3000), ex=900)
        for number in range(2000):
            pipeline.hset(
                f"demo:sessions:{{{number}}}:x",
                mapping={str(n): "y" * 40 for n in range(dice.randint(1, 20))},
            )
            pipeline.expire(f"demo:sessions:{{{number}}}:x", 900)
        for number in range(900):
            key = f"demo:leaderboard:{{{number}}}:all"
            pipeline.zadd(key, {f"player-{n}": n for n in range(dice.randint(5, 200))})
            pipeline.expire(key, 900)
        for number in range(100):
            pipeline.set(f"somebody:{number}", "z" * 500)
        pipeline.execute()
        yield client
        client.close()


def exact(client: Client) -> dict[str, tuple[int, int]]:
    """Keys and bytes, every key and every part of it looked at."""
    found: dict[str, tuple[int, int]] = {}
    for key in client.scan_iter(count=500):
        name = key.split(b":")[1].decode() if key.startswith(b"demo:") else "other"
        keys, size = found.get(name, (0, 0))
        found[name] = keys + 1, size + client.memory_usage(key, samples=0)
    return found


def test_in_time_it_is_exact(filled: Client) -> None:
    seen, truth = survey(filled, seconds=60), exact(filled)
    assert (seen.seen, seen.total) == (6000, 6000)
    assert {name: room.keys for name, room in seen.rooms.items()} == {
        name: keys for name, (keys, _) in truth.items()
    }
    for name, (_, size) in truth.items():
        assert seen.rooms[name].error_bytes == 0
        assert abs(seen.rooms[name].bytes - size) <= 0.02 * size, name


def test_cut_off_it_is_within_a_tenth_and_tells_by_how_much_it_may_be_wrong(filled: Client) -> None:
    ticks = iter(range(1000))
    seen, truth = survey(filled, seconds=24, clock=lambda: next(ticks)), exact(filled)
    assert 4000 < seen.seen < 5500
    assert seen.total == 6000
    for name in ("catalog", "sessions", "leaderboard"):
        keys, size = truth[name]
        room = seen.rooms[name]
        assert abs(room.keys - keys) <= 0.1 * keys, name
        assert abs(room.bytes - size) <= 0.1 * size, name
        assert 0 < room.error_bytes < 0.2 * size
        assert abs(room.bytes - size) <= 2.5 * room.error_bytes


def test_of_many_keys_it_looks_at_no_more_than_its_most() -> None:
    """A million keys cost what twenty thousand do; empty slots cost SCANs, and no time beyond."""
    with private_engine("--enable-debug-command", "yes") as engine:
        client = connect(engine.url, pool_size=2, timeout_seconds=30)
        client.execute_command("DEBUG", "POPULATE", 100_000, "demo:catalog", 10)
        with trips() as sent:
            seen = survey(client, seconds=600)
        names = Counter(name for trip in sent for name in trip)
        assert MOST <= seen.seen < MOST + 2 * BATCH
        assert seen.total == 100_000
        assert names["SCAN"] <= MOST / BATCH + 1
        assert names["MEMORY USAGE"] + names["MEMORY"] < MOST + 2 * BATCH
        assert len(sent) <= 2 * names["SCAN"] + 2
        room = seen.rooms["catalog"]
        assert abs(room.bytes - exact(client)["catalog"][1]) <= 0.02 * room.bytes
        client.close()


def test_in_a_table_of_empty_slots_it_ends_in_time_though_it_finds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scans, ticks = list[int](), iter(range(10_000))

    def scan(cursor: int = 0, **_: Any) -> tuple[int, list[bytes]]:
        scans.append(cursor)
        return (cursor + 1) % 1000, []

    with private_engine() as engine:
        client = connect(engine.url, pool_size=2, timeout_seconds=5)
        monkeypatch.setattr(client, "scan", scan)
        monkeypatch.setattr(client, "dbsize", lambda: 10)
        seen = survey(client, seconds=5, clock=lambda: next(ticks))
        client.close()
    assert (len(scans), seen.seen, seen.total) == (5, 0, 10)


def test_what_has_seen_every_key_is_whole_though_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with private_engine() as engine:
        client = connect(engine.url, pool_size=2, timeout_seconds=5)
        for number in range(5):
            client.set(f"demo:catalog:{{{number}}}", "x" * number * 100, ex=900)
        monkeypatch.setattr(client, "dbsize", lambda: 9)  # some have expired since
        seen = survey(client, seconds=0)
        client.close()
    assert (seen.seen, seen.total, seen.rooms["catalog"].error_bytes) == (5, 5, 0)


def test_what_memory_usage_leaves_out_lies_within_the_range() -> None:
    """The expiries of small keys, and one large field among small ones: against the bytes by which
    the server itself grew."""
    with private_engine() as engine:
        client = connect(engine.url, pool_size=2, timeout_seconds=5)
        before = client.info("memory")["used_memory"]
        pipeline = client.pipeline(transaction=False)
        for number in range(2000):
            pipeline.set(f"demo:catalog:{{k{number}}}", "x" * 20, ex=900)
        fields = {str(number): "y" * 40 for number in range(300)}
        pipeline.execute()
        for number in range(20):
            key = f"demo:sessions:{{big{number}}}:x"
            client.hset(key, mapping={**fields, "large": "z" * 2_000_000})
            if client.memory_usage(key) < 1_000_000:
                break
            client.delete(key)  # its sample has met the large field: then it is far too high
        client.connection_pool.disconnect()  # its buffers are none of the keys' bytes
        grown = client.info("memory")["used_memory"] - before
        seen = survey(client, seconds=60)
        ranges = [seen.between(size) for size in seen.rooms.values()]
        least, most = (sum(each) for each in zip(*ranges, strict=True))
        assert seen.bytes == least < grown < most
        assert seen.held >= grown
        client.close()


def test_an_empty_server(tmp_path: object) -> None:
    with private_engine() as engine:
        client = connect(engine.url, pool_size=2, timeout_seconds=5)
        seen = survey(client)
        assert (seen.seen, seen.total, seen.rooms, seen.biggest, seen.endless) == (0, 0, {}, [], 0)
        client.close()


def test_it_names_what_is_big_and_what_never_expires(client: Client) -> None:
    client.set("demo:catalog:{for-ever}", "x")
    client.set("demo:sessions:{mara}:0123456789", "y")
    client.set("demo:catalog:{big}", "z" * 50_000, ex=900)
    seen = survey(client, seconds=60)
    assert seen.biggest[0][0] == "demo:catalog:{big}" and seen.biggest[0][1] > 50_000
    assert seen.endless == 2
    assert "demo:catalog:{for-ever}" in seen.endless_names
    assert not any("mara" in name or "0123" in name for name in seen.endless_names)
