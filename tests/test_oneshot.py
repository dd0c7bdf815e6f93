from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer

from demo import oneshot


@pytest.fixture
def probed(app: Flask) -> FlaskClient:
    def give(size: int) -> Response:
        response = Response("given")
        oneshot.put(response, "probe", {"text": "x" * size})
        return response

    def take() -> dict[str, Any]:
        return {"taken": oneshot.take("probe")}

    app.add_url_rule("/give/<int:size>", "give", give)
    app.add_url_rule("/take", "take", take)
    return app.test_client()


def test_a_message_is_read_once(probed: FlaskClient) -> None:
    cookie = probed.get("/give/3").headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Max-Age=60" in cookie
    assert [probed.get("/take").json["taken"] for _ in range(2)] == [{"text": "xxx"}, None]


def test_a_message_that_is_too_large_for_a_cookie_is_left_out(probed: FlaskClient) -> None:
    assert "Set-Cookie" not in probed.get("/give/9000").headers or len(probed.get("/give/9000").headers["Set-Cookie"]) < 4000


@pytest.mark.parametrize("value", ["", "x", "e30.x.y", "é"])
def test_a_forged_message_is_none(probed: FlaskClient, value: str) -> None:
    probed.set_cookie("once-probe", value)
    assert probed.get("/take").json["taken"] is None
    probed.set_cookie("once-message", URLSafeTimedSerializer("another key", salt="oneshot").dumps("<b>hi</b>"))
    probed.set_cookie("once-xray", "forged")
    probed.set_cookie("once-burst", URLSafeTimedSerializer("of the tests", salt="other").dumps({"count": 1}))
    for path in ("/", "/rate-limit/"):
        page = probed.get(path)
        assert page.status_code == 200
        assert "hi</b>" not in page.text


def test_a_message_that_is_too_old_is_none(probed: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    probed.get("/give/3")
    monkeypatch.setattr(oneshot, "MAX_AGE_SECONDS", -1)
    assert probed.get("/take").json["taken"] is None
