import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.client.wire import Client
from demo.sessions import races
from tests.conftest import round_trips
from tests.seen import seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("race", races.RACES)
def test_a_race_breaks_stock_and_not_ours(web: FlaskClient, client: Client, race: str) -> None:
    answer = web.post("/sessions/lab", data={"race": race})
    assert answer.status_code == 303
    page = web.get(answer.location)
    assert page.status_code == 200
    verdicts = seen(page.text).split("Run race again")[1]
    assert verdicts.index('bad">broken<') < verdicts.index("This app") < verdicts.index('ok">held<')
    assert verdicts.count('ok">held<') == verdicts.count('bad">broken<') == 1
    assert "EVALSHA" in page.text and "<code>SET</code>" in page.text
    assert round_trips(answer) > 5  # what the race did is in the x-ray
    assert round_trips(page) == 1
    for key in client.scan_iter("demo:sessions:*"):
        assert 0 < client.pttl(key) <= (600_000 if b"{run:" in key else 120_000), key


def test_the_lanes_tell_the_order(wired: Client) -> None:
    stock, ours = races.run("lost-update", wired)
    commands = [(did.lane, did.command.split()[0]) for did in stock.moments if did.key]
    assert commands == [(0, "GET"), (1, "GET"), (1, "SET"), (0, "SET")]
    assert [(did.lane, did.command.split()[1]) for did in ours.moments if did.key] == [
        (0, "session_store_load.lua"), (1, "session_store_load.lua"), (1, "cart.lua"), (0, "cart.lua")
    ]  # fmt: skip
    assert ours.sentence == "Two tabs added one each. The cart holds 2."
    assert stock.sentence == "Two tabs added one each. The cart holds 1."


def test_without_a_race_nothing_is_run(web: FlaskClient) -> None:
    page = web.get("/sessions/lab")
    assert round_trips(page) == 0 and "will be here" in page.text


@pytest.mark.parametrize("race", ["x", "<b>", "lost-update "])
def test_an_unknown_race_is_told(web: FlaskClient, race: str) -> None:
    answer = web.post("/sessions/lab", data={"race": race}, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "race")


def test_without_redis_no_race_is_run(away: Flask) -> None:
    web = away.test_client()
    answer = web.post("/sessions/lab", data={"race": "revived"})
    assert answer.status_code == 503 and "Retry-After" in answer.headers
    assert "has expired, or Redis is away" in web.get("/sessions/lab?run=0123456789abcdef").text


@pytest.mark.parametrize("run", ["0123456789abcdef", "x", "../../etc", "<b>"])
def test_a_run_that_is_not_kept_is_told(web: FlaskClient, run: str) -> None:
    page = web.get("/sessions/lab", query_string={"run": run})
    assert (
        page.status_code == 200
        and "This run has expired" in page.text
        and "<b>" not in page.text.split("<main")[1][:2000]
    )


def test_what_is_kept_of_a_run_and_does_not_decode_is_gone(
    web: FlaskClient, client: Client
) -> None:
    client.set("demo:sessions:{run:0123456789abcdef}", b"\x80\x04", ex=60)
    assert "This run has expired" in web.get("/sessions/lab?run=0123456789abcdef").text


@pytest.mark.filterwarnings("ignore")
def test_what_each_lane_read_and_wrote_is_shown_and_what_was_written_over(
    wired: Client,
) -> None:
    def told(race: str, system: int) -> list[tuple[int, str, str]]:
        moments = races.run(race, wired)[system].moments
        return [(did.lane, did.value, did.over) for did in moments if did.value]

    assert told("lost-update", 0) == [
        (0, "since 1", ""),
        (1, "since 1", ""),
        (1, "since 1, cart 1", ""),
        (0, "since 1, cart 1", "since 1, cart 1"),
    ]
    assert told("lost-update", 1) == [
        (0, "cart 0", ""),
        (1, "cart 0", ""),
        (1, "cart 1", ""),
        (0, "cart 2", ""),
    ]
    assert told("revived", 0)[-2:] == [
        (1, "no session", ""),
        (0, "user mara, theme dark", "no session"),
    ]
    assert told("revived", 1)[-2:] == [(1, "no session", ""), (0, "refused: no session", "")]
    assert not [over for race in races.RACES for *_, over in told(race, 1) if over]


@pytest.mark.filterwarnings("ignore")
def test_what_was_written_over_stands_on_the_page(web: FlaskClient) -> None:
    page = web.get(web.post("/sessions/lab", data={"race": "lost-update"}).location).text
    assert seen(page).count("overwrote “since 1, cart 1” without reading it") == 1
