"""Show me: measured as it is shown, told from what was measured, and gone afterwards."""

import random
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from demo.catalog import show_me as of_catalog
from demo.client.wire import Client
from demo.leaderboard import show_me as of_leaderboard
from demo.rate_limit import show_me as of_limits
from demo.teach import show_me
from demo.teach.faults import Plugs
from demo.teach.show_me import Measured, Row, Step, at, told
from demo.web.services import part, services
from tests import users
from tests.conftest import round_trips
from tests.servers import tcp_server
from tests.topologies import topology

STEPS: dict[str, Step] = {
    step.name: step for module in (of_catalog, of_limits, of_leaderboard) for step in module.STEPS
}


def seen(page: str) -> tuple[str, str]:
    """The title and the sentence of a page."""
    title = re.search(r"<h1>(.*?)</h1>", page, re.DOTALL)
    sentence = re.search(r'class="lede">(.*?)</p>', page, re.DOTALL)
    assert title and sentence
    return title[1], " ".join(sentence[1].split())


def play(web: FlaskClient) -> list[tuple[str, Any]]:
    """All steps, each page led to by the one before: its address and its answer."""
    answer = web.post("/show-me/", data={"play": "1"})
    pages = []
    while True:
        assert answer.status_code == 303, answer.text
        assert len(answer.location) < 3500
        page = web.get(answer.location)
        assert page.status_code == 200
        pages.append((answer.location, page))
        following = page.headers.get("Refresh")
        if following is None:
            return pages
        answer = web.get(following.partition("url=")[2])


def test_played_it_leads_from_step_to_step_and_leaves_nothing(
    make_app: Callable[..., Flask], client: Client
) -> None:
    web = make_app(DB_LATENCY_MS=20).test_client()
    pages = play(web)
    assert [seen(page.text)[0] for _, page in pages] == [step.title for step in STEPS.values()]
    text = [seen(page.text)[1] for _, page in pages]
    assert re.fullmatch(
        r"The page took [\d.]+ ms on a miss and [\d.]+ ms on a hit: \d+ times as fast, in 20 of 20 reads\.", text[0]
    )  # fmt: skip
    assert re.search(
        r"Of \d+ reads that began after the change, 0 showed the old price; the first", text[1]
    )
    assert re.search(
        r"50 readers loaded 50 times .* With it, they loaded (once|[2-9] times)", text[2]
    )
    assert "5 of 5 reads were answered, 5 of them from the database. The first took" in text[3]
    assert text[4].startswith("Of 8 requests, 5 were allowed and 3 refused, each within")
    assert "moved you from rank 11 to 2 of 12; a reader of the board saw it" in text[5]
    for number, (_, page) in enumerate(pages, 1):
        assert f"Step {number} of 6" in page.text and round_trips(page) == 0
        assert page.text.count('class="lane you"') >= 2
    assert "This was the last step." in pages[-1][1].text
    left = {key for key in client.scan_iter("demo:*") if b"show" in key}
    limits = {f"demo:rate_limit:{{show_me.{name}:127.0.0.1}}" for name in ("measure", "go_on")}
    assert left == {limit.encode() for limit in limits}


