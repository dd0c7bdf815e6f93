import re
from collections.abc import Callable
from http import HTTPStatus

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis.exceptions import ConnectionError, NoPermissionError, ResponseError, TimeoutError
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import Forbidden, abort

from demo.web.errors import SENTENCES

JSON = {"Accept": "application/json"}


@pytest.mark.parametrize(
    ("path", "accept", "problem"),
    [
        ("/no-such-page", "text/html", False),
        ("/no-such-page", "text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("/no-such-page", "*/*", False),
        ("/no-such-page", "application/json", True),
        ("/no-such-page", "application/problem+json", True),
        ("/catalog/api/products/999999", "*/*", True),
        ("/catalog/api/products/999999", "text/html", True),
    ],
)
def test_errors_are_a_page_or_a_problem_by_accept(
    web: FlaskClient, path: str, accept: str, problem: bool
) -> None:
    answer = web.get(path, headers={"Accept": accept})
    assert answer.status_code == 404
    assert answer.mimetype == ("application/problem+json" if problem else "text/html")
    if problem:
        assert set(answer.json) == {"type", "title", "status", "detail"}
        assert (answer.json["title"], answer.json["status"]) == ("Not Found", 404)


def test_other_errors_are_told_in_the_same_form(app: Flask) -> None:
    @app.get("/fails")
    def fails() -> str:
        raise RuntimeError("the secret inside")

    web = app.test_client()
    wrong_method = web.post("/livez")
    assert (wrong_method.status_code, "GET" in wrong_method.headers["Allow"]) == (405, True)
    assert web.post("/sessions/login", data="x" * 70_000).status_code == 413
    assert web.post("/rate-limit/api/hits", data="x" * 70_000).json["status"] == 413

    page = web.get("/fails")
    assert (page.status_code, page.mimetype) == (500, "text/html")
    assert (
        "logged the error" in page.text
        and "secret inside" not in page.text
        and "Traceback" not in page.text
    )
    assert web.get("/fails", headers={"Accept": "application/json"}).json["status"] == 500
    assert web.get("/catalog").status_code == 308


def test_no_two_ways_of_asking_get_the_wrong_form(web: FlaskClient) -> None:
    for accept, mimetype in (
        ("application/json;q=0.4, text/html;q=0.5", "text/html"),
        ("application/json;q=0.5, text/html;q=0.4", "application/problem+json"),
        ("*/*;q=0.1, application/problem+json", "application/problem+json"),
        ("application/json;q=0", "text/html"),
        ("garbage;;q=x", "text/html"),
        ("", "text/html"),
    ):
        assert web.get("/no-such-page", headers={"Accept": accept}).mimetype == mimetype, accept


def test_each_error_is_told_in_one_sentence_as_page_and_as_problem(app: Flask) -> None:
    app.add_url_rule("/abort/<int:status>", "abort", lambda status: abort(status))
    web = app.test_client()
    for status, sentence in SENTENCES.items():
        page, problem = web.get(f"/abort/{status}"), web.get(f"/abort/{status}", headers=JSON)
        assert (page.status_code, page.mimetype) == (status, "text/html")
        assert (problem.status_code, problem.mimetype) == (status, "application/problem+json")
        title = HTTPStatus(status).phrase
        assert problem.json == {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": sentence,
        }
        assert f"<h1>{title}</h1>" in page.text
        assert sentence in page.text
        assert (
            page.headers.get("Retry-After")
            == problem.headers.get("Retry-After")
            == ("1" if status == 503 else None)
        )


def test_a_sentence_of_ours_is_kept_and_escaped(app: Flask) -> None:
    @app.get("/refuses")
    def refuses() -> str:
        raise Forbidden("<b>not you</b>")

    web = app.test_client()
    assert web.get("/refuses", headers=JSON).json["detail"] == "<b>not you</b>"
    assert "&lt;b&gt;not you&lt;/b&gt;" in web.get("/refuses").text


@pytest.mark.parametrize(
    ("error", "detail", "wait"),
    [
        (
            ConnectionError("10.0.0.1:6379 the inside"),
            "Redis is away, and this cannot be done without it.",
            "1",
        ),
        (ResponseError("OOM the inside"), "Redis is full and accepts no more data.", "10"),
        (NoPermissionError("the inside"), "Redis does not permit this app to do that.", None),
        (
            OperationalError("SELECT the inside", {}, Exception("the inside")),
            "The database is away, and this needs the database. Try again.",
            "1",
        ),
    ],
)
def test_a_part_that_is_away_is_a_503_that_tells_nothing_of_the_inside(
    app: Flask, error: Exception, detail: str, wait: str | None
) -> None:
    @app.get("/fails")
    def fails() -> str:
        raise error

    for headers in ({}, JSON):
        answer = app.test_client().get("/fails", headers=headers)
        assert (answer.status_code, answer.headers.get("Retry-After")) == (503, wait)
        assert detail in answer.text and "the inside" not in answer.text


@pytest.mark.parametrize("method", ["get", "post"])
def test_what_went_wrong_is_written_down_and_not_told(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture, method: str
) -> None:
    app = make_app(REDIS_URL="redis://127.0.0.1:1")

    @app.route("/fails", methods=["GET", "POST"])
    def fails() -> str:
        raise RuntimeError("the secret inside")

    for headers in ({}, JSON):
        answer = getattr(app.test_client(), method)("/fails", headers=headers)
        assert answer.status_code == 500
        assert (
            "secret inside" not in answer.text
            and "Traceback" not in answer.text
            and "test_errors" not in answer.text
        )
    assert "the secret inside" in caplog.text


def test_a_wrong_method_names_the_right_ones_in_both_forms(web: FlaskClient) -> None:
    for headers in ({}, JSON):
        answer = web.delete("/sessions/", headers=headers)
        assert answer.status_code == 405
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert answer.json["title"] == "Method Not Allowed"


def test_a_problem_of_a_form_names_every_wrong_field_once(web: FlaskClient) -> None:
    answer = web.post("/sessions/cart", data={"product": "x"}, headers=JSON)
    assert [set(error) for error in answer.json["errors"]] == [{"field", "detail"}]
    assert answer.json["errors"][0]["field"] == "product"
    assert (
        "$" not in answer.json["errors"][0]["detail"]
        and "`" not in answer.json["errors"][0]["detail"]
    )


@pytest.mark.parametrize("depth", [100, 1_000, 30_000])
def test_a_body_that_is_nested_too_deeply_is_no_500(web: FlaskClient, depth: int) -> None:
    body = '{"player": "mara", "score": 1, "metadata": {"a": ' + "[" * depth + "]" * depth + "}}"
    answer = web.post("/leaderboard/api/boards/main/scores", data=body)
    assert answer.status_code in (201, 400, 422)
    unfinished = web.post("/leaderboard/api/boards/main/scores", data=body[: -depth - 2])
    assert unfinished.status_code == 400


def test_an_error_says_that_it_was_chosen_by_accept(web: FlaskClient) -> None:
    assert "Accept" in web.get("/no-such-page").headers["Vary"]


def test_a_change_whose_answer_is_lost_is_not_told_as_undone(app: Flask) -> None:
    @app.route("/loses", methods=["GET", "POST"])
    def loses() -> str:
        raise TimeoutError("Timeout reading from socket")

    @app.post("/refused")
    def refused() -> str:
        raise ResponseError("OOM")

    web = app.test_client()
    assert (
        "may or may not" in web.post("/loses").text
        and "may or may not" not in web.get("/loses").text
    )
    assert "may or may not" not in web.post("/refused").text
    for answer in (web.post("/loses"), web.post("/refused"), web.get("/loses")):
        assert answer.status_code == 503 and "Nothing was changed" not in answer.text


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (ConnectionError("away"), 1),
        (ResponseError("OOM"), 10),
        (NoPermissionError("no"), None),
    ],
)
def test_a_503_leads_on_and_says_for_how_long(
    app: Flask, error: Exception, seconds: int | None
) -> None:
    def fails() -> str:
        raise error

    app.add_url_rule("/fails", "fails", fails, methods=["GET", "POST"])
    web = app.test_client()
    again, back = web.get("/fails?a=1&b=2"), web.post("/fails", headers={"Referer": OF_A_FORM})
    for page, link in ((again, "/fails?a=1&amp;b=2"), (back, "/leaderboard/boards/main")):
        assert f'class="btn primary" href="{link}"' in page.text
        counts = re.findall(r'data-countdown="(\d+)"', page.text)
        assert counts == ([] if seconds is None else [str(seconds)])
        assert page.text.count("countdown.js") == len(counts)
    assert "Try again" in again.text and "Back to the form" in back.text


OF_A_FORM = "http://localhost/leaderboard/boards/main"


def test_what_trying_again_does_not_mend_offers_no_such_thing(web: FlaskClient) -> None:
    assert "Try again" not in web.get("/no-such-page").text
    wrong = web.post("/sessions/cart", data={"product": "x"}, headers={"Referer": OF_A_FORM})
    assert "Back to the form" in wrong.text and "countdown" not in wrong.text
