"""Each trap of server-side sessions, forced, on ours, where it has to hold, and on stock
Flask-Session 0.8, where it must not: so the test is known to be able to fail."""

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask, session
from flask.testing import FlaskClient
from flask_session.redis import RedisSessionInterface as StockInterface

from demo.sessions import races, session_id
from demo.sessions.interface import RedisSessionInterface, current
from demo.sessions.session_store import SessionStore
from tests.servers import Client, private_engine, trips

PREFIX = "demo:sessions:stock:"


@dataclass
class System:
    """One kind of sessions behind the same views. `meanwhile` happens after a view has read and
    before it writes."""

    app: Flask
    client: Any
    is_ours: bool
    meanwhile: Callable[[], Any] = lambda: None

    def browser(self, sid: str | None = None) -> FlaskClient:
        made = self.app.test_client()
        if sid is not None:
            made.set_cookie("session", sid)
        return made

    def key(self, sid: str) -> str:
        found = session_id.place(sid)
        return found.session if self.is_ours and found else PREFIX + sid


def sid_of(browser: FlaskClient) -> str:
    cookie = browser.get_cookie("session")
    assert cookie
    return cookie.value


def make(client: Any, is_ours: bool) -> System:
    app = Flask("ours" if is_ours else "stock")
    system = System(app, client, is_ours)
    if is_ours:
        store = SessionStore(client, idle_seconds=3600, absolute_seconds=36_000)
        app.session_interface = RedisSessionInterface(app, store)
    else:
        app.session_interface = StockInterface(app, client=client, key_prefix=PREFIX)

    def put(name: str, value: str) -> str:
        session.get(name)
        system.meanwhile()
        session[name] = value
        return "ok"

    def look() -> dict[str, Any]:
        found = {name: value for name, value in session.items() if name != "_permanent"}
        system.meanwhile()
        return found

    def nest() -> str:
        session.setdefault("bag", []).append(1)
        return "ok"

    def sign_in() -> str:
        if is_ours:
            app.session_interface.sign_in(
                current(), "mara", store.epoch("mara"), {"user": "mara"}, {}
            )  # type: ignore[attr-defined]
        else:
            session["user"] = "mara"
        return "ok"

    def sign_out() -> str:
        session.clear()
        return "ok"

    app.add_url_rule("/put/<name>/<value>", "put", put)
    for view in (look, nest, sign_in, sign_out):
        app.add_url_rule(f"/{view.__name__}", view.__name__, view)
    return system


def a_read_only_request_undoes_nothing(system: System, _: Path) -> bool:
    one = system.browser()
    one.get("/put/theme/light")
    system.meanwhile = once(system, lambda: system.browser(sid_of(one)).get("/put/theme/dark"))
    one.get("/look")
    return one.get("/look").json == {"theme": "dark"}


def two_tabs_that_change_different_things_both_count(system: System, _: Path) -> bool:
    one = system.browser()
    one.get("/put/a/1")
    system.meanwhile = once(system, lambda: system.browser(sid_of(one)).get("/put/b/2"))
    one.get("/put/c/3")
    return one.get("/look").json == {"a": "1", "b": "2", "c": "3"}


def a_request_in_flight_revives_nobody(system: System, _: Path) -> bool:
    one = system.browser()
    one.get("/sign_in")
    sid = sid_of(one)
    system.meanwhile = once(system, lambda: system.browser(sid).get("/sign_out"))
    one.get("/put/theme/dark")
    return system.browser(sid).get("/look").json == {}


def a_planted_id_is_worth_nothing_after_the_sign_in(system: System, _: Path) -> bool:
    attacker = system.browser()
    attacker.get("/put/a/1")
    system.browser(sid_of(attacker)).get("/sign_in")
    return "user" not in (system.browser(sid_of(attacker)).get("/look").json or {})


