"""The hook, the page, and its twins for programs."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis.exceptions import OutOfMemoryError

from demo.analytics import cached_dashboard
from demo.analytics.collector import Collector
from demo.analytics.count_visits import PAGES
from demo.analytics.counters import RESOLUTIONS
from demo.client.wire import Client
from demo.observe import metrics
from demo.web.services import part
from tests.conftest import round_trips
from tests.seen import seen
from tests.walking import requests

MakeApp = Callable[..., Flask]


@pytest.fixture
def collector(app: Flask) -> Collector:
    """The app's, which nothing writes but the test."""
    found: Collector = part(Collector, app)
    found._interval_seconds = 3600
    return found


def counted(collector: Collector) -> dict[str, int]:
    collector.flush()
    series = collector.counters.series(RESOLUTIONS["hour"], collector.now())
    return {name: sum(values) for name, values in series.counts.items()}


def products(collector: Collector) -> dict[str, int]:
    from demo.analytics.trending import SPANS

    collector.flush()
    return {one.member: one.count for one in collector.trending.top(SPANS["hour"], collector.now())}


def dashboard(web: FlaskClient, resolution: str = "minute") -> Any:
    return web.get(f"/analytics/api/dashboard?resolution={resolution}").json


def test_answers_of_pages_count_and_what_a_visitor_types_does_not(
    web: FlaskClient, collector: Collector
) -> None:
    for path in (
        "/",
        "/catalog/products/42",
        "/catalog/products/42?xray=0",
        "/catalog/products/7?q=anything",
    ):
        assert web.get(path).status_code == 200
    for path in ("/livez", "/readyz", "/metrics", "/analytics/live", "/analytics/api/dashboard"):
        assert web.get(path).status_code == 200
    for path in (
        "/nowhere",
        "/nowhere%00\u00e9",
        "/catalog/products/999999",
        "/catalog/products/x",
    ):
        assert web.get(path).status_code == 404
    web.post("/catalog/products/42/missing")
    web.head("/")
    assert counted(collector) == {"home.index": 1, "catalog.product": 3}
    assert products(collector) == {"42": 2, "7": 1}


def test_every_page_is_a_view_and_nothing_else_is(app: Flask, collector: Collector) -> None:
    """Of all that can be read; each page is told by its title and its path."""
    web = app.test_client()
    adapter = app.url_map.bind("localhost")
    expected, titles = Counter[str](), {}
    for method, path in requests(app):
        if method == "GET" and not path.endswith(("/stream", "/live")):
            with web.get(path) as answer:
                if answer.mimetype == "text/html" and answer.status_code == 200:
                    expected[endpoint := adapter.match(path)[0]] += 1
                    titles[endpoint] = re.search(r"<title>(.*?) ·", answer.text.replace("\n", " "))
    assert counted(collector) == expected
    # A result's address is signed, so that none is among the samples: tests/learn/test_views.py.
    assert set(expected) | {"learn.result"} == set(PAGES)
    assert {
        name for name, found in titles.items() if found and found[1].strip() != PAGES[name]
    } == {
        "catalog.product",
        "leaderboard.board",
        "leaderboard.play_game",
        "test_pages.show",
        "documents.page",
        "documents.source",
        "learn.show",
    }
    with app.app_context():
        cached_dashboard.forget()
    text = seen(web.get("/analytics/").text)
    assert "A product <small>/catalog/products/…</small>" in text
    assert "home.index" not in text and "catalog.image" not in text


def test_pages_that_this_build_does_not_have_are_left_out(
    web: FlaskClient, collector: Collector
) -> None:
    """A process of an older one may have noted them, and kept them for all."""
    for name in ("catalog.image", "home.index"):
        collector.note(name, None, None)
    counted(collector)
    page = web.get("/analytics/")
    assert page.status_code == 200 and "catalog.image" not in page.text


@pytest.mark.parametrize("header", ["X-Xray", "Sec-Fetch-Dest"])
def test_what_a_script_fetches_again_is_no_view(
    web: FlaskClient, collector: Collector, header: str
) -> None:
    web.get("/monitor/", headers={header: "1" if header == "X-Xray" else "empty"})
    web.get("/monitor/", headers={"Sec-Fetch-Dest": "document"})
    assert counted(collector) == {"monitor.index": 1}


