import pytest
from redis.exceptions import RedisError

from demo.client.leader import Leader, lead_key
from demo.monitor import history
from demo.monitor.history import STATE, STREAM, History, Moment, Point, Superseded, decode, thinned
from tests.servers import Client, lives

LEAST = 1_700_000_000_000


def point(number: int, **values: int) -> Point:
    figures = {
        "memory": 10**7,
        "clients": 12,
        "commands_a_second": 900,
        "hits": 1,
        "misses": 1,
        "evicted": 0,
        "expired": 0,
    }
    rooms = {
        name: Moment(5000, 4000, 1000, 180, 700, 2500)
        for name in ("catalog", "sessions", "leaderboard", "rate_limit")
    }
    return Point(
        LEAST + 10_000 * number, **{**figures, **values}, trip_us=90, late_us=300, rooms=rooms
    )


def lead(client: Client, name: str = "one") -> Leader:
    leader = Leader(client, "sampler", name, ttl_seconds=60)
    leader.campaign()
    return leader


def read(client: Client) -> list[Point]:
    return decode(client.xrevrange(STREAM))


def test_points_are_kept_in_order_and_none_of_a_time_twice(client: Client) -> None:
    kept, token = History(client), lead(client).token
    assert [kept.add(token, point(number)) for number in (1, 2, 2, 1, 4)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert [p.at_ms for p in read(client)] == [point(n).at_ms for n in (1, 2, 4)]
    assert read(client)[0] == point(1)
    assert lives(client, STREAM, 2 * 86_400)
    kept.add(token, point(4), b"what changes slowly")
    assert client.get(STATE) == b"what changes slowly"
    assert lives(client, STATE, 300)


def test_who_lost_the_lead_without_knowing_is_refused(client: Client) -> None:
    """He was paused between asking for the lead and storing; another one leads since."""
    kept, stale = History(client), lead(client)
    old = stale.token
    client.delete(lead_key("sampler"))  # as if its time had run out
    new = lead(client, "two").token
    assert new > old and stale.token == old
    for _ in range(2):
        with pytest.raises(Superseded):
            kept.add(old, point(1), b"stale")
    assert read(client) == [] and client.get(STATE) is None
    assert kept.add(new, point(1))
    with pytest.raises(Superseded):
        kept.add(old, point(2))


def test_without_any_leader_nothing_is_stored(client: Client) -> None:
    with pytest.raises(Superseded):
        History(client).add(0, point(1))


def test_a_day_is_what_is_kept_and_a_point_is_small(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "POINTS", 200)
    kept, token = History(client), lead(client).token
    for number in range(260):
        kept.add(token, point(number))
    assert [p.at_ms for p in read(client)] == [point(n).at_ms for n in range(60, 260)]
    assert client.memory_usage(STREAM, samples=0) / 200 < 250
    monkeypatch.undo()
    assert history.POINTS * history.STEP_SECONDS == 86_400


def test_what_does_not_decode_is_left_out(client: Client) -> None:
    History(client).add(lead(client).token, point(1))
    client.xadd(STREAM, {"p": b"garbage"})
    client.xadd(STREAM, {"q": b"1"})
    assert read(client) == [point(1)]


def test_it_is_thinned_by_time_and_shows_where_nobody_sampled() -> None:
    points = [point(number) for number in [*range(10), *range(30, 40)]]
    groups = thinned(points, 8)
    assert [len(group) for group in groups] == [5, 5, 0, 0, 0, 0, 5, 5]
    assert sum(thinned(points, 100), []) == points
    assert thinned([], 8) == []
    assert [len(group) for group in thinned([point(0)], 8)] == [1]


def test_it_raises_when_nobody_answers() -> None:
    from tests.servers import connect

    with connect("redis://127.0.0.1:1", pool_size=1, timeout_seconds=0.2) as nobody:
        with pytest.raises(RedisError):
            History(nobody).add(1, point(1))
