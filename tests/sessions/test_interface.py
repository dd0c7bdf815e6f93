from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from markupsafe import Markup

from demo.client.wire import Client
from demo.sessions import interface, session_id
from demo.sessions.session_id import place
from demo.web.cookies import SESSION
from tests.conftest import round_trips
from tests.servers import private_engine

KNOWN_FORM = "a" * 32 + "." + "x" * 43


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
    cookie = web.get_cookie(SESSION)
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


def test_an_empty_session_is_ended_and_its_cookie_taken_back(
    probed: FlaskClient, client: Client
) -> None:
    probed.get("/probe/nested")
    answer = probed.get("/probe/end")
    assert f"{SESSION}=;" in answer.headers["Set-Cookie"]
    assert not list(client.scan_iter("demo:sessions:*"))


def test_what_cannot_be_saved_is_no_500(probed: FlaskClient, client: Client) -> None:
    assert probed.get("/probe/unsaveable").status_code == 200
    assert not list(client.scan_iter("demo:sessions:*"))


def test_the_cookie_is_for_the_server_alone(
    probed: FlaskClient, make_app: Callable[..., Flask]
) -> None:
    cookie = probed.get("/probe/nested").headers["Set-Cookie"]
    assert cookie.startswith(f"{SESSION}=")
    assert (
        "HttpOnly" in cookie
        and "SameSite=Lax" in cookie
        and "Path=/" in cookie
        and "Secure" not in cookie
    )
    secure = make_app(SECURE_COOKIES=True).test_client()
    answer = secure.post(
        "/sessions/login",
        data={"name": "mara", "password": "correct horse"},
        base_url="https://localhost",
    )
    cookie = next(
        value
        for value in answer.headers.getlist("Set-Cookie")
        if value.startswith(f"__Host-{SESSION}=")
    )
    assert "Secure" in cookie and "Domain" not in cookie and "Path=/" in cookie
    assert answer.headers["Strict-Transport-Security"]


def session_key(web: FlaskClient) -> str:
    found = place(sid_of(web) or "")
    assert found
    return found.session


def hostile() -> list[str]:
    return [
        "",
        "x",
        "x" * 43,
        "x" * 76,
        "a" * 32 + "." + "x" * 43,
        "a" * 32 + "." + "x" * 44,
        "demo:sessions:{" + "a" * 32 + "}:epoch",
        "demo:catalog:{product:42}",
        "é" * 20,
        "a b",
        '"quoted"',
        "abcd1234",
        "..%2F",
        "%00",
    ]


@pytest.mark.parametrize("value", hostile())
def test_a_forged_cookie_is_an_anonymous_visitor(
    web: FlaskClient, client: Client, value: str
) -> None:
    web.get("/catalog/products/42")
    web.set_cookie(SESSION, value)
    page = web.get("/sessions/")
    assert page.status_code == 200
    assert "You are not signed in" in page.text
    assert web.get("/catalog/products/42").status_code == 200
    login = web.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
    assert login.status_code == 303
    assert sid_of(web) not in (None, value)


def test_a_cookie_of_eight_thousand_bytes_is_an_anonymous_visitor(app: Flask) -> None:
    web = app.test_client(use_cookies=False)
    page = web.get("/sessions/", headers={"Cookie": f"{SESSION}=" + "x" * 8000})
    assert (page.status_code, "You are not signed in" in page.text) == (200, True)


def test_an_ended_id_and_another_visitors_handle_are_nobody(app: Flask, client: Client) -> None:
    mara, other = app.test_client(), app.test_client()
    mara.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
    old = sid_of(mara)
    assert old
    handle = session_id.handle(old)
    forged = (
        handle,
        handle[:8],
        old[:32],
        f"{old[:32]}.{handle}",
        f"{old[:32]}.{handle}{handle[:11]}",
        old[:-1],
        old.upper(),
    )
    for value in forged:
        other.set_cookie(SESSION, value)
        assert other.get("/sessions/api/me").json["user"] is None
    mara.post("/sessions/logout")
    other.set_cookie(SESSION, old)
    assert other.get("/sessions/api/me").json["user"] is None