def test_a_view_whose_answer_the_browser_has_counts(web: FlaskClient, collector: Collector) -> None:
    etag = web.get("/catalog/products/42?xray=0").headers["ETag"]
    assert (
        web.get("/catalog/products/42?xray=0", headers={"If-None-Match": etag}).status_code == 304
    )
    assert counted(collector) == {"catalog.product": 2}
    assert products(collector) == {"42": 2}


@pytest.mark.parametrize("path", ["/catalog/products/42", "/catalog/products/42?xray=0"])
def test_a_request_pays_no_round_trip_for_it(
    web: FlaskClient, make_app: MakeApp, path: str
) -> None:
    web.get(path)
    without = make_app(use_cases=("catalog",)).test_client()
    without.get(path)
    assert round_trips(web.get(path)) == round_trips(without.get(path)) == 1


def test_visitors_differ_by_address_and_browser_and_may_say_no(
    web: FlaskClient, collector: Collector, make_app: MakeApp
) -> None:
    for agent in ("a", "a", "b"):
        web.get("/", headers={"User-Agent": agent})
    web.get("/", headers={"User-Agent": "a"}, environ_overrides={"REMOTE_ADDR": "203.0.113.7"})
    web.get(
        "/", headers={"User-Agent": "a", "X-Forwarded-For": "203.0.113.9"}
    )  # which no proxy vouches for
    for header in ("DNT", "Sec-GPC"):
        web.get("/", headers={"User-Agent": "c", header: "1"})
    collector.flush()
    found = dashboard(web)
    assert (found["here_now"], found["uniques"]["exact_day"]) == (3, 3)
    assert found["pages"] == [{"member": "home.index", "count": 7}]
    behind = make_app(TRUSTED_PROXIES=1)
    for number in range(5):
        behind.test_client().get(
            "/", headers={"User-Agent": "a", "X-Forwarded-For": f"203.0.113.{number + 100}"}
        )
    part(Collector, behind).flush()
    assert collector.presence.count(collector.now()) == 8


def test_visits_are_made_up_and_seen_at_once(web: FlaskClient, collector: Collector) -> None:
    web.get("/analytics/")
    answer = web.post("/analytics/visits", data={"count": "100", "resolution": "hour"})
    assert (answer.status_code, answer.location) == (303, "/analytics/?resolution=hour")
    page = web.get(answer.location)
    assert "100 made-up visits by" in page.text
    assert len(page.data) <= 42_000  # with two requests in the x-ray
    found = dashboard(web, "hour")
    assert sum(bucket["made_up"] for bucket in found["buckets"]) == 100
    assert (
        1 < found["here_now"] <= 61 and sum(one["count"] for one in found["products"]["hour"]) > 20
    )
    assert collector.now() > 0


@pytest.mark.parametrize("count", ["0", "501", "-1", "x", "", "1e9", "\u0664"])
def test_a_wrong_count_is_told_and_changes_nothing(web: FlaskClient, count: str) -> None:
    answer = web.post("/analytics/visits", data={"count": count})
    assert answer.status_code == 422
    assert "count:" in answer.text
    assert dashboard(web)["here_now"] == 0


def test_the_page_is_one_round_trip_while_it_is_fresh(
    web: FlaskClient, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_dashboard, "FRESH_SECONDS", 30.0)
    web.get("/analytics/")
    page = web.get("/analytics/")
    assert round_trips(page) == 1
    assert len(page.data) <= 40_000
    assert "from the shared cache" in page.text
    assert round_trips(web.get("/analytics/live")) == 1
    assert web.get("/analytics/api/dashboard").headers["Cache-Status"] == "analytics; hit"
    assert collector.now() > 0


def test_a_cached_dashboard_of_another_version_is_no_error(
    web: FlaskClient, client: Client
) -> None:
    client.set("demo:analytics:{answer:minute}", b'{"at": "then"}', ex=60)
    assert web.get("/analytics/").status_code == 200
    client.set("demo:analytics:{answer:minute}", b"\xff", ex=60)
    assert web.get("/analytics/").status_code == 200


