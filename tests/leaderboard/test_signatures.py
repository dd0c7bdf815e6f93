import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask

from demo.leaderboard.signatures import Signatures, Unsigned, sign
from tests.conftest import round_trips
from tests.servers import Client, lives

SECRET = "a secret of the tests"
PATH = "/leaderboard/api/boards/main/scores"
NONCE = "0123456789abcdef"
NOW_MS = 1_795_392_000_000
REQUEST = ("POST", PATH, b"{}")


@pytest.mark.parametrize(
    ("off", "taken"), [(-60_000, True), (60_000, True), (-60_001, False), (60_001, False)]
)
def test_a_clock_may_be_off_so_far_and_no_further(client: Client, off: int, taken: bool) -> None:
    stamp = str(NOW_MS // 1000)
    signature, checks = sign(SECRET, stamp, NONCE, *REQUEST), Signatures(client, SECRET)
    if not taken:
        with pytest.raises(Unsigned, match="60 seconds from"):
            checks.check(stamp, NONCE, signature, *REQUEST, now_ms=NOW_MS + off)
        return
    checks.check(stamp, NONCE, signature, *REQUEST, now_ms=NOW_MS + off)
    with pytest.raises(Unsigned, match="already used"):
        checks.check(stamp, NONCE, signature, *REQUEST, now_ms=NOW_MS + off)
    (key,) = client.scan_iter("demo:leaderboard:*")
    assert client.pttl(key) <= 61_000 - off
    assert off > 0 or lives(client, key, 121)  # one that ends within a second may be gone
    assert (
        client.pttl(key) >= 60_000 - off - 1_000
    )  # not forgotten while the signature would be taken


@pytest.mark.parametrize(
    ("stamp", "nonce", "signature", "said"),
    [
        ("", NONCE, "x", "are required"),
        ("1e9", NONCE, "x", "whole seconds"),
        ("٣", NONCE, "x", "whole seconds"),
        ("5", "short", "x", "16 to 64"),
        ("5", NONCE, "é\udce9", "does not match"),
        ("5", NONCE, "0" * 64, "does not match"),
    ],
)
def test_what_is_wrong_is_told_and_redis_is_not_asked(
    stamp: str, nonce: str, signature: str, said: str, client: Client
) -> None:
    with pytest.raises(Unsigned, match=said):
        Signatures(client, SECRET).check(stamp, nonce, signature, *REQUEST)
    assert not list(client.scan_iter("demo:*"))


def post(
    app: Flask,
    body: Any,
    signed: Any = None,
    *,
    path: str = PATH,
    nonce: str = NONCE,
    secret: str = SECRET,
) -> Any:
    data, stamp = json.dumps(body).encode(), str(int(time.time()))
    made = sign(
        secret, stamp, nonce, "POST", PATH, data if signed is None else json.dumps(signed).encode()
    )
    headers = {"Demo-Timestamp": stamp, "Demo-Nonce": nonce, "Demo-Signature": made}
    return app.test_client().post(path, data=data, headers=headers)


def test_with_a_secret_only_what_is_signed_is_counted_and_once(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(SIGNING_SECRET=SECRET)
    body = {"player": "mara", "score": 5, "mode": "sum"}
    web = app.test_client()
    refused = [
        web.post(PATH, json=body),
        post(app, {**body, "score": 6}, body),
        post(app, body, path=f"{PATH}?x=1"),
        post(app, body, path="/leaderboard/api/boards/other/scores"),
        post(app, {"scores": [body]}, path=f"{PATH}:batch"),
        post(app, body, secret="another"),
    ]
    assert [answer.status_code for answer in refused] == [401] * 6
    assert all(
        answer.mimetype == "application/problem+json" and SECRET not in answer.text
        for answer in refused
    )
    done = post(app, body)
    assert (done.status_code, round_trips(done)) == (
        201,
        4,
    )  # limit, nonce, score, a new board for the list
    again = post(app, body)
    assert (again.status_code, "already used" in again.json["detail"]) == (401, True)
    assert web.get("/leaderboard/api/boards/main").json["entries"][0]["score"] == 5


def test_without_a_secret_nothing_is_asked_for(app: Flask) -> None:
    assert app.test_client().post(PATH, json={"player": "mara", "score": 5}).status_code == 201


@pytest.mark.parametrize("setting", ["SIGNING_SECRET", "API_KEY"])
def test_where_the_api_asks_who_it_is_no_page_takes_scores(
    make_app: Callable[..., Flask], setting: str
) -> None:
    open_to_all, web = make_app(), make_app(**{setting: SECRET}).test_client()
    boards = "/leaderboard/boards/main"
    given = {"player": "mara", "score": "5", "ticket": begun(open_to_all), "typed": ""}
    for path in (f"{boards}/scores", f"{boards}/game", f"{boards}/game/answer"):
        refused = web.post(path, data=given)
        assert (refused.status_code, "accepted only through the API" in refused.text) == (
            403,
            True,
        ), path
        assert round_trips(refused) == 1  # its limit
    assert web.get("/leaderboard/api/boards/main").json["total"] == 0
    for path in (boards, f"{boards}/game", f"{boards}/game?ticket={given['ticket']}"):
        page = web.get(path)
        assert page.status_code == 200 and "accepted only through the API" in page.text
        assert 'method="post" action="/leaderboard' not in page.text
    assert "Find player" in web.get(boards).text
    assert "ten-second game" not in web.get("/leaderboard/").text


@pytest.mark.parametrize(
    ("signed", "trusted", "environ", "status"),
    [
        ("/demo" + PATH, 0, {"SCRIPT_NAME": "/demo"}, 201),
        ("/demo" + PATH, 0, {"SCRIPT_NAME": "/demo", "RAW_URI": "/demo" + PATH}, 201),
        ("/leaderboard" + PATH, 0, {"SCRIPT_NAME": "/leaderboard", "RAW_URI": PATH}, 201),
        ("/demo" + PATH, 1, {"HTTP_X_FORWARDED_PREFIX": "/demo/", "RAW_URI": PATH}, 201),
        ("/demo" + PATH, 0, {"HTTP_X_FORWARDED_PREFIX": "/demo", "RAW_URI": PATH}, 401),
        (PATH, 0, {"SCRIPT_NAME": "/demo"}, 401),
    ],
)
def test_the_path_that_is_signed_is_the_one_that_was_asked_for(
    make_app: Callable[..., Flask], signed: str, trusted: int, environ: dict[str, str], status: int
) -> None:
    web, stamp = (
        make_app(SIGNING_SECRET=SECRET, TRUSTED_PROXIES=trusted).test_client(),
        str(int(time.time())),
    )
    data = b'{"player": "mara", "score": 5}'
    made = sign(SECRET, stamp, NONCE, "POST", signed, data)
    headers = {"Demo-Timestamp": stamp, "Demo-Nonce": NONCE, "Demo-Signature": made}
    answer = web.post(
        PATH, data=data, headers=headers, environ_overrides={"RAW_URI": "", **environ}
    )
    assert answer.status_code == status


def begun(app: Flask) -> str:
    """A ticket of a game."""
    started = app.test_client().post("/leaderboard/boards/main/game", data={"player": "mara"})
    return parse_qs(urlsplit(started.headers["Location"]).query)["ticket"][0]