def test_without_redis_the_visitor_is_signed_out_for_now_and_the_cookie_is_kept(
    make_app: Callable[..., Flask],
) -> None:
    with private_engine() as engine:
        web = make_app(
            REDIS_URL=engine.url, REDIS_TIMEOUT_SECONDS=0.25, BREAKER_SECONDS=0.01
        ).test_client()
        web.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
        sid = sid_of(web)
        engine.pause()
        page = web.get("/sessions/")
        assert page.status_code == 200
        assert 'id="redis-away">\n<p><strong>Redis is away.' in page.text
        assert "You are not signed in" in page.text
        assert f"{SESSION}=" not in str(page.headers.getlist("Set-Cookie"))
        for path, form in (
            ("/sessions/login", {"name": "mara", "password": "correct horse"}),
            ("/sessions/cart", {"product": "42"}),
        ):
            answer = web.post(path, data=form)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert sid_of(web) == sid
        engine.resume()
        from tests.servers import until

        until(lambda: web.get("/sessions/api/me").json.get("user") == "mara", 5)


def test_flask_session_is_still_what_views_use(app: Flask) -> None:
    from flask_session.base import ServerSideSessionInterface

    assert isinstance(app.session_interface, ServerSideSessionInterface)
    with app.test_request_context("/"):
        flask.session["a"] = 1
        assert flask.session.modified and not flask.session.permanent
        assert "a" in flask.session and len(flask.session) == 1


def test_an_id_that_nobody_gave_is_not_adopted_at_sign_in(web: FlaskClient) -> None:
    planted = session_id.new()
    web.set_cookie(SESSION, planted)
    web.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
    assert sid_of(web) != planted


def cookies(answer: Any) -> list[str]:
    return [value for value in answer.headers.getlist("Set-Cookie") if "-once-" not in value]


def test_a_request_that_only_reads_does_not_undo_one_that_writes_meanwhile(
    app: Flask, client: Client
) -> None:
    """Both have loaded the session; the reader ends last."""
    held: list[dict[bytes, bytes]] = []

    def write() -> str:
        session["theme"] = "dark"
        return "ok"

    def read() -> str:
        assert dict(session) == {"theme": "light"}
        web.get("/write")
        held.append(client.hgetall(next(client.scan_iter("demo:sessions:*"))))
        return session["theme"]

    def start() -> str:
        session["theme"] = "light"
        return "ok"

    for view in (write, read, start):
        app.add_url_rule(f"/{view.__name__}", view.__name__, view)
    web = app.test_client()
    web.get("/start")
    assert web.get("/read").text == "light"
    assert client.hgetall(next(client.scan_iter("demo:sessions:*"))) == held[0]
    assert held[0][b"d:theme"] == b"\xa4dark"


def test_clearing_ends_a_session_with_what_another_request_just_wrote(
    app: Flask, client: Client
) -> None:
    def put(name: str) -> str:
        session[name] = 1
        return "ok"

    def end() -> str:
        assert "first" in session
        web.get("/put/second")
        session.clear()
        return "ok"

    app.add_url_rule("/put/<name>", "put", put)
    app.add_url_rule("/end", "end", end)
    web = app.test_client()
    web.get("/put/first")
    sid = sid_of(web)
    web.get("/end")
    assert sid and sid_of(web) is None
    assert not list(client.scan_iter("demo:sessions:*"))


def test_a_cleared_session_that_is_filled_again_lives_on(app: Flask) -> None:
    def refill() -> str:
        session["old"] = 1
        session.clear()
        session["new"] = 2
        return "ok"

    def look() -> dict[str, Any]:
        return dict(session)

    for view in (refill, look):
        app.add_url_rule(f"/{view.__name__}", view.__name__, view)
    web = app.test_client()
    web.get("/refill")
    assert web.get("/look").json == {"new": 2}


def test_regenerating_keeps_the_values_under_a_new_id_and_ends_the_old_one(
    app: Flask, client: Client
) -> None:
    def rotate() -> str:
        app.session_interface.regenerate(session)
        return "ok"

    def fill() -> str:
        session["a"] = {"deep": [1]}
        return "ok"

    def look() -> dict[str, Any]:
        return dict(session)

    for view in (rotate, fill, look):
        app.add_url_rule(f"/{view.__name__}", view.__name__, view)
    web, thief = app.test_client(), app.test_client()
    web.get("/fill")
    old = sid_of(web)
    assert old
    web.get("/rotate")
    assert sid_of(web) != old
    assert web.get("/look").json == {"a": {"deep": [1]}}
    thief.set_cookie(SESSION, old)
    assert thief.get("/look").json == {}
    assert len(list(client.scan_iter("demo:sessions:*"))) == 1


