"""The plug: what goes wrong with Redis for one visitor alone."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from redis.exceptions import ConnectionError, OutOfMemoryError, ReadOnlyError, TimeoutError

from demo import faults
from demo.app import USE_CASES
from demo.breaker import BreakerOpen
from demo.choices import Choices, _current
from demo.config import REPOSITORY
from demo.faults import READS, SHRINKS, TITLES, Fault
from demo.pool import Client
from tests.browser.chromium import PAGES
from tests.test_app import requests

ALL = list(TITLES)
WRITES = "redis.call('SET', KEYS[1], ARGV[1]) return 1"
READS_ONLY = "return redis.call('GET', KEYS[1])"
DROPS = "return redis.call('DEL', KEYS[1])"
MakeApp = Callable[..., Flask]


@pytest.fixture
def under(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts this test under a fault, as a visitor of this name."""
    monkeypatch.setattr("demo.faults.time.sleep", lambda _: None)

    def put(fault: Fault, visitor: str = "me") -> None:
        _current.set(Choices(redis=fault, visitor=visitor))

    yield put
    _current.set(None)


def outcome(call: Callable[[], Any]) -> str:
    try:
        call()
    except (ConnectionError, TimeoutError, ReadOnlyError, OutOfMemoryError) as error:
        return type(error).__name__
    return "ok"


@pytest.mark.parametrize(
    ("fault", "read", "write", "drop"),
    [
        ("refused", "ConnectionError", "ConnectionError", "ConnectionError"),
        ("paused", "TimeoutError", "TimeoutError", "TimeoutError"),
        ("slow", "ok", "ok", "ok"),
        ("read-only", "ok", "ReadOnlyError", "ReadOnlyError"),
        ("full", "ok", "OutOfMemoryError", "ok"),
    ],
)
def test_what_comes_out_are_the_errors_of_the_real_thing(
    client: Client, under: Any, fault: Fault, read: str, write: str, drop: str
) -> None:
    client.set("demo:{a}", 1)
    scripts = [client.register_script(text) for text in (READS_ONLY, WRITES, DROPS)]
    for script in scripts:
        client.script_load(script.script)

    def piped() -> None:
        with client.pipeline() as pipeline:
            pipeline.get("demo:{a}").set("demo:{a}", 2)
            pipeline.execute()

    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: client.get("demo:{a}"), read),
        (lambda: client.set("demo:{a}", 2), write),
        (piped, write),
        (lambda: client.delete("demo:{b}"), drop),
        (lambda: scripts[0](keys=["demo:{a}"]), read),
        (lambda: scripts[1](keys=["demo:{a}"], args=[3]), write),
        (lambda: scripts[2](keys=["demo:{b}"]), drop),
        (lambda: client.eval("return 1", 0), "ok" if read == "ok" and write == "ok" else write),
    ]
    for number, (call, expected) in enumerate(calls):
        under(fault, f"visitor-{number}")  # each with a breaker that is closed
        assert outcome(call) == expected


def test_slow_past_the_timeout_is_carried_out_and_not_waited_for(client: Client, under: Any) -> None:
    client.faults._timeout_seconds = 0.25
    under("slow")
    assert outcome(lambda: client.set("demo:{a}", "written")) == "TimeoutError"
    under("", "")
    assert client.get("demo:{a}") == b"written"


def test_each_such_visitor_has_a_breaker_of_his_own(client: Client, under: Any) -> None:
    under("refused", "one")
    with pytest.raises(ConnectionError):
        client.get("demo:{a}")
    with pytest.raises(BreakerOpen):
        client.get("demo:{a}")
    under("refused", "two")
    with pytest.raises(ConnectionError, match="refused"):
        client.get("demo:{a}")
    under("", "")
    assert client.get("demo:{a}") is None and not client.breaker.is_open


def test_breakers_of_visitors_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "MOST_VISITORS", 3)
    kept = [client.faults.breaker(name) for name in "abcd"]
    assert client.faults.breaker("d") is kept[3] and client.faults.breaker("a") is not kept[0]


