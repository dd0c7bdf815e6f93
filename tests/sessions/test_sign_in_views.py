import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from sqlalchemy import delete, select, update
from sqlalchemy.exc import OperationalError

from demo.client.wire import Client
from demo.database import Database
from demo.sessions import account_use, accounts
from demo.sessions.session_id import handle, place
from demo.sessions.visitor import Parts
from demo.web.cookies import SESSION
from demo.web.services import part, services
from tests.sessions.visitors import GOOD, OWN, sid_of, user

NEW = "another long phrase"


@contextmanager
def after(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, act: Callable[[], Any]
) -> Iterator[None]:
    """Lets something happen once, right after a function has returned."""
    original = getattr(owner, name)

    def run(*args: Any, **options: Any) -> Any:
        answer = original(*args, **options)
        monkeypatch.setattr(owner, name, original)
        act()
        return answer

    monkeypatch.setattr(owner, name, run)
    yield
    monkeypatch.setattr(owner, name, original)


def test_the_page_names_both_ids_by_their_handles(web: FlaskClient) -> None:
    web.post("/sessions/cart", data={"product": "42"})
    before = sid_of(web)
    web.post("/sessions/login", data=GOOD)
    page = web.get("/sessions/").text
    assert f"<code>{handle(before)[:8]}</code> before signing in" in page
    assert f"<code>{handle(sid_of(web))[:8]}…</code> now" in page
    assert (
        f"Your session id changed from {handle(before)[:8]} to {handle(sid_of(web))[:8]}." in page
    )


def test_the_visitors_cart_is_added_to_the_accounts(app: Flask) -> None:
    web, other = app.test_client(), app.test_client()
    for browser, product in ((web, "42"), (web, "42"), (other, "42"), (other, "7")):
        browser.post("/sessions/cart", data={"product": product})
    for browser in (web, other):
        browser.post("/sessions/login", data=GOOD)
    for browser in (web, other):
        cart = {
            line["id"]: line["quantity"] for line in browser.get("/sessions/api/me").json["cart"]
        }
        assert cart == {42: 3, 7: 1}


def test_what_another_tab_puts_in_while_signing_in_is_not_lost(app: Flask) -> None:
    web, tab = app.test_client(), app.test_client()
    web.post("/sessions/cart", data={"product": "42"})
    tab.set_cookie(SESSION, sid_of(web))
    interface = app.session_interface
    original = interface.sign_in  # type: ignore[attr-defined]

    def sign_in(*args: Any) -> Any:
        interface.sign_in = original  # type: ignore[attr-defined]
        assert tab.post("/sessions/cart", data={"product": "42", "change": "2"}).status_code == 303
        assert tab.post("/sessions/cart", data={"product": "7"}).status_code == 303
        return original(*args)

    interface.sign_in = sign_in  # type: ignore[attr-defined]
    web.post("/sessions/login", data=GOOD)
    cart = {line["id"]: line["quantity"] for line in web.get("/sessions/api/me").json["cart"]}
    assert cart == {42: 3, 7: 1}
    assert (
        tab.post("/sessions/cart", data={"product": "9"}).status_code == 303
    )  # its session is gone: a new visitor's cart
    assert [line["id"] for line in tab.get("/sessions/api/me").json["cart"]] == [9]


def test_signing_in_as_somebody_else_takes_nothing_along(app: Flask, client: Client) -> None:
    web = app.test_client()
    web.post("/sessions/login", data=GOOD)
    web.post("/sessions/cart", data={"product": "42"})
    first = sid_of(web)
    web.post("/sessions/login", data={**GOOD, "name": "noor"})
    me = web.get("/sessions/api/me").json
    assert (me["user"], me["cart"]) == ("noor", [])
    found = place(first)
    assert found and client.exists(found.session) == 0
    web.post("/sessions/login", data=GOOD)
    assert [line["id"] for line in web.get("/sessions/api/me").json["cart"]] == [42]


