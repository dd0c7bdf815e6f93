"""Behind real proxies, and with what they send: one address for all who read it, and each link
below the place where the app begins."""

import http.client
import json
import logging
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

import pytest
from flask import Flask, request

from demo.analytics.collector import Collector
from demo.web.cookies import SESSION
from demo.web.services import part
from tests import proxies
from tests.sessions.visitors import GOOD
from tests.walking import requests

MakeApp = Callable[..., Flask]
ADDRESSES = {
    "203.0.113.9": "203.0.113.9",
    "203.0.113.9:51234": "203.0.113.9",
    "[::ffff:203.0.113.9]:443": "203.0.113.9",
    "2001:db8::9": "2001:db8::9",
    "[2001:db8::9]": "2001:db8::9",
    "[2001:db8::9]:51234": "2001:db8::9",
    "fe80::9%eth0": "fe80::9",
    "[fe80::9%25eth0]:51234": "fe80::9",
}
SAME = {
    one: [text for text, plain in ADDRESSES.items() if plain == one]
    for one in set(ADDRESSES.values())
}


@pytest.mark.parametrize(("sent", "plain"), ADDRESSES.items())
def test_an_address_is_read_alike_by_all_who_read_it(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, sent: str, plain: str
) -> None:
    wide = {"203.0.113.9": "203.0.113.x", "2001:db8::9": "2001:db8::…", "fe80::9": "fe80::…"}[plain]
    bits = "32" if "." in plain else "128"
    app = make_app(TRUSTED_PROXIES=1, METRICS_ALLOW=[f"{plain}/{bits}"])
    web, through = app.test_client(), {"X-Forwarded-For": sent}
    with caplog.at_level(logging.INFO, "demo.requests"):
        page = web.get("/rate-limit/", headers=through)
    (line,) = [record for record in caplog.records if record.name == "demo.requests"]
    assert line.figures["client"] == wide  # type: ignore[attr-defined]
    shown = plain if "." in plain else plain.replace("::9", "::/64")
    assert shown in page.text
    assert web.get("/metrics", headers=through).status_code == 200
    web.post("/sessions/login", data=GOOD, headers=through)
    (device,) = web.get("/sessions/api/devices", headers=through).json
    assert device["address"] == wide
    with app.test_client() as seen:
        seen.get("/livez", headers=through)
        assert request.remote_addr == plain


def test_who_comes_by_several_ports_is_one_caller_and_one_visitor(make_app: MakeApp) -> None:
    app = make_app(TRUSTED_PROXIES=1)
    web = app.test_client()
    for plain, texts in SAME.items():
        left = []
        for text in texts:
            hit = {"identity": plain, "limit": 9, "window_seconds": 60}
            answer = web.post("/rate-limit/api/hits", json=hit, headers={"X-Forwarded-For": text})
            left.append(answer.json["remaining"])
            web.get("/catalog/", headers={"X-Forwarded-For": text})
        assert left == list(range(8, 8 - len(texts), -1))
    part(Collector, app).flush()
    figures = web.get("/analytics/api/dashboard").json
    assert figures["buckets"][-1]["views"] == len(ADDRESSES)
    collector = part(Collector, app)
    assert collector.presence.count(collector.now()) == len(SAME)


class Addresses(HTMLParser):
    """Every address that a page names: whatever attribute it stands in that is not for reading."""

    WORDS = ("value", "placeholder", "aria-label", "title", "alt")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.found += [
            value for name, value in given.items() if value[:1] == "/" and name not in self.WORDS
        ]
        if given.get("name") in ("back", "next"):
            self.found.append(given.get("value", "/demo/"))
        refresh = re.search(r"url=(/\S*)", given.get("content", ""))
        self.found += [refresh[1]] if refresh else []


def foreign(answer: Any) -> list[str]:
    """The addresses of an answer that leave the place where the app begins."""
    found = [answer.headers["Location"]] if "Location" in answer.headers else []
    if answer.mimetype == "text/html":
        found += Addresses(answer.text).found
    if answer.mimetype == "application/json":
        found += re.findall(r'"(?:image_url|url)":"([^"]*)"', answer.text)
    paths = [urlsplit(address).path for address in found]
    return [path for path in paths if path[:1] == "/" and not f"{path}/".startswith("/demo/")]


