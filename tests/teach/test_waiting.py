"""Visitors of the labs: each gets his turn, and nobody holds anything while he waits."""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask, redirect
from flask.testing import FlaskClient
from redis.exceptions import ConnectionError

from demo.catalog import hostile_pickle, stampede
from demo.client.wire import Client
from demo.teach.labs import LABS, RUNS, TRIES, Lab, Line, Run
from demo.teach.turns import Turns, Who
from demo.web.cookies import SESSION
from demo.web.services import services
from tests.conftest import round_trips

FORM = {"race": "lost-update"}
RACE = "/sessions/lab"
PICKLE = "/catalog/lab/serializers/pickle"


class Held:
    """A lab of the test's own, in the place of the races: who begins is noted, and a run goes on
    until the test ends it."""

    def __init__(self, line: Line, goes_on: bool) -> None:
        self.ran: list[str] = []
        self.runs: list[Run] = []
        self.lab = Lab(
            "race",
            "Race lab",
            line,
            self._begin,
            page=lambda _, id: f"/sessions/lab?run={id}",
            goes_on=goes_on,
        )

    def _begin(self, what: str, run: Run) -> Any:
        self.ran.append(what)
        self.runs.append(run)
        return redirect(f"/sessions/lab?run={run.id}", 303)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Held]]:
    def make(line: Line = RUNS, *, goes_on: bool = True) -> Held:
        made = Held(line, goes_on)
        monkeypatch.setattr("demo.sessions.lab_views.RACE", made.lab)
        monkeypatch.setitem(LABS, "race", made.lab)
        return made

    yield make


class Visitor:
    """A browser at an address of its own, which follows what it is told."""

    def __init__(self, app: Flask, address: str) -> None:
        self.web: FlaskClient = app.test_client()
        self.at = {"REMOTE_ADDR": address}
        self.place = ""

    def post(self, race: str = "lost-update") -> Any:
        answer = self.web.post(RACE, data={"race": race}, environ_overrides=self.at)
        if answer.status_code == 303:
            self.place = answer.location
        return answer

    def look(self) -> Any:
        return self.web.get(self.place, environ_overrides=self.at)

    def before(self) -> int | None:
        """How many are before it; None when it is on its way to its run."""
        found = re.search(r"<h1>(\d+) before you</h1>", self.look().text)
        return int(found[1]) if found else None


def test_ten_visitors_of_two_workers_all_get_their_turn_in_order(
    make_app: Callable[..., Flask], held: Callable[..., Held]
) -> None:
    lab, workers = held(), (make_app(), make_app())
    visitors = [Visitor(workers[number % 2], f"203.0.113.{number}") for number in range(10)]
    for visitor in visitors:
        assert visitor.post().status_code == 303
    assert len(lab.runs) == 1 and visitors[0].place.startswith("/sessions/lab?run=")
    for turn in range(1, 10):
        others = visitors[turn:]
        assert [visitor.before() for visitor in reversed(others)] == [*range(len(others), 0, -1)]
        assert len(lab.runs) == turn
        lab.runs[-1].leave()
        # each asks whichever worker it happens to reach
        others[0].web = workers[turn % 2 - 1].test_client()
        begun = others[0].look()
        assert (begun.status_code, len(lab.runs)) == (303, turn + 1)
        assert begun.location == f"/sessions/lab?run={lab.runs[-1].id}"
    assert len({run.id for run in lab.runs}) == 10


def test_who_waits_holds_neither_a_thread_nor_a_connection(
    make_app: Callable[..., Flask], held: Callable[..., Held]
) -> None:
    held()
    app = make_app(POOL_SIZE=1)
    visitors = [Visitor(app, f"203.0.113.{number}") for number in range(10)]
    visitors[0].post()
    threads = threading.active_count()
    for visitor in visitors[1:]:
        visitor.post()
    assert threading.active_count() <= threads
    for visitor in visitors[1:]:
        answer = visitor.look()
        assert answer.status_code == 200 and answer.headers["Refresh"] == "2"
        assert answer.headers["Cache-Control"] == "no-store"
        assert round_trips(answer) == 1


def test_many_who_come_at_once_are_told_in_which_order_they_came(
    make_app: Callable[..., Flask], held: Callable[..., Held]
) -> None:
    lab, app = held(), make_app()
    visitors = [Visitor(app, f"203.0.113.{number}") for number in range(10)]
    gate = threading.Barrier(10)

    def come(visitor: Visitor) -> None:
        gate.wait(10)
        visitor.post()

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(come, visitors))
    assert len(lab.runs) == 1
    waits = [visitor for visitor in visitors if not visitor.place.startswith("/sessions/")]
    assert sorted(str(visitor.before()) for visitor in waits) == sorted(map(str, range(1, 10)))


