from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from flask import Flask, session
from flask.testing import FlaskClient

from demo.pool import Client
from demo.sessions.session_store import SessionStore, new_sid
from tests.conftest import round_trips
from tests.servers import private_engine


@pytest.fixture
def probed(app: Flask) -> Iterator[FlaskClient]:
    """The app with views that do one thing to the session each."""

    def look() -> dict[str, Any]:
        return dict(session)

    def nested() -> str:
        session.setdefault("bag", {"items": []})
        session["bag"]["items"].append(1)
        return str(len(session["bag"]["items"]))

    def blind() -> str:
        return "ok"

    def end() -> str:
        session.clear()
        return "ok"

    def unsaveable() -> str:
        session["big"] = "x" * 50_000
        return "ok"

    for view in (look, nested, blind, end, unsaveable):
        app.add_url_rule(f"/probe/{view.__name__}", view.__name__, view)
    yield app.test_client()


def sid_of(web: FlaskClient) -> str | None:
    cookie = web.get_cookie("session")
    return cookie.value if cookie else None


def test_an_anonymous_visitor_costs_nothing_and_gets_no_cookie(probed: FlaskClient) -> None:
    answer = probed.get("/probe/look")
    assert round_trips(answer) == 0
    assert "Set-Cookie" not in answer.headers


def test_a_page_that_never_looks_costs_nothing_even_with_a_session(probed: FlaskClient) -> None:
    probed.get("/probe/nested")
    answer = probed.get("/probe/blind")
    assert round_trips(answer) == 0
    assert "Cookie" not in answer.headers.get("Vary", "")
    looked = probed.get("/probe/look")
    assert round_trips(looked) == 1
    assert "Cookie" in looked.headers["Vary"]
    assert "Set-Cookie" not in looked.headers


def test_a_nested_change_is_noticed(probed: FlaskClient) -> None:
    assert [probed.get("/probe/nested").text for _ in range(3)] == ["1", "2", "3"]


def test_an_empty_session_is_ended_and_its_cookie_taken_back(probed: FlaskClient, client: Client) -> None:
    probed.get("/probe/nested")
    answer = probed.get("/probe/end")
    assert "session=;" in answer.headers["Set-Cookie"]
    assert not list(client.scan_iter("demo:sessions:*"))


def test_what_cannot_be_saved_is_no_500(probed: FlaskClient, client: Client) -> None:
    assert probed.get("/probe/unsaveable").status_code == 200
    assert not list(client.scan_iter("demo:sessions:*"))


def test_the_cookie_is_for_the_server_alone(probed: FlaskClient, make_app: Callable[..., Flask]) -> None:
    cookie = probed.get("/probe/nested").headers["Set-Cookie"]
    assert cookie.startswith("session=")
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie and "Secure" not in cookie
    secure = make_app(SECURE_COOKIES=True).test_client()
    answer = secure.post("/sessions/login", data={"name": "mara", "password": "correct horse"}, base_url="https://localhost")
    cookie = next(value for value in answer.headers.getlist("Set-Cookie") if value.startswith("__Host-session="))
    assert "Secure" in cookie and "Domain" not in cookie and "Path=/" in cookie
    assert answer.headers["Strict-Transport-Security"]


def hostile() -> list[str]:
    return [
        "",
        "x",
        "x" * 43,
        "x" * 44,
        "demo:catalog:{product:42}",
        "é" * 20,
        "a b",
        '"quoted"',
        "abcd1234",
        "..%2F",
        "%00",
    ]


@pytest.mark.parametrize("value", hostile())
def test_a_forged_cookie_is_an_anonymous_visitor(web: FlaskClient, client: Client, value: str) -> None:
    web.get("/catalog/products/42")
    web.set_cookie("session", value)
    page = web.get("/sessions/")
    assert page.status_code == 200
    assert "You are not signed in" in page.text
    assert web.get("/catalog/products/42").status_code == 200
    login = web.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
    assert login.status_code == 303
    assert sid_of(web) not in (None, value)


def test_a_cookie_of_eight_thousand_bytes_is_an_anonymous_visitor(web: FlaskClient) -> None:
    page = web.get("/sessions/", headers={"Cookie": "session=" + "x" * 8000})
    assert (page.status_code, "You are not signed in" in page.text) == (200, True)


def test_an_ended_id_and_another_visitors_handle_are_nobody(app: Flask, client: Client) -> None:
    mara, other = app.test_client(), app.test_client()
    mara.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
    old = sid_of(mara)
    assert old
    key = SessionStore.redis_key(old).partition("{")[2].rstrip("}")
    for value in (key, key[:43], key[:8], old[:-1], old.lower() if old != old.lower() else old.upper()):
        other.set_cookie("session", value)
        assert other.get("/sessions/api/me").json["user"] is None
    mara.post("/sessions/logout")
    other.set_cookie("session", old)
    assert other.get("/sessions/api/me").json["user"] is None


def test_without_redis_the_visitor_is_signed_out_for_now_and_the_cookie_is_kept(make_app: Callable[..., Flask]) -> None:
    with private_engine() as engine:
        web = make_app(REDIS_URL=engine.url, REDIS_TIMEOUT_SECONDS=0.25, BREAKER_SECONDS=0.01).test_client()
        web.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
        sid = sid_of(web)
        engine.pause()
        page = web.get("/sessions/")
        assert page.status_code == 200
        assert "<strong>Redis is away.</strong>" in page.text
        assert "You are not signed in" in page.text
        assert "session=" not in str(page.headers.getlist("Set-Cookie"))
        for path, form in (
            ("/sessions/login", {"name": "mara", "password": "correct horse"}),
            ("/sessions/cart", {"product": "42"}),
        ):
            answer = web.post(path, data=form)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert sid_of(web) == sid
        engine.resume()
        from tests.serving import until

        until(lambda: web.get("/sessions/api/me").json["user"] == "mara", 5)


def test_flask_session_is_still_what_views_use(app: Flask) -> None:
    from flask_session.base import ServerSideSessionInterface

    assert isinstance(app.session_interface, ServerSideSessionInterface)
    with app.test_request_context("/"):
        flask.session["a"] = 1
        assert flask.session.modified and not flask.session.permanent
        assert "a" in flask.session and len(flask.session) == 1


def test_an_id_that_nobody_gave_is_not_adopted_at_sign_in(web: FlaskClient) -> None:
    planted = new_sid()
    web.set_cookie("session", planted)
    web.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
    assert sid_of(web) != planted
