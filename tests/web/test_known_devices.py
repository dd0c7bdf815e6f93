"""The owner of an account is not shut out by who guesses at it, and nobody guesses more for that."""

import base64
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete
from sqlalchemy.exc import OperationalError

from demo.sessions import accounts
from demo.web import known_devices, signed
from demo.web.services import services
from tests.sessions.visitors import GOOD, OWN, user

MakeApp = Callable[..., Flask]
NAME, NEW = known_devices.COOKIE, "another long phrase"
WRONG = {**OWN, "password": "a guess"}
# One guess for all strangers together, three for a device.
SMALL = {
    "sessions.login": [
        {
            "limit": 1,
            "window_seconds": 3600,
            "by": "field:name",
            "count": "failures",
            "spare": "device:name",
        },
        {"limit": 3, "window_seconds": 3600, "by": "device:name", "count": "failures"},
    ]
}


def post(web: FlaskClient, form: dict[str, str], address: int = 1) -> Any:
    environ = {"REMOTE_ADDR": f"203.0.113.{address}"}
    return web.post("/sessions/login", data=form, environ_overrides=environ)


def login(web: FlaskClient, form: dict[str, str], address: int = 1) -> int:
    status: int = post(web, form, address).status_code
    return status


def sign_up(app: Flask, name: str = "ida") -> FlaskClient:
    web = app.test_client()
    assert web.post("/sessions/sign-up", data={**OWN, "name": name}).status_code == 303
    return web


def token_of(web: FlaskClient) -> str:
    cookie = web.get_cookie(NAME)
    assert cookie
    return str(cookie.value)


def with_token(app: Flask, token: str) -> FlaskClient:
    web = app.test_client()
    web.set_cookie(NAME, token)
    return web


def is_known(app: Flask, token: str) -> bool:
    """Whether a browser with this cookie is no stranger to ida, where strangers have no guess left."""
    policy = post(with_token(app, token), WRONG).headers["RateLimit-Policy"]
    return policy.startswith('"sessions.login/device:name"')


def test_ten_wrong_passwords_from_one_address_shut_out_that_address_alone(
    make_app: MakeApp,
) -> None:
    app = make_app()
    sign_up(app)
    stranger = app.test_client()
    assert [login(stranger, WRONG) for _ in range(11)] == [422] * 10 + [429]
    assert login(stranger, OWN, 2) == 303


@pytest.mark.parametrize("name", ["ida", "nobody-of-that-name"])
def test_a_hundred_guesses_from_many_addresses_are_all_there_are_whether_the_name_is_known_or_not(
    make_app: MakeApp, name: str
) -> None:
    app = make_app()
    owner, stranger = sign_up(app), app.test_client()
    wrong = {**WRONG, "name": name}
    assert {login(stranger, wrong, number) for number in range(100)} == {422}
    refused = post(stranger, wrong, 200)
    assert refused.status_code == 429
    assert refused.headers["RateLimit-Policy"].count('"sessions.login/field:name";q=100;w=3600')
    assert login(stranger, {**OWN, "name": name}, 201) == 429
    assert login(owner, OWN, 202) == 303


def test_a_known_device_has_a_limit_of_its_own_wherever_it_is(make_app: MakeApp) -> None:
    app = make_app(RATE_LIMITS=SMALL)
    owner, phone, stranger = sign_up(app), app.test_client(), app.test_client()
    assert login(phone, OWN) == 303
    assert [login(stranger, WRONG, number) for number in range(3)] == [422, 429, 429]
    # A stolen cookie is worth three guesses, and costs the owner's other devices nothing.
    thief = with_token(app, token_of(phone))
    assert [login(thief, WRONG, number) for number in range(5)] == [422] * 3 + [429] * 2
    assert login(thief, OWN) == 429
    assert login(owner, OWN, 9) == 303