def test_a_visitor_who_asks_twice_is_led_to_the_run_that_he_has(
    app: Flask, held: Callable[..., Held]
) -> None:
    lab = held()
    first, second = Visitor(app, "203.0.113.1"), Visitor(app, "203.0.113.2")
    first.post("lost-update")
    second.post("revived")
    for visitor, places in ((second, 1), (first, 0)):
        again = visitor.post("fixation")
        assert again.status_code == 303
        page = visitor.web.get(again.location, follow_redirects=True)
        assert "This is the run that you already have" in page.text
        assert (f"{places} before you" in page.text) == bool(places)
    lab.runs[0].leave()
    assert second.look().status_code == 303
    assert lab.ran == ["lost-update", "revived"]


def test_without_a_session_an_address_has_one_place_and_of_ipv6_a_whole_64(
    app: Flask, held: Callable[..., Held]
) -> None:
    held()
    Visitor(app, "203.0.113.1").post()
    one = Visitor(app, "2001:db8:1:2::1")
    one.post()
    same = Visitor(app, "2001:db8:1:2::2")
    same.post()
    other = Visitor(app, "2001:db8:1:3::1")
    other.post()
    assert (one.before(), same.before(), other.before()) == (1, 1, 2)


def signed_in(app: Flask, address: str) -> Visitor:
    visitor = Visitor(app, address)
    form = {"product": "42"}
    assert visitor.web.post("/sessions/cart", data=form).status_code == 303
    return visitor


def test_visitors_with_sessions_behind_one_address_have_a_place_each_up_to_half_of_the_line(
    make_app: Callable[..., Flask], held: Callable[..., Held]
) -> None:
    held()
    app = make_app(RATE_LIMITS={})
    visitors = [signed_in(app, "203.0.113.1") for _ in range(11)]
    answers = [visitor.post() for visitor in visitors]
    assert [answer.status_code for answer in answers] == [303] * 10 + [429]
    assert answers[-1].headers["Retry-After"] == "30"
    assert "10 visitors from your address" in answers[-1].text
    assert [visitor.before() for visitor in visitors[1:10]] == list(range(1, 10))
    elsewhere = Visitor(app, "198.51.100.1")
    assert elsewhere.post().status_code == 303 and elsewhere.before() == 10


def test_a_cookie_that_is_no_session_makes_no_visitor(
    app: Flask, held: Callable[..., Held]
) -> None:
    held()
    for number in range(3):
        visitor = Visitor(app, "203.0.113.1")
        visitor.web.set_cookie(SESSION, f"{number}" * 43)
        assert visitor.post().status_code == 303
    with app.app_context():
        assert services().redis.hlen(RUNS.turns().key) == 1


def test_a_full_line_says_so_and_starts_nothing(app: Flask, held: Callable[..., Held]) -> None:
    lab = held()
    for number in range(21):
        assert Visitor(app, f"203.{number}.113.1").post().status_code == 303
    refused = Visitor(app, "198.51.100.1").post()
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
    assert (
        "The line is full: 20 visitors are waiting" in refused.text
        and "Nothing was started" in refused.text
    )
    assert len(lab.runs) == 1


def test_a_place_that_lapsed_leads_back_to_the_lab(
    app: Flask, held: Callable[..., Held], client: Client
) -> None:
    held()
    Visitor(app, "203.0.113.1").post()
    late = Visitor(app, "203.0.113.2")
    late.post()
    client.delete("demo:turns:{runs}")
    gone = late.look()
    assert gone.status_code == 303 and gone.location.startswith("/sessions/lab?run=")
    assert "This run has expired" in late.web.get(gone.location).text