ROADS = {
    "login": lambda web, code: web.post("/sessions/login", data={**GOOD, "name": "noor"}),
    "sign-up": lambda web, code: web.post(
        "/sessions/sign-up", data={"name": "ida", "password": "a long enough phrase"}
    ),
    "second device": lambda web, code: web.post("/sessions/second-device", data={"code": code}),
}
VALUES = {"theme": "dark", "bag": {"items": [1]}, "user_id": 7, "a": None, "b": [], "text": "é"}
OF_A_SIGN_IN = {"user", "signed_in_at", "id_before"}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("before", [None, "mara"], ids=["nobody", "mara"])
def test_a_visitors_values_go_along_and_those_of_another_user_never(
    app: Flask, client: Client, road: str, before: str | None
) -> None:
    """Every value of the session: what nobody had put in stays his own, what somebody else had put
    in reaches whoever signs in next by no road, neither the page nor Redis."""

    def put() -> str:
        session.update(VALUES)
        return "ok"

    app.add_url_rule("/probe/put", "put", put)
    app.add_url_rule("/probe/look", "look", lambda: dict(session))
    web, lender = app.test_client(), app.test_client()
    lender.post("/sessions/login", data={**GOOD, "name": "noor"})
    lender.post("/sessions/devices/link")
    code = re.search(r"code=([\w.-]+)", lender.get("/sessions/devices").text)
    if before:
        web.post("/sessions/login", data={**GOOD, "name": before})
    web.get("/probe/put")
    assert web.get("/probe/look").json.items() >= VALUES.items()
    assert ROADS[road](web, code and code[1]).status_code == 303
    own = {} if before else VALUES
    values = web.get("/probe/look").json
    assert {name: values[name] for name in values.keys() - OF_A_SIGN_IN} == own
    assert values["user"] == ("ida" if road == "sign-up" else "noor")
    there = place(sid_of(web))
    assert there
    fields = {name for name in client.hkeys(there.session) if name.startswith(b"d:")}
    assert fields == {f"d:{name}".encode() for name in OF_A_SIGN_IN | own.keys()}


@pytest.mark.parametrize("path", ["/catalog/products/42", "/catalog/?q=lamp&page=2", "/"])
def test_next_leads_to_a_page_of_ours(web: FlaskClient, path: str) -> None:
    assert (
        f'name="next" value="{path}"'.replace("&", "&amp;")
        in web.get("/sessions/", query_string={"next": path}).text
    )
    answer = web.post("/sessions/login", data={**GOOD, "next": path})
    assert (answer.status_code, answer.headers["Location"]) == (303, path)


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "evil",
        "javascript:alert(1)",
        "/\nx",
        "/" + "x" * 600,
    ],
)
def test_next_leads_nowhere_else(web: FlaskClient, path: str) -> None:
    answer = web.post(
        "/sessions/login", data={**GOOD, "next": path}, headers={"Accept": "application/json"}
    )
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "next")
    assert user(web) is None


def test_an_account_of_ones_own(web: FlaskClient, app: Flask) -> None:
    web.post("/sessions/cart", data={"product": "42"})
    assert web.post("/sessions/sign-up", data=OWN).status_code == 303
    assert user(web) == "ida"
    assert [line["id"] for line in web.get("/sessions/api/me").json["cart"]] == [42]
    other = app.test_client()
    assert other.post("/sessions/login", data=OWN).status_code == 303
    assert user(other) == "ida"
    assert OWN["password"] not in web.get("/sessions/").text


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({}, "new_name"),
        ({**OWN, "name": "mara"}, "new_name"),
        ({**OWN, "name": "<b>"}, "new_name"),
        ({**OWN, "password": "short"}, "new_password"),
    ],
)
def test_a_wrong_sign_up_is_told_beside_its_field(
    web: FlaskClient, form: dict[str, str], field: str
) -> None:
    answer = web.post("/sessions/sign-up", data=form)
    assert answer.status_code == 422
    assert f'aria-describedby="{field}-error"' in answer.text and 'value="<b>' not in answer.text
    assert web.get_cookie(SESSION) is None


def test_a_new_password_ends_the_others_and_changes_this_ones_id(app: Flask) -> None:
    web, other = app.test_client(), app.test_client()
    web.post("/sessions/sign-up", data=OWN)
    other.post("/sessions/login", data=OWN)
    before = sid_of(web)
    answer = web.post("/sessions/password", data={"password": OWN["password"], "new": NEW})
    assert answer.status_code == 303
    assert user(web) == "ida" and user(other) is None
    assert sid_of(web) != before
    thief = app.test_client()
    thief.set_cookie(SESSION, before)
    assert user(thief) is None
    assert other.post("/sessions/login", data=OWN).status_code == 422
    assert other.post("/sessions/login", data={**OWN, "password": NEW}).status_code == 303


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({}, "current"),
        ({"password": "wrong", "new": NEW}, "current"),
        ({"password": OWN["password"], "new": "short"}, "changed"),
        ({"password": OWN["password"]}, "changed"),
    ],
)
def test_a_wrong_change_of_password_changes_nothing(
    app: Flask, form: dict[str, str], field: str
) -> None:
    web, other = app.test_client(), app.test_client()
    web.post("/sessions/sign-up", data=OWN)
    other.post("/sessions/login", data=OWN)
    answer = web.post("/sessions/password", data=form)
    assert answer.status_code == 422 and f'aria-describedby="{field}-error"' in answer.text
    assert user(other) == user(web) == "ida"
    assert app.test_client().post("/sessions/login", data=OWN).status_code == 303


