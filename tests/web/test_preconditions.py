"""Preconditions (RFC 9110, section 13): a change that was decided on an older state is refused, and
whether it was is found in the transaction that writes."""

import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event
from werkzeug.http import http_date, parse_date

from demo.catalog import answering, products
from demo.web.security import SAFE_METHODS
from demo.web.services import services
from tests.walking import requests

PATH = "/catalog/api/products/43"
BOARD = "/leaderboard/api/boards/main"
LONG_AGO, LATER = "Mon, 01 Jan 2024 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written a moment ago was written in a second that is over."""
    monkeypatch.setattr(answering, "now", lambda: time.time() + 2)


def etag(web: FlaskClient, path: str = PATH, **headers: str) -> str:
    return str(web.get(path, headers=headers).headers["ETag"])


def test_a_change_is_made_on_the_state_that_was_read_and_on_no_other(web: FlaskClient) -> None:
    read = etag(web)
    first = web.patch(PATH, json={"price_cents": 1}, headers={"If-Match": read})
    assert (first.status_code, first.json["price_cents"]) == (200, 1)
    late = web.patch(PATH, json={"price_cents": 2}, headers={"If-Match": read})
    assert (late.status_code, late.mimetype) == (412, "application/problem+json")
    assert late.json["detail"] and web.get(PATH).json["price_cents"] == 1
    assert web.get(PATH).json["version"] == first.json["version"]


def test_the_answer_to_a_change_tells_the_etag_of_what_is_there_now(web: FlaskClient) -> None:
    changed = web.patch(PATH, json={"price_cents": 1})
    assert changed.headers["ETag"] == etag(web)
    assert changed.headers["Content-Location"] == PATH
    again = web.patch(PATH, json={"price_cents": 2}, headers={"If-Match": changed.headers["ETag"]})
    assert again.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Match": "{etag}"}, 200),
        ({"If-Match": "{gzip}"}, 200),
        ({"If-Match": '"other", {etag}'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": "W/{etag}"}, 412),  # compared strongly
        ({"If-Match": "no etag"}, 412),
        ({"If-Match": ""}, 412),
        ({"If-None-Match": "*"}, 412),
        ({"If-None-Match": "{etag}"}, 412),
        ({"If-None-Match": "W/{etag}"}, 412),  # compared weakly
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Unmodified-Since": LONG_AGO}, 412),
        ({"If-Unmodified-Since": LATER}, 200),
        ({"If-Unmodified-Since": "{modified}"}, 200),
        ({"If-Unmodified-Since": "no date"}, 200),  # as if it were not there
        ({"If-Match": "{etag}", "If-Unmodified-Since": LONG_AGO}, 200),  # the first alone counts
        ({"If-Match": '"other"', "If-Unmodified-Since": LATER}, 412),
        ({"If-Match": "{etag}", "If-None-Match": "*"}, 412),
        ({"If-Modified-Since": LATER}, 200),  # says nothing of a change
    ],
)
def test_each_precondition_of_a_change(
    web: FlaskClient, headers: dict[str, str], status: int
) -> None:
    changed = web.patch(PATH, json={"stock": 7})
    read = web.get(PATH)
    assert read.headers["ETag"] == changed.headers["ETag"]
    known = {
        "etag": read.headers["ETag"],
        "gzip": etag(web, **{"Accept-Encoding": "gzip"}),
        "modified": read.headers["Last-Modified"],
    }
    sent = {name: value.format(**known) for name, value in headers.items()}
    answer = web.patch(PATH, json={"stock": 8}, headers=sent)
    assert answer.status_code == status, answer.text
    assert web.get(PATH).json["stock"] == (8 if status == 200 else 7)


def test_what_would_fail_anyway_fails_as_without_a_precondition(
    make_app: Callable[..., Flask],
) -> None:
    web = make_app(API_KEY="key").test_client()
    refused = {"If-Match": '"other"'}
    key = {"Authorization": "Bearer key"}
    assert web.patch(PATH, json={"stock": 1}, headers=refused).status_code == 401
    missing = "/catalog/api/products/999999"
    assert web.patch(missing, json={"stock": 1}, headers=refused | key).status_code == 404
    assert web.patch(PATH, json={"stock": -1}, headers=refused | key).status_code == 422
    assert web.options(PATH, headers=refused).status_code == 200


