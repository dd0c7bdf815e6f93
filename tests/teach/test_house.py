"""The picture of the house: drawn of figures that are at hand, and of what is away."""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

from demo.analytics.collector import Collector
from demo.app import USE_CASES
from demo.client.breaker import Breakers
from demo.client.leader import Leader
from demo.monitor.latest import Flow, Latest, Node
from demo.monitor.reports import Reporter
from demo.monitor.sampler import Sampler
from demo.observe.database_visits import DatabaseVisits
from demo.observe.http_metrics import HttpMetrics
from demo.teach import house
from demo.teach.home import Home
from demo.web.services import part, services
from tests.conftest import round_trips
from tests.topologies import topology

ROOMS = {"catalog": Flow(1230, 410), "sessions": Flow(45, 900), "turns": Flow(5, 100)}


def tell(app: Flask, nodes: list[Node] | None = None, **changed: Any) -> None:
    told = Latest(
        1_800_000_000_000, 2, 5, 64, 3, ROOMS, Flow(120, 10_000), Flow(32, 203_000),
        [Node("10.1.2.3:6379", "primary")] if nodes is None else nodes, Flow(1280, 620),
    )  # fmt: skip
    for name, value in changed.items():
        setattr(told, name, value)
    part(Reporter, app).kept.learn(msgspec.msgpack.encode(told))


def picture(page: str) -> tuple[str, str]:
    """What is drawn, and the table beside it, as words."""
    _, _, rest = page.partition('role="img" aria-label="Live architecture:')
    drawn, _, table = rest.partition("<figcaption")
    return drawn, re.sub(r"\s*</?t[^>]*>\s*", " ", table.split("</table>")[0])


def test_home_draws_the_sums_of_all_processes_and_asks_for_nothing_more(app: Flask) -> None:
    tell(app)
    answer = app.test_client().get("/")
    assert round_trips(answer) == 3 and "3 round trips, 4 commands" in answer.text
    drawn, table = picture(answer.text)
    words = re.findall(r">\s*([^<>\n]+?)\s*(?=<)", drawn)
    for expected in (
        "One pool",
        "5 of 64",
        "3 waited",
        "123/s",
        "0.41 ms",
        "4.5/s",
        "12 requests/s",
    ):
        assert expected in words, expected
    assert "p95 ≤ 10.0 ms" in words and "3.2/s" in words and "203 ms" in words
    for title in services(app).titles.values():
        assert title in words and f"{title} to pool, commands" in table
    assert drawn.count('class="f-redis"') == 5 and drawn.count('class="f-app"') == 59
    assert "128/s" in words and "0.62 ms" in words
    assert "Pool to Redis, commands 128 0.62 ms" in " ".join(table.split())
    assert "A server is drawn as away" not in table
    assert "No use case to pool, commands 0.5" in " ".join(table.split())
    assert (
        "cover all 2 processes and the" in answer.text and "2027-01-15 08:00:00 UTC" in answer.text
    )
    assert "10.1.2.3" not in answer.text