def test_nobody_changes_the_password_of_a_demo_account(app: Flask) -> None:
    web = app.test_client()
    web.post("/sessions/login", data=GOOD)
    answer = web.post("/sessions/password", data={"password": GOOD["password"], "new": NEW})
    assert answer.status_code == 422
    assert app.test_client().post("/sessions/login", data=GOOD).status_code == 303


def test_who_is_not_signed_in_changes_no_password(web: FlaskClient) -> None:
    assert web.post("/sessions/password", data={"password": "x", "new": NEW}).status_code == 409


@pytest.mark.parametrize("moment", ["the account was read", "the password was checked"])
def test_the_old_password_lets_nobody_in_while_it_is_being_changed(
    app: Flask, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The sign-in with the old password has gone so far when the change begins and ends; then it
    goes on."""
    owner, thief = app.test_client(), app.test_client()
    owner.post("/sessions/sign-up", data=OWN)
    name = "find" if moment == "the account was read" else "is_right"

    def change() -> None:
        assert (
            owner.post(
                "/sessions/password", data={"password": OWN["password"], "new": NEW}
            ).status_code
            == 303
        )

    with after(monkeypatch, accounts, name, change):
        assert thief.post("/sessions/login", data=OWN).status_code == 409
    assert user(thief) is None and user(owner) == "ida"
    assert len(owner.get("/sessions/api/devices").json) == 1


def test_who_signs_in_with_the_old_password_in_the_middle_of_the_change_is_out_at_its_end(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the others were ended and before the new hash is written the old password still is
    right, for that moment."""
    owner, thief = app.test_client(), app.test_client()
    owner.post("/sessions/sign-up", data=OWN)
    store = part(Parts, app).store

    def sneak_in() -> None:
        assert thief.post("/sessions/login", data=OWN).status_code == 303
        assert user(thief) == "ida"

    with after(monkeypatch, store, "revoke_others", sneak_in):
        owner.post("/sessions/password", data={"password": OWN["password"], "new": NEW})
    assert user(thief) is None and user(owner) == "ida"


def test_two_changes_of_one_password_at_once_leave_one(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = app.test_client(), app.test_client()
    one.post("/sessions/sign-up", data=OWN)
    two.post("/sessions/login", data=OWN)

    def change() -> None:
        assert (
            two.post(
                "/sessions/password", data={"password": OWN["password"], "new": NEW}
            ).status_code
            == 303
        )

    with after(monkeypatch, accounts, "hash_password", change):
        assert (
            one.post(
                "/sessions/password", data={"password": OWN["password"], "new": NEW + "!"}
            ).status_code
            == 409
        )
    assert user(one) is None
    assert (
        app.test_client().post("/sessions/login", data={**OWN, "password": NEW}).status_code == 303
    )


UNSAFE = (
    "login",
    "logout",
    "sign-up",
    "password",
    "cart",
    "devices/revoke-others",
    "devices/revoke-all",
    "devices/link",
    "second-device",
)
BROWSERS = {
    "Another site": {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Origin": "https://evil.example",
    },
    "another host of ours": {
        "Sec-Fetch-Site": "same-site",
        "Sec-Fetch-Mode": "navigate",
        "Origin": "http://a.localhost",
    },
    "plain http": {"Origin": "http://evil.example"},
    "without a referrer": {"Origin": "null"},
    "a sandboxed frame": {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
}


@pytest.mark.parametrize("headers", BROWSERS.values(), ids=BROWSERS.keys())
@pytest.mark.parametrize("path", UNSAFE)
def test_no_change_is_taken_from_another_site(
    web: FlaskClient, path: str, headers: dict[str, str]
) -> None:
    web.post("/sessions/login", data=GOOD)
    sid = sid_of(web)
    assert (
        web.post(f"/sessions/{path}", data={**GOOD, "product": "42"}, headers=headers).status_code
        == 403
    )
    assert sid_of(web) == sid
    me = web.get("/sessions/api/me", headers=headers).json
    assert (me["user"], me["cart"]) == ("mara", [])


@pytest.mark.parametrize(
    "headers",
    [
        {
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
            "Origin": "http://localhost",
        },
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
        {"Origin": "http://localhost"},
        {},
    ],
)
def test_our_own_forms_and_programs_are_served(web: FlaskClient, headers: dict[str, str]) -> None:
    assert web.post("/sessions/login", data=GOOD, headers=headers).status_code == 303


def test_a_refused_sign_in_says_so_in_words(
    web: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with after(monkeypatch, accounts, "find", lambda: part(Parts, app).store.revoke_all("mara")):
        answer = web.post("/sessions/login", data=GOOD)
    assert answer.status_code == 409 and "Sign in again." in answer.text


def test_who_takes_a_name_that_somebody_had_before_finds_nothing_of_it(
    app: Flask, client: Client
) -> None:
    former, web = app.test_client(), app.test_client()
    former.post("/sessions/sign-up", data=OWN)
    former.post("/sessions/cart", data={"product": "42"})
    with get_database_of(app).write() as connection:  # the row alone is gone
        connection.execute(delete(accounts.accounts).where(accounts.accounts.c.name == "ida"))
    assert user(former) == "ida"
    web.post("/sessions/cart", data={"product": "7"})
    assert web.post("/sessions/sign-up", data={**OWN, "password": NEW}).status_code == 303
    assert user(former) is None and user(web) == "ida"
    assert [line["id"] for line in web.get("/sessions/api/me").json["cart"]] == [7]
    assert len(web.get("/sessions/api/devices").json) == 1


def test_who_asks_for_a_name_that_somebody_has_ends_nothing(app: Flask) -> None:
    owner, other = app.test_client(), app.test_client()
    owner.post("/sessions/sign-up", data=OWN)
    owner.post("/sessions/cart", data={"product": "42"})
    assert other.post("/sessions/sign-up", data={**OWN, "password": NEW}).status_code == 422
    assert user(owner) == "ida"
    assert [line["id"] for line in owner.get("/sessions/api/me").json["cart"]] == [42]


def test_an_account_that_is_dropped_while_its_password_is_checked_lets_nobody_in(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, late = app.test_client(), app.test_client()
    owner.post("/sessions/sign-up", data=OWN)

    def drop() -> None:
        with get_database_of(app).write() as connection:
            connection.execute(delete(accounts.accounts).where(accounts.accounts.c.name == "ida"))

    with after(monkeypatch, accounts, "is_right", drop):
        answer = late.post("/sessions/login", data=OWN)
    assert answer.status_code == 422 and "The name or the password is wrong" in answer.text
    assert user(late) is None


def test_a_visit_on_another_day_of_the_same_session_keeps_the_account(
    app: Flask, client: Client
) -> None:
    web = app.test_client()
    web.post("/sessions/sign-up", data=OWN)

    def pass_hours(hours: float) -> None:
        """Has the account and the session, and its last visit, be so much older."""
        found = place(sid_of(web))
        assert found
        for name in ("_created", "_seen"):
            client.hincrby(found.session, name, -int(hours * 3_600_000))
        with get_database_of(app).write() as connection:
            rows = connection.execute(select(row).where(row.c.name == "ida")).one()
            before = rows.new_since and rows.new_since - timedelta(hours=hours)
            connection.execute(update(row).where(row.c.name == "ida").values(new_since=before))

    def is_new() -> bool:
        with get_database_of(app).read() as connection:
            found = connection.scalar(select(row.c.new_since).where(row.c.name == "ida"))
        return found is not None

    row = accounts.accounts
    pass_hours(23)
    assert user(web) == "ida" and is_new()
    pass_hours(2)
    assert user(web) == "ida" and not is_new()


def test_a_day_of_a_session_is_noted_once_and_a_database_that_is_away_signs_nobody_out(
    app: Flask, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    web, noted = app.test_client(), []
    web.post("/sessions/sign-up", data=OWN)

    def note(_: Any, name: str) -> None:
        noted.append(name)
        raise OperationalError("", None, Exception())

    monkeypatch.setattr(account_use, "note", note)
    found = place(sid_of(web))
    assert found
    client.hincrby(found.session, "_created", -25 * 3_600_000)
    client.hincrby(found.session, "_seen", -2 * 3_600_000)
    for seen in (0, 0, 120_000):  # visited, visited again, two minutes later
        client.hincrby(found.session, "_seen", -seen)
        assert user(web) == "ida"
    assert noted == ["ida"]


def get_database_of(app: Flask) -> Database:
    return services(app).database


def test_what_a_name_and_a_password_may_be_is_said_before_they_fail(web: FlaskClient) -> None:
    def hint(page: str, id: str) -> str:
        assert f'aria-describedby="{id}-hint"' in page
        return re.findall(rf'id="{id}-hint">([^<]+)<', page)[0]

    page = web.get("/sessions/").text
    assert hint(page, "new_name") == accounts.NAME_RULE
    assert hint(page, "new_password") == accounts.PASSWORD_RULE
    refused = web.post("/sessions/sign-up", data={"name": "X", "password": "short"}).text
    assert accounts.NAME_RULE in refused and "new_name-hint" not in refused
    web.post("/sessions/sign-up", data=OWN)
    assert hint(web.get("/sessions/").text, "changed") == accounts.PASSWORD_RULE


def test_what_a_player_and_a_board_may_be_called_is_said_before_they_fail(web: FlaskClient) -> None:
    for path, told in (
        ("/leaderboard/boards/main", "1 to 64 visible characters."),
        ("/leaderboard/boards/main", "A whole number within"),
        ("/leaderboard/boards/main/game", "1 to 64 visible characters."),
        ("/leaderboard/", "Up to 40 lower-case letters, digits and inner hyphens."),
    ):
        assert told in web.get(path).text
