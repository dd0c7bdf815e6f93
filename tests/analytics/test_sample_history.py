"""Made-up views: on a fresh start only, counted apart, and gone by a switch."""

from demo.analytics import dashboard
from demo.analytics.collector import Collector
from demo.analytics.sample_history import MINUTES, SampleHistory
from tests.servers import Client

NOW = 1_795_000_030.0


def buckets(client: Client) -> list[tuple[int | None, int | None]]:
    collector = Collector(client, clock=lambda: NOW)
    found = dashboard.read(collector, "minute", NOW)
    assert not found.pages and not found.here_now and not found.uniques.day
    return [(bucket.views, bucket.made_up) for bucket in found.buckets]


def test_a_fresh_start_has_ten_minutes_of_views_that_are_nobodys(client: Client) -> None:
    for _ in range(2):  # two processes
        SampleHistory(client, wanted=True, clock=lambda: NOW).step()
    assert buckets(client)[-11:] == [*((0, views) for views in MINUTES), (0, 0)]
    assert all(client.ttl(key) > 0 for key in client.scan_iter("demo:analytics:*"))


def test_where_there_is_history_none_is_added(client: Client) -> None:
    key = dashboard.RESOLUTIONS["minute"].key(int(NOW) - 600)
    client.hset(key, f"{(int(NOW) - 600) % 3600 // 60}:home.index", 1)
    before = client.hgetall(key)
    SampleHistory(client, wanted=True, clock=lambda: NOW).step()
    assert client.hgetall(key) == before


def test_the_switch_takes_it_away(client: Client) -> None:
    SampleHistory(client, wanted=True, clock=lambda: NOW).step()
    SampleHistory(client, wanted=False, clock=lambda: NOW + 25 * 3600).step()
    assert set(buckets(client)) == {(0, 0)}