def test_json_and_csv_say_what_the_page_says(web: FlaskClient, collector: Collector) -> None:
    web.get("/catalog/products/42")
    web.post("/analytics/visits", data={"count": "7"})
    collector.flush()
    web.get("/analytics/api/dashboard")
    for resolution in RESOLUTIONS:
        buckets = dashboard(web, resolution)["buckets"]
        answer = web.get(f"/analytics/api/views.csv?resolution={resolution}")
        assert (
            answer.mimetype == "text/csv"
            and f"views-by-{resolution}.csv" in answer.headers["Content-Disposition"]
        )
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        told = {int(row["start"]): int(row["made_up"]) for row in rows if row["made_up"] != "0"}
        assert told == {
            bucket["start"]: bucket["made_up"] for bucket in buckets if bucket["made_up"]
        }
        table = (
            seen(web.get(f"/analytics/?resolution={resolution}").text)
            .split("<details>")[1]
            .split("</details>")[0]
        )
        shown = re.findall(r"<td>([^<]+)</td><td>(\d+)</td><td>(\d+)</td>", table)
        assert len(rows) == len(shown) == len(buckets) == RESOLUTIONS[resolution].shown
        assert sum(int(row[2]) for row in shown) == sum(told.values()) == 7


@pytest.mark.parametrize("path", ["/analytics/api/dashboard", "/analytics/api/views.csv"])
def test_the_api_names_a_wrong_field(web: FlaskClient, path: str) -> None:
    answer = web.get(f"{path}?resolution=century")
    assert answer.status_code == 422 and answer.json["errors"][0]["field"] == "resolution"
    assert web.get("/analytics/?resolution=century").status_code == 200


def test_who_came_back_is_shown(web: FlaskClient, collector: Collector) -> None:
    from datetime import UTC, datetime

    today: date = datetime.fromtimestamp(collector.now(), UTC).date()
    pipeline = collector.counters._client.pipeline(transaction=False)
    collector.active.add(
        pipeline, [f"{number:016x}" for number in range(4)], today - timedelta(days=1)
    )
    collector.active.add(pipeline, [f"{number:016x}" for number in range(3)], today)
    pipeline.execute()
    same_month = today.day > 1
    assert ('3 <span class="label">75 %</span>' in seen(web.get("/analytics/").text)) == same_month


def test_without_redis_pages_go_on_and_the_drops_are_counted(away: Flask) -> None:
    before = metrics.in_this_process(metrics.ANALYTICS_DROPPED)
    web = away.test_client()
    collector: Collector = part(Collector, away)
    collector._interval_seconds = 3600
    assert web.get("/catalog/products/42").status_code == 200
    assert not collector.flush()
    assert metrics.in_this_process(metrics.ANALYTICS_DROPPED) == before + 1
    page = web.get("/analytics/")
    assert page.status_code == 200 and f"has dropped {before + 1} since" in seen(page.text)
    assert f"demo_analytics_dropped_total {before + 1:.1f}" in web.get("/metrics").text
    assert web.get("/analytics/live").status_code == 200
    assert web.get("/analytics/api/dashboard").status_code == 503
    assert web.get("/analytics/api/views.csv").status_code == 503
    assert web.post("/analytics/visits", data={"count": "1"}).status_code == 503
    assert ">Visitors, last 5 minutes</span> <b>–<" in seen(web.get("/").text)


def test_a_chart_has_its_figures_beside_it(web: FlaskClient, collector: Collector) -> None:
    web.post("/analytics/visits", data={"count": "100"})
    page = web.get("/analytics/").text
    for title in re.findall(
        r'role="img" aria-label="(Views per minute), from \d\d:\d\d to \d\d:\d\d', page
    ):
        assert f"<summary>{title} as a table</summary>" in page
    assert 'class="p-redis"' in page and collector.now() > 0


@pytest.mark.parametrize(("error", "again"), [(OutOfMemoryError("OOM"), "10"), (None, None)])
def test_where_some_were_refused_it_is_said_by_what_and_whether_to_try_again(
    web: FlaskClient,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
    again: str | None,
) -> None:
    def write(_: Any) -> Counter[str]:
        collector.refused_by = error
        return Counter(hour=1)

    monkeypatch.setattr(collector, "write", write)
    answer = web.post("/analytics/visits", data={"count": "1"})
    assert (
        answer.status_code == 503 and "Some of the visits may not have been counted." in answer.text
    )
    assert answer.headers.get("Retry-After") == again
