import html
import re
from collections.abc import Callable
from typing import Any

import pytest
import segno
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from demo.client.wire import Client
from demo.database import Database
from demo.sessions.session_id import handle, place
from demo.sessions.visitor import Parts
from demo.web.cookies import SESSION
from demo.web.services import part
from tests.sessions.visitors import GOOD, OWN, sid_of, user

FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"}


@pytest.fixture
def two(app: Flask) -> tuple[FlaskClient, FlaskClient]:
    """Two devices of one account of its own."""
    one, other = app.test_client(), app.test_client()
    one.post("/sessions/sign-up", data=OWN)
    other.post("/sessions/login", data=OWN, headers=FIREFOX)
    return one, other


def test_each_device_is_in_sight_this_one_first(two: tuple[FlaskClient, FlaskClient]) -> None:
    one, other = two
    page = one.get("/sessions/devices").text
    assert "ida: 2 sessions" in page and "Firefox 131 on Linux" in page and "127.0.0.x" in page
    assert page.index(handle(sid_of(one))[:8]) < page.index(handle(sid_of(other))[:8])
    assert page.count("this device</span>") == 1
    assert sid_of(one) not in page and sid_of(other) not in page
    rows = one.get("/sessions/api/devices").json
    assert [(row["handle"], row["this"], row["device"], row["address"]) for row in rows] == [
        (handle(sid_of(one)), True, "A browser", "127.0.0.x"),
        (handle(sid_of(other)), False, "Firefox 131 on Linux", "127.0.0.x"),
    ]
    assert all(row["signed_in_at"] <= row["seen_at"] < row["idle_expires_at"] for row in rows)


def test_one_that_is_ended_is_nobodys_at_its_next_click(
    two: tuple[FlaskClient, FlaskClient],
) -> None:
    one, other = two
    assert one.post(f"/sessions/devices/{handle(sid_of(other))}/revoke").status_code == 303
    assert user(other) is None and other.get_cookie(SESSION) is None
    assert user(one) == "ida"
    assert len(one.get("/sessions/api/devices").json) == 1
    assert one.post(f"/sessions/devices/{'0' * 32}/revoke").status_code == 404


def test_ending_ones_own_session_is_signing_out(two: tuple[FlaskClient, FlaskClient]) -> None:
    one, other = two
    one.post(f"/sessions/devices/{handle(sid_of(one))}/revoke")
    assert user(one) is None and user(other) == "ida"


def test_the_others_are_ended_and_this_one_stays(two: tuple[FlaskClient, FlaskClient]) -> None:
    one, other = two
    answer = one.post("/sessions/devices/revoke-others")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sessions/devices")
    assert user(one) == "ida" and user(other) is None
    assert "1 other session ended." in one.get("/sessions/devices").text


def test_all_are_ended_and_the_cookie_is_taken_back(
    two: tuple[FlaskClient, FlaskClient], client: Client
) -> None:
    one, other = two
    one.post("/sessions/devices/revoke-all")
    assert one.get_cookie(SESSION) is None
    assert user(one) is None and user(other) is None
    found = place("a" * 32 + "." + "x" * 43)
    assert found and not [
        key for key in client.scan_iter("demo:sessions:*") if not key.endswith(b":epoch")
    ]


def test_a_request_in_flight_is_refused_when_its_session_is_ended(
    app: Flask, two: tuple[FlaskClient, FlaskClient]
) -> None:
    one, other = two
    cart = part(Parts, app).cart
    original = cart.change

    def change(*args: Any, **options: Any) -> Any:
        cart.change = original
        assert one.post("/sessions/devices/revoke-others").status_code == 303
        return original(*args, **options)

    cart.change = change
    assert other.post("/sessions/cart", data={"product": "42"}).status_code == 409
    assert one.get("/sessions/api/me").json["cart"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/devices/revoke-others",
        "/devices/revoke-all",
        "/devices/link",
        f"/devices/{'0' * 32}/revoke",
    ],
)
def test_nobody_ends_nothing(web: FlaskClient, path: str) -> None:
    assert web.post(f"/sessions{path}").status_code == 409
    web.post("/sessions/cart", data={"product": "42"})
    assert web.post(f"/sessions{path}").status_code == 409
    assert web.get("/sessions/api/devices").json == []
    assert "You are not signed in" in web.get("/sessions/devices").text