@pytest.mark.usefixtures("no_runs")
def test_every_link_of_every_page_stays_below_the_place_where_the_app_begins(
    make_app: MakeApp,
) -> None:
    app = make_app(TRUSTED_PROXIES=1, RATE_LIMITS={})
    web = app.test_client()
    web.get("/catalog/products/42")  # at the root, first: its bytes are others'
    web.post("/sessions/login", data=GOOD)
    web.environ_base["HTTP_X_FORWARDED_PREFIX"] = "/demo"
    forms = {
        "/sessions/cart": {"product": "42"},
        "/catalog/products/42/price": {"price": "3"},
        "/catalog/drop": {"category": "lamps"},
        "/rate-limit/": {"count": "1"},
        "/leaderboard/boards/main/scores": {"player": "mara", "score": "5"},
        "/analytics/visits": {"count": "3"},
        "/sessions/devices/link": {},
        "/catalog/products/42/burst": {"start": "bare"},
    }
    for path, form in forms.items():
        answer = web.post(path, data=form)
        assert answer.status_code == 303 and not foreign(answer), path
        assert not foreign(web.get(answer.headers["Location"].removeprefix("/demo")))
    for page, back in (("/demo/monitor/", "/demo/monitor/"), ("/monitor/", "/demo/")):
        told = {"Referer": f"http://localhost{page}"}
        chosen = web.post("/choices", data={"strategy": "none"}, headers=told)
        assert chosen.headers["Location"] == back
    pages = [path for method, path in requests(app) if method == "GET"]
    pages += ["/rate-limit/?xray=keys", "/no-such-page", "/catalog", "/leaderboard/?board=main"]
    for path in pages:
        if not path.endswith("/stream"):
            with web.get(path) as answer:
                assert answer.status_code < 500 and not foreign(answer), path
    whole = ("/catalog/products/42?xray=0", "/catalog/?xray=0")
    for path in ("/catalog/api/products/42", "/catalog/api/products", "/openapi.json", *whole):
        visitor = app.test_client() if path in whole else web
        answer = visitor.get(path, headers={"X-Forwarded-Prefix": "/demo"})
        assert not foreign(answer) and "/demo" in answer.text
    assert '"/catalog/images/42.svg"' in app.test_client().get("/catalog/api/products/42").text


@pytest.mark.parametrize(
    ("hops", "sent", "begins"),
    [
        (1, "/demo", "/demo"),
        (1, "/demo/", "/demo"),
        (1, "/a/b.c~d", "/a/b.c~d"),
        (1, "/evil, /demo", "/demo"),  # what a client wrote before the proxy did
        (2, "/outer, /inner", "/outer/inner"),
        (2, "/inner", "/inner"),
        (0, "/demo", ""),
        (1, "", ""),
        (1, "//evil.example", ""),
        (1, "https://evil.example", ""),
        (1, "/a/../b", ""),
        (1, "/a b", ""),
        (1, '/"><script>', ""),
        (1, "/x" * 40, ""),
        (1, "demo", ""),
    ],
)
def test_the_prefix_of_declared_proxies_is_taken_where_it_is_a_path(
    make_app: MakeApp, hops: int, sent: str, begins: str
) -> None:
    web = make_app(("monitor",), TRUSTED_PROXIES=hops).test_client()
    page = web.get("/", headers={"X-Forwarded-Prefix": sent})
    assert f'href="{begins}/monitor/"' in page.text


def ask(url: str, path: str, method: str = "GET", body: Any = None, **headers: str) -> Any:
    """One request of a program, and what it was answered."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    data = json.dumps(body).encode() if body is not None else None
    try:
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        answer.text = answer.read().decode(errors="replace")  # type: ignore[attr-defined]
        return answer
    finally:
        connection.close()


@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_below_a_path_behind_a_real_proxy(make_app: MakeApp, name: str) -> None:
    app = make_app(TRUSTED_PROXIES=1)
    with proxies.listening(app) as inner, proxies.PROXIES[name](inner) as url:
        page = ask(url, "/demo/catalog/products/42")
        addresses = Addresses(page.text).found
        found = {urldefrag(urljoin("/demo/catalog/products/42", each)).url for each in addresses}
        assert page.status == 200 and len(found) > 20
        for address in found:
            got = ask(url, address)
            assert got.status in (200, 303, 405), address
        form = ask(
            url,
            "/demo/sessions/login",
            "POST",
            **{"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "0"},
        )
        assert form.status == 422
        document = json.loads(ask(url, "/demo/openapi.json").text)
        assert document["servers"] == [{"url": "/demo"}]
        image = json.loads(ask(url, "/demo/catalog/api/products/42").text)["image_url"]
        assert ask(url, image).headers["Content-Type"].startswith("image/svg+xml")
        _signs_in(url)
        _streams(url)
        assert ask(url, "/catalog/api/products/42").text.count('"/catalog/images/') == 1


def _signs_in(url: str) -> None:
    """Somebody signs in by the form, comes back, and is known below /demo alone."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/demo/sessions/login", "name=mara&password=correct+horse", kind)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert (answer.status, answer.headers["Location"]) == (303, "/demo/sessions/")
    given = answer.headers.get_all("Set-Cookie") or []
    assert given and all("Path=/demo" in value.split("; ") for value in given)
    cookie = next(value.partition(";")[0] for value in given if value.startswith(SESSION))
    assert '"user":"mara"' in ask(url, "/demo/sessions/api/me", Cookie=cookie).text
    devices = json.loads(ask(url, "/demo/sessions/api/devices", Cookie=cookie).text)
    assert [device["address"] for device in devices] == ["127.0.0.x"]


def _streams(url: str) -> None:
    """The board's page names its stream, whose first event comes at once."""
    page = ask(url, "/demo/leaderboard/boards/main").text
    (live,) = re.findall(r'data-live="([^"]*)"', page)
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    connection.request("GET", live.replace("&amp;", "&"))
    answer = connection.getresponse()
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    first = b"".join(answer.readline() for _ in range(5))
    answer.close()
    connection.close()
    assert b"event: board" in first
