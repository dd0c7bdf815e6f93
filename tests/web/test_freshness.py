"""Every answer says how long it is good for, and on what it depends: no proxy has to guess."""

import http.client
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.catalog import products
from demo.catalog.cached_catalog import groups_of
from tests import proxies
from tests.sessions.visitors import GOOD
from tests.walking import requests

MakeApp = Callable[..., Flask]
BOARD = "/leaderboard/api/boards/main"
HITS = "/rate-limit/api/hits"
KEPT = ("/catalog/images/", "/static/")
NOT_KEPT = (
    *("/livez", "/readyz", "/metrics", "/rate-limit/", "/sessions/api/", "/turns/"),
    *("/sessions/second-device", "/catalog/lab/encryption/"),
)


def asked(app: Flask) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Each method of each address as programs and browsers ask, and what goes wrong."""
    everything = [*requests(app), ("GET", "/no-such-page"), ("POST", "/livez"), ("GET", "/catalog")]
    for method, path in everything:
        if path.endswith("/stream"):
            continue
        for headers in ({}, {"Accept": "application/json"}, {"Sec-Fetch-Site": "cross-site"}):
            yield method, path, headers
    for method in ("OPTIONS", "HEAD"):
        yield method, "/catalog/", {}
    yield "GET", "/catalog/api/products?limit=x", {}
    yield "GET", "/catalog/api/products/42", {"If-None-Match": "*"}
    yield "GET", "/catalog/api/products/42", {"If-Match": '"x"'}
    yield "HEAD", f"{BOARD}/stream", {}


def expected(method: str, path: str, status: int) -> set[str]:
    """What Cache-Control may say."""
    if method not in ("GET", "HEAD") or status not in (200, 304):
        return {"no-store"}
    if path.startswith(NOT_KEPT) or path.endswith("/stream"):
        return {"no-store", "private, no-store", "no-store, private"}
    if path.startswith(KEPT):
        return {"public, max-age=86400", "no-cache, max-age=0", "no-cache"}
    return {"no-cache"}


@pytest.mark.usefixtures("no_runs")
@pytest.mark.parametrize("tested", ["app", "away"])
def test_every_answer_says_whether_it_may_be_kept(
    request: pytest.FixtureRequest, tested: str
) -> None:
    app: Flask = request.getfixturevalue(tested)
    web, statuses = app.test_client(use_cookies=False), set()
    for method, path, headers in asked(app):
        with web.open(path, method=method, headers=headers) as answer:
            said = answer.headers.getlist("Cache-Control")
            statuses.add(answer.status_code)
            allowed = expected(method, path, answer.status_code)
            if tested == "away":  # pages with their banner are of this moment
                allowed |= {"private, no-store"}
            assert len(said) == 1 and said[0] in allowed, (method, path, said)
            assert ("ETag" in answer.headers) == (
                answer.status_code in (200, 304) and "no-store" not in said[0]
            ), (method, path)
            assert set(answer.vary) <= vary_of(path, answer), (method, path, answer.vary)
    assert statuses >= {200, 303, 403, 404, 405, 422, 308}


def vary_of(path: str, answer: Any) -> set[str]:
    """What an answer may depend on: what it does depend on is the next tests' matter."""
    of_errors = {"Accept"} if answer.status_code >= 400 and "/api/" not in path else set()
    packed = {"Accept-Encoding"} if path.startswith(("/catalog/", "/static/")) else set()
    api = "/api/" in path and path != "/api/" and not path.startswith("/sessions/")
    return of_errors | packed | (set() if api else {"Cookie"})


@pytest.mark.parametrize(
    "path", ["/", "/catalog/", "/catalog/products/42", f"{BOARD}", "/sessions/"]
)
@pytest.mark.parametrize("xray", [True, False])
def test_what_one_visitor_is_shown_is_kept_by_nobody(
    make_app: MakeApp, path: str, xray: bool
) -> None:
    app = make_app(XRAY=xray)
    web = app.test_client()
    before = web.get(path)
    web.post("/sessions/login", data=GOOD)
    after = web.get(path)
    is_page = after.mimetype == "text/html"
    assert after.headers["Cache-Control"] == ("private, no-store" if is_page else "no-cache")
    assert before.headers["Cache-Control"] == "no-cache"
    assert before.headers.get("Vary") == after.headers.get("Vary")
    assert ("Cookie" in after.vary) == is_page


