import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo import config
from demo.app import USE_CASES
from demo.config import ConfigError
from tests.browser.chromium import PAGES
from tests.conftest import round_trips

SAMPLES = {"product_id": "42", "board": "main", "player": "mara", "filename": "app.css", "version_asked": "x"}


def requests(app: Flask) -> list[tuple[str, str]]:
    """Every method and path of the app, with samples in the places of the variables."""
    found = []
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: SAMPLES[match[1]], rule.rule)
        found += [(method, path) for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})]
    return found


def test_home_names_every_use_case_with_a_figure(web: FlaskClient) -> None:
    page = web.get("/").text
    for name in USE_CASES:
        assert f'href="/{name.replace("_", "-")}/"' in page
    assert page.count('class="figure"') == len(USE_CASES)


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_every_page_comes_with_and_without_redis(app: Flask, away: Flask, path: str) -> None:
    expected = 404 if path in (PAGES["error"], PAGES["product-missing"]) else 200
    assert app.test_client().get(path).status_code == expected
    without = away.test_client().get(path)
    assert without.status_code == expected
    assert "<strong>Redis is away.</strong>" in away.test_client().get(path).text or path == PAGES["error"]


def test_no_request_is_a_500_with_or_without_redis_whatever_its_body(app: Flask, away: Flask) -> None:
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


def test_every_answer_bears_the_security_headers(web: FlaskClient) -> None:
    for path in ("/", "/no-such-page", "/catalog/api/products/42", "/catalog/images/3.svg", "/livez"):
        headers = web.get(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "Strict-Transport-Security" not in headers


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),  # a program
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, True),
        ({"Sec-Fetch-Site": "none"}, True),  # typed, or from a bookmark
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://other.localhost"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, False),
        ({"Origin": "http://localhost"}, True),  # plain http on a host name: no Sec-Fetch-Site
        ({"Origin": "http://localhost:81"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://[", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://["}, False),
    ],
)
def test_changes_that_another_site_asks_for_are_refused(web: FlaskClient, headers: dict[str, str], allowed: bool) -> None:
    login = web.post("/sessions/login", data={"name": "mara", "password": "correct horse"}, headers=headers)
    assert login.status_code == (303 if allowed else 403)
    patched = web.patch("/catalog/api/products/42", json={"stock": 3}, headers=headers)
    assert patched.status_code == (200 if allowed else 403)
    assert web.get("/sessions/", headers=headers).status_code == 200


def test_with_an_api_key_changes_need_it_and_reads_do_not(make_app: Callable[..., Flask]) -> None:
    web = make_app(API_KEY="s3cret").test_client()
    path = "/catalog/api/products/42"
    assert web.get(path).status_code == 200
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}, {"Authorization": "Bearer é"}):
        answer = web.patch(path, json={"stock": 1}, headers=headers)
        assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
    assert web.patch(path, json={"stock": 1}, headers={"Authorization": "Bearer s3cret"}).status_code == 200
    assert web.post("/sessions/login", data={"name": "x"}).status_code == 422


