import gzip
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.app import USE_CASES
from demo.teach.home import Home
from demo.web.cookies import SESSION
from demo.web.services import part
from tests.browser.chromium import PAGES
from tests.conftest import round_trips
from tests.walking import SAMPLES, requests

AWAY = re.compile(r'id="redis-away">\s*<p><strong>Redis is away\.')
AWAY_HIDDEN = re.compile(r'id="redis-away" hidden>\s*<p><strong>Redis is away\.')


def test_home_names_every_use_case_with_a_figure(web: FlaskClient) -> None:
    page = web.get("/").text
    for name in USE_CASES:
        assert f'href="/{name.replace("_", "-")}/"' in page
    assert page.count('class="figure"') == len(USE_CASES)
    assert re.search(
        r"Underneath:</strong> (Valkey|Redis) [\d.]+, standalone, .* in use. This page took 3 round trips, 4 commands.",
        page,
    )
    taken = re.findall(
        r'<a href="/take/(\w+)/(\w+).zip" download>\2.py</a><br>\s*([^<]+?)\s*</p>', page
    )
    assert list(dict.fromkeys(case for case, _, _ in taken)) == list(USE_CASES)
    assert ("catalog", "cache_aside", "Cache-aside with a lease") in taken
    assert not [words for _, _, words in taken if len(words) > 60]  # a name, not the docstring
    assert ("rate_limit", "sliding_window", "The sliding-window log") in taken


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_every_page_comes_with_and_without_redis(app: Flask, away: Flask, path: str) -> None:
    expected = 404 if path in (PAGES["error"], PAGES["product-missing"]) else 200
    assert app.test_client().get(path).status_code == expected
    without = away.test_client().get(path)
    assert without.status_code == expected
    assert AWAY.search(away.test_client().get(path).text) or path == PAGES["error"]


@pytest.mark.usefixtures("no_runs")
def test_no_request_is_a_500_with_or_without_redis_whatever_its_body(
    app: Flask, away: Flask
) -> None:
    bodies: list[dict[str, Any]] = [
        {},
        {"data": {"x": "1"}},
        {"json": {"x": 1}},
        {"data": b"\xff\x00"},
        {"data": "[" * 20_000},
    ]
    seen = 0
    for tested in (app, away):
        for method, path in requests(tested):
            for body in bodies:
                answer = tested.test_client().open(path, method=method, **body)
                assert answer.status_code < 500 or answer.status_code == 503, (method, path, body)
                if answer.status_code == 503 and path != "/readyz":
                    assert answer.headers["Retry-After"]
                answer.close()
                seen += 1
    assert seen > 200


@pytest.mark.parametrize("query", ["?x=%FF", "?page[]=1", "?" + "a=1&" * 500, "?q=%25%5B%7B"])
def test_odd_query_strings_are_no_500(web: FlaskClient, query: str) -> None:
    for path in PAGES.values():
        assert web.get(path.partition("?")[0] + query).status_code < 500


@pytest.mark.parametrize("left_out", USE_CASES)
def test_each_use_case_can_be_taken_out(make_app: Callable[..., Flask], left_out: str) -> None:
    remaining = tuple(name for name in USE_CASES if name != left_out)
    web = make_app(remaining).test_client()
    assert web.get("/").status_code == 200
    for name in remaining:
        assert web.get(f"/{name.replace('_', '-')}/").status_code == 200
    assert web.get(f"/{left_out.replace('_', '-')}/").status_code == 404
    if "catalog" in remaining:
        assert web.get("/catalog/products/42").status_code == 200


def test_static_files_are_named_by_their_content_and_kept_for_a_year(web: FlaskClient) -> None:
    page = web.get("/").text
    path = re.findall(r'href="(/static/[0-9a-f]{12}/app\.css)"', page)[0]
    with web.get(path) as answer:
        assert answer.status_code == 200
        assert {"max-age=31536000", "public", "immutable"} <= set(
            answer.headers["Cache-Control"].split(", ")
        )
    with web.get("/static/000000000000/app.css") as old:
        assert (old.status_code, "immutable" in old.headers["Cache-Control"]) == (200, False)
    for hostile in (
        "/static/x/../../wsgi.py",
        "/static/x/..%2f..%2fwsgi.py",
        "/static/x/nothing.css",
        "/static/app.css",
    ):
        assert web.get(hostile).status_code == 404


