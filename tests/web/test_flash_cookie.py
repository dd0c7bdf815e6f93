from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer

from demo.web import flash_cookie
from demo.web.flash_cookie import PREFIX


@pytest.fixture
def probed(app: Flask) -> FlaskClient:
    def give(size: int) -> Response:
        response = Response("given")
        flash_cookie.put(response, "probe", {"text": "x" * size})
        return response

    def take() -> dict[str, Any]:
        return {"taken": flash_cookie.take("probe")}

    app.add_url_rule("/give/<int:size>", "give", give)
    app.add_url_rule("/take", "take", take)
    return app.test_client()


def test_a_message_is_read_once(probed: FlaskClient) -> None:
    cookie = probed.get("/give/3").headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Max-Age=60" in cookie
    assert [probed.get("/take").json["taken"] for _ in range(2)] == [{"text": "xxx"}, None]


def test_a_message_that_is_too_large_for_a_cookie_is_left_out(probed: FlaskClient) -> None:
    assert (
        "Set-Cookie" not in probed.get("/give/9000").headers
        or len(probed.get("/give/9000").headers["Set-Cookie"]) < 4000
    )


@pytest.mark.parametrize("value", ["", "x", "e30.x.y", "é"])
def test_a_forged_message_is_none(probed: FlaskClient, value: str) -> None:
    probed.set_cookie(PREFIX + "probe", value)
    assert probed.get("/take").json["taken"] is None
    probed.set_cookie(
        PREFIX + "message", URLSafeTimedSerializer("another key", salt="oneshot").dumps("<b>hi</b>")
    )
    probed.set_cookie(PREFIX + "xray", "forged")
    probed.set_cookie(
        PREFIX + "burst", URLSafeTimedSerializer("of the tests", salt="other").dumps({"count": 1})
    )
    for path in ("/", "/rate-limit/"):
        page = probed.get(path)
        assert page.status_code == 200
        assert "hi</b>" not in page.text


def test_a_message_that_is_too_old_is_none(
    probed: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed.get("/give/3")
    monkeypatch.setattr(flash_cookie, "MAX_AGE_SECONDS", -1)
    assert probed.get("/take").json["taken"] is None


def test_what_was_meant_for_one_view_cannot_be_handed_to_another(app: Flask) -> None:
    giver = app.test_client()
    giver.post("/sessions/cart", data={"product": "42"})
    for source in (PREFIX + "message", PREFIX + "xray"):
        cookie = giver.get_cookie(source)
        assert cookie
        for target in (PREFIX + "burst", PREFIX + "xray", PREFIX + "message"):
            taker = app.test_client()
            taker.set_cookie(target, cookie.value)
            page = taker.get("/rate-limit/")
            assert page.status_code == 200
            shown = "in your cart" in page.text or "POST /sessions/cart" in page.text
            assert shown is (source == target), (source, target)


def test_one_changed_character_makes_a_message_nothing(probed: FlaskClient) -> None:
    probed.get("/give/3")
    cookie = probed.get_cookie(PREFIX + "probe")
    assert cookie
    payload, rest = cookie.value.split(".", 1)
    for forged in (
        f"{payload[:-1]}.{rest}",
        f"x{payload}.{rest}",
        cookie.value[:-2],
        payload,
        f".{cookie.value}",
    ):
        probed.set_cookie(PREFIX + "probe", forged)
        assert probed.get("/take").json["taken"] is None


def test_the_cookie_is_taken_back_by_the_answer_that_read_it_and_by_no_other(
    probed: FlaskClient,
) -> None:
    probed.get("/give/3")
    assert "Set-Cookie" not in probed.get("/livez").headers
    (taken,) = probed.get("/take").headers.getlist("Set-Cookie")
    assert taken.startswith(f"{PREFIX}probe=;") and "Max-Age=0" in taken and "Path=/" in taken
    assert "Set-Cookie" not in probed.get("/take").headers


@pytest.mark.parametrize("size", [0, 1000, 2500])
def test_what_fits_arrives_whole(probed: FlaskClient, size: int) -> None:
    assert len(probed.get(f"/give/{size}").headers["Set-Cookie"]) < 4096
    assert probed.get("/take").json["taken"] == {"text": "x" * size}


def test_what_cannot_be_packed_into_a_cookie_is_left_out_and_no_error(app: Flask) -> None:
    noise = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(4000))

    def give() -> Response:
        response = Response("given")
        flash_cookie.put(response, "probe", noise)
        return response

    app.add_url_rule("/give", "give", give)
    answer = app.test_client().get("/give")
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (200, False)


def test_secure_cookies_are_secure_here_too(make_app: Callable[..., Flask]) -> None:
    web = make_app(SECURE_COOKIES=True).test_client()
    answer = web.post("/sessions/cart", data={"product": "42"}, base_url="https://localhost")
    once = [
        value
        for value in answer.headers.getlist("Set-Cookie")
        if value.startswith(f"__Host-{PREFIX}")
    ]
    assert len(once) == 2 and all("Secure" in value and "HttpOnly" in value for value in once)