def test_who_signs_in_on_a_known_device_uses_up_nothing(make_app: MakeApp) -> None:
    owner = sign_up(make_app(RATE_LIMITS=SMALL))
    for _ in range(5):
        assert login(owner, OWN) == 303
    assert '"sessions.login/device:name";r=3;' in post(owner, OWN).headers["RateLimit"]


def test_no_cookie_but_the_accounts_own_makes_a_device_known(make_app: MakeApp) -> None:
    app, foreign = make_app(RATE_LIMITS=SMALL), make_app(RATE_LIMITS={}, SECRET_KEY="of others")
    good = token_of(sign_up(app))
    with foreign.test_request_context():
        response = foreign.response_class()
        with foreign.app_context():
            secret = services(foreign).parts[known_devices.Accounts].secret_of("ida")
        assert secret
        known_devices.give(response, "ida", secret)
        forged = response.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    with app.test_request_context():
        other_purpose = signed.serializer("oneshot:message").dumps(["n", "s"])
        no_list = known_devices._signer("ida").dumps(5)
        no_seal = known_devices._signer("ida").dumps(["nonce", ""])
    eva = token_of(sign_up(app, "eva"))
    other = "A" if good[-9] != "A" else "B"
    assert login(app.test_client(), WRONG) == 422
    for token in (
        *("", "~", "~~~~", "x" * 3000, "\u00e9", "a.b.c"),
        *(eva, forged, other_purpose, no_list, no_seal, good[:-9] + other + good[-8:], good[1:]),
        "~".join([eva] * known_devices.MOST_ACCOUNTS + [good]),
    ):
        assert not is_known(app, token), token
    assert is_known(app, good) and is_known(app, f"{eva}~{good}")


