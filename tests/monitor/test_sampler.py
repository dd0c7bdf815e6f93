import msgspec
import pytest
import redis

from demo.client.leader import Leader, lead_key
from demo.monitor import reports
from demo.monitor.history import STATE, STREAM, Superseded, decode
from demo.monitor.reports import Report, Room
from demo.monitor.sampler import Sampler, State
from tests.servers import Client, until


def lead(client: Client) -> Leader:
    leader = Leader(client, "sampler", "of the test", ttl_seconds=60)
    leader.campaign()
    return leader


def sampler(client: Client, **options: float) -> Sampler:
    return Sampler(client, lambda: "of the test", **options)


def test_a_point_holds_what_was_told_within_its_ten_seconds(client: Client) -> None:
    end = client.time()[0] // 10 * 10_000
    client.xadd(reports.STREAM, {"r": b""}, id=f"{end - 130_000}-1")
    for at, commands in ((end - 10_001, 1), (end - 10_000, 2), (end - 1, 4), (end, 8)):
        report = Report(
            "a", 1, 8, {"catalog": Room(commands, commands, 0, dict.fromkeys((20, 24, 28), 1))}, {}
        )
        client.xadd(reports.STREAM, {"r": msgspec.msgpack.encode(report)}, id=f"{at}-1")
    wait = sampler(client).step(lead(client).token)
    (point,) = decode(client.xrevrange(STREAM))
    assert client.xlen(reports.STREAM) == 4
    if point.at_ms == end:  # the ten seconds were not over meanwhile
        assert (point.rooms["catalog"].commands, point.rooms["catalog"].hits) == (6, 6)
        assert 0 < point.rooms["catalog"].p50_us < point.rooms["catalog"].p99_us
    assert 0 < wait <= 10.05
    assert (
        point.memory > 100_000 and point.clients >= 1 and point.trip_us > 0 and point.late_us >= 0
    )


def test_the_look_around_comes_once_a_minute_and_hides_who_is_not_of_this_app(
    client: Client,
) -> None:
    now = [0.0]
    client.set("demo:catalog:{a}", "x" * 1000, ex=99)
    one = sampler(client, clock=lambda: now[0], pause=lambda _: None)
    token = lead(client).token
    one.step(token)
    state = msgspec.msgpack.decode(client.get(STATE), type=State)
    assert state.by == "of the test"
    in_cluster = isinstance(client, redis.RedisCluster)
    assert state.cluster.get("cluster_state") == ("ok" if in_cluster else None)
    assert state.survey.rooms["catalog"].bytes > 1000
    assert sum(state.clients.values()) >= 1
    assert all(name.startswith("demo:") or name == "not of this app" for name in state.clients)
    client.delete(STATE)
    now[0] = 59
    one.step(token)
    assert client.get(STATE) is None
    now[0] = 60
    one.step(token)
    assert client.get(STATE) is not None


def test_one_that_lost_the_lead_changes_nothing(client: Client) -> None:
    old = lead(client).token
    client.delete(lead_key("sampler"))
    lead(client)
    with pytest.raises(Superseded):
        sampler(client).step(old)
    assert not client.exists(STREAM, STATE)


def test_history_goes_on_after_the_death_of_who_wrote_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two take turns; ten seconds are half a second here."""
    from demo.client.background import Background
    from demo.monitor import sampler as module

    monkeypatch.setattr(module, "STEP_SECONDS", 0.5)
    many = [Background(client, elects=True, ttl_seconds=0.4) for _ in range(3)]
    for number, background in enumerate(many):
        background.elect(
            "sampler", Sampler(client, lambda number=number: str(number), pause=lambda _: None).step
        )
        background.start()
    until(lambda: client.xlen(STREAM) >= 2)
    (leading,) = [background for background in many if background.leads("sampler")]
    leader = leading.jobs["sampler"].leader
    assert leader is not None
    monkeypatch.setattr(
        leader, "campaign", lambda: 60.0
    )  # dead: it renews nothing and gives nothing back
    before = client.xlen(STREAM)
    until(lambda: client.xlen(STREAM) >= before + 3, 5)
    assert [background.leads("sampler") for background in many].count(True) == 1
    assert not leading.leads("sampler")
    times = [point.at_ms for point in decode(client.xrevrange(STREAM))]
    assert times == sorted(set(times))
    assert max(after - at for at, after in zip(times, times[1:], strict=False)) <= 1500
    for background in many:
        background.close()