def test_the_house_by_itself_asks_nothing_and_is_no_view(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = app.test_client()
    assert (
        "There are no figures, because DEMO_BACKGROUND is none and no process takes samples."
        in web.get("/house").text
    )
    tell(app)
    noted: list[str] = []
    monkeypatch.setattr(part(Collector, app), "note", lambda name, *_: noted.append(name))
    answer = web.get("/house", headers={"X-Xray": "1"})  # as the page asks for it again
    assert answer.status_code == 200 and round_trips(answer) == 0
    assert "5 of 64" in answer.text and not noted


def test_figures_that_nobody_renews_are_not_drawn(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(app)
    kept = part(Reporter, app).kept
    monkeypatch.setattr(kept, "_clock", lambda: kept._since + 31)
    page = app.test_client().get("/house").text
    assert (
        "There are no figures, because no process has taken a sample for 31 s." in page
        and "123/s" not in page
    )


def test_what_is_away_is_drawn_as_away(
    app: Flask, away: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "s-bad" not in picture(app.test_client().get("/house").text)[0]
    away.test_client().get("/")  # who asks finds out
    drawn, table = picture(away.test_client().get("/house").text)
    assert (
        drawn.count("s-bad") == 2
        and ">away<" in drawn
        and "Redis: Redis away" in " ".join(table.split())
    )
    visits = part(DatabaseVisits, app)
    try:
        raise OperationalError("a visit", None, ConnectionError())
    except OperationalError:
        visits.after_visit("SELECT", 0.0)
    drawn, _ = picture(app.test_client().get("/house").text)
    assert drawn.count("s-bad") == 2 and ">away<" in drawn
    visits.after_visit("SELECT", 0.0)
    assert "s-bad" not in picture(app.test_client().get("/house").text)[0]


@pytest.mark.parametrize("choice", [{"redis": "refused"}, {"database": "down"}], ids=str)
def test_what_a_visitor_has_taken_away_is_away_for_him_alone(
    app: Flask, choice: dict[str, str]
) -> None:
    tell(app)
    other, visitor = app.test_client(), app.test_client()
    visitor.post("/choices", data=choice)
    visitor.get("/catalog/products/42")
    for path in ("/", "/house"):
        assert "away for you" in picture(visitor.get(path).text)[0]
        assert "s-bad" not in picture(other.get(path).text)[0]


def test_each_server_is_drawn_and_the_one_that_is_away_is_told_from_the_others(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    primaries = [Node(f"h:{port}", "primary") for port in (1, 2, 3)]
    tell(app, [*primaries, Node("h:4", "replica", "has lost its primary")])
    breakers = Breakers(60)
    breakers.names = lambda: ["h:1", "h:2", "h:3"]
    breakers.of("h:2").failed()
    monkeypatch.setattr(house, "get_breaker", lambda: breakers)
    drawn, table = picture(app.test_client().get("/house").text)
    words = " ".join(table.split())
    assert (
        "primary 1 answers" in words and "primary 2 away" in words and "primary 3 answers" in words
    )
    assert "replica has lost its primary" in words and "h:" not in drawn + table
    tell(app, [Node("", "primary"), *(Node("", "Sentinel") for _ in range(9))], at_ms=1)
    assert "and 3 more" in picture(app.test_client().get("/house").text)[0]


def test_without_the_monitor_the_house_stands_without_figures(
    make_app: Callable[..., Flask],
) -> None:
    web = make_app(tuple(name for name in USE_CASES if name != "monitor")).test_client()
    assert "One pool" in web.get("/house").text and "One pool" in web.get("/").text


def test_answers_and_visits_are_told_once_and_a_visitors_own_trouble_is_not(app: Flask) -> None:
    web = app.test_client()
    metrics: HttpMetrics = services(app).metrics
    visits = part(DatabaseVisits, app)
    metrics.answers(), visits.take()
    web.get("/catalog/products/42")
    assert sum(metrics.answers().values()) == 1 and sum(visits.take().values()) == 1
    assert metrics.answers() == {} and visits.take() == {}
    web.post("/choices", data={"database": "down"})
    web.get("/catalog/products/43")
    assert visits.take() == {} and not visits.away


def test_before_anybody_has_reported_there_are_no_figures(app: Flask) -> None:
    tell(app, processes=0, pool_peak=0, pool_size=0)
    for path in ("/", "/house"):
        answer = app.test_client().get(path)
        assert answer.status_code == 200 and "There are no figures" in answer.text


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
def test_the_servers_of_a_sentinel_and_of_a_cluster_are_drawn_and_cost_home_nothing(
    make_app: Callable[..., Flask], kind: str
) -> None:
    with topology(kind, nodes=2) as given:
        app = make_app(REDIS_URL=given.url(), RATE_LIMITS={})
        made, web = services(app), app.test_client()
        before = round_trips(web.get("/"))
        leader = Leader(made.protected_redis, "sampler", "of the test", ttl_seconds=60)
        leader.campaign()
        Sampler(made.protected_redis, lambda: "me", pause=lambda _: None).step(leader.token)
        part(Reporter, app).step()
        part(Home, app).kept.clear()
        page = web.get("/")
        assert round_trips(page) == before
        words = " ".join(picture(page.text)[1].split())
        expected = ("primary 1", "primary 2") if kind == "cluster" else ("primary", "Sentinel")
        for what in expected:
            assert f"Redis: {what} answers" in words
        if isinstance(made.breaker, Breakers):
            one, _ = sorted(made.breaker.names())
            gone = made.breaker.of(one)
            made.breaker.probe = gone.probe = None  # nobody finds out that it is there
            gone.failed()
            words = " ".join(picture(web.get("/house").text)[1].split())
            assert "Redis: primary 1 away" in words and "Redis: primary 2 answers" in words