def test_a_token_is_too_old_some_day(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(RATE_LIMITS=SMALL)
    token = token_of(sign_up(app))
    assert login(app.test_client(), WRONG) == 422 and is_known(app, token)
    now = signed._Signer.get_timestamp
    later = known_devices.LIFE_SECONDS + 10
    monkeypatch.setattr(signed._Signer, "get_timestamp", lambda self: now(self) + later)
    assert not is_known(app, token)


@pytest.mark.parametrize("how", ["a new password", "another account of the name", "no account"])
def test_with_another_password_the_cookies_are_worthless(make_app: MakeApp, how: str) -> None:
    app = make_app(RATE_LIMITS=SMALL)
    owner = sign_up(app)
    token = token_of(owner)
    if how == "a new password":
        form = {"password": OWN["password"], "new": NEW}
        assert owner.post("/sessions/password", data=form).status_code == 303
    else:
        with services(app).database.write() as connection:
            row = accounts.accounts
            connection.execute(delete(row).where(row.c.name == "ida"))
        if how != "no account":
            owner = sign_up(app)
    assert login(app.test_client(), WRONG) == 422
    assert not is_known(app, token)
    # Who has changed the password, or made the account, is known.
    assert is_known(app, token_of(owner)) is (how != "no account")


def test_the_cookie_of_a_sign_in_is_for_the_password_that_it_told(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief signs in with the old password while it is being changed: his session ends with the
    change, and his browser is not known after."""
    app = make_app(RATE_LIMITS=SMALL)
    owner, thief = sign_up(app), app.test_client()
    original = known_devices.give

    def change_first(*args: Any) -> None:
        monkeypatch.setattr(known_devices, "give", original)
        form = {"password": OWN["password"], "new": NEW}
        assert owner.post("/sessions/password", data=form).status_code == 303
        original(*args)

    monkeypatch.setattr(known_devices, "give", change_first)
    assert login(thief, OWN) == 303
    assert user(thief) is None
    assert login(app.test_client(), WRONG) == 422
    assert not is_known(app, token_of(thief)) and is_known(app, token_of(owner))


@pytest.mark.parametrize("secure", [False, True])
def test_the_cookie_is_for_the_server_alone_and_names_nobody(
    make_app: MakeApp, secure: bool
) -> None:
    app = make_app(SECURE_COOKIES=secure)
    base = "https://localhost" if secure else "http://localhost"
    answer = app.test_client().post("/sessions/sign-up", data=OWN, base_url=base)
    name = f"__Host-{NAME}" if secure else NAME
    (cookie,) = [
        each for each in answer.headers.getlist("Set-Cookie") if each.startswith(f"{name}=")
    ]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert ("Secure" in cookie.split("; ")) is secure and "Domain" not in cookie
    assert timedelta(seconds=int(re.findall(r"Max-Age=(\d+)", cookie)[0])) == timedelta(days=365)
    value = cookie.partition(";")[0].partition("=")[2]
    held = base64.urlsafe_b64decode(value.partition(".")[0] + "==")
    assert b"ida" not in held and "ida" not in value
    with services(app).database.read() as connection:
        account = accounts.find(connection, "ida")
    assert account and account.password_hash.encode()[-20:] not in held


def test_only_who_tells_the_password_is_given_one(make_app: MakeApp) -> None:
    app = make_app()
    owner, web = sign_up(app), app.test_client()
    login(web, WRONG)
    assert web.get_cookie(NAME) is None
    owner.post("/sessions/devices/link")
    code = re.findall(r"code=([\w.-]+)", owner.get("/sessions/devices").text)[0]
    assert web.post("/sessions/second-device", data={"code": code}).status_code == 303
    assert user(web) == "ida" and web.get_cookie(NAME) is None
    assert login(web, OWN) == 303 and web.get_cookie(NAME) is not None
    owner.post("/sessions/logout")
    assert owner.get_cookie(NAME) is not None


def test_a_browser_is_known_to_the_accounts_that_it_used_last(make_app: MakeApp) -> None:
    app = make_app(RATE_LIMITS=SMALL)
    web, names = app.test_client(), ["ida", "eva", "ole", "ada", "kim"]
    for name in names:
        assert web.post("/sessions/sign-up", data={**OWN, "name": name}).status_code == 303
    for name in names[1:]:
        for _ in range(2):
            assert login(web, {**WRONG, "name": name}) == 422
    assert [login(web, WRONG) for _ in range(2)] == [422, 429]
    assert len(token_of(web)) < known_devices.MOST_CHARACTERS


def test_nobody_shuts_others_out_of_the_accounts_that_are_everybodys(make_app: MakeApp) -> None:
    app = make_app(RATE_LIMITS=SMALL)
    web = app.test_client()
    wrong = {**GOOD, "password": "wrong"}
    assert [login(web, wrong) for _ in range(4)] == [422] * 3 + [429]
    assert login(app.test_client(), GOOD, 2) == 303
    assert login(web, GOOD, 2) == 303 and web.get_cookie(NAME) is None


def test_without_a_database_a_device_counts_as_none_and_a_forged_one_asks_for_none(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(RATE_LIMITS=SMALL)
    ida, eva = token_of(sign_up(app)), token_of(sign_up(app, "eva"))
    asked = []

    def secret_of(name: str) -> str | None:
        asked.append(name)
        raise OperationalError("", None, Exception())

    monkeypatch.setitem(
        services(app).parts, known_devices.Accounts, known_devices.Accounts(secret_of)
    )
    for token in (eva, "forged"):
        assert not is_known(app, token)
    assert not asked
    assert not is_known(app, ida)
    assert asked == ["ida"] and "counts as none" in caplog.text


def test_a_limit_for_devices_is_none_where_nobody_has_accounts(make_app: MakeApp) -> None:
    quota = {"limit": 1, "window_seconds": 60}
    both = [{**quota, "by": "device:name"}, {**quota, "spare": "device:name"}]
    web = make_app(("rate_limit",), RATE_LIMITS={"rate_limit.api.hit": both}).test_client()
    codes = [web.post("/rate-limit/api/hits", json={"identity": "me"}).status_code for _ in "ab"]
    assert codes == [200, 429]
