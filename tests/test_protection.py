"""What a visitor chooses for himself reaches nothing that protects, and holds nothing of others'."""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.client.connections import use
from demo.client.wire import Client
from demo.leaderboard import board_access
from demo.leaderboard.signatures import sign
from demo.rate_limit.algorithms import ALGORITHMS, bytes_of
from demo.rate_limit.limiter import Quota
from demo.rate_limit.playground import Playground
from demo.sessions.accounts import DEMO_PASSWORD
from demo.sessions.views import LINE_BYTES, SESSION_BYTES
from demo.teach import pull_the_plug
from demo.teach.faults import Plugs
from demo.web.budgets import Budgets
from demo.web.cookies import SESSION
from demo.web.services import part, services
from tests.servers import until

CHOICES: list[dict[str, str]] = [
    *({"redis": fault} for fault in ("refused", "slow", "readonly", "full", "paused")),
    *({"database": fault} for fault in ("slow", "down")),
    *({"strategy": name} for name in ("write-through", "none")),
]
METADATA = {"m": "x" * 1000}
ONE = {"player": "mara", "score": 1}
SIGN_IN = {"name": "mara", "password": DEMO_PASSWORD}
SCORES = "/leaderboard/api/boards/main/scores"
MakeApp = Callable[..., Flask]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_the_plug, "SLOW_SECONDS", 0.001)


def ids(choice: Any) -> str:
    return "-".join(next(iter(choice.items())))


def chooser(app: Flask, choice: dict[str, str]) -> FlaskClient:
    part(Plugs, app).timeout_seconds = 0.001
    web = app.test_client()
    assert web.post("/choices", data=choice).status_code == 303
    return web


@pytest.mark.parametrize("choice", CHOICES, ids=ids)
def test_limits_count_under_each_choice(make_app: MakeApp, choice: dict[str, str]) -> None:
    two = {"limit": 2, "window_seconds": 60}
    limits = {
        "leaderboard.submit_score": two,
        "catalog.api.get_product": two,
        "sessions.login": {**two, "by": "field:name", "count": "failures"},
        "rate_limit.fire": {**two, "algorithm": "gcra", "block_after": 1},
    }
    web = chooser(make_app(RATE_LIMITS=limits), choice)
    wrong = {"name": "mara", "password": "wrong"}
    for ask in (
        lambda: web.post(SCORES, json={"player": "mara", "score": 1}),
        lambda: web.get("/catalog/api/products/42"),
        lambda: web.post("/sessions/login", data=wrong),
        lambda: web.post("/rate-limit/", data={"count": "1"}),
    ):
        codes = [ask().status_code for _ in range(3)]
        if codes == [503] * 3:  # no password is looked at without the accounts
            assert choice == {"database": "down"}
        else:
            assert 429 not in codes[:2] and codes[2] == 429


