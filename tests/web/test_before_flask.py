"""Whole answers in front of Flask are those that Flask would give, and everything else passes on."""

import gzip
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.test import EnvironBuilder

from demo.catalog.cache_aside import Busy
from demo.catalog.cached_catalog import CachedCatalog
from demo.client import shared_trip
from demo.client.wire import Client, Trip
from demo.observe.trace import TRACE
from demo.sessions.session_id import place
from demo.sessions.visitor import Parts
from demo.teach import pull_the_plug
from demo.web.cookies import SESSION
from demo.web.services import part, services
from demo.web.simulated import seen
from tests.conftest import round_trips
from tests.sessions.visitors import GOOD, sid_of

PAGE, API = "/catalog/products/42", "/catalog/api/products/42"
GZIP = {"Accept-Encoding": "gzip"}


@pytest.fixture
def bare(make_app: Callable[..., Flask]) -> Flask:
    return make_app(XRAY=False)


def asked_flask(app: Flask) -> list[str]:
    """Which paths reach Flask."""
    paths: list[str] = []
    inner = services(app).before_flask.inner
    services(app).before_flask.inner = lambda environ, start: (
        paths.append(environ["PATH_INFO"]) or inner(environ, start)
    )
    return paths


def without_windows(app: Flask, path: str, **options: Any) -> Any:
    windows, services(app).before_flask.windows = services(app).before_flask.windows, []
    try:
        return app.test_client().get(path, **options)
    finally:
        services(app).before_flask.windows = windows


@pytest.mark.parametrize("path", [PAGE, API, f"{PAGE}?xray=0"])
@pytest.mark.parametrize("headers", [{}, GZIP, {"If-None-Match": "*"}])
def test_it_says_what_flask_would_say(bare: Flask, path: str, headers: dict[str, str]) -> None:
    bare.test_client().get(path)
    paths = asked_flask(bare)
    ours = bare.test_client().get(path, headers=headers)
    assert paths == []
    theirs = without_windows(bare, path, headers=headers)
    assert (ours.status, ours.data) == (theirs.status, theirs.data)
    assert round_trips(ours) == round_trips(theirs) == 1

    def told(response: Any) -> dict[str, str]:
        varying = ("Server-Timing", "Cache-Status", "Vary", "X-Request-ID")
        return {name: value for name, value in response.headers.items() if name not in varying}

    assert told(ours) == told(theirs)
    assert set(ours.vary) == set(theirs.vary)


def test_a_miss_is_answered_too_and_costs_three_round_trips(bare: Flask) -> None:
    web, paths = bare.test_client(), asked_flask(bare)
    for path in (PAGE, API):
        assert [round_trips(web.get(path)) for _ in range(2)] == [3, 1]
    assert paths == []