def test_the_rest_of_the_request_that_signs_in_sees_the_new_users_values_alone(
    app: Flask,
) -> None:
    """What the user before had is gone from flask.session at once, not with the next request."""
    made, seen = app.session_interface, list[dict[str, Any]]()

    def sign_in(user: str) -> str:
        store = made.store
        made.sign_in(interface.current(), user, store.epoch(user), {"name": user}, {})
        seen.append(dict(session))
        session["of"] = user
        return "ok"

    app.add_url_rule("/as/<user>", "as", sign_in)
    web = app.test_client()
    web.get("/as/mara")
    web.get("/as/noor")
    assert seen == [{"name": "mara"}, {"name": "noor"}]
    found = place(sid_of(web) or "")
    loaded = made.store.load(sid_of(web) or "")
    assert found and loaded and loaded.data == {"name": "noor", "of": "noor"}


def test_a_cookie_of_any_bytes_is_an_anonymous_visitor(app: Flask, client: Client) -> None:
    web = app.test_client(use_cookies=False)
    odd = [
        "\x00" * 76,
        "\x00",
        "é" * 76,
        "\xff" * 76,
        "a" * 75 + "\x00",
        ";" * 76,
        "=" * 76,
        '"' + "a" * 76,
    ]
    for raw in odd:
        for path in ("/", "/sessions/", "/catalog/products/42"):
            assert web.get(path, headers={"Cookie": f"{SESSION}={raw}"}).status_code == 200, raw
        assert (
            web.get("/sessions/api/me", headers={"Cookie": f"{SESSION}={raw}"}).json["user"] is None
        ), raw
    assert not list(client.scan_iter("demo:sessions:*"))


def test_a_cookie_of_nobody_is_taken_back(web: FlaskClient) -> None:
    web.set_cookie(SESSION, session_id.new())
    answer = web.get("/sessions/api/me")
    assert cookies(answer)[0].startswith(f"{SESSION}=;") and "Max-Age=0" in cookies(answer)[0]
    assert web.get_cookie(SESSION) is None


def test_an_id_past_its_absolute_end_is_nobody_and_leaves_redis(
    web: FlaskClient, client: Client
) -> None:
    web.post("/sessions/cart", data={"product": "42"})
    key = session_key(web)
    client.hset(key, "_ends", 1)
    assert web.get("/sessions/api/me").json["cart"] == []
    assert sid_of(web) is None
    assert client.exists(key) == 0


@pytest.mark.parametrize("write", ["set", "rpush", "field"])
def test_a_key_that_somebody_else_wrote_is_nobody(
    web: FlaskClient, client: Client, write: str
) -> None:
    web.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
    key = session_key(web)
    if write == "field":
        client.hset(key, "d:user", b"\x91" * 10_000)
    else:
        client.unlink(key)
        getattr(client, write)(key, b"\x80\x04K\x01.")
    for path in ("/sessions/", "/", "/sessions/api/me"):
        web_again = web.get(path)
        assert web_again.status_code == 200
    assert web.get("/sessions/api/me").json["user"] is None


def test_secure_cookies_are_taken_back_by_the_same_name_and_flags(
    make_app: Callable[..., Flask],
) -> None:
    web, base = make_app(SECURE_COOKIES=True).test_client(), "https://localhost"
    web.post("/sessions/login", data={"name": "mara", "password": "correct horse"}, base_url=base)
    assert web.get("/sessions/api/me", base_url=base).json["user"] == "mara"
    answer = web.post("/sessions/logout", base_url=base)
    (taken,) = cookies(answer)
    assert taken.startswith(f"__Host-{SESSION}=;")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(taken.split("; "))
    assert all("Secure" in value for value in answer.headers.getlist("Set-Cookie"))
    web.set_cookie(SESSION, session_id.new())
    assert not cookies(web.get("/sessions/api/me", base_url=base))