@pytest.mark.parametrize("name", ["app.css", "theme.js", "xray.js", "icon.svg"])
def test_static_files_are_compressed_for_who_takes_it(web: FlaskClient, name: str) -> None:
    version = re.findall(r'href="/static/([0-9a-f]{12})/app\.css"', web.get("/").text)[0]
    path = f"/static/{version}/{name}"
    with web.get(path) as plain, web.get(path, headers={"Accept-Encoding": "gzip"}) as packed:
        assert gzip.decompress(packed.data) == plain.data
        assert int(packed.headers["Content-Length"]) == len(packed.data)
        assert (
            packed.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain.headers
        )
        assert packed.mimetype == plain.mimetype and "immutable" in packed.headers["Cache-Control"]
        assert (
            "Accept-Encoding" in packed.headers["Vary"]
            and "Accept-Encoding" in plain.headers["Vary"]
        )


def test_the_xray_shows_each_command_and_can_be_switched_off(
    make_app: Callable[..., Flask],
) -> None:
    web, without = make_app().test_client(), make_app(XRAY=False).test_client()
    web.get("/catalog/products/42")
    page = web.get("/catalog/products/42").text
    assert "1 round trip, 1 command" in page
    assert re.search(r"<span>Redis [\d.]+ of [\d.]+ ms</span>", page)
    assert (
        '>MGET</a> <span class="key">demo:catalog:{page:html-42} demo:catalog:{page:scales}:version'
        in page
    )
    assert "demo/catalog/cache_aside.py:" in page
    bare = without.get("/catalog/products/42")
    assert "What Redis did</h2>" not in bare.text
    assert round_trips(bare) == 1


def test_the_request_before_a_redirect_is_shown_once(web: FlaskClient) -> None:
    web.post("/leaderboard/boards/main/scores", data={"player": "mara", "score": "5"})
    page = web.get("/leaderboard/boards/main").text
    assert "POST /leaderboard/boards/main/scores" in page
    assert "EVALSHA ranking.lua" in page
    assert "what you did" not in web.get("/leaderboard/boards/main").text


def test_the_xray_holds_no_secret(web: FlaskClient) -> None:
    answer = web.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
    cookie = web.get_cookie(SESSION)
    assert cookie
    page = web.get("/sessions/").text
    panel = page.split('class="card xray"')[1].split("</aside>")[0]
    assert "EVALSHA session_store_begin.lua" in panel and "••••" in panel
    assert cookie.value not in page and cookie.value not in str(answer.headers.getlist("Location"))
    assert "correct" not in panel and "mara" not in panel
    assert not re.search(r"demo:sessions:\{[0-9a-f]{9}", page)


def test_a_name_that_looks_like_the_panels_place_changes_nothing(web: FlaskClient) -> None:
    web.post("/leaderboard/api/boards/main/scores", json={"player": "<!--xray-->", "score": 1})
    page = web.get("/leaderboard/boards/main").text
    assert page.count("What Redis did</h2>") == 1
    assert "&lt;!--xray--&gt;" in page


FORMS: dict[str, dict[str, str]] = {
    "sessions.login": {"name": "mara", "password": "correct horse"},
    "sessions.cart": {"product": "42", "change": "1"},
    "sessions.sign_up": {"name": "ida", "password": "a long enough phrase"},
    "rate_limit.fire": {"count": "3", "limit": "2", "window_seconds": "10"},
    "leaderboard.post_score": {"player": "mara", "score": "5"},
}
BODIES: dict[str, dict[str, Any]] = {
    "rate_limit.api.hit": {"identity": "me"},
    "leaderboard.submit_score": {"player": "mara", "score": 5},
}


@pytest.mark.usefixtures("no_runs")
@pytest.mark.parametrize("tested", ["app", "away"])
def test_a_right_form_is_taken_or_a_503_never_a_500(
    request: pytest.FixtureRequest, tested: str
) -> None:
    app: Flask = request.getfixturevalue(tested)
    web, met = app.test_client(), set()
    for rule in app.url_map.iter_rules():
        if "POST" not in (rule.methods or ()):
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: SAMPLES[match[1]], rule.rule)
        body = BODIES.get(rule.endpoint)
        body = {"scores": [body]} if body and path.endswith(":batch") else body
        answer = (
            web.post(path, json=body) if body else web.post(path, data=FORMS.get(rule.endpoint, {}))
        )
        known = rule.endpoint in FORMS or rule.endpoint in BODIES
        if tested == "app":
            assert answer.status_code in (
                (200, 201, 303) if known else (200, 303, 400, 404, 409, 422)
            ), rule
        else:
            # The playground shows what limits do without Redis.
            refused = known and rule.endpoint != "rate_limit.fire"
            assert (
                answer.status_code == 503
                if refused
                else answer.status_code in (303, 400, 409, 422, 503)
            ), rule
            assert answer.status_code != 503 or answer.headers["Retry-After"] == "1"
        met.add(rule.endpoint)
    assert met >= {*FORMS, *BODIES}