def test_all_forms_of_one_address_depend_on_the_same(make_app: MakeApp) -> None:
    for xray in (True, False):
        web = make_app(XRAY=xray).test_client()
        for path in ("/catalog/products/42", "/catalog/"):
            forms = [{}, {"Accept-Encoding": "gzip"}, {"Cookie": "a=b"}, {"If-None-Match": "*"}]
            assert {tuple(sorted(web.get(path, headers=h).vary)) for h in forms} == {
                ("Accept-Encoding", "Cookie")
            }


def test_on_a_public_host_the_operators_figures_depend_on_the_token(make_app: MakeApp) -> None:
    public = {"PUBLIC": True, "SECURE_COOKIES": True, "ORIGIN": "https://localhost"}
    web = make_app(METRICS_TOKEN="token", **public).test_client()
    page = web.get("/monitor/", base_url="https://localhost")
    assert "Authorization" in page.vary


def test_below_a_path_answers_depend_on_where_that_is(make_app: MakeApp) -> None:
    web = make_app(TRUSTED_PROXIES=1).test_client()
    for path in ("/", "/catalog/api/products/42", "/openapi.json", BOARD):
        for headers in ({}, {"X-Forwarded-Prefix": "/demo"}):
            assert "X-Forwarded-Prefix" in web.get(path, headers=headers).vary, path


def test_an_answer_names_its_groups_and_a_change_those_that_it_makes_old(
    web: FlaskClient,
) -> None:
    def groups(path: str, name: str = "Cache-Groups") -> set[str]:
        return set(re.findall(r'"([^"]+)"', web.get(path).headers[name]))

    changed = web.patch("/catalog/api/products/42", json={"stock": 3})
    old = set(re.findall(r'"([^"]+)"', changed.headers["Cache-Group-Invalidation"]))
    category = products.category_of(42)
    sibling = next(each for each in products.block_of(42) if each != 42)
    for path in (
        "/catalog/api/products/42",
        "/catalog/products/42",
        f"/catalog/products/{sibling}",  # shows it among the related
        f"/catalog/?category={category}",
        f"/catalog/api/products?category={category}",
        "/catalog/api/products",
        "/catalog/api/products?ids=41,42",
    ):
        assert groups(path) & old, path
    for path in ("/catalog/api/products/43", "/catalog/?category=books", "/catalog/products/41"):
        assert not groups(path) & old, path
    assert f"category-{category}" in groups("/catalog/api/products/42")
    for form in ("price", "buy"):
        answer = web.post(f"/catalog/products/42/{form}", data={"price": "5"})
        assert (
            answer.headers["Cache-Group-Invalidation"]
            == changed.headers["Cache-Group-Invalidation"]
        )
    by_hand = web.post("/catalog/api/invalidations", json={"product": 42})
    assert by_hand.headers["Cache-Group-Invalidation"] == '"product-42"'
    by_hand = web.post("/catalog/api/invalidations", json={"category": "lamps"})
    assert by_hand.headers["Cache-Group-Invalidation"] == '"category-lamps", "list-all"'
    refused = web.patch("/catalog/api/products/42", json={"stock": -3})
    assert "Cache-Group-Invalidation" not in refused.headers


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/catalog/api/products/42", set()),
        ("/catalog/products/42", {"xray"}),
        ("/catalog/", {"category", "q", "page", "xray"}),
        ("/catalog/api/products", {"category", "q", "limit", "offset", "ids"}),
        (BOARD, {"period", "cursor", "offset", "limit"}),
        (f"{BOARD}/players/mara", {"period", "around"}),
    ],
)
def test_parameters_that_change_nothing_are_told_and_change_nothing(
    make_app: MakeApp, path: str, names: set[str]
) -> None:
    web = make_app(XRAY=False).test_client()
    web.post(f"{BOARD}/scores", json={"player": "mara", "score": 5})
    plain = web.get(path)
    told = plain.headers["No-Vary-Search"]
    assert set(re.findall(r'"([^"]+)"', told)) == names and "params" in told
    other = web.get(f"{path}?utm_source=x&a=b&a=c")
    assert other.headers["No-Vary-Search"] == told
    if path != "/catalog/":
        assert other.data == plain.data and other.headers["ETag"] == plain.headers["ETag"]


def test_who_refuses_unknown_parameters_does_not_say_that_they_change_nothing(
    web: FlaskClient,
) -> None:
    assert "No-Vary-Search" not in web.get(f"{HITS}?identity=me").headers
    assert web.get(f"{HITS}?identity=me&utm_source=x").status_code == 422


