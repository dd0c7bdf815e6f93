"""A lesson from the question to the summary, in its bounds and in bad conditions."""

import random
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.learn import notebook, views
from demo.teach import experiments
from demo.teach.experiments import Bench, Experiment, Found, Row
from demo.teach.labs import TRIES
from demo.teach.turns import Turns, Who
from demo.web.services import services
from tests.conftest import round_trips
from tests.servers import Client

LESSON = "/learn/recipe/"
LONGEST_ADDRESS = 3500


def run(web: FlaskClient, lesson: str = "recipe", **form: str) -> Any:
    """The page of a run."""
    done = web.post(f"/learn/{lesson}/run", data=form)
    assert done.status_code == 303, done.text
    return web.get(done.location.partition("#")[0])


def text_of(page: Any) -> str:
    """What a page says, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


def test_from_the_prediction_to_the_summary(web: FlaskClient) -> None:
    page = web.get(LESSON)
    assert round_trips(page) == 0 and 'id="see"' not in page.text
    assert [web.get(path).status_code for path in ("/learn/", "/learn/summary")] == [200, 200]
    chosen = web.post(f"{LESSON}predict", data={"option": "all"})
    assert chosen.status_code == 303 and chosen.location.endswith("#run")
    assert "You predicted: All 20." in text_of(web.get(LESSON))
    shown = run(web)
    assert "Surprised You predicted: All 20. Measured: One." in text_of(shown)
    assert re.search(r"Of 20 reads 1 reached the database\.", text_of(shown))
    assert round_trips(shown) == 0
    summary = text_of(web.get("/learn/summary"))
    assert "1 of" in summary and "0 predictions held, 1 surprised you" in summary
    assert re.search(r"Measured: One\. Of 20 reads 1 .* (Valkey|Redis) \d.* UTC", summary)
    assert "surprised" in text_of(web.get("/learn/"))
    web.post(f"{LESSON}predict", data={"option": "one"})
    assert "Your prediction held" in text_of(run(web))
    assert "1 prediction held, 0 surprised you" in text_of(web.get("/learn/summary"))
    web.post("/learn/forget")
    assert "0 of" in text_of(web.get("/learn/summary"))


def test_two_visitors_do_not_see_each_others_figures_but_by_the_address(app: Flask) -> None:
    one, other = app.test_client(), app.test_client()
    done = one.post(f"{LESSON}run")
    assert "0 of" in text_of(other.get("/learn/summary"))
    assert 'id="see"' not in other.get(LESSON).text
    path = done.location.partition("#")[0]
    assert "Of 20 reads" in text_of(other.get(path)) and "0 of" in text_of(
        other.get("/learn/summary")
    )
    assert one.get(LESSON).headers["Cache-Control"] == "private, no-store"
    assert "Cookie" in other.get(LESSON).vary


@pytest.mark.parametrize("token", ["x", "a.b.c", "0" * 3000, "é"])
def test_what_was_not_measured_here_is_not_shown(web: FlaskClient, token: str) -> None:
    assert web.get(f"{LESSON}{token}").status_code == 404
    own = web.post(f"{LESSON}run").location.rpartition("/")[2].partition("#")[0]
    assert web.get(f"{LESSON}{own}").status_code == 200
    assert web.get(f"/learn/atomic/{own}").status_code == 404  # of another lesson


def test_wrong_forms_name_their_field_and_change_nothing(web: FlaskClient) -> None:
    for form, field in (({"option": "seven"}, "option"), ({}, "option"), ({"x": "1"}, "x")):
        refused = web.post(f"{LESSON}predict", data=form)
        assert refused.status_code == 422 and field in refused.text
    assert web.post(f"{LESSON}run", data={"x": "1"}).status_code == 422
    for path in ("/learn/nothing/", "/learn/nothing/x"):
        assert web.get(path).status_code == 404
    for path in ("/learn/nothing/run", "/learn/nothing/predict"):
        assert web.post(path, data={"option": "one"}).status_code == 404


def test_notes_are_bounded_and_the_oldest_sentences_go_first(app: Flask) -> None:
    with app.test_request_context():
        notes: notebook.Notes = {}
        chance = random.Random(1)
        for number in range(20):
            notebook.predict(notes, f"lesson-{number}", "x" * 12)
            text = "".join(chr(chance.randrange(33, 123)) for _ in range(2000))
            notebook.note_run(notes, f"lesson-{number}", "one", text, "Valkey 9.1.2")
            notes[f"lesson-{number}"].at = number
        response = app.response_class()
        notebook.write(response, notes)
        cookie = response.headers["Set-Cookie"]
    assert len(cookie) < 3500
    assert notes["lesson-19"].told and not notes["lesson-0"].told
    assert all(note.shown == "one" for note in notes.values())
    web = app.test_client()
    web.set_cookie(notebook.COOKIE, cookie.partition("=")[2].partition(";")[0])
    assert web.get("/learn/summary").status_code == 200


@pytest.mark.parametrize("forged", ["x", "x" * 3900, "eyJhIjoxfQ.a.b"])
def test_a_forged_note_counts_as_none(web: FlaskClient, forged: str) -> None:
    web.set_cookie(notebook.COOKIE, forged)
    assert "0 of" in text_of(web.get("/learn/summary"))


def test_a_presentation_is_the_lesson_alone_and_stays_one(web: FlaskClient) -> None:
    page = web.get(f"{LESSON}?present=1")
    assert 'class="wrap page present"' in page.text and "learn.js" in page.text
    assert 'rel="next" href="/learn/pros-and-cons/?present=1"' in page.text
    assert "learn.js" not in web.get(LESSON).text
    assert web.post(f"{LESSON}predict", data={"option": "one", "present": "1"}).location.startswith(
        f"{LESSON}?present=1"
    )
    assert "page present" in run(web, present="1").text


def test_a_lesson_without_its_use_case_says_so(make_app: Callable[..., Flask]) -> None:
    web = make_app(("learn",)).test_client()
    assert "started without catalog" in text_of(web.get(LESSON))
    assert web.post(f"{LESSON}run").status_code == 404


def test_who_comes_while_another_measures_waits_in_the_line(app: Flask) -> None:
    with app.app_context():
        turns: Turns = TRIES.turns()
        other = turns.join(Who("a", "b", "c"), "burst 1")
        assert other.state == "begins"
    web = app.test_client()
    line = web.post(f"{LESSON}run")
    assert line.location.startswith("/turns/")
    waiting = web.get(line.location)
    assert "1 before you" in waiting.text and 'href="/learn/recipe/#run"' in waiting.text
    again = web.post("/learn/atomic/run")  # one at a time for a visitor
    assert "1 before you" in web.get(again.location).text
    with app.app_context():
        turns.leave(other.id)
    begun = web.get(line.location)
    assert begun.location.startswith("/learn/recipe/") and begun.location.endswith("#see")


def test_a_limit_and_what_is_asked_of_redis(make_app: Callable[..., Flask]) -> None:
    two = {"limit": 2, "window_seconds": 60}
    web = make_app(RATE_LIMITS={"learn.run": two}).test_client()
    assert [web.post(f"{LESSON}run").status_code for _ in range(3)] == [303, 303, 429]


def test_keys_go_with_the_run_also_where_it_breaks_off(
    app: Flask, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(bench: Bench) -> Found:
        bench.client.set(bench.key("learn", "x"), 1, px=60_000)
        raise ZeroDivisionError

    broken = Experiment(break_off, lambda _: "", lambda _: "", ())
    monkeypatch.setitem(views.LESSONS, "atomic", broken)
    broken_off = run(app.test_client(), "atomic")
    assert broken_off.status_code == 200 and "broke off" in text_of(broken_off)
    assert not list(client.scan_iter("*learn-*"))
    assert run(app.test_client()).status_code == 200  # nobody's turn is held up


def test_what_takes_too_long_begins_nothing_new() -> None:
    assert Bench(None, 0.0).over and not Bench(None, 60.0).over


def test_the_longest_run_fits_into_an_address(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row(f"row {n} {'é' * 20}", [n * 1.234567, f"{n}" * 90, None, n]) for n in range(12)]
    found = Found(rows, {f"count {n}": n / 7 for n in range(12)}, ["A sentence. " * 5] * 4)
    wide = Experiment(lambda _: found, lambda _: "one", lambda _: "Told.", ("a", "b", "c", "d"), 0)
    monkeypatch.setitem(views.LESSONS, "atomic", wide)
    done = app.test_client().post("/learn/atomic/run")
    assert len(done.location) < LONGEST_ADDRESS
    assert app.test_client().get(done.location).status_code == 200


def test_without_redis_a_lesson_says_what_it_cannot_show_and_shows_the_rest(away: Flask) -> None:
    page = text_of(run(away.test_client()))
    assert "Not shown here. The recipe: Redis is away" in page
    assert re.search(r"A query took [\d.]+ ms; nothing was cached\.", page)


@pytest.mark.parametrize("choice", ["refused", "readonly", "full", "paused"])
def test_a_redis_that_a_visitor_has_broken_is_told_as_it_is(app: Flask, choice: str) -> None:
    web = app.test_client()
    web.post("/choices", data={"redis": choice})
    page = run(web)
    assert page.status_code == 200 and "Not shown here. The recipe:" in text_of(page)
    assert not services(app).breaker.is_open
    assert "Not shown" not in text_of(run(app.test_client()))


def test_the_engine_is_named_on_one_server_and_on_a_cluster() -> None:
    class Telling:
        def __init__(self, told: Any) -> None:
            self.told = told

        def info(self, _: str) -> Any:
            return self.told

    one = {"redis_version": "7.2.4", "valkey_version": "9.1.2", "listener0": {"name": "unix"}}
    assert experiments.engine_of(Telling(one)) == "Valkey 9.1.2"
    assert experiments.engine_of(Telling({"a:1": {"redis_version": "8.6.0"}})) == "Redis 8.6.0"
