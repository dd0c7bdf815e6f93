import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.client.wire import Client
from demo.sessions.session_id import handle, place
from demo.sessions.visitor import Parts
from demo.web.cookies import SESSION
from demo.web.services import part
from tests.conftest import round_trips
from tests.seen import seen
from tests.sessions.visitors import GOOD, sid_of
from tests.topologies import KINDS, topology


def key_of(sid: str) -> str:
    found = place(sid)
    assert found
    return found.session


def before_change(app: Flask, meanwhile: Callable[[], object]) -> None:
    """Lets something happen once, after the next request has read the cart and before it changes
    it."""
    cart = part(Parts, app).cart
    original = type(cart).change

    def change(*args: Any, **options: Any) -> Any:
        cart.__dict__.pop("change", None)
        meanwhile()
        return original(cart, *args, **options)

    object.__setattr__(cart, "change", change)


def test_signing_in_changes_the_id_and_ends_the_old_one(web: FlaskClient, client: Client) -> None:
    web.post("/sessions/cart", data={"product": "42"})
    before = sid_of(web)
    assert web.post("/sessions/login", data=GOOD).status_code == 303
    after = sid_of(web)
    assert before != after
    assert client.exists(key_of(before)) == 0
    page = web.get("/sessions/").text
    assert "Signed in as mara" in page
    assert "no. 42" in page
    assert before not in page and after not in page


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"name": "mara"},
        {"name": "mara", "password": "x"},
        {"name": "nobody", "password": "correct horse"},
        {"name": "x" * 5000, "password": "y" * 5000},
        {"name": "\x00", "password": "\ud83d"},
        {"name": "<b>", "password": ""},
    ],
)
def test_a_wrong_name_or_password_is_told_in_the_same_words(
    web: FlaskClient, form: dict[str, str]
) -> None:
    answer = web.post(
        "/sessions/login",
        data={key: value.encode("utf-8", "replace") for key, value in form.items()},
    )
    assert answer.status_code == 422
    assert "The name or the password is wrong." in answer.text
    assert 'aria-describedby="name-error"' in answer.text
    assert 'value="<b>"' not in answer.text
    assert web.get("/sessions/api/me").json["user"] is None


def test_signing_out_ends_the_session_in_redis(web: FlaskClient, client: Client) -> None:
    web.post("/sessions/login", data=GOOD)
    sid = sid_of(web)
    assert web.post("/sessions/logout").status_code == 303
    assert client.exists(key_of(sid)) == 0
    assert web.get_cookie(SESSION) is None
    web.set_cookie(SESSION, sid)
    assert "You are not signed in" in web.get("/sessions/").text


def test_the_cart_adds_up(web: FlaskClient) -> None:
    price = {
        number: web.get(f"/catalog/api/products/{number}").json["price_cents"] for number in (42, 7)
    }
    for number, change in ((42, 1), (42, 2), (7, 1), (7, 1), (7, -1)):
        assert (
            web.post(
                "/sessions/cart", data={"product": str(number), "change": str(change)}
            ).status_code
            == 303
        )
    cart = {line["id"]: line["quantity"] for line in web.get("/sessions/api/me").json["cart"]}
    assert cart == {42: 3, 7: 1}
    page = web.get("/sessions/").text
    cents = 3 * price[42] + price[7]
    assert f"<b>€ {cents // 100:,}.{cents % 100:02}</b>".replace(",", "\u202f") in page
    assert ", cart 4" in page
    web.post("/sessions/cart", data={"product": "42", "change": "-99"})
    web.post("/sessions/cart", data={"product": "7", "change": "-1"})
    assert web.get("/sessions/api/me").json["cart"] == []


def test_two_tabs_that_add_different_products_lose_neither(app: Flask) -> None:
    """Both requests have loaded the session before either changes the cart."""
    web = app.test_client()
    web.post("/sessions/cart", data={"product": "1"})
    sid = sid_of(web)
    tabs = [app.test_client(), app.test_client()]

    def meanwhile() -> None:
        tabs[1].set_cookie(SESSION, sid)
        assert tabs[1].post("/sessions/cart", data={"product": "3"}).status_code == 303

    before_change(app, meanwhile)
    tabs[0].set_cookie(SESSION, sid)
    assert tabs[0].post("/sessions/cart", data={"product": "2"}).status_code == 303
    assert [line["id"] for line in web.get("/sessions/api/me").json["cart"]] == [1, 2, 3]


