"""What a visitor has made different for himself alone."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.analytics.collector import Collector
from demo.analytics.counters import RESOLUTIONS
from demo.client.wire import Client
from demo.teach import pull_the_plug
from demo.web.services import part
from tests.conftest import round_trips

PRODUCT = "/catalog/products/42"


def choose(web: FlaskClient, **data: str) -> None:
    assert web.post("/choices", data={"back": PRODUCT, **data}).status_code == 303


def test_a_broken_database_is_broken_for_one_visitor_alone(app: Flask) -> None:
    breaker, other = app.test_client(), app.test_client()
    choose(breaker, database="down")
    page = breaker.get(PRODUCT)
    assert page.status_code == 503
    assert "The database is down." in page.text
    assert other.get(PRODUCT).status_code == 200
    assert other.get("/catalog/products/43").status_code == 200


def test_what_is_cached_is_served_to_who_has_broken_the_database(app: Flask) -> None:
    breaker, other = app.test_client(), app.test_client()
    other.get(PRODUCT)
    choose(breaker, database="down")
    assert breaker.get(PRODUCT).status_code == 200
    changed = other.patch("/catalog/api/products/42", json={"price_cents": 12_321})
    assert changed.status_code == 200
    assert breaker.get(PRODUCT).status_code == 503  # the old price is gone for everybody
    assert "€ 123.21" in other.get(PRODUCT).text
    assert "€ 123.21" in breaker.get(PRODUCT).text


@pytest.mark.parametrize(
    "path",
    [
        PRODUCT,
        "/catalog/?category=lamps",
        "/catalog/api/products/42",
        "/catalog/api/products",
        "/catalog/api/products?ids=4",
    ],
)
def test_a_slow_database_makes_nobody_else_wait(
    app: Flask, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """The slow visitor's load is held open; another visitor's load of the same thing goes through
    meanwhile."""
    slow, other = app.test_client(), app.test_client()
    choose(slow, database="slow")
    seen: list[float | str] = []

    def sleep(seconds: float) -> None:
        seen.append(seconds)
        if len(seen) == 1:
            with ThreadPoolExecutor(1) as pool:
                seen.append(pool.submit(other.get, path).result().headers["Cache-Status"])

    monkeypatch.setattr("demo.database.time.sleep", sleep)
    assert slow.get(path).headers["Cache-Status"] == "catalog; fwd=miss; stored"
    assert seen == [1.0, "catalog; fwd=miss; stored"]
    assert "hit; ttl=" in slow.get(path).headers["Cache-Status"]


def test_a_change_reaches_the_corner_of_who_has_a_slow_database(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.database.time.sleep", lambda _: None)
    slow, other = app.test_client(), app.test_client()
    choose(slow, database="slow")
    slow.get(PRODUCT)
    other.patch("/catalog/api/products/18", json={"price_cents": 77_777})  # a related one
    assert "€ 777.77" in slow.get(PRODUCT).text
    assert slow.post(f"{PRODUCT}/drop").status_code == 303
    assert "The cached page is invalidated." in slow.get(PRODUCT).text


def test_without_a_cache_each_visit_asks_the_database(web: FlaskClient) -> None:
    choose(web, strategy="none")
    for _ in range(2):
        page = web.get(PRODUCT)
        assert ">BYPASS<" in page.text and "Pages are not cached." in page.text
        assert (round_trips(page), 'desc="1 visit"' in page.headers["Server-Timing"]) == (0, True)


def test_by_write_through_the_next_reader_has_a_hit(app: Flask) -> None:
    writer, reader = app.test_client(), app.test_client()
    choose(writer, strategy="write-through")
    assert writer.post(f"{PRODUCT}/price", data={"price": "12.34"}).status_code == 303
    page = reader.get(PRODUCT).text
    assert ">HIT<" in page and "€ 12.34" in page


def test_a_choice_is_shown_ended_by_one_click_and_kept_when_another_is_made(
    web: FlaskClient,
) -> None:
    choose(web, database="slow")
    choose(web, strategy="none")
    page = web.get("/").text
    assert (
        "Only for you:" in page and "one second longer" in page and "Pages are not cached." in page
    )
    choose(web, database="", strategy="")
    assert "Only for you:" not in web.get("/").text
    assert web.get_cookie(pull_the_plug.COOKIE) is None


def test_a_choice_ends_by_itself(web: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(web, database="down")
    cookie = web.get_cookie(pull_the_plug.COOKIE)
    assert (
        cookie
        and cookie.max_age == pull_the_plug.LIFE_SECONDS
        and cookie.http_only
        and cookie.same_site == "Lax"
    )
    monkeypatch.setattr(pull_the_plug, "LIFE_SECONDS", -1)
    assert web.get(PRODUCT).status_code == 200


@pytest.mark.parametrize("cookie", ["", "x", "e30.x.y", "é"])
def test_a_forged_cookie_counts_as_none(web: FlaskClient, cookie: str) -> None:
    web.set_cookie(pull_the_plug.COOKIE, cookie)
    page = web.get(PRODUCT)
    assert (page.status_code, "Only for you:" in page.text) == (200, False)


def test_a_cookie_of_another_key_counts_as_none(make_app: Callable[..., Flask]) -> None:
    theirs, ours = make_app(SECRET_KEY="another").test_client(), make_app().test_client()
    choose(theirs, database="down")
    cookie = theirs.get_cookie(pull_the_plug.COOKIE)
    assert cookie
    ours.set_cookie(pull_the_plug.COOKIE, cookie.value)
    assert ours.get(PRODUCT).status_code == 200


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"database": "gone"}, "database"),
        ({"strategy": "x"}, "strategy"),
        ({"visitor": "me"}, "visitor"),
        ({"back": "//elsewhere.example"}, "back"),
        ({"back": "https://elsewhere.example"}, "back"),
        ({"back": "/\\elsewhere.example"}, "back"),
        ({"back": "/a\r\nX: y"}, "back"),
    ],
)
def test_a_wrong_choice_is_told_and_changes_nothing(
    web: FlaskClient, data: dict[str, str], field: str
) -> None:
    answer = web.post("/choices", data=data)
    assert answer.status_code == 422
    assert field in answer.text.partition("<main")[2]
    assert web.get_cookie(pull_the_plug.COOKIE) is None


def test_choices_make_no_key_of_what_a_visitor_typed(web: FlaskClient, client: Client) -> None:
    choose(web, database="slow")
    web.get("/catalog/products/999999")
    assert all(key.isascii() and len(key) < 120 for key in client.scan_iter("demo:*"))


def told(web: FlaskClient, path: str) -> str:
    """What the banner says of who has pulled the plug."""
    banner = web.get(path).text.partition("Only for you:")[2].partition("</p>")[0]
    return " ".join(re.sub(r"<[^>]+>", "", banner).split())


def test_each_sentence_of_the_banner_is_one(app: Flask) -> None:
    for redis in ("refused", "slow", "readonly", "full", "paused"):
        for database in ("slow", "down"):
            web = app.test_client()
            choose(web, redis=redis, database=database, strategy="none")
            for path in ("/", "/sessions/", "/rate-limit/", "/analytics/", "/monitor/", "/style"):
                for sentence in re.split(r"(?<=[.?!]) +", told(web, path)):
                    assert re.match(r"[A-Z]", sentence), (path, redis, sentence)


def test_views_of_who_has_pulled_the_plug_are_counted_as_the_page_says(app: Flask) -> None:
    collector, web = part(Collector, app), app.test_client()
    collector._interval_seconds = 3600
    choose(web, redis="refused")
    assert "Views are still counted" in told(web, "/analytics/")
    collector.flush()
    series = collector.counters.series(RESOLUTIONS["hour"], collector.now())
    assert {name: sum(counts) for name, counts in series.counts.items()} == {"analytics.index": 1}


def test_with_both_away_no_page_promises_what_the_other_would_give(app: Flask) -> None:
    app.test_client().get(PRODUCT)
    web = app.test_client()
    choose(web, redis="refused", database="down")
    assert web.get(PRODUCT).status_code == 503
    for path in (PRODUCT, "/catalog/", "/", "/monitor/"):
        assert not re.search(
            "works as before|read from the database|are served", told(web, path)
        ), path
    choose(web, redis="full", database="down")
    assert web.get(PRODUCT).status_code == 200  # as it says: what is cached is served
    assert "Cached pages are served, even expired ones. Other pages answer 503." in told(
        web, PRODUCT
    )
    assert "which is slower" not in told(web, PRODUCT)


def test_the_probe_asks_the_real_redis_as_the_monitor_says(web: FlaskClient) -> None:
    choose(web, redis="refused")
    assert "The probe /readyz asks the real Redis" in told(web, "/monitor/")
    assert web.get("/readyz").status_code == 200


def test_a_redis_that_is_late_in_time_takes_nothing_away(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.teach.faults.SLOW_SECONDS", 0.01)
    monkeypatch.setattr("demo.teach.panel.SLOW_SECONDS", 0.01)
    web = make_app(REDIS_TIMEOUT_SECONDS=1.0).test_client()
    choose(web, redis="slow")
    assert "read from the database" not in told(web, PRODUCT)
    assert ">HIT<" in web.get(PRODUCT).text


def test_a_choice_lasts_ten_minutes(web: FlaskClient) -> None:
    answer = web.post("/choices", data={"back": PRODUCT, "redis": "slow"})
    (told,) = [each for each in answer.headers.getlist("Set-Cookie") if "choices=" in each]
    assert "Max-Age=600;" in told


def test_who_has_chosen_nothing_has_no_corner_of_his_own(app: Flask) -> None:
    with app.test_request_context("/"):
        pull_the_plug.begin()
        chosen = pull_the_plug.current()
        pull_the_plug.end()
    assert chosen.visitor == "" and not chosen.any
