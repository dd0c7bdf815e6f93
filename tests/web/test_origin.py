"""Which links bear which host, and which Origin is ours."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo import config
from demo.observe.origins import canonical

MakeApp = Callable[..., Flask]
LOGIN = {"name": "mara", "password": "correct horse"}
OURS = "https://demo.example.org"
EVIL = "evil.example"
PROXIED = {"X-Forwarded-Host": "shop.example", "X-Forwarded-Proto": "https"}


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("https://demo.example.org", OURS),
        ("https://Demo.Example.ORG:443", OURS),
        ("http://demo.example.org:80", "http://demo.example.org"),
        ("https://demo.example.org:8443", f"{OURS}:8443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://my_app.example", "http://my_app.example"),
        ("https://demo.example.org/", None),
        ("https://demo.example.org/app", None),
        ("https://demo.example.org?", None),
        ("https://me@demo.example.org", None),
        ("https://demo.example.org:99999", None),
        ("https://demo.example.org:x", None),
        ("https://", None),
        ("ftp://demo.example.org", None),
        ("demo.example.org", None),
        ("http://[", None),
        ("http://bad host", None),
        ("null", None),
        ("", None),
    ],
)
def test_an_origin_has_one_form(text: str, form: str | None) -> None:
    assert canonical(text) == form
    if form is None and text:
        with pytest.raises(config.ConfigError, match="DEMO_ORIGIN must be a scheme and a host"):
            config.load({}, {"DEMO_ORIGIN": text})
    else:
        assert config.load({}, {"DEMO_ORIGIN": text})["ORIGIN"] == (form or "")


def second_device(web: FlaskClient, **at: Any) -> str:
    """The link that the page of devices shows."""
    web.post("/sessions/login", data=LOGIN, **at)
    assert web.post("/sessions/devices/link", **at).status_code == 303
    found = re.search(
        r'(?:readonly value|href)="([^"]*/sessions/second-device[^"]*)"',
        web.get("/sessions/devices", **at).text,
    )
    assert found
    return found[1].partition("/sessions")[0]


@pytest.mark.parametrize(
    ("settings", "headers", "shown"),
    [
        ({}, {"Host": EVIL}, ""),
        ({}, {"Host": EVIL, "X-Forwarded-Host": EVIL}, ""),
        ({}, {"Host": f"127.0.0.1.{EVIL}"}, ""),
        ({}, {"Host": "127.0.0.1:8000"}, "http://127.0.0.1:8000"),
        ({}, {"Host": "localhost:8000"}, "http://localhost:8000"),
        ({}, {"Host": "localhost:8000", **PROXIED}, "http://localhost:8000"),
        ({"TRUSTED_PROXIES": 1}, {"Host": "web:8000", **PROXIED}, "https://shop.example"),
        ({"ORIGIN": OURS}, {"Host": "demo.example.org"}, OURS),
        ({"ORIGIN": OURS}, {"Host": "DEMO.example.org:443"}, OURS),
    ],
)
def test_links_that_leave_the_page_bear_a_host_that_is_known(
    make_app: MakeApp, settings: dict[str, Any], headers: dict[str, str], shown: str
) -> None:
    web = make_app(**settings).test_client()
    host = headers["Host"] if not settings.get("TRUSTED_PROXIES") else "shop.example"
    scheme = "https" if settings else "http"
    at = {"headers": headers, "base_url": f"{scheme}://{host}"}
    assert second_device(web, **at) == shown
    board = web.get("/leaderboard/boards/main", **at).text
    assert f"curl -N {shown or 'https://…'}/leaderboard/api/boards/main/stream" in board
    assert EVIL not in board


def test_a_redirect_to_the_right_address_names_no_host(web: FlaskClient) -> None:
    answer = web.get("/catalog?q=a%20b", headers={"Host": EVIL})
    assert (answer.status_code, answer.headers["Location"]) == (308, "/catalog/?q=a%20b")
    answer = web.get(f"//{EVIL}//catalog", headers={"Host": EVIL})
    assert not answer.headers.get("Location", "").startswith(("//", "http"))


def test_no_page_repeats_the_host_that_a_client_made_up(make_app: MakeApp) -> None:
    app = make_app()
    web, seen = app.test_client(), 0
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and not rule.arguments and rule.rule != "/metrics":
            with web.get(rule.rule, headers={"Host": EVIL}) as answer:
                assert EVIL not in answer.text + str(answer.headers), rule.rule
                seen += 1
    assert seen > 20


@pytest.mark.parametrize(
    ("settings", "headers", "allowed"),
    [
        ({}, {"Origin": "http://localhost"}, True),
        ({}, {"Origin": "http://LOCALHOST:80"}, True),
        ({}, {"Origin": "https://localhost"}, False),  # the scheme counts
        ({}, {"Origin": "https://localhost", "Sec-Fetch-Site": "same-origin"}, True),
        ({"ORIGIN": OURS}, {"Host": "demo.example.org", "Origin": OURS}, True),
        ({"ORIGIN": OURS}, {"Host": "demo.example.org", "Origin": f"{OURS}:443"}, True),
        (
            {"ORIGIN": OURS},
            {"Host": "demo.example.org", "Origin": "http://demo.example.org"},
            False,
        ),
        ({"ORIGIN": OURS}, {"Host": "demo.example.org", "Origin": f"{OURS}:8443"}, False),
        ({"ORIGIN": OURS}, {"Host": "demo.example.org", "Origin": f"https://{EVIL}"}, False),
        ({"TRUSTED_PROXIES": 1}, {"Origin": "https://shop.example", **PROXIED}, True),
        ({"TRUSTED_PROXIES": 1}, {"Origin": "http://shop.example", **PROXIED}, False),
    ],
)
def test_the_scheme_of_an_origin_counts(
    make_app: MakeApp, settings: dict[str, Any], headers: dict[str, str], allowed: bool
) -> None:
    web = make_app(**settings).test_client()
    answer = web.post("/sessions/login", data={"name": "x"}, headers=headers)
    assert answer.status_code == (422 if allowed else 403)


@pytest.mark.parametrize(
    "path", ["/", "/catalog/products/7", "/catalog/api/products/7", "/nowhere"]
)
@pytest.mark.parametrize(
    "host", [EVIL, "demo.example.org:80", "demo.example.org.", "", "127.0.0.1"]
)
@pytest.mark.parametrize("xray", [True, False])
def test_with_an_origin_another_host_is_misdirected(
    make_app: MakeApp, path: str, host: str, xray: bool
) -> None:
    web = make_app(ORIGIN=OURS, XRAY=xray).test_client()
    for _ in range(2):  # an answer that is kept is for no other host either
        assert web.get(path, headers={"Host": "demo.example.org"}).status_code in (200, 404)
        refused = web.get(path, headers={"Host": host})
        assert refused.status_code == 421
        assert f"This site is available only at {OURS}." in refused.text
        assert EVIL not in refused.text
    for asked_by_address in ("/livez", "/readyz", "/metrics"):
        with web.get(asked_by_address, headers={"Host": host}) as answer:
            assert answer.status_code == 200


def test_the_description_of_the_api_names_the_origin(make_app: MakeApp) -> None:
    at = {"headers": {"Host": "demo.example.org"}}
    described = make_app(ORIGIN=OURS).test_client().get("/openapi.json", **at)
    assert described.json["servers"] == [{"url": OURS}]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_form_leads_back_though_a_proxy_speaks_tls(web: FlaskClient, scheme: str) -> None:
    at = {"Referer": f"{scheme}://localhost/rate-limit/?limit=3", "Sec-Fetch-Site": "same-origin"}
    there = web.post("/choices", data={"redis": "readonly"}, headers=at)
    assert (there.status_code, there.headers["Location"]) == (303, "/rate-limit/?limit=3")
