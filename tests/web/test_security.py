from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.web.cookies import SESSION
from demo.web.security import HEADERS, SAFE_METHODS, is_own_path
from tests.test_app import requests

LOGIN = {"name": "mara", "password": "correct horse"}


def test_every_answer_bears_the_security_headers(web: FlaskClient) -> None:
    for path in (
        "/",
        "/no-such-page",
        "/catalog/api/products/42",
        "/catalog/images/3.svg",
        "/livez",
    ):
        headers = web.get(path).headers
        assert headers["Content-Security-Policy"].startswith(
            "default-src 'none'; script-src 'self'"
        )
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "Strict-Transport-Security" not in headers


def test_a_browser_is_told_exactly_this(app: Flask) -> None:
    """Word by word, and once each: a source more, or a frame, is a hole."""
    answered = app.test_client().get("/livez").headers
    told = dict(answered)
    assert all(len(answered.getlist(name)) == 1 for name in HEADERS)
    policy = {
        **dict.fromkeys(("default-src", "base-uri", "frame-ancestors"), "'none'"),
        **dict.fromkeys(
            ("script-src", "style-src", "img-src", "connect-src", "form-action"), "'self'"
        ),
    }
    directives = [each.strip().partition(" ") for each in HEADERS[CSP].split(";")]
    assert {name: value for name, _, value in directives} == policy
    assert told.items() >= {CSP: HEADERS[CSP], **OTHERS}.items() and HEADERS.keys() == {
        CSP,
        *OTHERS,
    }


CSP = "Content-Security-Policy"
OTHERS = {
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "LINK", "post"])
def test_whatever_is_no_reading_is_a_change(app: Flask, method: str) -> None:
    """Also where no view takes it: whether one does is not told to another site."""
    headers = {"Sec-Fetch-Site": "cross-site"}
    web = app.test_client()
    assert web.open("/sessions/cart", method=method, headers=headers).status_code == 403
    for reading in ("GET", "HEAD", "OPTIONS"):
        answer = web.open("/sessions/", method=reading, headers=headers)
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/", True),
        ("/catalog/?q=a%20b", True),
        ("/é", True),
        ("", False),
        ("catalog/", False),
        ("https://evil.example/", False),
        ("//evil.example/", False),
        ("/\\evil.example/", False),
        ("/\tevil", False),
        ("/a\nb", False),
        ("/\u202eevil", False),
        ("/" + "a" * 511, True),
        ("/" + "a" * 512, False),
    ],
)
def test_a_path_of_this_site(path: str, own: bool) -> None:
    assert is_own_path(path) is own


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
def test_changes_that_another_site_asks_for_are_refused(
    web: FlaskClient, headers: dict[str, str], allowed: bool
) -> None:
    login = web.post(
        "/sessions/login", data={"name": "mara", "password": "correct horse"}, headers=headers
    )
    assert login.status_code == (303 if allowed else 403)
    patched = web.patch("/catalog/api/products/42", json={"stock": 3}, headers=headers)
    assert patched.status_code == (200 if allowed else 403)
    assert web.get("/sessions/", headers=headers).status_code == 200


def test_with_an_api_key_changes_need_it_and_reads_do_not(make_app: Callable[..., Flask]) -> None:
    web = make_app(API_KEY="s3cret").test_client()
    path = "/catalog/api/products/42"
    assert web.get(path).status_code == 200
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "s3cret"},
        {"Authorization": "Bearer é"},
    ):
        answer = web.patch(path, json={"stock": 1}, headers=headers)
        assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
    assert (
        web.patch(path, json={"stock": 1}, headers={"Authorization": "Bearer s3cret"}).status_code
        == 200
    )
    assert web.post("/sessions/login", data={"name": "x"}).status_code == 422


@pytest.mark.usefixtures("no_runs")
@pytest.mark.parametrize("tested", ["app", "away"])
def test_no_answer_of_any_address_lacks_a_security_header(
    request: pytest.FixtureRequest, tested: str
) -> None:
    app: Flask = request.getfixturevalue(tested)
    web, codes = app.test_client(), set()
    for method, path in [
        *requests(app),
        ("GET", "/no-such-page"),
        ("POST", "/livez"),
        ("OPTIONS", "/"),
        ("HEAD", "/"),
    ]:
        for headers in ({}, {"Accept": "application/json"}, {"Sec-Fetch-Site": "cross-site"}):
            with web.open(path, method=method, headers=headers) as answer:
                assert {name: answer.headers.getlist(name) for name in HEADERS} == {
                    name: [value] for name, value in HEADERS.items()
                }, (method, path)
                codes.add(answer.status_code)
    assert codes >= {200, 403, 404, 405, 422}