def test_the_address_holds_the_figures_for_whom_it_is_sent_to(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = make_app(), make_app()
    address, page = play(one.test_client())[1]
    path = address.partition("?")[0]
    shared = other.test_client().get(path)
    assert seen(shared.text) == seen(page.text) and "Refresh" not in shared.headers
    assert "Continue playing" in shared.text and "Pause" not in shared.text and "Pause" in page.text
    first = other.test_client().get(f"{path}?step=1&play=1")
    assert seen(first.text)[0] == STEPS["page"].title and "Go to step 2" in first.text
    assert "Refresh" not in first.headers
    for odd in ("0", "99", "x", "1" * 9, "-1"):
        assert other.test_client().get(f"{path}?step={odd}").status_code == 200
    monkeypatch.setattr(show_me, "RUN_SECONDS", -1)  # ten minutes later
    late = other.test_client().get(f"{path}?play=1")
    assert seen(late.text) == seen(page.text) and "Refresh" not in late.headers
    assert "This run has ended" in late.text and "Next:" not in late.text
    assert other.test_client().get(f"{path}/next").location == path
    monkeypatch.setattr(show_me, "LINK_SECONDS", -1)
    assert other.test_client().get(path).status_code == 404


@pytest.mark.parametrize("token", ["x", "a.b.c", "0" * 3000, "é"])
def test_what_was_not_measured_here_is_not_shown(web: FlaskClient, token: str) -> None:
    assert web.get(f"/show-me/{token}").status_code == 404
    assert web.get(f"/show-me/{token}/next").status_code == 303
    refused = web.post("/show-me/", data={"token": token})
    assert refused.status_code == 422 and "token" in refused.text
    assert web.post("/show-me/", data={"play": "7"}).status_code == 422


def test_a_step_is_measured_when_its_turn_comes_and_under_a_limit(
    make_app: Callable[..., Flask],
) -> None:
    two = {"limit": 2, "window_seconds": 60}
    web = make_app(RATE_LIMITS={"show_me.measure": two}).test_client()
    assert [web.post("/show-me/").status_code for _ in range(3)] == [303, 303, 429]
    assert web.get("/show-me/").status_code == 200


def test_without_redis_what_goes_on_is_shown_and_the_rest_says_why(away: Flask) -> None:
    pages = [page.text for _, page in play(away.test_client())]
    assert "After that the cache answered 0 of 20 reads" in pages[0]
    assert "but Redis could not be told. Of" in pages[1]
    assert "0 showed the old price" in pages[1]
    assert "With it, they loaded 50 times" in pages[2]
    assert "5 of 5 reads were answered, 5 of them from the database" in pages[3]
    for page in pages[4:]:
        assert "This step cannot be shown now. Redis is away" in page


@pytest.mark.parametrize("choice", ["refused", "readonly", "full"])
def test_what_a_visitor_has_broken_stays_his_own_and_is_told(app: Flask, choice: str) -> None:
    web, other = app.test_client(), app.test_client()
    web.post("/choices", data={"redis": choice})
    sentences = [seen(page.text)[1] for _, page in play(web)]
    assert len(sentences) == 6 and sum("cannot be shown" in told for told in sentences) == 2
    assert "btn small plugged" in web.get("/catalog/products/42").text
    assert other.get("/catalog/products/42").status_code == 200
    assert not services(app).breaker.is_open


def test_a_plug_that_a_step_has_pulled_is_nobodys_afterwards(app: Flask) -> None:
    web = app.test_client()
    play(web)
    assert not services(app).breaker.is_open
    assert len(part(Plugs, app)._breakers) == 1
    page = web.get("/catalog/products/42").text
    assert "btn small plugged" not in page and 'id="redis-away" hidden' in page


def test_a_database_that_is_away_is_told(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    def gone(*_: Any) -> None:
        raise OperationalError("a visit", None, ConnectionError())

    monkeypatch.setattr(of_catalog.seed, "seed", gone)
    first = play(app.test_client())[0][1].text
    assert f"This step cannot be shown now. {show_me.DATABASE_AWAY}" in first


def test_a_use_case_that_is_left_out_shows_nothing(make_app: Callable[..., Flask]) -> None:
    web = make_app(("rate_limit",)).test_client()
    (only,) = play(web)
    assert seen(only[1].text)[0] == STEPS["limit"].title and "Step 1 of 1" in only[1].text
    assert make_app(("sessions",)).test_client().post("/show-me/").status_code == 404


def test_on_a_cluster_every_step_is_shown(make_app: Callable[..., Flask]) -> None:
    with topology("cluster", nodes=2) as given:
        pages = play(make_app(REDIS_URL=given.url()).test_client())
        assert len(pages) == 6
        assert not any("cannot be shown" in page.text for _, page in pages)


TOLD = [
    ("page", {"hits": 20, "reads": 20}, [[200, 300, 250], [0.5] * 20],
     "250 ms on a miss and 0.50 ms on a hit: 500 times as fast"),
    ("page", {"hits": 3, "reads": 20}, [[200], [190.0] * 20], "the cache answered 3 of 20 reads, and each took 190 ms"),
    ("price", {"after": 9, "stale": 4, "seen_ms": 1, "untold": 0}, [[1], [2], [3]], "4 showed the old price."),
    ("price", {"after": 9, "stale": 0, "seen_ms": 7, "untold": 0}, [[], [2], []], "showed the new price after 7.0 ms."),
    ("readers", {"readers": 50, "loads": 50, "cached": 2, "failed": 0}, [[1000], [210]], "they loaded 2 times and"),
    ("price", {"after": 0, "stale": 0, "seen_ms": 0, "untold": 1}, [[1], [2], []],
     "told. No read that began after the change"),
    ("readers", {"readers": 50, "loads": 50, "cached": 9, "failed": 12}, [[3000], [3000]], "12 got no value, because the"),
    ("plug", {"asked": 5, "came": 4, "past": 3}, [[1], [455], [205], [2]],
     "4 of 5 reads were answered, 3 of them from the database"),
    ("limit", {"passed": 5, "refused": 3, "retry_s": 9.96}, [[1], [2]], "The next request is allowed in 10.0 s."),
    ("score", {"before": 4, "rank": 3, "total": 9, "seen_ms": -1}, [[1], []], "did not see it within 2 s."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "counts", "times", "expected"), TOLD, ids=str)
def test_the_sentence_is_made_of_what_was_measured(
    name: str, counts: dict[str, float], times: list[list[float]], expected: str
) -> None:
    rows = [Row(str(number), ms, "redis") for number, ms in enumerate(times)]
    assert expected in STEPS[name].tell(Measured(name, rows, counts))


def test_the_longest_address_is_short_enough_for_every_server(app: Flask) -> None:
    dice = random.Random(7)
    rows = [Row("Without cache", [dice.random() * 999 for _ in range(80)], "db")] * 4
    measured = [Measured(name, rows[: 2 + (name == "plug")], {"a": 1.25}) for name in STEPS]
    with app.test_request_context():
        token = show_me._signer().dumps(msgspec.to_builtins(measured))
    assert len(rows[0].ms) == show_me.MOST_TIMES and len(token) < 3500


def test_the_axis_gives_each_power_of_ten_the_same_room() -> None:
    places = [at(ms) for ms in (0.01, 0.1, 1, 10, 100, 1000, 10_000, 99_999)]
    assert places == pytest.approx([0, 0, 20, 40, 60, 80, 100, 100])
    assert [told(ms) for ms in (0.1234, 4.21, 43.2, 1234)] == [
        "0.12 ms",
        "4.2 ms",
        "43 ms",
        "1.2 s",
    ]


def test_a_user_without_diagnostics_is_shown_every_step(
    make_app: Callable[..., Flask], app: Flask
) -> None:
    rights = users.four(services(app).needs).split()
    with tcp_server() as port, redis.Redis(port=port) as admin:
        admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", *rights)
        made = make_app(REDIS_URL=f"redis://u:pw@127.0.0.1:{port}")
        pages = play(made.test_client())
        assert len(pages) == 6
        assert not any("cannot be shown" in page.text for _, page in pages)
        admin.execute_command("ACL", "SETUSER", "u", "-eval", "-evalsha")
        for _, page in play(made.test_client())[4:]:
            assert "This step cannot be shown now." in page.text and "permit" in page.text


def test_a_slow_database_makes_a_step_shorter_and_its_sentence_says_so(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show_me, "LONG_MS", 1)
    monkeypatch.setattr(of_catalog, "LONGEST_SECONDS", 0)
    monkeypatch.setattr(of_catalog, "LOOKERS", 0)  # a quick one might end in no time
    monkeypatch.setattr("demo.database.WAIT_SECONDS", 0.001)
    web = make_app(DB_LATENCY_MS=20).test_client()
    pages = [seen(page.text)[1] for _, page in play(web)]
    assert re.search(r"times as fast, in \d+ of \d+ reads", pages[0])
    assert "No read that began after the change ended within 0 s" in pages[1]
    assert re.search(r"\d+ got no value, because the database was too slow", pages[2])
    assert "1 of 1 reads were answered" in pages[3]