def ask(url: str, path: str, method: str = "GET", body: Any = None) -> Any:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    try:
        connection.request(method, path, json.dumps(body) if body else None)
        answer = connection.getresponse()
        answer.body = answer.read()  # type: ignore[attr-defined]
        return answer
    finally:
        connection.close()


def came_from_the_proxy(answer: Any) -> bool:
    """Whether the app was not asked."""
    hit = len(answer.headers.get("X-Varnish", "").split()) == 2
    return (
        hit
        or answer.headers.get("X-Cache") == "HIT"
        or "Age" in answer.headers
        and (int(answer.headers["Age"]) > 0)
    )


@pytest.mark.usefixtures("no_runs")
@pytest.mark.parametrize("name", proxies.PROXIES)
def test_a_real_proxy_shows_nothing_old(make_app: MakeApp, name: str) -> None:
    app = make_app(TRUSTED_PROXIES=1, RATE_LIMITS={})
    with proxies.listening(app) as inner, proxies.PROXIES[name](inner) as url:
        for score in (5, 6):
            ask(url, f"{BOARD}/scores", "POST", {"player": "mara", "score": score})
            entries = json.loads(ask(url, BOARD).body)["entries"]
            assert [row["score"] for row in entries] == [score]
            hit = {"identity": "me", "limit": 9, "window_seconds": 60}
            left = json.loads(ask(url, HITS, "POST", hit).body)["remaining"]
            peeked = ask(url, f"{HITS}?identity=me&limit=9&window_seconds=60")
            assert json.loads(peeked.body)["remaining"] == left
            ask(url, "/catalog/api/products/42", "PATCH", {"stock": score})
            assert json.loads(ask(url, "/catalog/api/products/42").body)["stock"] == score
        paths = ["/", "/catalog/", "/leaderboard/boards/main", "/rate-limit/", "/sessions/api/me"]
        paths += ["/no-such-page", "/livez", "/openapi.json", "/analytics/", "/monitor/"]
        for path in paths:
            assert not any(came_from_the_proxy(ask(url, path)) for _ in range(2)), path
        image = [ask(url, "/catalog/images/42.svg") for _ in range(2)][1]
        assert came_from_the_proxy(image) == (name != "caddy")


def test_the_groups_are_those_of_the_cache(app: Flask) -> None:
    """What the header names goes when the cache's own groups go."""
    assert set(groups_of(42)) <= {
        group.removeprefix("category-")
        for group in re.findall(
            r'"([^"]+)"', app.test_client().get("/catalog/products/42").headers["Cache-Groups"]
        )
    }


BY_GROUPS = """vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{port}"; }}
sub vcl_backend_response {{
  if (bereq.method == "GET" && beresp.status == 200 && beresp.http.Cache-Groups) {{
    set beresp.http.Groups = "," + regsuball(beresp.http.Cache-Groups, {{"["" ]"}}, "") + ",";
    set beresp.ttl = 1h;
    return (deliver);
  }}
  if (beresp.status < 400 && beresp.http.Cache-Group-Invalidation) {{
    ban("obj.http.Groups ~ ,(" + regsuball(
      regsuball(beresp.http.Cache-Group-Invalidation, {{"["" ]"}}, ""), ",", "|") + "),");
  }}
}}
"""


def test_a_cache_that_knows_groups_keeps_for_an_hour_and_shows_nothing_old(
    make_app: MakeApp,
) -> None:
    """Varnish, taught RFC 9875 in a few lines: what a change names is what it makes old."""
    category = products.category_of(42)
    sibling = next(each for each in products.block_of(42) if each != 42)
    shows = ["/catalog/api/products/42", f"/catalog/api/products?category={category}"]
    shows += ["/catalog/api/products?limit=100", f"/catalog/products/{sibling}?xray=0"]
    others = ["/catalog/api/products/43", "/catalog/api/products?category=books"]
    with proxies.listening(make_app(RATE_LIMITS={})) as app:
        config = BY_GROUPS.format(port=app.rpartition(":")[2])
        with proxies.varnish(app, config) as url:
            for path in (*shows, *others):
                ask(url, path)
                assert came_from_the_proxy(ask(url, path)), path
            ask(url, "/catalog/api/products/42", "PATCH", {"price_cents": 4242, "name": "New"})
            for path in shows:
                answer = ask(url, path)
                assert not came_from_the_proxy(answer), path
                assert b"4242" in answer.body or b"42.42" in answer.body or b"New" in answer.body
            assert all(came_from_the_proxy(ask(url, path)) for path in others)