def test_an_error_of_ours_and_a_refused_body_bear_them_too(app: Flask) -> None:
    @app.get("/fails")
    def fails() -> str:
        raise RuntimeError

    web = app.test_client()
    for answer in (
        web.get("/fails"),
        web.post("/sessions/login", data="x" * 70_000),
        web.get("/catalog"),
    ):
        assert answer.status_code in (500, 413, 308)
        assert set(HEADERS) <= set(answer.headers.keys())


@pytest.mark.parametrize("path", ["/", "/no-such-page", "/livez", "/catalog/api/products/42"])
def test_transport_security_is_asked_for_where_cookies_are_secure(
    make_app: Callable[..., Flask], path: str
) -> None:
    assert (
        make_app(SECURE_COOKIES=True).test_client().get(path).headers["Strict-Transport-Security"]
        == "max-age=31536000"
    )


@pytest.mark.parametrize("tested", ["app", "away"])
def test_no_address_takes_a_change_from_another_site(
    request: pytest.FixtureRequest, tested: str
) -> None:
    app: Flask = request.getfixturevalue(tested)
    changes = [(method, path) for method, path in requests(app) if method not in SAFE_METHODS]
    assert len(changes) > 8
    for method, path in changes:
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
            assert (
                app.test_client().open(path, method=method, headers=headers).status_code == 403
            ), (method, path)


def test_a_refused_change_changes_nothing(web: FlaskClient) -> None:
    before = web.get("/catalog/api/products/42").json
    refused = web.patch(
        "/catalog/api/products/42", json={"stock": 987}, headers={"Sec-Fetch-Site": "same-site"}
    )
    assert (refused.status_code, refused.json["status"]) == (403, 403)
    web.post("/sessions/login", data=LOGIN, headers={"Origin": "null"})
    assert web.get("/catalog/api/products/42").json == before
    assert web.get_cookie(SESSION) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_another_site_may_link_here(web: FlaskClient, method: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert web.open("/sessions/", method=method, headers=headers).status_code == 200


def test_an_origin_without_a_host_is_not_ours_even_where_our_own_host_cannot_be_told(
    web: FlaskClient,
) -> None:
    for host in ("a_b.example", "bad host", "é"):
        for origin in ("null", "", "http://", "about:blank"):
            answer = web.post(
                "/sessions/login", data=LOGIN, headers={"Host": host, "Origin": origin}
            )
            assert answer.status_code == 403, (host, origin)


def test_behind_a_trusted_proxy_the_host_is_the_one_that_the_browser_asked(
    make_app: Callable[..., Flask],
) -> None:
    headers = {
        "Origin": "https://shop.example",
        "X-Forwarded-Host": "shop.example",
        "X-Forwarded-Proto": "https",
    }
    for proxies, code in ((0, 403), (1, 422)):
        web = make_app(TRUSTED_PROXIES=proxies).test_client()
        assert web.post("/sessions/login", data={"name": "x"}, headers=headers).status_code == code


def test_with_an_api_key_no_change_of_the_api_passes_without_it(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(API_KEY="s3cret")
    changes = [
        (method, path)
        for method, path in requests(app)
        if method not in SAFE_METHODS and "/api/" in path
    ]
    assert len(changes) >= 4
    right = {"Authorization": "Bearer s3cret"}
    for method, path in changes:
        for headers in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "Bearer s3crets"}):
            answer = app.test_client().open(path, method=method, headers=headers)
            assert (answer.status_code, answer.json["status"]) == (401, 401), (method, path)
            assert "s3cret" not in answer.text
        assert app.test_client().open(path, method=method, headers=right).status_code != 401


def test_the_right_key_does_not_excuse_another_site(make_app: Callable[..., Flask]) -> None:
    headers = {"Authorization": "Bearer s3cret", "Sec-Fetch-Site": "cross-site"}
    web = make_app(API_KEY="s3cret").test_client()
    assert (
        web.patch("/catalog/api/products/42", json={"stock": 1}, headers=headers).status_code == 403
    )


def test_a_host_with_an_underscore_takes_its_own_forms(web: FlaskClient) -> None:
    own = {"Host": "my_app.example", "Origin": "http://my_app.example"}
    assert web.post("/sessions/login", data={"name": "x"}, headers=own).status_code == 422
    assert (
        web.post(
            "/sessions/login", data={"name": "x"}, headers={**own, "Origin": "http://evil.example"}
        ).status_code
        == 403
    )