def who_reads_redis_cannot_sign_in(system: System, _: Path) -> bool:
    one = system.browser()
    one.get("/sign_in")
    keys = b"".join(system.client.scan_iter("demo:sessions:*"))
    return sid_of(one).encode() not in keys


def a_read_writes_nothing(system: System, _: Path) -> bool:
    one = system.browser()
    one.get("/sign_in")
    key = system.key(sid_of(one))
    system.client.pexpire(key, 100_000)
    with trips() as seen:
        one.get("/look")
    return len(seen) == 1 and system.client.pttl(key) <= 100_000


def a_session_ends_however_often_it_is_used(system: System, _: Path) -> bool:
    """An absolute end is something that the stored session has to know."""
    one = system.browser()
    one.get("/sign_in")
    key = system.key(sid_of(one))
    return system.client.type(key) == b"hash" and int(system.client.hget(key, "_ends")) > 0


def a_cookie_chooses_no_key(system: System, _: Path) -> bool:
    system.client.set(PREFIX + "of-another-part", b"\x81\xa4user\xa4mara", ex=60)
    return "user" not in (system.browser("of-another-part").get("/look").json or {})


def a_pickle_in_redis_is_not_executed(system: System, folder: Path) -> bool:
    one = system.browser()
    one.get("/put/a/1")
    payload = pickle.dumps(Deed(str(folder / "executed")))
    key = system.key(sid_of(one))
    if system.is_ours:
        system.client.hset(key, "d:a", payload)
    else:
        system.client.set(key, payload, ex=60)
    one.get("/look")
    return not (folder / "executed").exists()


def a_nested_change_is_kept(system: System, _: Path) -> bool:
    system.app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    one = system.browser()
    one.get("/nest")
    one.get("/nest")
    return one.get("/look").json == {"bag": [1, 1]}


def who_only_looks_gets_no_cookie(system: System, _: Path) -> bool:
    """What an anonymous reader of a public page must not get: it makes the page uncacheable, and
    Redis full."""
    one = system.browser()
    one.get("/look")
    return one.get_cookie("session") is None and not list(
        system.client.scan_iter("demo:sessions:*")
    )


class Deed:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def once(system: System, act: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> None:
        system.meanwhile = lambda: None
        act()

    return run


TRAPS = (
    a_read_only_request_undoes_nothing,
    two_tabs_that_change_different_things_both_count,
    a_request_in_flight_revives_nobody,
    a_planted_id_is_worth_nothing_after_the_sign_in,
    who_reads_redis_cannot_sign_in,
    a_read_writes_nothing,
    a_session_ends_however_often_it_is_used,
    a_cookie_chooses_no_key,
    a_pickle_in_redis_is_not_executed,
    a_nested_change_is_kept,
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_ours", [True, False], ids=["ours", "stock"])
@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_a_trap_holds_ours_and_catches_stock(
    client: Client, tmp_path: Path, trap: Callable[[System, Path], bool], is_ours: bool
) -> None:
    assert trap(make(client, is_ours), tmp_path) is is_ours


def test_who_only_looks_gets_no_cookie(client: Client, tmp_path: Path) -> None:
    assert who_only_looks_gets_no_cookie(make(client, True), tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_ours", [True, False], ids=["ours", "stock"])
def test_without_redis_a_page_with_a_cookie_still_comes(is_ours: bool) -> None:
    with (
        private_engine() as engine,
        redis.Redis.from_url(engine.url, retry=None, socket_timeout=0.25) as client,
    ):
        system = make(client, is_ours)
        one = system.browser()
        one.get("/put/a/1")
        engine.kill()
        assert one.get("/look").status_code == (200 if is_ours else 500)


def test_stock_has_no_list_of_a_users_sessions() -> None:
    assert not [name for name in dir(StockInterface) if "list" in name or "revoke" in name]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("race", races.RACES)
def test_the_labs_races_end_the_same_way(client: Client, race: str) -> None:
    stock, ours = races.run(race, client)
    assert (stock.well, ours.well) == (False, True), (stock.sentence, ours.sentence)
