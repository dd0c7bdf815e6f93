"""Accounts and browsers of the tests."""

from typing import Any

from flask.testing import FlaskClient

from demo.web.cookies import SESSION

GOOD = {"name": "mara", "password": "correct horse"}
OWN = {"name": "ida", "password": "a long enough phrase"}


def sid_of(web: FlaskClient) -> str:
    """The id that the browser holds."""
    cookie = web.get_cookie(SESSION)
    assert cookie
    return cookie.value


def user(web: FlaskClient) -> Any:
    """Who is signed in."""
    return web.get("/sessions/api/me").json["user"]
