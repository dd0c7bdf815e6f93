"""What every process has at hand of the last ten seconds of all."""

import msgspec
import pytest

from demo.client.breaker import BreakerOpen
from demo.client.leader import Leader
from demo.client.wire import Client
from demo.monitor import reports
from demo.monitor.latest import KEY, Flow, Kept, Latest, Node, p95_of_bounds
from demo.monitor.reports import Beside, Report, Reporter, Room
from demo.monitor.sampler import Sampler
from demo.observe.trace import begin_trace, end_trace
from tests.clients import connect
from tests.servers import private_engine


@pytest.fixture
def client(wired: Client) -> Client:
    """The app's kind, whose wire these tests look at."""
    return wired


def sample(client: Client) -> None:
    leader = Leader(client, "sampler", "of the test", ttl_seconds=60)
    leader.campaign()
    Sampler(client, lambda: "of the test", pause=lambda _: None).step(leader.token)


def reporter(client: Client, beside: Beside | None = None) -> Reporter:
    told = beside or Beside()
    return Reporter(
        client, client.sums, lambda: "one", lambda: (3, 8), BreakerOpen, beside=lambda: told
    )


def test_every_process_learns_what_was_sampled_with_its_own_report(client: Client) -> None:
    end = client.time()[0] // 10 * 10_000
    rooms = {"catalog": Room(40, 0, 0, {20: 10})}
    for process, beside in (
        ("a", Beside({5000: 90, 10_000: 9, 50_000: 1}, {60: 4}, 2)),
        ("b", Beside({5000: 10}, {}, 1)),
    ):
        report = Report(process, 5, 32, rooms, {}, beside=beside)
        packed = msgspec.msgpack.encode(report)
        client.xadd(reports.STREAM, {"r": packed}, id=f"{end - 500}-*")
    sample(client)
    one = reporter(client)
    begin_trace()
    trace = begin_trace()
    one.step()
    assert trace.round_trips == 1
    end_trace()
    found, _ = one.kept.look()
    assert found is not None and 0 < client.ttl(KEY) <= 60
    if found.at_ms == end:  # the ten seconds were not over meanwhile
        assert (found.processes, found.pool_peak, found.pool_size, found.waited) == (2, 10, 64, 3)
        assert found.rooms["catalog"].count == 80 and found.rooms["catalog"].p95_us > 0
        assert found.total == found.rooms["catalog"]
        assert found.answers == Flow(110, 10_000) and found.visits.count == 4
    assert [(node.role, node.trouble) for node in found.nodes] == [("primary", "")]


def test_what_is_no_news_grows_older() -> None:
    now = [100.0]
    kept = Kept(lambda: now[0])
    assert kept.look()[0] is None
    told = Latest(1000, 1, 1, 8, 0, {}, Flow(), Flow(), [Node("", "primary")])
    kept.learn(msgspec.msgpack.encode(told))
    now[0] = 107.0
    kept.learn(msgspec.msgpack.encode(told))
    assert kept.look() == (told, 7.0)
    for nonsense in (None, b"", b"\xc1", b"\x93\x01\x02\x03", 7):
        kept.learn(nonsense)
    assert kept.look() == (told, 7.0)
    told.at_ms = 2000
    kept.learn(msgspec.msgpack.encode(told))
    assert kept.look() == (told, 0.0)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [({}, 0), ({1000: 95, 5000: 5}, 1000), ({1000: 94, 5000: 6}, 5000), ({7: 1}, 7)],
)
def test_a_p95_of_bounds_is_one_of_them(counts: dict[int, int], expected: int) -> None:
    assert p95_of_bounds(counts) == expected


def test_who_waits_for_a_connection_is_counted() -> None:
    with private_engine() as engine:
        client = connect(engine.url, pool_size=1, timeout_seconds=0.05, open_seconds=60)
        pool = client.connection_pool
        client.ping()
        assert pool.waited() == 0
        held = pool.get_connection()
        for _ in range(2):
            with pytest.raises(Exception, match="no connection was free"):
                client.ping()
        pool.release(held)
        assert (pool.waited(), pool.waited()) == (2, 0)
        client.close()