@pytest.mark.parametrize(
    "given", ["epoch", "index", "cart", "*", "x", "0" * 31, "0" * 33, "%2e%2e"]
)
def test_a_handle_names_a_session_and_no_other_key(
    two: tuple[FlaskClient, FlaskClient], given: str
) -> None:
    assert two[0].post(f"/sessions/devices/{given}/revoke").status_code == 404
    assert user(two[0]) == user(two[1]) == "ida"


def test_nobody_ends_a_session_of_somebody_else(
    app: Flask, two: tuple[FlaskClient, FlaskClient]
) -> None:
    noor = app.test_client()
    noor.post("/sessions/login", data={**GOOD, "name": "noor"})
    assert noor.post(f"/sessions/devices/{handle(sid_of(two[0]))}/revoke").status_code == 404
    assert user(two[0]) == "ida"


def test_of_a_shared_account_nobody_elses_address_is_told(app: Flask) -> None:
    one, other = app.test_client(), app.test_client()
    for web in (one, other):
        web.post("/sessions/login", data=GOOD)
    assert [row["address"] for row in one.get("/sessions/api/devices").json] == ["127.0.0.x", None]
    assert "shared demo account" in one.get("/sessions/devices").text


def link_of(web: FlaskClient) -> str:
    assert web.post("/sessions/devices/link").status_code == 303
    found = re.search(
        r'readonly value="http://localhost(/sessions/second-device\?code=[^"]+)"',
        web.get("/sessions/devices").text,
    )
    assert found
    return found[1]


def test_a_link_signs_in_one_more_browser_once(
    app: Flask, two: tuple[FlaskClient, FlaskClient]
) -> None:
    link = link_of(two[0])
    third, late = app.test_client(), app.test_client()
    page = third.get(link)
    assert "Sign in this browser" in page.text and user(third) is None
    assert "no-store" in page.headers["Cache-Control"]
    code = link.partition("code=")[2]
    answer = third.post("/sessions/second-device", data={"code": code})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sessions/devices")
    assert user(third) == "ida" and len(two[0].get("/sessions/api/devices").json) == 3
    refused = late.post(
        "/sessions/second-device", data={"code": code}, headers={"Accept": "application/json"}
    )
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "code")
    assert user(late) is None
    assert "readonly value=" not in two[0].get("/sessions/devices").text  # the link is shown once


def test_looking_at_a_link_uses_nothing_up(
    app: Flask, two: tuple[FlaskClient, FlaskClient]
) -> None:
    link = link_of(two[0])
    for _ in range(3):
        app.test_client().get(link)
    third = app.test_client()
    assert (
        third.post("/sessions/second-device", data={"code": link.partition("code=")[2]}).status_code
        == 303
    )


def test_a_link_is_worth_nothing_when_its_device_was_ended(
    app: Flask, two: tuple[FlaskClient, FlaskClient]
) -> None:
    link = link_of(two[1])
    two[0].post(f"/sessions/devices/{handle(sid_of(two[1]))}/revoke")
    answer = app.test_client().post(
        "/sessions/second-device", data={"code": link.partition("code=")[2]}
    )
    assert answer.status_code == 422


@pytest.mark.parametrize("code", ["", "x", "<script>", "é" * 109])
def test_a_link_that_is_none_says_so(web: FlaskClient, code: str) -> None:
    page = web.get("/sessions/second-device", query_string={"code": code})
    assert (
        page.status_code == 200
        and "incomplete" in page.text
        and "<script>" not in page.text.split("<main")[1]
    )
    assert web.post("/sessions/second-device", data={"code": code}).status_code == 422


def test_without_redis_the_list_says_so_and_nothing_is_ended(away: Flask) -> None:
    web = away.test_client()
    web.set_cookie(SESSION, "a" * 32 + "." + "x" * 43)
    assert "The sessions cannot be read: Redis is away, " in web.get("/sessions/devices").text
    for path in ("revoke-others", "revoke-all", "link", f"{'0' * 32}/revoke"):
        answer = web.post(f"/sessions/devices/{path}")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert (
        web.post(
            "/sessions/second-device", data={"code": f"{'a' * 32}.{'b' * 32}.{'x' * 43}"}
        ).status_code
        == 503
    )
    assert web.get("/sessions/second-device").status_code == 200
    assert web.get_cookie(SESSION)


