"""A signed-in page of ours beside stock Flask-Session on the same view: read-only, as most are.

The engine keeps its data, as it does by default: sessions that end with a restart are not what
anybody wants.
"""

import warnings
from collections.abc import Callable
from typing import Any

import redis
from flask import Flask, session
from flask_session.redis import RedisSessionInterface as StockInterface
from werkzeug.test import EnvironBuilder

from demo.client.wire import Client
from demo.sessions.interface import RedisSessionInterface, current
from demo.sessions.session_store import SessionStore
from tests.bench.measure import faster, on_one_core, report, say
from tests.clients import connect

GOAL = 1.3
VALUES = {"user": "mara", "signed_in_at": "2026-11-23T12:00:00+00:00", "theme": "dark", "cart": 3}


def sessions() -> None:
    """WSGI calls, apps and Redis on one core; the same view, the same values, each with the client
    that it would have."""
    with on_one_core(keep=True) as (url, folder):
        ours_client = connect(url, pool_size=32, timeout_seconds=0.25, open_seconds=0.5)
        with redis.Redis.from_url(url) as stock_client:
            ours, stock = _call(_ours(ours_client)), _call(_stock(stock_client))
            quiet = _call(_stock(stock_client, refresh=False))
            shared = _call(_stock(ours_client))
            say("\nA signed-in page that only reads, in times of stock Flask-Session 0.8:")
            report("ours", faster(stock, ours), GOAL)
            report("ours, both on our client", faster(shared, ours))
            report(
                "ours, stock without SESSION_REFRESH_EACH_REQUEST (its sessions then end while they are used)",
                faster(quiet, ours),
            )
        ours_client.close()


def _ours(client: Client) -> Flask:
    app = Flask("ours")
    store = SessionStore(client, idle_seconds=86_400, absolute_seconds=2_592_000, along=("cart",))
    app.session_interface = made = RedisSessionInterface(app, store)
    return _with_views(
        app, lambda: made.sign_in(current(), "mara", store.epoch("mara"), VALUES, {})
    )


def _stock(client: Any, refresh: bool = True) -> Flask:
    app = Flask("stock")
    app.config["SESSION_REFRESH_EACH_REQUEST"] = refresh
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        app.session_interface = StockInterface(
            app, client=client, key_prefix="demo:sessions:bench:"
        )
    return _with_views(app, lambda: session.update(VALUES))


def _with_views(app: Flask, sign_in: Callable[[], Any]) -> Flask:
    def login() -> str:
        sign_in()
        return "ok"

    app.add_url_rule("/login", "login", login)
    app.add_url_rule("/", "page", lambda: f"You are {session['user']}, cart {session['cart']}")
    return app


def _call(app: Flask) -> Callable[[], object]:
    browser = app.test_client()
    browser.get("/login")
    cookie = browser.get_cookie("session")
    assert cookie
    environ = EnvironBuilder("/", headers={"Cookie": f"session={cookie.value}"}).get_environ()

    def run() -> object:
        body = b"".join(app(dict(environ), lambda *_: None))
        assert body == b"You are mara, cart 3"
        return body

    run()
    return run