def test_ten_tabs_that_add_one_at_once_have_added_ten(app: Flask) -> None:
    """Each has loaded the cart before any adds: the first waits for the second, which waits for the
    third, and so on."""
    web = app.test_client()
    web.post("/sessions/cart", data={"product": "1"})
    tabs = [app.test_client() for _ in range(10)]
    waiting = list(tabs)
    for tab in tabs:
        tab.set_cookie(SESSION, sid_of(web))

    def next_tab() -> None:
        if waiting:
            before_change(app, next_tab)
            assert waiting.pop().post("/sessions/cart", data={"product": "7"}).status_code == 303

    next_tab()
    assert {line["id"]: line["quantity"] for line in web.get("/sessions/api/me").json["cart"]} == {
        1: 1,
        7: 10,
    }


def test_a_request_that_overlaps_a_sign_out_is_refused_and_revives_nothing(
    app: Flask, client: Client
) -> None:
    web, other = app.test_client(), app.test_client()
    web.post("/sessions/login", data=GOOD)
    sid = sid_of(web)
    other.set_cookie(SESSION, sid)
    before_change(app, lambda: other.post("/sessions/logout"))
    answer = web.post("/sessions/cart", data={"product": "2"})
    assert answer.status_code == 409
    assert client.exists(key_of(sid)) == 0


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({}, "product"),
        ({"product": "abc"}, "product"),
        ({"product": "0"}, "product"),
        ({"product": "999999"}, "product"),
        ({"product": str(2**31)}, "product"),
        ({"product": "42", "change": "100"}, "change"),
        ({"product": "42", "change": "1.5"}, "change"),
        ({"product": "42", "price_cents": "1"}, "price_cents"),
    ],
)
def test_a_wrong_cart_form_names_its_field(
    web: FlaskClient, form: dict[str, str], field: str
) -> None:
    answer = web.post("/sessions/cart", data=form, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field)
    page = web.post("/sessions/cart", data=form)
    assert (page.status_code, f"<strong>{field}</strong>" in page.text) == (422, True)
    assert web.get_cookie(SESSION) is None


def test_a_cart_is_bounded(web: FlaskClient) -> None:
    for number in range(1, 41):
        assert (
            web.post("/sessions/cart", data={"product": str(number), "change": "99"}).status_code
            == 303
        )
    assert web.post("/sessions/cart", data={"product": "41"}).status_code == 422
    web.post("/sessions/cart", data={"product": "1", "change": "99"})
    assert web.get("/sessions/api/me").json["cart"][0]["quantity"] == 99


def test_the_page_shows_what_redis_holds(web: FlaskClient, client: Client) -> None:
    web.post("/sessions/login", data=GOOD)
    page = seen(web.get("/sessions/").text)
    assert re.search(
        r'<code>d:user</code></td><td class="wide">mara</td><td class="wide"><code>.*mara</code></td><td class="num">5<',
        page,
    )
    assert f"<code>{handle(sid_of(web))[:8]}…</code> now" in page
    assert "<code>none</code> before signing in" in page
    assert page.count("data-seconds-left=") == 2 and sid_of(web) not in page


def test_me_as_json(web: FlaskClient) -> None:
    anonymous = web.get("/sessions/api/me")
    assert anonymous.json == {
        "user": None, "cart": [], "signed_in_at": None, "idle_expires_at": None, "absolute_expires_at": None,
    }  # fmt: skip
    assert "no-store" in anonymous.headers["Cache-Control"]
    web.post("/sessions/login", data=GOOD)
    me = web.get("/sessions/api/me").json
    assert me["user"] == "mara" and me["signed_in_at"]
    assert me["absolute_expires_at"] > me["idle_expires_at"]


def test_the_page_costs_one_round_trip_when_signed_in_and_none_otherwise(web: FlaskClient) -> None:
    assert round_trips(web.get("/sessions/")) == 0
    web.post("/sessions/login", data=GOOD)
    assert round_trips(web.get("/sessions/")) == 1


def test_a_session_survives_another_worker(make_app: Callable[..., Flask]) -> None:
    one, other = make_app().test_client(), make_app().test_client()
    one.post("/sessions/login", data=GOOD)
    other.set_cookie(SESSION, sid_of(one))
    assert other.get("/sessions/api/me").json["user"] == "mara"


def everything(client: Client) -> bytes:
    """All keys of the app with all that they hold."""
    found = b""
    for key in client.scan_iter("demo:*", count=1000):
        kind = client.type(key)
        found += key + b"\n"
        if kind == b"hash":
            found += b"\n".join(part for pair in client.hgetall(key).items() for part in pair)
        elif kind == b"string":
            found += client.get(key)
        elif kind == b"zset":
            found += b"\n".join(client.zrange(key, 0, -1))
        else:
            raise AssertionError(f"{key!r} is a {kind!r}")
    return found