@pytest.mark.parametrize("cookie", [None, KNOWN_FORM, "forged"])
def test_without_redis_nothing_is_promised_whoever_asks(away: Flask, cookie: str | None) -> None:
    web = away.test_client()
    if cookie:
        web.set_cookie(SESSION, cookie)
    for path in ("/", "/sessions/", "/catalog/products/42", "/sessions/api/me"):
        answer = web.get(path)
        asks = path == "/sessions/api/me" and cookie == KNOWN_FORM
        assert answer.status_code == (503 if asks else 200)
        if asks:
            assert "Whether you are signed in is unknown." in answer.json["detail"]
        if cookie != "forged":
            assert not cookies(answer)
        if path != "/sessions/api/me":
            assert 'id="redis-away">\n<p><strong>Redis is away.' in answer.text
    assert answer.json.get("user") is None
    for path, form in (
        ("/sessions/login", {"name": "mara", "password": "correct horse"}),
        ("/sessions/cart", {"product": "42"}),
    ):
        answer = web.post(path, data=form)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), path
        assert "-once-message" not in str(answer.headers)
    if cookie == KNOWN_FORM:
        assert web.post("/sessions/logout").status_code == 503
        assert sid_of(web) == cookie


def test_the_cookies_own_expiry_slides_with_the_session(
    probed: FlaskClient, client: Client
) -> None:
    first = probed.get("/probe/nested").headers["Set-Cookie"]
    assert "Max-Age=86400" in first
    assert "Set-Cookie" not in probed.get("/probe/look").headers
    sid = sid_of(probed)
    client.hincrby(session_key(probed), "_seen", -60_000)
    slid = probed.get("/probe/look")
    assert round_trips(slid) == 1
    assert (
        f"{SESSION}={sid}" in slid.headers["Set-Cookie"]
        and "Max-Age=86400" in slid.headers["Set-Cookie"]
    )
    assert "Cookie" in slid.headers["Vary"]


def test_the_cookie_does_not_outlive_the_absolute_end(make_app: Callable[..., Flask]) -> None:
    web = make_app(SESSION_IDLE_SECONDS=3600, SESSION_ABSOLUTE_SECONDS=600).test_client()
    answer = web.post("/sessions/cart", data={"product": "42"})
    assert "Max-Age=600" in next(
        value for value in cookies(answer) if value.startswith(f"{SESSION}=")
    )


def test_a_flashed_message_is_shown_once(app: Flask) -> None:
    def say() -> str:
        flask.flash(Markup("<b>kept</b>"), "note")
        return "ok"

    def hear() -> list[Any]:
        return flask.get_flashed_messages(with_categories=True)

    for view in (say, hear):
        app.add_url_rule(f"/{view.__name__}", view.__name__, view)
    web = app.test_client()
    web.get("/say")
    assert web.get("/hear").json == [["note", "<b>kept</b>"]]
    assert web.get("/hear").json == []


@pytest.mark.parametrize(
    ("cookie", "said"),
    [("hostile", "what is no id"), (KNOWN_FORM, "there is none"), ("x" * 8000, "no id")],
)
def test_a_cookie_of_nobody_leaves_a_line_without_its_value(
    app: Flask, caplog: pytest.LogCaptureFixture, cookie: str, said: str
) -> None:
    web = app.test_client(use_cookies=False)
    with caplog.at_level("INFO", logger="demo.sessions"):
        page = web.get("/sessions/", headers={"Cookie": f"{SESSION}={cookie}"})
    assert page.status_code == 200 and said in caplog.text
    assert cookie not in caplog.text and cookie not in page.text


def test_who_is_signed_in_is_not_a_value_that_a_view_may_write(app: Flask) -> None:
    def forge() -> str:
        session["user"] = "mara"
        return "ok"

    app.add_url_rule("/forge", "forge", forge)
    web = app.test_client()
    web.get("/forge")
    assert web.post("/sessions/devices/revoke-all").status_code == 409
    assert web.get("/sessions/api/devices").json == []
    assert (
        web.get("/sessions/api/me").json["user"] is None
        and "mara" not in web.get("/sessions/").text.split("<main")[0]
    )