def test_more_devices_than_are_shown_are_counted(
    app: Flask, make_app: Callable[..., Flask]
) -> None:
    web = make_app(RATE_LIMITS={}).test_client()
    web.post("/sessions/sign-up", data=OWN)
    store = part(Parts, app).store
    for _ in range(35):
        assert store.begin({}, user="ida", epoch=store.epoch("ida"))
    page = web.get("/sessions/devices").text
    assert (
        "ida: 36 sessions" in page and "6 more sessions, which end earlier, are not shown." in page
    )


def test_a_link_that_is_over_says_so_in_words(
    app: Flask, two: tuple[FlaskClient, FlaskClient]
) -> None:
    code = link_of(two[0]).partition("code=")[2]
    third, late = app.test_client(), app.test_client()
    third.post("/sessions/second-device", data={"code": code})
    page = late.post("/sessions/second-device", data={"code": code})
    assert page.status_code == 422 and "Unprocessable" not in page.text
    assert "This link no longer works" in page.text and "link was already used" in page.text
    assert 'href="/sessions/devices"' in page.text.partition("<main")[2]


ENDED = "This browser’s session has ended"


@pytest.mark.parametrize("path", ["/", "/catalog/products/42", "/sessions/", "/leaderboard/"])
@pytest.mark.parametrize("shown", [True, False])
def test_an_ended_device_is_told_why_at_its_next_click_and_once(
    make_app: Callable[..., Flask], path: str, shown: bool
) -> None:
    app = make_app(XRAY=shown)
    one, other = app.test_client(), app.test_client()
    one.post("/sessions/sign-up", data=OWN)
    other.post("/sessions/login", data=OWN)
    one.post("/sessions/devices/revoke-others")
    assert f"{ENDED}: it was signed out from another device." in other.get(path).text
    assert ENDED not in other.get(path).text and ENDED not in one.get(path).text


NEW = {"password": OWN["password"], "new": "another good passphrase"}


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("devices/{handle}/revoke", "it was signed out from another device."),
        ("devices/revoke-all", "it was signed out from another device."),
        ("password", "the password of its account was changed."),
        ("", "it was unused for 24 h, was 30 days old, or was evicted by Redis."),
    ],
)
def test_an_ended_device_is_told_its_own_reason(
    two: tuple[FlaskClient, FlaskClient], client: Client, end: str, reason: str
) -> None:
    one, other = two
    if end:
        path = f"/sessions/{end.format(handle=handle(sid_of(other)))}"
        assert one.post(path, data=NEW).status_code == 303
    else:
        found = place(sid_of(other))
        assert found and client.delete(found.session)
    assert f"{ENDED}: {reason}" in other.get("/sessions/").text


def test_without_the_database_an_ended_device_is_told_what_may_be(
    two: tuple[FlaskClient, FlaskClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    one.post("/sessions/devices/revoke-others")

    def away(*args: Any, **options: Any) -> Any:
        raise OperationalError("", {}, Exception())

    monkeypatch.setattr(Database, "read", away)
    assert f"{ENDED}: it was unused for" in other.get("/sessions/").text


def test_who_signs_out_or_never_had_a_session_is_told_nothing(
    app: Flask, two: tuple[FlaskClient, FlaskClient]
) -> None:
    two[0].post("/sessions/logout")
    forged = app.test_client()
    forged.set_cookie(SESSION, "nonsense")
    for web in (two[0], app.test_client(), forged):
        assert ENDED not in web.get("/sessions/").text


def test_a_link_has_its_picture_and_says_how_long_it_works(
    two: tuple[FlaskClient, FlaskClient],
) -> None:
    two[0].post("/sessions/devices/link")
    page = two[0].get("/sessions/devices").text
    link = html.unescape(re.findall(r'data-copy readonly value="([^"]+)"', page)[0])
    drawn = segno.make(link, micro=False).svg_inline(scale=4, light="#fff")
    assert f'role="img" aria-label="QR code of the sign-in link">{drawn}</div>' in page
    assert int(re.findall(r'data-countdown="(\d+)"', page)[0]) in range(50, 61)
    assert "localhost works only on this machine" in page
    assert "data-countdown" not in two[0].get("/sessions/devices").text


def test_where_the_host_is_not_known_a_link_has_no_picture(
    two: tuple[FlaskClient, FlaskClient],
) -> None:
    elsewhere = {"base_url": "http://shop.example"}
    two[0].set_cookie(SESSION, sid_of(two[0]), domain="shop.example")
    two[0].post("/sessions/devices/link", **elsewhere)
    page = two[0].get("/sessions/devices", **elsewhere).text
    assert 'href="/sessions/second-device?code=' in page and "QR code" not in page
