"""Simulated visitors are told from real ones by what only this app can have made."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from demo.analytics.collector import Collector
from demo.analytics.dashboard import MADE_UP
from demo.observe import addresses
from demo.web import simulated
from demo.web.server import address_of
from demo.web.services import part
from demo.web.simulated import HEADER, IN_ENVIRON, MARK, Simulated

NOW = 1_800_000_000
SECRET = "of the tests"


@pytest.fixture(autouse=True)
def nobody_was_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(simulated.seen, "until", 0.0)
    yield


def marked(header: str, secret: str = SECRET) -> dict[str, Any]:
    environ = {"REMOTE_ADDR": "203.0.113.9", IN_ENVIRON: header}
    Simulated(secret, lambda: NOW).mark(environ)
    return environ


def test_each_comes_from_an_address_of_its_own_and_all_from_one_network() -> None:
    made = Simulated(SECRET, lambda: NOW)
    found = [marked(made.header(number, NOW + 60))["REMOTE_ADDR"] for number in range(50)]
    assert len({addresses.identity(address) for address in found}) == 50
    assert {addresses.network(address) for address in found} == {"2001:db8:b::/48"}
    assert simulated.seen.until == NOW + 70


GOOD = Simulated(SECRET, lambda: NOW).header(7, NOW + 60)
FOREIGN = [
    "", "x", "7", f"7.{NOW + 60}", f"7.{NOW + 60}.", GOOD[:-1], GOOD + "0", "8" + GOOD[1:], "é.1.é",
    "٣" + GOOD[1:], "7" * 5000 + GOOD, f"7.{10**20}.x", GOOD.replace("7.", "7..", 1),
    Simulated("another", lambda: NOW).header(7, NOW + 60),
    Simulated(SECRET, lambda: NOW).header(7, NOW),
    Simulated(SECRET, lambda: NOW).header(7, NOW + 121),
]  # fmt: skip


@pytest.mark.parametrize("header", FOREIGN, ids=range(len(FOREIGN)))
def test_what_is_forged_or_over_changes_nothing(header: str) -> None:
    assert MARK in marked(GOOD)
    simulated.seen.until = 0.0
    environ = marked(header)
    assert environ["REMOTE_ADDR"] == "203.0.113.9" and MARK not in environ
    assert simulated.seen.until == 0.0


def test_limits_count_them_for_themselves_and_analytics_as_made_up(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"limit": 1, "window_seconds": 60}
    limits = {"catalog.product": [one, {**one, "limit": 2, "by": "everyone"}]}
    app = make_app(RATE_LIMITS=limits)
    web, made = app.test_client(), Simulated(SECRET)
    until = int(time.time()) + 60

    def ask(number: int) -> int:
        header = {HEADER: made.header(number, until)}
        return web.get("/catalog/products/42", headers=header).status_code

    noted: list[tuple[Any, ...]] = []
    monkeypatch.setattr(part(Collector, app), "note", lambda *told: noted.append(told))
    assert [ask(1), ask(1), ask(2), ask(3)] == [200, 429, 200, 429]
    assert noted == [(MADE_UP,)] * 2
    page = web.get("/catalog/products/42")
    assert page.status_code == 200 and noted[2][::2] == ("catalog.product", "42")
    assert "are included in the figures of this process until" in " ".join(page.text.split())
    simulated.seen.until = 0.0
    assert "Simulated visitors" not in app.test_client().get("/monitor/").text


class Socket:
    def __init__(self, name: Any) -> None:
        self.getsockname = lambda: name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("0.0.0.0", 8000), ("127.0.0.1", 8000)),
        (("::", 8000, 0, 0), ("::1", 8000)),
        (("10.1.2.3", 80), ("10.1.2.3", 80)),
        ("/run/app.sock", "/run/app.sock"),
        ("", None),
    ],
    ids=str,
)
def test_where_this_machine_asks_a_server_that_listens(name: Any, expected: Any) -> None:
    assert address_of(Socket(name)) == expected
