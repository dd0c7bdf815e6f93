"""Cookies beside those of others: all ports of a host share them."""

import http.cookiejar
import threading
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from flask import Flask, session
from flask.testing import FlaskClient

from demo.sessions import session_id
from demo.teach import pull_the_plug
from demo.web import cookies, flash_cookie, known_devices
from demo.web.cookies import SESSION
from tests.sessions.visitors import GOOD, sid_of, user

FOREIGN = "eyJjYXJ0IjpbMV19.aS1l6A.Zx0eGWnTgS0s1qH2y8tV5u3Yk9E"  # as Flask's own sessions are


def signed_in(app: Flask) -> str:
    """The id of somebody's session."""
    web = app.test_client()
    web.post("/sessions/login", data=GOOD)
    return sid_of(web)


def taken_back(answer: Any) -> list[str]:
    """The names of the cookies that an answer ends."""
    return [
        value.partition("=")[0]
        for value in answer.headers.getlist("Set-Cookie")
        if "Max-Age=0" in value or "01 Jan 1970" in value
    ]


@pytest.mark.parametrize("secure", [False, True])
def test_no_cookie_has_a_name_that_another_app_has_too(
    make_app: Callable[..., Flask], secure: bool
) -> None:
    web = make_app(SECURE_COOKIES=secure).test_client()
    base = "https://localhost" if secure else "http://localhost"
    given = []
    for path, form in (
        ("/sessions/sign-up", {"name": "ida", "password": "a long enough phrase"}),
        ("/sessions/cart", {"product": "42"}),
        ("/choices", {"database": "slow", "back": "/"}),
    ):
        given += web.post(path, data=form, base_url=base).headers.getlist("Set-Cookie")
    names = {value.partition("=")[0] for value in given}
    prefix = "__Host-" if secure else ""
    assert len(names) >= 5
    assert all(name.startswith(f"{prefix}redis-in-practice-") for name in names), names
    assert all("Path=/" in value.split("; ") for value in given)


def test_what_another_app_keeps_under_a_usual_name_is_left_alone(web: FlaskClient) -> None:
    foreign = {"session": FOREIGN, "choices": "x", "once-message": "x", "known-device": "x"}
    for name, value in foreign.items():
        web.set_cookie(name, value)
    for path in ("/", "/sessions/", "/sessions/api/me", "/catalog/products/42"):
        assert not taken_back(web.get(path)), path
    web.post("/sessions/login", data=GOOD)
    assert user(web) == "mara"
    for path in ("/sessions/logout", "/choices"):
        answer = web.post(path, data={"back": "/"} if path == "/choices" else {})
        assert not set(foreign) & set(taken_back(answer))
    for name, value in foreign.items():
        cookie = web.get_cookie(name)
        assert cookie and cookie.value == value


def test_a_foreign_cookie_makes_nobody_s_page_his_own(make_app: Callable[..., Flask]) -> None:
    web = make_app(XRAY=False).test_client()
    web.set_cookie("session", FOREIGN)
    assert "ETag" in web.get("/catalog/products/42").headers


@pytest.mark.parametrize("others", [["x"], [session_id.new()], ["", FOREIGN], ["x", "y", "z"]])
@pytest.mark.parametrize("after", [False, True])
def test_of_several_cookies_of_one_name_each_is_tried(
    app: Flask, others: list[str], after: bool
) -> None:
    sid = signed_in(app)
    values = [sid, *others] if after else [*others, sid]
    web = app.test_client(use_cookies=False)
    header = {"Cookie": "; ".join(f"{SESSION}={value}" for value in values)}
    me = web.get("/sessions/api/me", headers=header)
    assert me.json["user"] == "mara"
    assert not taken_back(me)
    added = web.post("/sessions/cart", data={"product": "42"}, headers=header)
    assert added.status_code == 303
    assert [line["id"] for line in web.get("/sessions/api/me", headers=header).json["cart"]] == [42]
    page = web.get("/catalog/products/42", headers=header)
    assert "mara, cart 1" in page.text


