"""Made-up boards: on a fresh start only, labelled, and gone by a switch."""

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from demo.leaderboard import views
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.sample_boards import NAMES, PLAYERS, SampleBoards
from tests.servers import Client


def begin(app: Flask) -> FlaskClient:
    """What the elected process does first."""
    job = app.extensions["services"].background.jobs["boards"]
    job.step(1)
    return app.test_client()


def listed(web: FlaskClient) -> dict[str, int]:
    return {
        name: web.get(f"/leaderboard/api/boards/{name}").json["total"] for name in ("main", *NAMES)
    }


def test_a_fresh_start_has_boards_of_bots_that_say_so(make_app: Callable[..., Flask]) -> None:
    web = begin(make_app(SAMPLE_DATA=True))
    assert listed(web) == {"main": 0, **dict.fromkeys(NAMES, PLAYERS)}
    entries = web.get(f"/leaderboard/api/boards/{NAMES[0]}?limit=100").json["entries"]
    assert all(entry["player"].startswith("bot ") for entry in entries)
    assert all(entry["metadata"] == {"made_up": True} for entry in entries)
    page = web.get("/leaderboard/").text
    assert page.count('<span class="badge">sample</span>') == len(NAMES)
    assert (
        "All players on this board are sample data"
        in web.get(f"/leaderboard/boards/{NAMES[0]}").text
    )
    assert "are sample data" not in web.get("/leaderboard/boards/main").text
    assert "no players yet" in web.get("/").text  # the leader of the main board


def test_the_switch_takes_them_away_and_nothing_else(make_app: Callable[..., Flask]) -> None:
    web = begin(make_app(SAMPLE_DATA=True))
    web.post("/leaderboard/api/boards/main/scores", json={"player": "mara", "score": 5})
    gone = begin(make_app(SAMPLE_DATA=False))
    assert listed(gone) == {"main": 1, **dict.fromkeys(NAMES, 0)}
    assert ">sample<" not in gone.get("/leaderboard/").text


def test_nobody_else_gets_onto_such_a_board(make_app: Callable[..., Flask]) -> None:
    web = begin(make_app(SAMPLE_DATA=True))
    path = f"/leaderboard/api/boards/{NAMES[0]}/scores"
    assert web.post(path, json={"player": "mara", "score": 5}).status_code == 403
    scores = {"scores": [{"player": "mara", "score": 5}]}
    assert web.post(f"{path}:batch", json=scores).status_code == 403
    form = web.post(f"/leaderboard/boards/{NAMES[0]}/scores", data={"player": "a", "score": "1"})
    assert form.status_code == 403
    assert web.post(f"/leaderboard/boards/{NAMES[0]}/players").status_code == 403
    assert listed(web)[NAMES[0]] == PLAYERS
    assert ">Post score<" not in web.get(f"/leaderboard/boards/{NAMES[0]}").text


def test_where_there_are_boards_none_is_added(make_app: Callable[..., Flask]) -> None:
    app = make_app(SAMPLE_DATA=True)
    web = app.test_client()
    for player in ("mara", "noor"):
        web.post("/leaderboard/api/boards/main/scores", json={"player": player, "score": 5})
    begin(app)
    assert listed(web) == {"main": 2, **dict.fromkeys(NAMES, 0)}


def test_with_a_key_they_are_posted_with_it_and_where_scores_are_signed_there_are_none(
    make_app: Callable[..., Flask],
) -> None:
    assert listed(begin(make_app(SAMPLE_DATA=True, SIGNING_SECRET="a secret")))[NAMES[0]] == 0
    assert listed(begin(make_app(SAMPLE_DATA=True, API_KEY="a key")))[NAMES[0]] == PLAYERS


def test_two_processes_that_begin_at_once_post_the_same(client: Client) -> None:
    posted: list[Any] = []

    def make() -> SampleBoards:
        return SampleBoards(
            client,
            lambda name, scores: bool(posted.append((name, scores)) or True),
            lambda name: Leaderboard(client, name),
            wanted=True,
        )

    one, other = make(), make()
    one.once()
    one.once()
    other.once()
    assert posted[:2] == posted[2:] and len(posted) == 4
    assert views.SampleBoards is SampleBoards