@pytest.mark.parametrize("choice", CHOICES, ids=ids)
def test_cross_site_changes_are_refused_under_each_choice(
    make_app: MakeApp, choice: dict[str, str]
) -> None:
    web = chooser(make_app(), choice)
    for path in ("/sessions/logout", "/sessions/cart", SCORES, "/choices"):
        assert web.post(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


@pytest.mark.parametrize("choice", CHOICES, ids=ids)
def test_keys_and_signatures_are_asked_for_under_each_choice(
    make_app: MakeApp, choice: dict[str, str]
) -> None:
    web = chooser(make_app(API_KEY="a key", RATE_LIMITS={}), choice)
    assert web.post(SCORES, json={"player": "mara", "score": 1}).status_code == 401
    web = chooser(make_app(SIGNING_SECRET="a secret", RATE_LIMITS={}), choice)
    body = b'{"player":"mara","score":1}'
    stamp, nonce = str(int(time.time())), secrets.token_urlsafe(24)
    headers = {
        "Demo-Timestamp": stamp,
        "Demo-Nonce": nonce,
        "Demo-Signature": sign("a secret", stamp, nonce, "POST", SCORES, body),
    }
    assert web.post(SCORES, data=body, headers=headers).status_code in (201, 503)
    again = web.post(SCORES, data=body, headers=headers)
    assert again.status_code == 401 and "already used" in again.json["detail"]


@pytest.mark.parametrize("choice", CHOICES, ids=ids)
def test_sessions_begin_and_end_under_each_choice(
    make_app: MakeApp, choice: dict[str, str]
) -> None:
    app = make_app(RATE_LIMITS={})
    web = chooser(app, choice)
    in_ = {"name": "mara", "password": DEMO_PASSWORD}
    if choice != {"database": "down"}:  # where the accounts are
        assert web.post("/sessions/login", data=in_).status_code == 303
        assert web.get("/sessions/api/me").json["user"] == "mara"
    else:
        assert web.post("/choices", data={"database": ""}).status_code == 303
        assert web.post("/sessions/login", data=in_).status_code == 303
        assert web.post("/choices", data=choice).status_code == 303
    cookie = web.get_cookie(SESSION)
    assert cookie
    assert web.post("/sessions/logout").status_code == 303
    other = app.test_client()
    other.set_cookie(SESSION, cookie.value)
    assert other.get("/sessions/api/me").json["user"] is None


@pytest.mark.parametrize("choice", CHOICES, ids=ids)
def test_budgets_hold_under_each_choice(make_app: MakeApp, choice: dict[str, str]) -> None:
    app = make_app(RATE_LIMITS={})
    made = part(Budgets, app)
    for each in (made.limits, made.keys, made.sessions):
        each._most = lambda: 0
    web = chooser(app, choice)
    key = {"Idempotency-Key": hashlib.sha256(b"a").hexdigest()}
    posted = {"player": "mara", "score": 1}
    assert web.post(SCORES, json=posted, headers=key).status_code == 429
    assert web.post("/rate-limit/api/hits", json={"identity": "me"}).status_code == 429
    if "database" not in choice:  # the product is looked up before
        assert web.post("/sessions/cart", data={"product": "42"}).status_code == 429
    assert web.get_cookie(SESSION) is None


WAITING = [
    ({"redis": "slow"}, "/leaderboard/boards/main"),
    ({"redis": "paused"}, "/leaderboard/boards/main"),
    ({"redis": "slow"}, "/rate-limit/"),
    ({"database": "slow"}, "/catalog/products/42"),
    ({"database": "slow"}, "/catalog/?q=lamp"),
]


@pytest.mark.parametrize(("choice", "path"), WAITING, ids=str)
def test_who_waits_by_his_own_choice_holds_nothing_of_others(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, choice: dict[str, str], path: str
) -> None:
    """Sixteen wait at once, more than there are connections; what others need is free meanwhile."""
    app = make_app(RATE_LIMITS={}, POOL_SIZE=8)
    go, waiting = threading.Event(), threading.Semaphore(0)

    class Held:
        @staticmethod
        def sleep(_: float) -> None:
            waiting.release()
            assert go.wait(30)

        monotonic = staticmethod(time.monotonic)

    others = app.test_client()
    if "redis" in choice:
        others.get(path)  # and what is read of the database is not there yet
    monkeypatch.setattr(pull_the_plug, "time", Held)
    threads = []
    for _ in range(16):
        web = app.test_client()
        assert web.post("/choices", data=choice).status_code == 303
        threads.append(threading.Thread(target=web.get, args=(path,)))
        threads[-1].start()
    try:
        for _ in threads:
            assert waiting.acquire(timeout=30)
        made = services(app)
        assert use(made.redis)[0] == 0
        assert made.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        for here in (path, "/catalog/products/43", "/sessions/", "/leaderboard/boards/main"):
            assert others.get(here).status_code == 200
        assert others.post(SCORES, json={"player": "mara", "score": 1}).status_code == 201
    finally:
        go.set()
        for thread in threads:
            thread.join(30)


def test_a_database_and_a_redis_that_are_both_broken_for_one_visitor(make_app: MakeApp) -> None:
    web = chooser(make_app(), {"redis": "refused", "database": "slow"})
    for _ in range(2):
        assert web.get("/catalog/products/77").status_code == 200


def test_only_so_many_wait_at_once() -> None:
    waits = pull_the_plug.Waits(lambda: 1)
    done = []
    thread = threading.Thread(target=lambda: done.append(waits.wait(30)), daemon=True)
    thread.start()
    until(lambda: waits.waiting == 1)
    assert waits.wait(30) is False
    with pytest.raises(pull_the_plug.Broken):
        pull_the_plug.take(pull_the_plug.Choices(database="slow"))
        try:
            waits.before_visit()
        finally:
            pull_the_plug.take(None)


def used(client: Client, pattern: str) -> int:
    """Bytes of all keys of a pattern, the table's share of each included."""
    return sum(client.memory_usage(key) + 64 for key in client.scan_iter(pattern))


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_an_identity_takes_no_more_than_it_is_counted_for(app: Flask, algorithm: str) -> None:
    client = services(app).redis
    limiter = ALGORITHMS[algorithm](client, "api-1000-3600", Quota(1000, 3600))
    limiter.hit("x" * 40, 1000)
    taken = used(client, "demo:rate_limit:*")
    assert 0 < taken <= bytes_of(algorithm, 1000)


def test_a_playground_takes_no_more_than_it_is_counted_for(app: Flask) -> None:
    client, quota = services(app).redis, Quota(50, 60)
    playground = Playground(client, quota)
    for _ in range(10):
        playground.play("v-" + "0" * 8, "burst", 20)
    counted = sum(bytes_of(name, 50) for name in ALGORITHMS) + playground.history_bytes
    assert 0 < used(client, "demo:rate_limit:*") <= counted


def test_keys_boards_and_sessions_take_no_more_than_they_are_counted_for(
    make_app: MakeApp,
) -> None:
    app = make_app(RATE_LIMITS={})
    client, made, web = services(app).redis, part(Budgets, app), app.test_client()
    name = secrets.token_hex(10)
    headers = {"Idempotency-Key": "k" * 255}
    assert web.post(f"/leaderboard/api/boards/{name}/scores", json=ONE).status_code == 201
    assert 0 < used(client, f"demo:leaderboard:{{{name}}}*") <= board_access.BOARD_BYTES
    assert made.boards.size == board_access.BOARD_BYTES
    again = [web.post(SCORES, json=ONE, headers=headers).status_code for _ in range(2)]
    batch = {
        "scores": [
            {"player": f"p{number}", "score": number, "metadata": METADATA} for number in range(250)
        ]
    }
    headers = {"Idempotency-Key": "b" * 255}
    assert web.post(f"{SCORES}:batch", json=batch, headers=headers).status_code == 200
    assert again == [201, 201]
    rows = used(client, "demo:leaderboard:*") - used(client, "demo:leaderboard:*:once:*")
    assert made.rows.size == 250 * board_access.ROW_BYTES > rows
    assert web.post(f"{SCORES}:batch", json=batch).status_code == 200
    assert made.rows.size == 250 * board_access.ROW_BYTES  # nobody was new
    assert 0 < used(client, "demo:leaderboard:*:once:*") <= made.keys.size
    assert web.post("/sessions/login", data=SIGN_IN).status_code == 303
    epochs = 2  # of the user, and of who tries
    assert 0 < used(client, "demo:sessions:*") <= made.sessions.size + epochs * 200
    for product in range(1, 41):
        assert web.post("/sessions/cart", data={"product": product}).status_code == 303
    assert used(client, "demo:sessions:*") <= made.sessions.size + epochs * 200
    assert made.sessions.size == SESSION_BYTES + 40 * LINE_BYTES