def test_who_sends_very_many_costs_no_more_than_a_few_round_trips(app: Flask) -> None:
    web = app.test_client(use_cookies=False)
    many = "; ".join(f"{SESSION}={session_id.new()}" for _ in range(50))
    answer = web.get("/sessions/api/me", headers={"Cookie": many})
    assert answer.json["user"] is None
    trips = int(answer.headers["Server-Timing"].split('desc="')[1].split()[0])
    assert trips <= cookies.MOST


def test_choices_and_messages_are_found_behind_others_of_their_name(app: Flask) -> None:
    web = app.test_client()
    web.post("/choices", data={"strategy": "none", "back": "/"})
    chosen = web.get_cookie(pull_the_plug.COOKIE)
    assert chosen
    web.post("/sessions/cart", data={"product": "42"})
    name = flash_cookie.PREFIX + "message"
    message = web.get_cookie(name)
    assert message
    both = (
        f"{pull_the_plug.COOKIE}=x; {pull_the_plug.COOKIE}={chosen.value}; "
        f"{name}=y; {name}={message.value}"
    )
    page = app.test_client(use_cookies=False).get("/sessions/", headers={"Cookie": both})
    assert "Pages are not cached." in page.text
    assert '<div class="note" role="status">' in page.text


def test_a_session_of_an_older_build_is_taken_over_once(app: Flask) -> None:
    sid = signed_in(app)
    web = app.test_client()
    web.set_cookie("session", sid)
    assert "mara" in web.get("/catalog/products/42").text
    assert sid_of(web) == sid and web.get_cookie("session") is None
    assert user(web) == "mara"
    assert "Set-Cookie" not in web.get("/sessions/api/me").headers


def test_a_session_of_an_older_build_can_be_left_at_once(app: Flask) -> None:
    sid = signed_in(app)
    web = app.test_client()
    web.set_cookie("session", sid)
    web.post("/sessions/logout")
    assert web.get_cookie("session") is None and web.get_cookie(SESSION) is None
    web.set_cookie("session", sid)
    assert user(web) is None


def test_an_id_of_the_older_form_that_is_not_ours_stays_where_it_is(app: Flask) -> None:
    """Another port of this host may run an older build, with another Redis."""
    web = app.test_client()
    theirs = session_id.new()
    web.set_cookie("session", theirs)
    assert user(web) is None
    cookie = web.get_cookie("session")
    assert cookie and cookie.value == theirs
    web.post("/sessions/login", data=GOOD)
    assert user(web) == "mara"
    assert web.get_cookie("session") == cookie


def test_a_device_that_an_older_build_knew_is_known(app: Flask) -> None:
    own = {"name": "ida", "password": "a long enough phrase"}
    web = app.test_client()
    web.post("/sessions/sign-up", data=own)
    known = web.get_cookie(cookies.PREFIX + "known-device")
    assert known
    header = {"Cookie": f"known-device={known.value}"}
    with app.test_request_context(headers=header):
        assert known_devices.device_of("ida")
    with app.test_request_context():
        assert known_devices.device_of("ida") is None


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def two_apps(app: Flask) -> Iterator[tuple[str, str]]:
    """This app, and one with Flask's own sessions, on two ports of one host."""
    other = Flask("other")
    other.secret_key = "of the other"

    @other.get("/")
    def count() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    servers = [make_server("127.0.0.1", 0, each, handler_class=Quiet) for each in (app, other)]
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield tuple(f"http://127.0.0.1:{server.server_port}" for server in servers)  # type: ignore[misc]
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


def test_two_apps_of_one_host_go_on_beside_each_other(two_apps: tuple[str, str]) -> None:
    """A cookie jar, as a browser has it, knows no ports."""
    ours, theirs = two_apps
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))

    def ask(url: str, data: bytes | None = None) -> str:
        with browser.open(url, data, timeout=20) as answer:
            return str(answer.read().decode())

    assert ask(theirs) == "1"
    ask(f"{ours}/sessions/login", b"name=mara&password=correct+horse")
    assert ask(theirs) == "2"
    assert '"user":"mara"' in ask(f"{ours}/sessions/api/me")
    ask(f"{ours}/sessions/logout", b"")
    assert ask(theirs) == "3"
    assert '"user":null' in ask(f"{ours}/sessions/api/me")
    assert ask(theirs) == "4"