@pytest.mark.parametrize("alone", USE_CASES)
def test_each_use_case_stands_alone(make_app: Callable[..., Flask], alone: str) -> None:
    web = make_app((alone,)).test_client()
    for path in ("/", f"/{alone.replace('_', '-')}/"):
        assert web.get(path).status_code == 200
    assert web.get("/").text.count('class="figure"') == 1
    if alone == "sessions":
        assert web.post("/sessions/login", data=FORMS["sessions.login"]).status_code == 303
        assert web.get("/sessions/").status_code == 200


def test_no_use_case_at_all_is_a_home_page(make_app: Callable[..., Flask]) -> None:
    assert make_app(()).test_client().get("/").status_code == 200


def test_the_banner_goes_when_redis_is_there(web: FlaskClient) -> None:
    for path in PAGES.values():
        assert AWAY_HIDDEN.search(web.get(path).text)


def test_every_static_file_of_a_page_is_there(web: FlaskClient) -> None:
    paths = {
        found
        for page in PAGES.values()
        for found in re.findall(r'"(/static/[^"]+)"', web.get(page).text)
    }
    assert len(paths) >= 3
    for path in paths:
        with web.get(path) as answer:
            assert answer.status_code == 200
            assert "immutable" in answer.headers["Cache-Control"]
            assert "Set-Cookie" not in answer.headers and "Cookie" not in answer.headers.get(
                "Vary", ""
            )


@pytest.mark.parametrize(("seconds", "trips"), [(60.0, 0), (-1.0, 3)])
def test_home_is_kept_for_a_while(
    app: Flask, monkeypatch: pytest.MonkeyPatch, seconds: float, trips: int
) -> None:
    monkeypatch.setattr("demo.teach.home.HOME_SECONDS", seconds)
    assert round_trips(app.test_client().get("/")) == 3
    again = app.test_client().get("/")
    assert round_trips(again) == trips and f"took {trips} round trips" in again.text


def test_home_shows_the_same_figures_whichever_worker_answers(
    make_app: Callable[..., Flask],
) -> None:
    """The sums of all workers once they have reported, with their time span; until then a worker's
    own, said to be so."""
    one, other = (make_app() for _ in range(2))
    assert one.test_client().get("/").text.count("this worker, since its start") == 3
    for app, visits in ((one, 2), (other, 3)):
        web = app.test_client()
        for _ in range(visits):
            web.get("/catalog/products/42")
        web.get("/monitor/", environ_base={"REMOTE_ADDR": "192.0.2.1"})
        app.extensions["services"].background.jobs["reports"].step(0)
    seen = []
    for app in (one, other):
        vars(part(Home, app))["kept"].clear()
        seen.append(
            re.findall(r'<div class="figure">.*?</div>', app.test_client().get("/").text, re.S)
        )
    assert seen[0][:4] == seen[1][:4]
    assert "Hit ratio, all workers, last 2 min" in seen[0][1]  # behind that of the lessons
    assert ">80 %<" in seen[0][1]  # one of five was a miss
    assert "this worker" not in "".join(seen[0])


def test_a_kept_home_is_not_for_one_who_has_pulled_the_plug(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.teach.home.HOME_SECONDS", 60)
    other, visitor = app.test_client(), app.test_client()
    assert "Redis does not answer" not in other.get("/").text
    visitor.post("/choices", data={"redis": "refused", "back": "/"})
    assert "Redis does not answer" in visitor.get("/").text
    assert "Redis does not answer" not in other.get("/").text


def test_a_kept_home_holds_nothing_of_a_visitor(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.teach.home.HOME_SECONDS", 60)
    visitor, other = app.test_client(), app.test_client()
    visitor.post("/sessions/login", data=FORMS["sessions.login"])
    assert ">mara<" in visitor.get("/").text
    page = other.get("/").text
    assert "mara" not in page and "Sessions resumed, this worker" in page


def test_every_lab_is_one_click_from_any_page_and_on_the_home_page(web: FlaskClient) -> None:
    labs = (
        *(f"/catalog/lab/{name}" for name in ("", "serializers/", "hashes/", "encryption/")),
        "/sessions/lab",
        "/monitor/eviction",
    )
    for path in ("/", "/rate-limit/", "/leaderboard/boards/main", "/api/", "/no-such-page"):
        page = web.get(path).text
        navigation = page.partition('aria-label="Use cases"')[2].partition("</nav>")[0]
        assert 'href="/#labs"' in navigation, path
        foot = page.partition("<footer")[2]
        assert all(f'href="{lab}"' in foot for lab in labs), path
    home = web.get("/").text.partition('id="labs"')[2].partition("</section>")[0]
    assert all(f'href="{lab}"' in home for lab in labs)
    assert all(web.get(lab).status_code == 200 for lab in labs)