def test_what_reads_and_what_shrinks_is_as_the_server_says(client: Client) -> None:
    flags = {str(name).upper(): info["flags"] for name, info in client.command().items()}
    for name in READS & set(flags):
        assert "write" not in flags[name], name
    for name in SHRINKS & set(flags):
        assert "write" in flags[name] and "denyoom" not in flags[name], name
    for script in (REPOSITORY / "demo").rglob("*.lua"):
        names = {found[1] for found in faults.COMMAND.finditer(script.read_text())}
        for name in (names & set(flags)) - READS - SHRINKS:
            assert "denyoom" in flags[name], (script.name, name)


@pytest.mark.usefixtures("no_runs")
@pytest.mark.parametrize("fault", ALL)
def test_no_request_is_a_500_under_any_fault(app: Flask, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    monkeypatch.setattr("demo.faults.time.sleep", lambda _: None)
    app.extensions["redis"].faults._timeout_seconds = 0.25
    forms: list[dict[str, Any]] = [
        {},
        {"data": {"product": "42", "name": "mara", "password": "correct horse", "player": "mara", "score": "5"}},
        {"json": {"player": "mara", "score": 5, "identity": "me", "product": 42, "price_cents": 5}},
    ]
    signed_in = app.test_client()
    signed_in.post("/sessions/login", data=forms[1]["data"])
    for web in (app.test_client(), signed_in):
        web.post("/choices", data={"redis": fault})
        for method, path in requests(app):
            if path == "/choices" or path.endswith("/stream"):
                continue
            for body in forms if method != "GET" else forms[:1]:
                answer = web.open(path, method=method, **body)
                assert answer.status_code < 500 or answer.status_code == 503, (method, path, body)
                answer.close()
    assert not app.extensions["redis"].breaker.is_open


@pytest.mark.parametrize("fault", ALL)
def test_each_page_says_what_it_does_then(app: Flask, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    monkeypatch.setattr("demo.faults.time.sleep", lambda _: None)
    app.extensions["redis"].faults._timeout_seconds = 0.25
    web = app.test_client()
    web.post("/choices", data={"redis": fault})
    said = "Redis is away." if fault in faults.AWAY else "Redis takes no writes."
    for path in PAGES.values():
        page = web.get(path).text
        banner = page.partition(f'"><p><strong>{said}</strong> ')
        assert banner[0].endswith(('id="redis-away', 'id="no-writes')) and len(banner[2].partition("</p>")[0]) > 20, path
        assert "For you alone:" in page and ">End it<" in page
    assert "For you alone:" not in app.test_client().get("/").text


def test_the_plug_is_on_every_page_and_leads_back_to_it(app: Flask) -> None:
    web = app.test_client()
    for path in PAGES.values():
        page = web.get(path).text
        assert all(f'name="redis" value="{fault}"' in page for fault in ALL), path
    sent = web.post("/choices", data={"redis": "full"}, headers={"Referer": "http://localhost/catalog/?q=oak"})
    assert sent.location == "/catalog/?q=oak"
    for elsewhere in ("http://elsewhere.example/", "", "http://localhost//elsewhere.example"):
        assert web.post("/choices", data={"redis": "full"}, headers={"Referer": elsewhere}).location == "/"


@pytest.mark.parametrize("fault", ["read-only", "full"])
def test_what_is_there_is_read_and_nothing_is_written(app: Flask, client: Client, fault: Fault) -> None:
    other, web = app.test_client(), app.test_client()
    other.get("/catalog/products/42")
    other.post("/leaderboard/api/boards/main/scores", json={"player": "mara", "score": 5})
    web.post("/choices", data={"redis": fault})
    before = {key: client.dump(key) for key in client.scan_iter("demo:*") if b"{rate" not in key}
    assert ">HIT<" in web.get("/catalog/products/42").text
    assert ">BYPASS<" in web.get("/catalog/products/43").text
    assert web.get("/leaderboard/api/boards/main").json["total"] == 1
    assert web.post("/leaderboard/api/boards/main/scores", json={"player": "mara", "score": 9}).status_code == 503
    assert {key: client.dump(key) for key in before} == before


def test_the_use_cases_alone_have_it_too(make_app: MakeApp) -> None:
    for name in USE_CASES:
        web = make_app((name,)).test_client()
        web.post("/choices", data={"redis": "refused"})
        assert "Redis refuses every connection." in web.get(f"/{name.replace('_', '-')}/").text