def test_what_is_not_there_is_asked_for_once_and_is_flasks_404(bare: Flask) -> None:
    web = bare.test_client()
    for path in ("/catalog/products/999999", "/catalog/api/products/999998"):
        answers = [web.get(path) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert [round_trips(answer) for answer in answers] == [3, 1]
    assert answers[1].mimetype == "application/problem+json"


def test_a_failure_is_told_by_flask_and_the_database_is_asked_once(
    bare: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with services(bare).database.write() as connection:
        connection.execute(text("ALTER TABLE products RENAME TO away"))
    for path in (PAGE, API):
        answer = bare.test_client().get(path)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert 'desc="1 visit"' in answer.headers["Server-Timing"]

    def busy(*_: Any, **__: Any) -> None:
        raise Busy("waited")

    monkeypatch.setattr(part(CachedCatalog, bare).cache, "get_many", busy)
    for path in (PAGE, API, "/catalog/"):
        answer = bare.test_client().get(path)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "The database is too slow now" in answer.text


@pytest.mark.parametrize("xray", [True, False])
def test_what_fails_as_it_is_put_together_is_told_by_flask(
    make_app: Callable[..., Flask], client: Client, xray: bool
) -> None:
    web = make_app(XRAY=xray).test_client()
    for _ in range(2):
        web.get(PAGE)
    key = "demo:catalog:{page:html-42}"
    stored = client.get(key)
    assert stored
    begin = stored.index(b"\x1f\x8b") + 100  # within what gzip has packed
    client.setrange(key, begin, bytes(100))
    answer = web.get(PAGE)
    assert (answer.status_code, answer.mimetype) == (500, "text/html")
    assert (
        answer.headers["Cache-Control"] == "no-store"
        and "Content-Security-Policy" in answer.headers
    )


@pytest.mark.parametrize(
    "ask",
    [
        lambda web: web.set_cookie(SESSION, "x") or web.get(PAGE),
        lambda web: web.set_cookie("anything", "x") or web.get(PAGE),
        lambda web: web.get(f"{PAGE}?a=1"),
        lambda web: web.get(f"{API}?a=1"),
        lambda web: web.set_cookie(pull_the_plug.COOKIE, "x") or web.get(API),
        lambda web: web.head(PAGE),
        lambda web: web.get("/catalog/products/042"),
        lambda web: web.get("/catalog/products/2147483648"),
        lambda web: web.get("/catalog/products/42/"),
        lambda web: web.get("/catalog/products/٤٢"),
        lambda web: web.get("/catalog/"),
        lambda web: web.post(f"{PAGE}/drop"),
    ],
)
def test_everything_else_passes_on(bare: Flask, ask: Callable[[FlaskClient], Any]) -> None:
    paths = asked_flask(bare)
    answer = ask(bare.test_client())
    assert answer.status_code in (200, 303, 404)
    assert len(paths) == 1


def test_a_first_page_with_its_xray_is_flasks(app: Flask) -> None:
    paths = asked_flask(app)
    assert "What Redis did</h2>" in app.test_client().get(PAGE).text
    assert paths == [PAGE]


@pytest.mark.parametrize("endpoint", ["catalog.product", "catalog.api.get_product"])
def test_what_is_limited_is_counted(make_app: Callable[..., Flask], endpoint: str) -> None:
    app = make_app(XRAY=False, RATE_LIMITS={endpoint: {"limit": 1, "window_seconds": 60}})
    web = app.test_client()
    path = PAGE if endpoint == "catalog.product" else API
    assert [web.get(path).status_code for _ in range(2)] == [200, 429]


def test_with_redis_away_flask_answers_with_the_banner(make_app: Callable[..., Flask]) -> None:
    web = make_app(REDIS_URL="redis://127.0.0.1:1", BREAKER_SECONDS=60, XRAY=False).test_client()
    assert web.get(PAGE).headers["Cache-Status"] == "catalog; fwd=bypass"
    assert 'id="redis-away">\n<p><strong>Redis is away.' in web.get(PAGE).text


def test_https_is_insisted_on_here_too(make_app: Callable[..., Flask]) -> None:
    answer = make_app(XRAY=False, SECURE_COOKIES=True).test_client().get(PAGE)
    assert "max-age" in answer.headers["Strict-Transport-Security"]


@pytest.fixture
def shown(make_app: Callable[..., Flask]) -> Flask:
    app = make_app(XRAY=True)
    for _ in range(2):  # a miss, and what Flask draws once: the lessons
        app.test_client().get(PAGE)
    return app


FIGURES = re.compile(r'[0-9a-f]{12,}|[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?%?|data-[a-z]+="[^"]*"')


@pytest.mark.parametrize("below", ["", "/shop"])
def test_a_page_with_its_x_ray_is_the_one_that_flask_would_give(shown: Flask, below: str) -> None:
    options: Any = {"environ_overrides": {"SCRIPT_NAME": below}} if below else {}
    for _ in range(2):
        shown.test_client().get(PAGE, **options)
    paths = asked_flask(shown)
    ours = shown.test_client().get(PAGE, **options)
    assert paths == []
    theirs = without_windows(shown, PAGE, **options)
    assert (ours.status, round_trips(ours), round_trips(theirs)) == ("200 OK", 1, 1)
    assert FIGURES.sub("N", ours.text) == FIGURES.sub("N", theirs.text)
    assert "GET /catalog/products/42" in ours.text and ">MGET<" in ours.text

    def told(response: Any) -> dict[str, str]:
        varying = ("Server-Timing", "Cache-Status", "X-Request-ID", "ETag", "Content-Length")
        return {name: value for name, value in response.headers.items() if name not in varying}

    assert told(ours) == told(theirs)
    assert len(ours.data) == int(ours.headers["Content-Length"])
    assert [len(each.headers["ETag"]) for each in (ours, theirs)] == [26, 26]


def test_a_page_with_its_x_ray_goes_out_compressed_and_its_own_parts_do_not(
    shown: Flask,
) -> None:
    plain, packed = (
        shown.test_client().get(PAGE, headers=headers)
        for headers in ({}, {"Accept-Encoding": "gzip"})
    )
    assert packed.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain.headers
    assert int(packed.headers["Content-Length"]) == len(packed.data) < len(plain.data) / 2
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding, Cookie"
    assert packed.headers["ETag"].endswith('-gzip"')
    text = gzip.decompress(packed.data).decode()
    assert FIGURES.sub("N", text) == FIGURES.sub("N", plain.text)
    assert b">MGET<" in packed.data  # stored: its length tells nothing


@pytest.mark.parametrize(
    "ask",
    [
        lambda web: web.set_cookie("anything", "x") or web.get(PAGE),
        lambda web: web.get(f"{PAGE}?xray=keys"),
        lambda web: web.get(PAGE, headers={"If-None-Match": "*"}),
        lambda web: web.get("/catalog/products/43"),  # a miss
        lambda web: web.get("/catalog/products/999999"),
        lambda web: web.get(PAGE, environ_overrides={"SCRIPT_NAME": "/elsewhere"}),
    ],
)
def test_an_x_ray_that_needs_more_is_flasks(
    shown: Flask, ask: Callable[[FlaskClient], Any]
) -> None:
    paths = asked_flask(shown)
    answer = ask(shown.test_client())
    assert len(paths) == 1 and answer.status_code in (200, 304, 404)
    if answer.status_code != 304:
        assert "What Redis did" in answer.text


def test_a_page_with_its_x_ray_goes_to_flask_while_simulated_visitors_are_here(
    shown: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = asked_flask(shown)
    monkeypatch.setattr(seen, "until", time.time() + 60)
    assert "imulated" in shown.test_client().get(PAGE).text and paths == [PAGE]


def test_the_x_ray_of_a_miss_has_every_step_and_its_line(shown: Flask, client: Client) -> None:
    path = "/catalog/products/44"
    ours = shown.test_client().get(path)
    client.flushdb()
    theirs = without_windows(shown, path)
    assert round_trips(ours) == round_trips(theirs) == 3
    mine, flasks = (
        re.findall(r">([A-Z]+)</a>|<span>(demo/[^<]*|same round trip)</span>", each.text)
        for each in (ours, theirs)
    )
    assert ("MGET", "") in mine and any("demo/catalog/lease.py:" in line for _, line in mine)
    assert mine == flasks
    assert "The same page as a miss" in shown.test_client().get(path).text


@pytest.fixture(params=[True, False], ids=["with x-ray", "without"])
def signed_in(request: pytest.FixtureRequest, make_app: Callable[..., Flask]) -> FlaskClient:
    """A browser with a session and a cart; the page was loaded, and drawn by Flask once."""
    app = make_app(XRAY=request.param, RATE_LIMITS={})
    web = app.test_client()
    web.post("/sessions/cart", data={"product": "42", "change": "3"})
    assert web.post("/sessions/login", data=GOOD).status_code == 303
    for _ in range(2):
        web.get(PAGE)
    web.delete_cookie("redis-in-practice-message")
    without_windows(app, PAGE)
    return web


def test_a_page_of_a_signed_in_visitor_is_the_one_that_flask_would_give(
    signed_in: FlaskClient,
) -> None:
    app = signed_in.application
    paths = asked_flask(app)
    ours = signed_in.get(PAGE)
    assert paths == []
    before_flask = services(app).before_flask
    windows, before_flask.windows = before_flask.windows, []
    theirs = signed_in.get(PAGE)
    before_flask.windows = windows
    assert (ours.status, round_trips(ours), round_trips(theirs)) == ("200 OK", 1, 1)
    assert FIGURES.sub("N", ours.text) == FIGURES.sub("N", theirs.text)
    assert "mara, cart 3" in ours.text and "mara, cart 3" in theirs.text
    varying = ("Server-Timing", "Cache-Status", "X-Request-ID", "Content-Length", "Vary")
    told, expected = (
        {name: value for name, value in each.headers.items() if name not in varying}
        for each in (ours, theirs)
    )
    assert told == expected and told["Cache-Control"] == "private, no-store"
    assert set(ours.vary) == set(theirs.vary)
    assert len(ours.data) == int(ours.headers["Content-Length"])


def test_no_visitor_is_shown_anothers_page(signed_in: FlaskClient) -> None:
    app = signed_in.application
    other, nobody = app.test_client(), app.test_client()
    assert other.post("/sessions/login", data={**GOOD, "name": "noor"}).status_code == 303
    for _ in range(3):
        for web, name in ((signed_in, "mara"), (other, "noor"), (nobody, "Sign in")):
            shown = web.get(PAGE).text
            assert [each in shown for each in ("mara", "noor")] == [
                each == name for each in ("mara", "noor")
            ]
            assert name in shown
    assert shared_trip.offered.get() is None


@pytest.mark.parametrize(
    "trouble", ["ended", "slides", "another type", "no id", "two", "forgotten"]
)
def test_a_session_that_needs_more_than_a_look_is_flasks(
    signed_in: FlaskClient, client: Client, trouble: str
) -> None:
    sid = sid_of(signed_in)
    found = place(sid)
    assert found
    if trouble == "ended":
        client.delete(found.session)
    elif trouble == "slides":
        client.hincrby(found.session, "_seen", -60_000)
    elif trouble == "another type":
        client.delete(found.session)
        client.set(found.session, "x")
    elif trouble == "no id":
        signed_in.set_cookie(SESSION, "x")
    elif trouble == "two":
        signed_in.set_cookie("anything", "x")
    else:
        client.script_flush()
    paths = asked_flask(signed_in.application)
    answer = signed_in.get(PAGE)
    known = trouble in ("slides", "two", "forgotten")
    assert (paths, answer.status_code, "mara, cart 3" in answer.text) == ([PAGE], 200, known)
    if trouble == "slides":
        assert f"{SESSION}={sid}" in answer.headers["Set-Cookie"] and round_trips(answer) == 1
    if trouble in ("ended", "another type"):
        assert "You are signed out now" in answer.text
        assert f"{SESSION}=;" in answer.headers["Set-Cookie"]
    assert round_trips(answer) <= (2 if trouble in ("another type", "forgotten") else 1)
    assert shared_trip.offered.get() is None


def test_a_session_that_one_look_counted_is_counted_once(signed_in: FlaskClient) -> None:
    outcomes = part(Parts, signed_in.application).store.outcomes
    before = outcomes[True]
    signed_in.get(PAGE)
    assert outcomes[True] == before + 1


def test_a_miss_of_a_signed_in_visitor_is_flasks_and_its_session_comes_along(
    signed_in: FlaskClient,
) -> None:
    path = "/catalog/products/44"
    first = signed_in.get(path)
    assert "mara, cart 3" in first.text and round_trips(first) == 3


def test_with_a_near_cache_a_signed_in_visitor_is_known(make_app: Callable[..., Flask]) -> None:
    web = make_app(NEAR_CACHE=True, RATE_LIMITS={}).test_client()
    assert web.post("/sessions/login", data=GOOD).status_code == 303
    for _ in range(4):
        assert "mara" in web.get(PAGE).text


@pytest.mark.parametrize("signed_in", [False], ids=["without"], indirect=True)
def test_requests_below_two_places_may_meet_at_any_line(signed_in: FlaskClient) -> None:
    (window,) = services(signed_in.application).before_flask.windows

    def look(below: str) -> Any:
        cookie = {"HTTP_COOKIE": f"{SESSION}={sid_of(signed_in)}", "SCRIPT_NAME": below}
        return window(EnvironBuilder(PAGE, environ_overrides=cookie).get_environ())

    met = []

    def meet(frame: Any, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.endswith("filled_answers.py"):
            return None
        met.append(look("/shop"))  # nothing is traced in here
        return meet

    before = sys.gettrace()
    sys.settrace(meet)
    try:
        found = look("")
    finally:
        sys.settrace(before)
        shared_trip.withdraw()
    assert found and len(met) > 5 and all(met)


def test_lessons_that_another_place_draws_meanwhile_are_not_missing(
    shown: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis, elsewhere = services(shown).redis, {"environ_overrides": {"SCRIPT_NAME": "/shop"}}
    send, paths = redis.send, asked_flask(shown)

    def slowly(trip: Trip) -> Any:
        monkeypatch.setattr(redis, "send", send)
        other = threading.Thread(target=lambda: shown.test_client().get(PAGE, **elsewhere))
        other.start()
        other.join()
        return send(trip)

    lessons = without_windows(shown, PAGE).text.count("<details")
    paths.clear()
    monkeypatch.setattr(redis, "send", slowly)
    ours = shown.test_client().get(PAGE).text
    assert shown.extensions["lessons"][0] == "/shop" and len(paths) == 1
    assert ours.count("<details") == lessons and "<!--lessons-->" not in ours


def test_what_is_late_here_is_so_by_the_apps_own_timeout(make_app: Callable[..., Flask]) -> None:
    app, found = make_app(XRAY=False, REDIS_TIMEOUT_SECONDS=5.0), list[float]()
    services(app).request_log.ended.append(
        lambda environ, *_: found.append(environ[TRACE].timeout_ms)
    )
    paths = asked_flask(app)
    for path in (PAGE, API):
        app.test_client().get(path)
    assert (found, paths) == ([5000, 5000], [])