@pytest.mark.parametrize(
    ("path", "accept", "problem"),
    [
        ("/no-such-page", "text/html", False),
        ("/no-such-page", "text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("/no-such-page", "*/*", False),
        ("/no-such-page", "application/json", True),
        ("/no-such-page", "application/problem+json", True),
        ("/catalog/api/products/999999", "*/*", True),
        ("/catalog/api/products/999999", "text/html", True),
    ],
)
def test_errors_are_a_page_or_a_problem_by_accept(web: FlaskClient, path: str, accept: str, problem: bool) -> None:
    answer = web.get(path, headers={"Accept": accept})
    assert answer.status_code == 404
    assert answer.mimetype == ("application/problem+json" if problem else "text/html")
    if problem:
        assert set(answer.json) == {"type", "title", "status", "detail"}
        assert (answer.json["title"], answer.json["status"]) == ("Not Found", 404)


def test_other_errors_are_told_in_the_same_form(app: Flask) -> None:
    @app.get("/fails")
    def fails() -> str:
        raise RuntimeError("the secret inside")

    web = app.test_client()
    wrong_method = web.post("/livez")
    assert (wrong_method.status_code, "GET" in wrong_method.headers["Allow"]) == (405, True)
    assert web.post("/sessions/login", data="x" * 70_000).status_code == 413
    assert web.post("/rate-limit/api/hits", data="x" * 70_000).json["status"] == 413

    page = web.get("/fails")
    assert (page.status_code, page.mimetype) == (500, "text/html")
    assert "It was written down" in page.text and "secret inside" not in page.text and "Traceback" not in page.text
    assert web.get("/fails", headers={"Accept": "application/json"}).json["status"] == 500
    assert web.get("/catalog").status_code == 308


def test_static_files_are_named_by_their_content_and_kept_for_a_year(web: FlaskClient) -> None:
    page = web.get("/").text
    path = re.findall(r'href="(/static/[0-9a-f]{12}/app\.css)"', page)[0]
    with web.get(path) as answer:
        assert answer.status_code == 200
        assert {"max-age=31536000", "public", "immutable"} <= set(answer.headers["Cache-Control"].split(", "))
    with web.get("/static/000000000000/app.css") as old:
        assert (old.status_code, "immutable" in old.headers["Cache-Control"]) == (200, False)
    for hostile in ("/static/x/../../wsgi.py", "/static/x/..%2f..%2fwsgi.py", "/static/x/nothing.css", "/static/app.css"):
        assert web.get(hostile).status_code == 404


def test_the_xray_shows_each_command_and_can_be_switched_off(make_app: Callable[..., Flask]) -> None:
    web, without = make_app().test_client(), make_app(XRAY=False).test_client()
    web.get("/catalog/products/42")
    page = web.get("/catalog/products/42").text
    assert "1 round trip, 1 command" in page
    assert '<span class="op">GET</span> <span class="key">demo:catalog:{product:42}</span>' in page
    assert "demo/catalog/cache_aside.py:" in page
    bare = without.get("/catalog/products/42")
    assert "What Redis did</h2>" not in bare.text
    assert round_trips(bare) == 1


def test_the_request_before_a_redirect_is_shown_once(web: FlaskClient) -> None:
    web.post("/leaderboard/boards/main/scores", data={"player": "mara", "score": "5"})
    page = web.get("/leaderboard/boards/main").text
    assert "POST /leaderboard/boards/main/scores" in page
    assert "EVALSHA ranking.lua" in page
    assert "the request before" not in web.get("/leaderboard/boards/main").text


def test_the_xray_holds_no_secret(web: FlaskClient) -> None:
    answer = web.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
    cookie = web.get_cookie("session")
    assert cookie
    page = web.get("/sessions/").text
    panel = page.split('class="card xray"')[1].split("</aside>")[0]
    assert "EVALSHA session_store.lua" in panel and "••••" in panel
    assert cookie.value not in page and cookie.value not in str(answer.headers.getlist("Location"))
    assert "correct" not in panel and "mara" not in panel
    assert not re.search(r"demo:sessions:\{[0-9a-f]{9}", page)


def test_a_name_that_looks_like_the_panels_place_changes_nothing(web: FlaskClient) -> None:
    web.post("/leaderboard/api/boards/main/scores", json={"player": "<!--xray-->", "score": 1})
    page = web.get("/leaderboard/boards/main").text
    assert page.count("What Redis did</h2>") == 1
    assert "&lt;!--xray--&gt;" in page


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("DEMO_POOL_SIZE", "0", "DEMO_POOL_SIZE has to be from 1 to"),
        ("DEMO_POOL_SIZE", "many", "DEMO_POOL_SIZE is wrong"),
        ("DEMO_POOL_SIZE", "1.5", "DEMO_POOL_SIZE is wrong"),
        ("DEMO_XRAY", "maybe", "DEMO_XRAY is wrong"),
        ("DEMO_RATE_LIMITS", "{", "DEMO_RATE_LIMITS is wrong"),
        ("DEMO_DB_LATENCY_MS", "-1", "DEMO_DB_LATENCY_MS has to be"),
        ("DEMO_COLOUR", "red", "DEMO_COLOUR is no setting"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(variable: str, value: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        config.load(environ={variable: value})


def test_settings_come_from_the_environment_and_overrides_win() -> None:
    environ = {
        "DEMO_POOL_SIZE": "7",
        "DEMO_RATE_LIMITS": "{}",
        "DEMO_XRAY": "false",
        "SECRET_KEY": "123",
        "DEMO_PRODUCTS": "",
    }
    values = config.load({"POOL_SIZE": 9}, environ)
    assert (values["POOL_SIZE"], values["RATE_LIMITS"], values["XRAY"], values["SECRET_KEY"]) == (9, {}, False, "123")
    assert values["PRODUCTS"] == 10_000
    with pytest.raises(ConfigError, match="COLOUR is no setting"):
        config.load({"COLOUR": "red"}, {})


def test_the_secret_key_is_made_once_for_all_who_start_at_once(tmp_path: Path) -> None:
    keys: list[str] = []
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        keys.append(config.secret_key(tmp_path / "instance"))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1 and len(keys[0]) == 64
    folder = tmp_path / "instance"
    assert [path.name for path in folder.iterdir()] == ["secret_key"]
    assert stat.S_IMODE((folder / "secret_key").stat().st_mode) == 0o600


def test_a_secret_key_that_cannot_be_kept_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="SECRET_KEY is not set"):
        config.secret_key(tmp_path / "file" / "instance")