def two_that_read_the_same(
    app: Flask, monkeypatch: pytest.MonkeyPatch, waits: Callable[[], Any]
) -> dict[int, int]:
    """What two are answered who set the price to 1 and to 2: the first has found its precondition
    true and has not committed when the second `waits`."""
    read = etag(app.test_client())
    inside, go = threading.Event(), threading.Event()
    write = products.change_product

    def slowly(*given: Any) -> Any:
        if not inside.is_set():
            inside.set()
            assert go.wait(20)
        return write(*given)

    monkeypatch.setattr(products, "change_product", slowly)
    answers: dict[int, int] = {}

    def change(number: int) -> None:
        answer = app.test_client().patch(
            PATH, json={"price_cents": number}, headers={"If-Match": read}
        )
        answers[number] = answer.status_code

    first, second = (threading.Thread(target=change, args=(number,)) for number in (1, 2))
    first.start()
    assert inside.wait(20)
    second.start()
    try:
        waits()
    finally:
        go.set()
        for one in (first, second):
            one.join(20)
    return answers


def test_of_two_that_read_the_same_one_writes(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Semaphore(0)
    event.listen(services(app).database, "before_visit", begun.release)
    app.test_client().get(PATH)

    def waits() -> None:  # for SQLite's one place to write
        assert all(begun.acquire(timeout=20) for _ in range(3))

    assert two_that_read_the_same(app, monkeypatch, waits) == {1: 200, 2: 412}
    assert app.test_client().get(PATH).json["price_cents"] == 1


def test_where_a_setting_demands_it_a_change_without_a_precondition_is_428(
    make_app: Callable[..., Flask],
) -> None:
    web = make_app(PRECONDITION_REQUIRED=True).test_client()
    for headers in (
        *({}, {"If-None-Match": '"other"'}, {"If-Unmodified-Since": "no date"}),
        *({"If-Match": "*"}, {"If-Match": " * "}),  # any state is none
    ):
        answer = web.patch(PATH, json={"stock": 1}, headers=headers)
        assert (answer.status_code, answer.json["title"]) == (428, "Precondition Required")
        assert "If-Match" in answer.json["detail"]
    for headers in ({"If-Match": etag(web)}, {"If-Unmodified-Since": LATER}):
        assert web.patch(PATH, json={"stock": 1}, headers=headers).status_code == 200
    assert web.patch("/catalog/api/products/999999", json={"stock": 1}).status_code == 404
    document = web.get("/openapi.json").json["paths"]
    told = document["/catalog/api/products/{product_id}"]["patch"]["responses"]
    assert "428" in told and "412" in told


@pytest.mark.usefixtures("no_runs")
def test_no_address_takes_a_change_whose_precondition_is_false(app: Flask) -> None:
    """What has no representation has none that could match; that there is none is true of it."""
    web = app.test_client()
    changes = [(method, path) for method, path in requests(app) if method not in SAFE_METHODS]
    assert len(changes) > 30
    for method, path in changes:
        for given in ('"other"', "W/*", ""):
            answer = web.open(path, method=method, headers={"If-Match": given})
            assert answer.status_code in (412, 422, 400), (method, path, answer.status_code)
    score = {"player": "mara", "score": 5}
    for headers, status in (({"If-None-Match": "*"}, 201), ({"If-Match": "*"}, 412)):
        answer = web.post(f"{BOARD}/scores", json=score, headers=headers)
        assert answer.status_code == status


@pytest.mark.parametrize(
    "path", [BOARD, f"{BOARD}/players/mara", PATH, "/catalog/api/products", "/openapi.json"]
)
def test_who_has_the_current_state_is_told_so_and_no_more(web: FlaskClient, path: str) -> None:
    web.post(f"{BOARD}/scores", json={"player": "mara", "score": 5})
    web.get(path)
    read = web.get(path)
    known = read.headers["ETag"]
    assert read.headers["Cache-Control"] == "no-cache"
    for method in ("GET", "HEAD"):
        for given in (known, f'"x", W/{known}', "*"):
            same = web.open(path, method=method, headers={"If-None-Match": given})
            assert (same.status_code, same.data) == (304, b""), (method, given)
            for name in ("ETag", "Cache-Control", "Vary"):
                assert same.headers.get(name) == read.headers.get(name)
            assert "Content-Type" not in same.headers
        other = web.open(path, method=method, headers={"If-None-Match": '"x"'})
        assert other.status_code == 200
        unmatched = web.open(path, method=method, headers={"If-Match": '"x"'})
        assert unmatched.status_code == 412
        for given in (known, "*"):
            assert web.open(path, method=method, headers={"If-Match": given}).status_code == 200


def test_a_board_has_another_etag_when_it_has_changed(web: FlaskClient) -> None:
    paths = (BOARD, f"{BOARD}/players/mara")
    web.post(f"{BOARD}/scores", json={"player": "mara", "score": 5})
    before = [etag(web, path) for path in paths]
    assert before == [etag(web, path) for path in paths]
    web.post(f"{BOARD}/scores", json={"player": "mara", "score": 6})
    assert not set(before) & {etag(web, path) for path in paths}


def test_dates_are_asked_where_there_is_one(web: FlaskClient) -> None:
    web.patch(PATH, json={"stock": 3})
    modified = web.get(PATH).headers["Last-Modified"]
    for given, status in ((modified, 304), (LATER, 304), (LONG_AGO, 200), ("no date", 200)):
        assert web.get(PATH, headers={"If-Modified-Since": given}).status_code == status, given
    for given, status in ((modified, 200), (LONG_AGO, 412)):
        assert web.get(PATH, headers={"If-Unmodified-Since": given}).status_code == status
    both = {"If-Modified-Since": modified, "If-None-Match": '"x"'}
    assert web.get(PATH, headers=both).status_code == 200  # the ETag alone counts


def test_no_date_lets_two_changes_of_one_second_pass(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A date is told only when nothing can be written any more that would bear it too."""
    monkeypatch.setattr(answering, "now", lambda: 0.0)
    assert web.patch(PATH, json={"stock": 3}).status_code == 200
    assert "Last-Modified" not in web.get(PATH).headers
    begun = http_date(int(time.time()))  # of the second in which it was changed, or the one after
    monkeypatch.setattr(answering, "now", lambda: time.time() + 2)
    told = web.get(PATH).headers["Last-Modified"]
    assert parse_date(told) >= parse_date(begun)  # type: ignore[operator]
    with services(web.application).database.engine.begin() as connection:
        written_at = parse_date(told) - timedelta(milliseconds=1)  # type: ignore[operator]
        connection.execute(products.products.update().values(updated_at=written_at))
    floor = http_date(parse_date(told) - timedelta(seconds=1))  # type: ignore[operator]
    for given, status in ((floor, 412), (told, 200)):
        answer = web.patch(PATH, json={"stock": 4}, headers={"If-Unmodified-Since": given})
        assert answer.status_code == status, given


@pytest.mark.parametrize("headers", [{"If-Match": '"x"'}, {"If-Unmodified-Since": LONG_AGO}])
def test_a_failure_is_kept_by_nobody_whatever_it_is_asked_of(
    web: FlaskClient, headers: dict[str, str]
) -> None:
    for path in (f"/static/{static_version(web)}/app.css", "/catalog/images/3.svg"):
        assert "max-age" in web.get(path, buffered=True).headers["Cache-Control"]
        answer = web.get(path, headers=headers, buffered=True)
        if answer.status_code == 412:
            assert answer.headers["Cache-Control"] == "no-store"
            assert "Accept" in answer.headers["Vary"]
    assert (
        web.get("/catalog/images/3.svg", headers={"If-Match": '"x"'}, buffered=True).status_code
        == 412
    )


def static_version(web: FlaskClient) -> str:
    found = re.search(r"/static/([^/]+)/app\.css", web.get("/").text)
    assert found
    return found[1]