def test_a_run_that_fails_gives_its_turn_to_the_next(
    app: Flask, held: Callable[..., Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = held()

    def fail(*_: Any) -> Any:
        raise OSError("no room")

    failing = Lab("race", "Race lab", RUNS, fail, page=lambda *_: RACE, goes_on=True)
    monkeypatch.setitem(LABS, "race", failing)
    assert Visitor(app, "203.0.113.1").post().status_code == 500
    monkeypatch.setitem(LABS, "race", lab.lab)
    assert Visitor(app, "203.0.113.2").post().location.startswith("/sessions/lab?run=")


@pytest.mark.parametrize("token", ["x", "0" * 16, "a.b.c", "../x", "é"])
def test_an_address_that_nobody_was_given_is_a_404(web: FlaskClient, token: str) -> None:
    assert web.get(f"/turns/{token}").status_code == 404


def test_the_id_of_a_place_alone_leads_nowhere(
    app: Flask, held: Callable[..., Held], client: Client
) -> None:
    """It lies in Redis, where the panel of keys shows it."""
    held()
    Visitor(app, "203.0.113.1").post()
    Visitor(app, "203.0.113.2").post()
    stored = client.hgetall("demo:turns:{runs}")
    for id, place in stored.items():
        assert app.test_client().get(f"/turns/{id.decode()}").status_code == 404
        assert b"203.0.113" not in place


def test_redis_away_while_somebody_waits_is_said_and_asked_again(
    app: Flask, held: Callable[..., Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    held()
    Visitor(app, "203.0.113.1").post()
    visitor = Visitor(app, "203.0.113.2")
    visitor.post()

    def gone(*_: Any, **__: Any) -> Any:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(Turns, "look", gone)
        answer = visitor.look()
        assert (answer.status_code, answer.headers["Refresh"]) == (503, "2")
        assert "<h1>Redis is away</h1>" in answer.text and "Retry-After" in answer.headers
    assert visitor.before() == 1


def test_who_has_taken_redis_away_for_himself_waits_like_others(
    app: Flask, held: Callable[..., Held]
) -> None:
    lab = held()
    Visitor(app, "203.0.113.1").post()
    visitor = Visitor(app, "203.0.113.2")
    visitor.web.post("/choices", data={"redis": "refused"})
    assert visitor.post().status_code == 303 and visitor.before() == 1
    lab.runs[0].leave()
    assert visitor.look().status_code == 303 and len(lab.runs) == 2


def test_a_try_is_over_with_its_request_and_one_goes_on_at_a_time(
    app: Flask, monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    at_once: list[int] = []
    entered, go_on = threading.Semaphore(0), threading.Event()

    def slow() -> hostile_pickle.Deed:
        at_once.append(1)
        entered.release()
        assert go_on.wait(10)
        return hostile_pickle.Deed("f", "c", "")

    monkeypatch.setattr(hostile_pickle, "let_it_run", slow)
    visitors = [app.test_client() for _ in range(4)]

    def post(number: int) -> Any:
        return visitors[number].post(PICKLE, environ_overrides=at(number))

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(post, 0)
        assert entered.acquire(timeout=10)
        places = [post(number).location for number in (1, 2, 3)]
        for number, place in enumerate(places, 1):
            page = visitors[number].get(place)
            assert f"<h1>{number} before you</h1>" in page.text
            assert page.headers["Refresh"] == "1"
        assert len(at_once) == 1
        go_on.set()
        assert running.result(10).status_code == 303
    for number, place in enumerate(places, 1):
        begun = visitors[number].get(place)
        assert begun.location == "/catalog/lab/serializers/#pickle"
    assert len(at_once) == 4 and not client.exists("demo:turns:{tries}")


def at(number: int) -> dict[str, str]:
    return {"REMOTE_ADDR": f"203.0.113.{number}"}


def test_a_stampede_waits_for_its_turn_and_runs_what_was_asked_for(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context(), app.test_request_context():
        turns = TRIES.turns()
        other = turns.join(Who("v0", "a0", "n"), "pickle ")
    web = app.test_client()
    place = web.post("/catalog/products/42/burst", data={"start": "bare"}).location
    assert "<h1>1 before you</h1>" in web.get(place).text
    turns.leave(other.id)
    begun = web.get(place)
    assert begun.location == "/catalog/products/42#trial"
    assert ": 50 loads</h3>" in web.get("/catalog/products/42").text
    gone = web.get(place)
    assert gone.location == "/catalog/products/42"
    assert "Your place in the line has expired" in web.get(gone.location).text


def test_without_redis_a_process_bounds_for_itself_what_needs_none(
    away: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on = threading.Semaphore(0), threading.Event()
    original = stampede.run

    def slow(*given: Any, **more: Any) -> Any:
        entered.release()
        assert go_on.wait(10)
        return original(*given, **more)

    monkeypatch.setattr(stampede, "run", slow)

    def post() -> Any:
        return away.test_client().post("/catalog/products/42/burst", data={"start": "bare"})

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(post)
        assert entered.acquire(timeout=10)
        refused = post()
        assert (
            refused.status_code == 503 and "there is no waiting line without Redis" in refused.text
        )
        go_on.set()
        assert running.result(10).status_code == 303
    assert post().status_code == 303
    assert away.test_client().post(RACE, data=FORM).status_code == 503