def test_neither_id_nor_password_is_anywhere_in_redis(web: FlaskClient, client: Client) -> None:
    web.post("/sessions/cart", data={"product": "42"})
    first = sid_of(web)
    web.post("/sessions/login", data=GOOD)
    for path in (
        "/",
        "/sessions/",
        "/catalog/products/42",
        "/catalog/",
        "/sessions/api/me",
        "/leaderboard/",
    ):
        web.get(path)
    stored = everything(client)
    assert b"mara" in stored
    for secret in (first.partition(".")[2], sid_of(web).partition(".")[2], GOOD["password"]):
        assert secret.encode() not in stored


def test_every_session_key_expires(web: FlaskClient, client: Client) -> None:
    for step in (
        lambda: web.post("/sessions/cart", data={"product": "42"}),
        lambda: web.post("/sessions/login", data=GOOD),
        lambda: web.get("/sessions/"),
        lambda: web.post("/sessions/cart", data={"product": "42", "change": "-1"}),
    ):
        step()
        keys = list(client.scan_iter("demo:sessions:*"))
        assert keys
        for key in keys:
            most_ms = 2_592_000_000 if key.endswith((b":epoch", b":cart")) else 86_400_000
            assert 0 < client.pttl(key) <= most_ms, key


def test_a_tab_that_takes_the_last_out_does_not_take_what_the_other_just_put_in(app: Flask) -> None:
    tabs = [app.test_client(), app.test_client()]
    tabs[0].post("/sessions/cart", data={"product": "1"})
    tabs[1].set_cookie(SESSION, sid_of(tabs[0]))
    before_change(app, lambda: tabs[1].post("/sessions/cart", data={"product": "3"}))
    assert tabs[0].post("/sessions/cart", data={"product": "1", "change": "-1"}).status_code == 303
    for tab in tabs:
        assert [line["id"] for line in tab.get("/sessions/api/me").json["cart"]] == [3]


def test_one_more_of_what_another_tab_has_just_taken_out_is_looked_up_again(app: Flask) -> None:
    tabs = [app.test_client(), app.test_client()]
    tabs[0].post("/sessions/cart", data={"product": "1"})
    tabs[1].set_cookie(SESSION, sid_of(tabs[0]))
    before_change(
        app, lambda: tabs[1].post("/sessions/cart", data={"product": "1", "change": "-1"})
    )
    assert tabs[0].post("/sessions/cart", data={"product": "1"}).status_code == 303
    assert [line["quantity"] for line in tabs[1].get("/sessions/api/me").json["cart"]] == [1]


def test_a_wrong_password_neither_ends_nor_changes_a_session(web: FlaskClient) -> None:
    web.post("/sessions/login", data=GOOD)
    sid = sid_of(web)
    answer = web.post("/sessions/login", data={"name": "noor", "password": "wrong"})
    assert answer.status_code == 422
    assert sid_of(web) == sid
    assert web.get("/sessions/api/me").json["user"] == "mara"


def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(web: FlaskClient) -> None:
    def told(name: str) -> str:
        page = web.post("/sessions/login", data={"name": name, "password": "wrong"}).text
        return page.split('<main id="main"')[1].split('id="xray"')[0].replace(f'value="{name}"', "")

    assert told("yuki") == told("yuke")


@pytest.mark.parametrize("change", ["0", "-1", "-99"])
def test_taking_out_what_is_not_there_makes_no_session(
    web: FlaskClient, client: Client, change: str
) -> None:
    answer = web.post("/sessions/cart", data={"product": "42", "change": change})
    assert answer.status_code == 303
    assert web.get_cookie(SESSION) is None
    assert not list(client.scan_iter("demo:sessions:*"))


def test_signing_out_without_a_session_is_harmless(web: FlaskClient) -> None:
    answer = web.post("/sessions/logout")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sessions/")


def test_what_each_request_costs(web: FlaskClient) -> None:
    web.get("/catalog/products/42")
    assert round_trips(web.get("/catalog/products/42")) == 1
    assert round_trips(web.get("/sessions/devices")) == 0
    assert round_trips(web.post("/sessions/cart", data={"product": "42"})) == 2  # begin, change
    assert (
        round_trips(web.post("/sessions/login", data=GOOD)) == 8
    )  # limits 3, epoch, load, merge, begin, end
    assert round_trips(web.get("/catalog/products/42")) == 1  # the session comes with the page
    assert round_trips(web.get("/sessions/")) == 1
    assert round_trips(web.get("/sessions/api/me")) == 1
    assert round_trips(web.get("/sessions/devices")) == 2
    assert round_trips(web.get("/sessions/api/devices")) == 2
    assert round_trips(web.post("/sessions/cart", data={"product": "42"})) == 2
    assert round_trips(web.post("/sessions/devices/revoke-others")) == 2
    assert round_trips(web.post("/sessions/logout")) == 2
    assert round_trips(web.get("/catalog/products/42")) == 1
    assert (
        round_trips(web.post("/sessions/login", data=GOOD)) == 5
    )  # two limits, one given back; epoch, begin


def test_the_message_of_a_change_is_shown_once(web: FlaskClient) -> None:
    web.post("/sessions/cart", data={"product": "42", "change": "3"})
    assert "3 in your cart." in web.get("/sessions/").text
    assert "3 in your cart." not in web.get("/sessions/").text


def test_signing_out_twice_at_once_is_signed_out(app: Flask) -> None:
    web, other = app.test_client(), app.test_client()
    web.post("/sessions/login", data=GOOD)
    other.set_cookie(SESSION, sid_of(web))
    original = app.session_interface.commit  # type: ignore[attr-defined]

    def commit(session: object) -> bool:
        app.session_interface.commit = original  # type: ignore[attr-defined]
        assert other.post("/sessions/logout").status_code == 303
        return bool(original(session))

    app.session_interface.commit = commit  # type: ignore[attr-defined]
    assert web.post("/sessions/logout").status_code == 303


def test_a_cart_and_a_sign_in_survive_new_workers(make_app: Callable[..., Flask]) -> None:
    web = make_app().test_client()
    web.post("/sessions/login", data=GOOD)
    web.post("/sessions/cart", data={"product": "42", "change": "3"})
    later = make_app().test_client()
    later.set_cookie(SESSION, sid_of(web))
    me = later.get("/sessions/api/me").json
    assert (me["user"], [(line["id"], line["quantity"]) for line in me["cart"]]) == (
        "mara",
        [(42, 3)],
    )


@pytest.mark.parametrize("value", [b"\xc1", b"\x80\x04K\x01.", b""])
def test_a_cart_line_that_does_not_decode_is_left_out(
    web: FlaskClient, client: Client, value: bytes
) -> None:
    for product in ("42", "7"):
        web.post("/sessions/cart", data={"product": product})
    found = place(sid_of(web))
    assert found
    client.hset(found.part("cart"), "42:about", value)
    assert [line["id"] for line in web.get("/sessions/api/me").json["cart"]] == [7]
    client.unlink(found.part("cart"))
    client.rpush(found.part("cart"), "x")
    assert web.get("/sessions/").status_code == 200
    assert web.get("/sessions/api/me").json["cart"] == []
    assert web.post("/sessions/cart", data={"product": "42"}).status_code == 503


@pytest.mark.parametrize(
    ("referrer", "back"),
    [
        ("http://localhost/catalog/products/42", "/catalog/products/42"),
        ("http://localhost/catalog/?category=lamps", "/catalog/?category=lamps"),
        ("http://localhost/sessions/login", "/sessions/"),
        ("http://elsewhere.example/catalog/", "/sessions/"),
        ("", "/sessions/"),
    ],
)
def test_who_puts_something_into_the_cart_stays_where_he_is(
    web: FlaskClient, referrer: str, back: str
) -> None:
    headers = {"Referer": referrer} if referrer else {}
    answer = web.post("/sessions/cart", data={"product": "42"}, headers=headers)
    assert (answer.status_code, answer.headers["Location"]) == (303, back)
    page = web.get(back).text
    assert ": 1 in your cart." in page and "cart 1" in page


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_brings_its_session_along_where_one_server_has_both(
    make_app: Callable[..., Flask], kind: str
) -> None:
    with topology(kind) as given:
        web = make_app(REDIS_URL=given.url(), RATE_LIMITS={}).test_client()
        assert web.post("/sessions/login", data=GOOD).status_code == 303
        web.get("/catalog/products/42")
        page = web.get("/catalog/products/42")
        assert "mara" in page.text and "EVALSHA" in page.text
        assert round_trips(page) == (2 if kind == "cluster" else 1)
        assert round_trips(web.get("/sessions/api/me")) == 1  # one that no page's MGET carries
