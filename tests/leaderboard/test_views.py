import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis.exceptions import ConnectionError, TimeoutError
from werkzeug.serving import make_server

from demo.client.wire import Client, Trip
from demo.leaderboard import board_access, boards, play, views
from demo.leaderboard.ranking import Leaderboard
from demo.web.errors import RedisAway
from demo.web.services import services
from tests.conftest import round_trips
from tests.seen import seen
from tests.servers import private_engine, until

SCORES = "/leaderboard/api/boards/main/scores"
BOARD = "/leaderboard/api/boards/main"


@pytest.fixture(autouse=True)
def no_snapshots() -> None:
    board_access._snapshots.clear()


def post(web: FlaskClient, player: str, score: int, **more: Any) -> Any:
    return web.post(SCORES, json={"player": player, "score": score, **more})


def test_a_score_is_answered_whole(web: FlaskClient) -> None:
    post(web, "noor", 9)
    answer = post(web, "mara", 5, metadata={"level": 3})
    assert answer.status_code == 201
    standing = {
        "best": 5,
        "rank": 2,
        "previous_rank": None,
        "total": 2,
        "percentile": 50.0,
        "is_best": True,
    }
    periods = {"all": standing, "week": standing, "day": standing}
    assert answer.json == {
        "board": "main",
        "player": "mara",
        "score": 5,
        **standing,
        "periods": periods,
    }
    lower = post(web, "mara", 4).json
    assert (lower["best"], lower["is_best"], lower["previous_rank"]) == (5, False, 2)


def test_a_board_and_a_player_are_read(web: FlaskClient) -> None:
    for player, score in (("a", 9), ("b", 7), ("c", 7), ("d", 1)):
        post(web, player, score, metadata={"from": player})
    board = web.get(f"{BOARD}?offset=1&limit=2&period=day").json
    assert board == {
        "board": "main",
        "period": "day",
        "total": 4,
        "cursor": "-7.000000000003",
        "entries": [
            {"rank": 2, "player": "b", "score": 7, "metadata": {"from": "b"}},
            {"rank": 2, "player": "c", "score": 7, "metadata": {"from": "c"}},
        ],
    }
    own = web.get(f"{BOARD}/players/c?around=1").json
    assert own["player"] == {"rank": 2, "player": "c", "score": 7, "metadata": {"from": "c"}}
    assert [entry["player"] for entry in own["entries"]] == ["b", "c", "d"]
    assert web.get(f"{BOARD}/players/nobody").status_code == 404


def test_neighbours_are_those_of_the_period(web: FlaskClient) -> None:
    for player, score in (("a", 9), ("b", 7)):
        post(web, player, score)
    for period in ("all", "week", "day"):
        own = web.get(f"{BOARD}/players/b?period={period}&around=0").json
        assert own == {
            "board": "main",
            "period": period,
            "total": 2,
            "cursor": None,
            "entries": [{"rank": 2, "player": "b", "score": 7, "metadata": None}],
            "player": {"rank": 2, "player": "b", "score": 7, "metadata": None},
        }


def test_what_each_read_costs(web: FlaskClient) -> None:
    post(web, "mara", 1)
    for path, trips in (
        (BOARD, 1),
        (f"{BOARD}/players/mara", 1),
        ("/leaderboard/boards/main", 1),
        ("/leaderboard/boards/main?player=mara", 1),
        ("/leaderboard/", 2),
    ):
        assert round_trips(web.get(path)) == trips, path


@pytest.mark.parametrize("metadata", [{}, {"a": None, "b": [1, {"c": "é"}]}, {"big": 10**30}, None])
def test_metadata_comes_back_as_it_went(web: FlaskClient, metadata: Any) -> None:
    assert post(web, "mara", 1, metadata=metadata).status_code == 201
    assert web.get(BOARD).json["entries"][0]["metadata"] == metadata


def test_names_with_anything_in_them_are_found_again(web: FlaskClient) -> None:
    for player in (
        "a/b",
        "/a",
        "a/",
        "a//b",
        "//",
        "..",
        "a/../b",
        "%2F",
        "#",
        "<b>bo</b>",
        "👩‍🚀",
        "50%",
        "a:b{c}",
        "q?x=1&y",
        "علی\u200cرضا",
        "山田\u3000太郎",
    ):
        assert post(web, player, 1).status_code == 201
        assert (
            web.get(f"{BOARD}/players/{quote(player, safe='')}").json["player"]["player"] == player
        )


def test_a_post_with_its_limit_check_costs_two_round_trips_and_a_refused_one_costs_one(
    make_app: Callable[..., Flask],
) -> None:
    limits = {"leaderboard.submit_score": {"limit": 2, "window_seconds": 60}}
    web = make_app(RATE_LIMITS=limits).test_client()
    post(web, "mara", 1)
    second, third = post(web, "mara", 2), post(web, "mara", 3)
    assert (second.status_code, round_trips(second)) == (201, 2)
    assert (third.status_code, round_trips(third)) == (429, 1)
    assert third.mimetype == "application/problem+json"
    assert int(third.headers["Retry-After"]) in range(1, 61)
    assert web.get(BOARD).json["entries"][0]["score"] == 2


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ('{"player": "a", "score": Infinity}', 400, None),
        ('{"player": "a", "score": NaN}', 400, None),
        ("no json", 400, None),
        ("", 400, None),
        ('{"player": "a", "score": true}', 422, "score"),
        ('{"player": "a", "score": "12"}', 422, "score"),
        ('{"player": "a", "score": 12.5}', 422, "score"),
        ('{"player": "a", "score": 9007199254740992}', 422, "score"),
        ('{"player": "a", "score": -9007199254740992}', 422, "score"),
        ('{"player": "a", "score": 1e400}', 422, "score"),
        ('{"player": "a"}', 422, "score"),
        ('{"score": 1}', 422, "player"),
        ('{"player": "", "score": 1}', 422, "player"),
        ('{"player": "' + "x" * 10_000 + '", "score": 1}', 422, "player"),
        ('{"player": "a\\u0000", "score": 1}', 422, "player"),
        ('{"player": "a\\nb", "score": 1}', 422, "player"),
        ('{"player": "\\ud800", "score": 1}', 400, None),
        ('{"player": 7, "score": 1}', 422, "player"),
        ('{"player": "a", "score": 1, "cheat": true}', 422, "cheat"),
        ('{"player": "a", "score": 1, "metadata": "text"}', 422, "metadata"),
        ('{"player": "a", "score": 1, "metadata": {"a": "' + "x" * 1024 + '"}}', 422, "metadata"),
        ('["a", 1]', 422, "body"),
        ('{"player": "\\u200d", "score": 1}', 422, "player"),
        ('{"player": " a", "score": 1}', 422, "player"),
        ('{"player": null, "score": 1}', 422, "player"),
        ('{"player": "a", "score": null}', 422, "score"),
        ('{"player": "' + "x" * 70_000 + '", "score": 1}', 413, None),
    ],
)
def test_a_wrong_body_is_told_and_counts_nothing(
    web: FlaskClient, body: str, code: int, field: str | None
) -> None:
    answer = web.post(SCORES, data=body)
    assert answer.status_code == code, answer.text
    assert answer.mimetype == "application/problem+json"
    if field:
        assert [error["field"] for error in answer.json["errors"]] == [field]
    assert web.get(BOARD).json["total"] == 0


@pytest.mark.parametrize("depth", [200, 600, 900, 1000, 30_000])
def test_metadata_of_any_depth_is_answered(web: FlaskClient, depth: int) -> None:
    metadata = "[" * depth + "]" * depth
    answer = web.post(
        SCORES, data='{"player": "a", "score": 1, "metadata": {"a": ' + metadata + "}}"
    )
    assert answer.status_code in ((201,) if depth < 500 else (400, 422))


@pytest.mark.parametrize("name", ["a:b", "{a}", "Main", "a b", "-a", "x" * 41, "%00", "é"])
def test_a_boards_name_is_checked_and_told(web: FlaskClient, name: str) -> None:
    answer = web.post(f"/leaderboard/api/boards/{name}/scores", json={"player": "a", "score": 1})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "board")
    assert web.get(f"/leaderboard/api/boards/{name}").status_code == 422
    assert web.get(f"/leaderboard/boards/{name}").status_code == 404


def test_a_name_with_a_slash_is_no_board(web: FlaskClient) -> None:
    assert (
        web.post("/leaderboard/api/boards/a/b/scores", json={"player": "a", "score": 1}).status_code
        == 404
    )


@pytest.mark.parametrize(
    "query",
    ["period=year", "offset=-1", "offset=x", "limit=0", "limit=101", "offset=99999999999999999999"],
)
def test_a_wrong_query_names_its_field(web: FlaskClient, query: str) -> None:
    answer = web.get(f"{BOARD}?{query}")
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, query.partition("=")[0])
    assert web.get(f"/leaderboard/boards/main?{query}").status_code == 200


@pytest.mark.parametrize("query", ["period=year", "around=51", "around=-1", "around=x"])
def test_a_wrong_query_around_a_player_names_its_field(web: FlaskClient, query: str) -> None:
    answer = web.get(f"{BOARD}/players/mara?{query}")
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, query.partition("=")[0])


def test_the_form_posts_says_so_and_shows_the_player(web: FlaskClient) -> None:
    post(web, "noor", 9)
    answer = web.post("/leaderboard/boards/main/scores", data={"player": " mara ", "score": "5"})
    assert answer.status_code == 303
    page = web.get(answer.headers["Location"]).text
    assert "mara is new on this board: rank 2 of 2." in page
    assert page.count('class="me"') == 2
    web.post("/leaderboard/boards/main/scores", data={"player": "mara", "score": "12"})
    assert (
        "mara: rank 2 → 1 of 2, new best, top 50\u202f%."
        in web.get("/leaderboard/boards/main").text
    )
    web.post("/leaderboard/boards/main/scores", data={"player": "mara", "score": "3"})
    assert (
        "mara stays at rank 1: their best score, 12, is better."
        in web.get("/leaderboard/boards/main").text
    )


@pytest.mark.parametrize(
    "score",
    ["", "abc", "12.5", "inf", "nan", "9007199254740992", "1" * 5000, "٣", "--1", "1e3", "<i>"],
)
def test_a_wrong_score_is_told_beside_its_field(web: FlaskClient, score: str) -> None:
    answer = web.post("/leaderboard/boards/main/scores", data={"player": "mara", "score": score})
    assert answer.status_code == 422
    assert 'aria-describedby="score-error"' in answer.text
    assert 'value="mara"' in answer.text
    assert 'aria-describedby="player-error"' not in answer.text
    assert web.get(BOARD).json["total"] == 0


@pytest.mark.parametrize("player", ["", "x" * 65, "a\nb", "\x00"])
def test_a_wrong_name_is_told_beside_its_field(web: FlaskClient, player: str) -> None:
    answer = web.post("/leaderboard/boards/main/scores", data={"player": player, "score": "1"})
    assert answer.status_code == 422
    assert 'aria-describedby="player-error"' in answer.text


def test_a_refused_name_is_told_with_what_is_wrong_by_page_game_and_api(web: FlaskClient) -> None:
    told = "U+200B (zero width space) is not allowed"
    for path in ("scores", "game"):
        form = {"player": "ma\u200bra", "score": "1"}
        answer = web.post(f"/leaderboard/boards/main/{path}", data=form)
        assert (answer.status_code, f"Player: {told}." in answer.text) == (422, True)
    assert post(web, "ma\u200bra", 1).json["errors"] == [{"field": "player", "detail": told}]


def test_a_name_is_shown_as_text(web: FlaskClient) -> None:
    post(web, "<script>alert(1)</script>", 1)
    page = web.get("/leaderboard/boards/main").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert (
        "<script>alert"
        not in web.get("/leaderboard/boards/main?player=<script>alert(2)</script>").text
    )
    given = web.post(
        "/leaderboard/boards/main/scores",
        data={"player": '"><script>alert(3)</script>', "score": "<em>5"},
    ).text
    assert "<script>alert" not in given and "<em>5" not in given and "&lt;em&gt;5" in given
    assert "<script>alert" not in web.get("/").text


def test_a_refused_form_is_a_page_that_says_when_to_come_back(
    make_app: Callable[..., Flask],
) -> None:
    web = make_app(
        RATE_LIMITS={"leaderboard.post_score": {"limit": 1, "window_seconds": 60}}
    ).test_client()
    answers = [
        web.post("/leaderboard/boards/main/scores", data={"player": "mara", "score": n})
        for n in "12"
    ]
    assert [answer.status_code for answer in answers] == [303, 429]
    assert answers[1].mimetype == "text/html"
    assert int(answers[1].headers["Retry-After"]) in range(1, 61)
    assert round_trips(answers[1]) == 1
    assert web.get(BOARD).json["entries"][0]["score"] == 1


def test_a_wrong_form_still_shows_where_the_player_stands(web: FlaskClient) -> None:
    post(web, "mara", 5)
    answer = web.post("/leaderboard/boards/main/scores", data={"player": "mara", "score": "x"})
    assert answer.text.count('class="me"') == 2


def test_a_score_counts_even_when_its_board_cannot_be_listed(
    web: FlaskClient, client: Client
) -> None:
    client.set(boards.KEY, "of another kind", px=60_000)
    assert post(web, "mara", 5).status_code == 201
    assert web.get(BOARD).json["total"] == 1
    assert web.get("/leaderboard/").status_code == 200


def test_boards_are_listed_once_they_have_a_score(web: FlaskClient) -> None:
    web.post("/leaderboard/api/boards/spring-cup/scores", json={"player": "a", "score": 1})
    page = web.get("/leaderboard/").text
    assert "/leaderboard/boards/spring-cup" in page
    assert "/leaderboard/boards/main" in page


def test_without_redis_a_board_is_shown_as_it_was_read_last_and_takes_no_score(
    make_app: Callable[..., Flask],
) -> None:
    with private_engine() as engine:
        web = make_app(REDIS_URL=engine.url, REDIS_TIMEOUT_SECONDS=0.25).test_client()
        post(web, "mara", 5)
        fresh = web.get(BOARD)
        web.get("/leaderboard/boards/main")
        engine.kill()
        stale = web.get(BOARD)
        assert stale.json == fresh.json
        assert stale.headers["Cache-Status"] == "leaderboard; hit; detail=stale"
        assert "Cache-Status" not in fresh.headers
        page = web.get("/leaderboard/boards/main").text
        assert ">STALE<" in page and ">mara<" in page
        unread = web.get("/leaderboard/api/boards/other")
        assert (unread.status_code, unread.headers["Retry-After"]) == (503, "1")
        assert "has not read this board yet" in web.get("/leaderboard/boards/other").text
        refused = post(web, "mara", 9)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        form = web.post("/leaderboard/boards/main/scores", data={"player": "mara", "score": "9"})
        assert (form.status_code, form.mimetype) == (503, "text/html")
        assert web.get(f"{BOARD}/players/mara").status_code == 503
        assert web.get("/leaderboard/").status_code == 200
        engine.start()


def test_what_is_kept_for_when_redis_is_away_is_bounded_and_the_oldest_goes_first(
    make_app: Callable[..., Flask],
) -> None:
    with private_engine() as engine:
        web = make_app(REDIS_URL=engine.url, REDIS_TIMEOUT_SECONDS=0.25).test_client()
        for offset in range(board_access.SNAPSHOTS):
            web.get(f"{BOARD}?offset={offset}")
        web.get(f"{BOARD}?offset=0")
        web.get(f"{BOARD}?offset={board_access.SNAPSHOTS}")
        engine.kill()
        answers = {
            offset: web.get(f"{BOARD}?offset={offset}").status_code
            for offset in (0, 1, 2, board_access.SNAPSHOTS)
        }
        assert answers == {0: 200, 1: 503, 2: 200, board_access.SNAPSHOTS: 200}
        assert web.get(f"{BOARD}?offset=0&period=day").status_code == 503
        assert len(board_access._snapshots) == board_access.SNAPSHOTS
        engine.start()


def test_a_board_is_fresh_again_and_takes_scores_when_redis_is_back(
    make_app: Callable[..., Flask],
) -> None:
    with private_engine() as engine:
        web = make_app(
            REDIS_URL=engine.url, REDIS_TIMEOUT_SECONDS=0.25, BREAKER_SECONDS=0.01
        ).test_client()
        web.get("/leaderboard/boards/main")
        engine.kill()
        assert web.get("/").status_code == 200
        page = web.get("/leaderboard/boards/main")
        assert (page.status_code, ">STALE<" in page.text) == (
            200,
            False,
        )  # nothing in it that could be stale
        engine.start()
        until(lambda: post(web, "mara", 5).status_code == 201, 5)
        assert ">mara<" in web.get("/leaderboard/boards/main").text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--board", "a b"], "is not a valid address"),
        (["--board", "é"], "is not a valid address"),
        (["--url", "nowhere"], "is not a valid address"),
        (["--url", "http://127.0.0.1:1"], "Is the app running?"),
        (["--players", "0"], "0 is not in the range"),
        (["--rate", "0"], "0.0 is not in the range"),
    ],
)
def test_a_wrong_address_for_simulated_players_is_told_in_a_sentence(
    app: Flask, arguments: list[str], said: str
) -> None:
    done = app.test_cli_runner().invoke(args=["play", "--players", "1", *arguments])
    assert isinstance(done.exception, SystemExit) and done.exit_code
    assert said in done.output


def test_simulated_players_post_over_http_and_wait_when_told_so(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(RATE_LIMITS={"leaderboard.submit_score": {"limit": 15, "window_seconds": 0.5}})
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        arguments = [
            "play",
            "--players",
            "20",
            "--board",
            "spring",
            "--url",
            url,
            "--seed",
            "1",
            "--rate",
            "1000",
        ]
        done = app.test_cli_runner().invoke(args=arguments)
        assert done.exit_code == 0, done.output
        assert "20 of 20 scores posted" in done.output
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    board = app.test_client().get("/leaderboard/api/boards/spring?limit=100").json
    assert board["total"] == 20
    assert all(entry["player"].rpartition("-")[2].isdecimal() for entry in board["entries"])


def keyed(web: FlaskClient, key: str, **body: Any) -> Any:
    return web.post(SCORES, json=body, headers={"Idempotency-Key": key})


def test_the_same_key_is_answered_as_the_first_time_and_another_body_refused(
    web: FlaskClient,
) -> None:
    body = {"player": "mara", "score": 5, "mode": "sum", "metadata": {"a": 1}}
    first, again, quoted = (
        keyed(web, "k", **body),
        keyed(web, "k", **body),
        keyed(web, '"k"', **body),
    )
    assert (first.status_code, first.headers.get("Idempotency-Replayed")) == (201, None)
    for answer in (again, quoted):
        assert (answer.status_code, answer.headers["Idempotency-Replayed"], answer.json) == (
            201,
            "true",
            first.json,
        )
    for change in ({"score": 6}, {"player": "noor"}, {"mode": "best"}, {"metadata": {"a": 2}}):
        refused = keyed(web, "k", **body | change)
        assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert web.get(BOARD).json["entries"] == [
        {"rank": 1, "player": "mara", "score": 5, "metadata": {"a": 1}}
    ]


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "a b", "\u00e9"])
def test_a_key_that_is_none_is_a_422(web: FlaskClient, key: str) -> None:
    answer = keyed(web, key, player="mara", score=5)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert web.get(BOARD).json["total"] == 0


def test_fifty_times_the_same_key_at_once_count_once(make_app: Callable[..., Flask]) -> None:
    app, start = make_app(POOL_SIZE=64, REDIS_TIMEOUT_SECONDS=5.0), threading.Barrier(50)
    answers: list[Any] = []

    def send() -> None:
        web = app.test_client()
        start.wait()
        answers.append(keyed(web, "once", player="mara", score=7, mode="sum"))

    threads = [threading.Thread(target=send) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 50
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 49
    assert all(answer.json == answers[0].json for answer in answers)
    assert app.test_client().get(BOARD).json["entries"][0]["score"] == 7


def test_modes_and_a_sum_that_does_not_fit(web: FlaskClient) -> None:
    assert post(web, "mara", 9, mode="latest").json["best"] == 9
    assert post(web, "mara", 5, mode="latest").json["best"] == 5
    assert post(web, "mara", 5, mode="sum").json["best"] == 10
    answer = post(web, "mara", 2**53 - 1, mode="sum")
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "score")
    assert post(web, "mara", 1, mode="worst").status_code == 422
    assert web.get(BOARD).json["entries"][0]["score"] == 10


def test_a_board_is_walked_by_cursor_while_scores_move(web: FlaskClient) -> None:
    for number in range(9):
        post(web, f"p{number}", 100 - number)
    seen, cursor = [], ""
    while cursor is not None:
        page = web.get(f"{BOARD}?limit=2" + (f"&cursor={cursor}" if cursor else "")).json
        seen += [entry["player"] for entry in page["entries"]]
        cursor = page["cursor"]
        post(web, "p8", 100 + len(seen))
    assert seen == [f"p{number}" for number in range(8)]


@pytest.mark.parametrize(
    "query", ["cursor=x", "cursor=1.2", "period=year", "period=day:x", "period=season:", "cursor="]
)
def test_a_wrong_cursor_or_period_is_a_422_that_names_it(web: FlaskClient, query: str) -> None:
    answer = web.get(f"{BOARD}?{query}")
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, query.partition("=")[0])


def test_a_player_has_a_limit_of_its_own_whatever_the_address(
    make_app: Callable[..., Flask],
) -> None:
    limits = {
        "leaderboard.submit_score": [
            {"limit": 9, "window_seconds": 60},
            {"limit": 2, "window_seconds": 60, "by": "field:player"},
        ]
    }
    web = make_app(RATE_LIMITS=limits).test_client()
    assert [post(web, "mara", 1).status_code for _ in range(3)] == [201, 201, 429]
    assert post(web, "noor", 1).status_code == 201


def test_a_body_that_claims_to_be_a_form_is_read_and_counted_by_player(
    make_app: Callable[..., Flask],
) -> None:
    limits = {"leaderboard.submit_score": {"limit": 2, "window_seconds": 60, "by": "field:player"}}
    web = make_app(RATE_LIMITS=limits).test_client()

    def send(player: str, decoy: str) -> int:
        body = f'{{"player": "{player}", "score": 1, "metadata": {{"x": "&player={decoy}&"}}}}'
        return web.post(
            SCORES, data=body, content_type="application/x-www-form-urlencoded"
        ).status_code

    assert [send("mara", decoy) for decoy in "abc"] == [201, 201, 429]
    assert send("noor", "a") == 201


def test_the_page_tells_what_a_post_has_moved_and_shows_closed_seasons(
    web: FlaskClient, client: Client
) -> None:
    for player, score in (("a", 9), ("b", 7), ("c", 5)):
        post(web, player, score)
    done = web.post(
        "/leaderboard/boards/main/scores", data={"player": "c", "score": "8"}, follow_redirects=True
    )
    assert "c: rank 3 → 2 of 3, new best, top 67\u202f%." in done.text
    Leaderboard(client, "main").season("spring")
    assert "No players yet" in web.get("/leaderboard/boards/main").text
    assert 'class="wide">' in web.get("/leaderboard/boards/main?period=season:spring").text
    assert web.get("/leaderboard/boards/main?period=season:S").status_code == 200


def test_the_boards_are_listed_with_leaders_and_sizes_in_two_round_trips(web: FlaskClient) -> None:
    for number in range(12):
        for player, score in (("<i>ida</i>", 1200 + number), ("noor", 5)):
            web.post(
                f"/leaderboard/api/boards/b{number}/scores", json={"player": player, "score": score}
            )
    answer = web.get("/leaderboard/")
    assert round_trips(answer) == 2
    rows = re.findall(
        r'boards/(\S+?)">.*?<td class="wide">(.*?)</td><td class="num">(.*?)</td><td class="num">(.*?)<',
        seen(answer.text),
    )
    assert rows[0] == ("main", "no players yet", "–", "0")
    assert rows[1] == ("b11", "&lt;i&gt;ida&lt;/i&gt;", "1\u202f211", "2")
    assert len(rows) == 13
    assert web.get("/leaderboard/?board=b3").headers["Location"] == "/leaderboard/boards/b3"
    wrong = web.get("/leaderboard/?board=<script>x")
    assert (wrong.status_code, "<script>x" in wrong.text) == (422, False)
    assert 'aria-describedby="board-error"' in wrong.text


def test_a_hundred_boards_are_no_more_trips(web: FlaskClient, client: Client) -> None:
    for number in range(100):
        boards.remember(client, f"b{number}")
    assert round_trips(web.get("/leaderboard/")) == 2


def test_the_podium_shows_ties_and_the_board_its_tabs(web: FlaskClient, client: Client) -> None:
    for player, score in (("a", 9), ("<script>b</script>", 9), ("c", 5)):
        post(web, player, score)
    page = seen(web.get("/leaderboard/boards/main?player=c").text)
    assert re.findall(r'height="(\d+)" role="img" aria-label="Rank (\d)"', page) == [
        ("84", "1"),
        ("84", "1"),
        ("42", "3"),
    ]
    assert re.findall(r'<td class="num rank">(\d+)<', page) == ["1", "1", "3", "1", "1", "3"]
    assert "<script>b" not in page
    assert 'Ranked level with or above <span id="share">33.3</span>&nbsp;% of all players.' in page
    board = Leaderboard(client, "main")
    board.season("spring")
    post(web, "c", 1)
    page = seen(web.get("/leaderboard/boards/main?period=day:2026-11-22").text)
    for title in ("Today", "This week", "All time", "Season spring", "Day 2026-11-22"):
        assert f">{title}</a>" in page
    assert "boards/main?period=season:spring" in page
    assert re.search(r'href="[^"]*" aria-current="true">Day 2026-11-22<', page)


def test_one_request_sent_twice_is_added_once_and_both_answers_are_shown(web: FlaskClient) -> None:
    post(web, "<i>", 10)
    done = web.post(
        "/leaderboard/boards/main/scores", data={"player": "<i>", "score": "7", "twice": "1"}
    )
    assert done.status_code == 303
    page = web.get(done.headers["Location"]).text
    shown = page[page.index('id="twice"') :]
    assert shown.count("&#34;best&#34;:17,&#34;rank&#34;:1") == 2
    assert shown.count("<i>Idempotency-Replayed:</i> true") == 1
    assert "<i>,&#34;" not in page and 'player": "<i>"' not in page
    assert web.get(BOARD).json["entries"][0]["score"] == 17
    assert 'id="twice"' not in web.get(done.headers["Location"]).text
    too_much = web.post(
        "/leaderboard/boards/main/scores",
        data={"player": "<i>", "score": str(2**53 - 1), "twice": "1"},
    )
    assert (too_much.status_code, 'aria-describedby="score-error"' in too_much.text) == (422, True)


def test_a_page_watches_what_it_shows(web: FlaskClient) -> None:
    post(web, "a/b&c", 1)
    page = web.get("/leaderboard/boards/main?period=week&player=a/b%26c").text
    assert 'data-live="/leaderboard/api/boards/main/stream?period=week&amp;player=a/b%26c"' in page
    assert 'stream?period=all"' in web.get("/leaderboard/boards/main?player=%00").text


def batch(web: FlaskClient, scores: Any, **headers: str) -> Any:
    return web.post(f"{SCORES}:batch", json={"scores": scores}, headers=headers)


def test_a_batch_has_a_result_for_each_and_one_that_is_wrong_undoes_no_other(
    web: FlaskClient,
) -> None:
    good = [{"player": f"p{number}", "score": number} for number in range(150)]
    bad = [
        {"player": "a", "score": 1.5},
        {"player": "\x00", "score": 1},
        {"player": "b"},
        7,
        {"player": "c", "score": 1, "x": 1},
    ]
    bad.append({"player": "d", "score": 1, "metadata": {"a": "x" * 1024}})
    answer = batch(
        web, [*good[:75], *bad, *good[75:], {"player": "p149", "score": 2**53 - 1, "mode": "sum"}]
    )
    results = answer.json["results"]
    assert (answer.status_code, answer.json["counted"]) == (200, 150)
    assert [one["index"] for one in results] == list(range(157))
    wrong = [one for one in results if one["status"] == 422]
    assert [(one["index"], one["errors"][0]["field"]) for one in wrong] == [
        (75, "score"),
        (76, "player"),
        (77, "score"),
        (78, "body"),
        (79, "x"),
        (80, "metadata"),
        (156, "score"),
    ]
    last = results[155]
    assert (last["player"], last["best"], last["rank"], last["total"]) == ("p149", 149, 1, 150)
    assert round_trips(answer) == 1 + 2 + 1  # the limit, two steps of 100, a new board for the list
    assert web.get(BOARD).json["total"] == 150


@pytest.mark.parametrize(
    "body", [{"scores": []}, {"scores": [{}] * 1001}, {}, {"scores": 1}, {"scores": {}, "x": 1}, []]
)
def test_what_is_no_batch_is_a_422(web: FlaskClient, body: Any) -> None:
    assert web.post(f"{SCORES}:batch", json=body).status_code == 422


def test_a_batch_takes_as_much_of_the_limit_as_it_has_scores(
    make_app: Callable[..., Flask],
) -> None:
    limit = {"limit": 10, "window_seconds": 60, "cost": "field:scores"}
    web = make_app(RATE_LIMITS={"leaderboard.submit_score": limit}).test_client()
    scores = [{"player": "mara", "score": 1}]
    assert batch(web, scores * 11).json["errors"][0]["field"] == "scores"
    assert batch(web, scores * 7).headers["RateLimit"].startswith('"leaderboard.submit_score";r=3;')
    assert batch(web, scores * 4).status_code == 429
    assert [post(web, "mara", 1).status_code for _ in range(4)] == [201, 201, 201, 429]


def test_a_batch_under_a_key_counts_once_in_each_of_its_steps(web: FlaskClient) -> None:
    scores = [{"player": "mara", "score": 1, "mode": "sum"}] * 250
    first = batch(web, scores, **{"Idempotency-Key": "b"})
    again = batch(web, scores, **{"Idempotency-Key": "b"})
    assert (again.json, again.headers["Idempotency-Replayed"]) == (first.json, "true")
    assert "Idempotency-Replayed" not in first.headers
    assert web.get(BOARD).json["entries"][0]["score"] == 250
    assert batch(web, scores[:3], **{"Idempotency-Key": "b"}).status_code == 422


def test_a_batch_that_was_cut_short_is_finished_by_the_same_again(
    web: FlaskClient, client: Client
) -> None:
    scores = [{"player": "mara", "score": 1, "mode": "sum"}] * 250
    batch(web, scores, **{"Idempotency-Key": "b"})
    keys = [key for key in client.scan_iter("*:once:*") if key.endswith(b":200")]
    assert client.unlink(*keys) == 1  # as if the last step had not been done
    batch(web, scores, **{"Idempotency-Key": "b"})
    assert web.get(BOARD).json["entries"][0]["score"] == 300


@contextmanager
def answers_cut_off(app: Flask, how: str) -> Iterator[None]:
    """The next script is carried out, and its answer lost on the way."""
    client = services(app).redis
    original = client._carry

    def lose(trip: Trip) -> Any:
        original(trip)
        raise (
            TimeoutError("Timeout reading from socket")
            if how == "late"
            else ConnectionError("Connection closed by server.")
        )

    client._carry = lose  # type: ignore[method-assign]
    yield
    client._carry = original  # type: ignore[method-assign]
    services(app).breaker.succeeded()


@pytest.mark.parametrize("how", ["late", "closed"])
def test_a_lost_answer_is_told_as_not_known_and_with_its_key_the_score_counts_once(
    make_app: Callable[..., Flask], how: str
) -> None:
    app = make_app(RATE_LIMITS={})
    web, body = app.test_client(), {"player": "mara", "score": 5, "mode": "sum"}
    post(web, "noor", 1)
    with answers_cut_off(app, how):
        lost = keyed(web, "k", **body)
    assert (lost.status_code, lost.headers["Retry-After"]) == (503, "1")
    assert "may or may not" in lost.json["detail"] and "same Idempotency-Key" in lost.json["detail"]
    with answers_cut_off(app, how):
        unkeyed = post(web, "sven", 1)
        services(app).breaker.succeeded()
        form = web.post("/leaderboard/boards/main/scores", data={"player": "sven", "score": "1"})
    for answer in (lost, unkeyed, form):
        assert answer.status_code == 503 and "Nothing was changed" not in answer.text
    assert "Look at the board" in unkeyed.json["detail"] and "Look at the board" in form.text
    again = keyed(web, "k", **body)
    assert (again.status_code, again.headers["Idempotency-Replayed"], again.json["best"]) == (
        201,
        "true",
        5,
    )


def test_what_never_reached_redis_or_was_refused_by_it_has_changed_nothing_and_says_so(
    make_app: Callable[..., Flask], client: Client
) -> None:
    away, app = (
        make_app(REDIS_URL="redis://127.0.0.1:1", RATE_LIMITS={}, BREAKER_SECONDS=60),
        make_app(RATE_LIMITS={}),
    )
    services(away).breaker.succeeded()
    refused = [
        post(away.test_client(), "mara", 1) for _ in range(2)
    ]  # no connection, then the open breaker
    client.set("demo:leaderboard:{main}:all", "of another kind", px=60_000)
    refused.append(post(app.test_client(), "mara", 1))
    for fault in ("refused", "full", "readonly", "paused"):
        visitor = app.test_client()
        visitor.post("/choices", data={"redis": fault})
        refused.append(post(visitor, "mara", 1))
    hangs = refused.pop()
    assert [answer.status_code for answer in [*refused, hangs]] == [503] * 7
    assert all(answer.json["detail"].endswith("Nothing was changed.") for answer in refused)
    assert "may or may not" in hangs.json["detail"]


def test_one_request_sent_twice_shows_a_second_that_was_not_answered(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def submit(*args: Any, **more: Any) -> Any:
        sent.append(1)
        if len(sent) == 2:
            raise RedisAway(TimeoutError(), "Whether it counts is not known.")
        return board_access.submit(*args, **more)

    monkeypatch.setattr(views, "submit", submit)
    done = web.post(
        "/leaderboard/boards/main/scores",
        data={"player": "mara", "score": "7", "twice": "1"},
        follow_redirects=True,
    )
    assert done.status_code == 200
    assert (
        "<b>201</b> counted" in done.text and "<b>503</b>" in done.text and "not known" in done.text
    )
    assert "The second request got no answer" in done.text


def test_a_batch_under_a_key_is_the_same_when_its_whole_body_is(web: FlaskClient) -> None:
    key = {"Idempotency-Key": "k"}
    good, wrong = {"player": "a", "score": 1}, {"player": "b", "score": 1.5}
    first, again = batch(web, [good, wrong], **key), batch(web, [good, wrong], **key)
    assert (again.status_code, again.headers["Idempotency-Replayed"], again.json) == (
        200,
        "true",
        first.json,
    )
    other = batch(web, [{"player": "c", "score": "x"}, good], **key)
    assert (other.status_code, other.json["errors"][0]["field"]) == (422, "Idempotency-Key")


def test_only_what_was_replayed_is_told_as_such(web: FlaskClient) -> None:
    unseen = {"player": " x", "score": 1}
    for scores, headers in (
        ([unseen], {}),
        ([unseen], {"Idempotency-Key": "none"}),
        ([{"player": "a", "score": 1}], {}),
    ):
        for _ in range(2):
            answer = batch(web, scores, **headers)
            assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (200, None)


@pytest.mark.parametrize("wide", ["x" * 64, "\N{ELEPHANT}" * 64])
def test_a_thousand_scores_with_the_longest_names_fit_and_no_more_than_a_megabyte(
    web: FlaskClient, wide: str
) -> None:
    scores = [
        {"player": f"{number:04}{wide[4:]}", "score": 2**53 - 1, "mode": "latest"}
        for number in range(1000)
    ]
    assert batch(web, scores).json["counted"] == 1000
    assert web.post(f"{SCORES}:batch", data=b" " * 1024 * 1024 + b"x").status_code == 413
    assert web.post(SCORES, data=b" " * 64 * 1024 + b"x").status_code == 413


@pytest.mark.parametrize(("path", "most"), [(SCORES, 64 * 1024), (f"{SCORES}:batch", 1024 * 1024)])
def test_a_body_in_chunks_has_the_same_bounds(web: FlaskClient, path: str, most: int) -> None:
    fits = (
        b'{"player": "a", "score": 1}'
        if path == SCORES
        else b'{"scores": [{"player": "a", "score": 1}]}'
    )
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}

    def send(size: int) -> int:
        stream = BytesIO(fits + b" " * (size - len(fits)))
        return web.post(path, input_stream=stream, environ_overrides=chunked).status_code

    assert [send(len(fits)), send(most)] == [201 if path == SCORES else 200] * 2
    assert send(most + 1) == 413
    assert web.get(BOARD).json["total"] == 1


def test_a_page_reloads_by_itself_but_never_while_it_holds_something(web: FlaskClient) -> None:
    page, form, reloads = (
        "/leaderboard/boards/main",
        {"player": "mara", "score": "x"},
        '<noscript><meta http-equiv="refresh"',
    )
    plain = seen(web.get(page).text)
    assert (
        reloads in plain
        and "?period=all&amp;refresh=0" in plain
        and "Stop reloading every 10 s" in plain
    )
    assert reloads not in seen(web.get(f"{page}?refresh=0").text)
    assert reloads not in seen(web.post(f"{page}/scores", data=form).text)
    twice = web.post(
        f"{page}/scores", data={"player": "mara", "score": "7", "twice": "1"}, follow_redirects=True
    ).text
    assert "The same request, sent twice" in twice and reloads not in seen(twice)


def test_the_same_score_again_equals_and_a_name_is_found_with_spaces_around_it(
    web: FlaskClient,
) -> None:
    for _ in range(2):
        done = web.post(
            "/leaderboard/boards/main/scores",
            data={"player": "mara", "score": "100"},
            follow_redirects=True,
        )
    assert "mara stays at rank 1: 100 equals their best score." in done.text
    assert (
        "has no score on this board" not in web.get("/leaderboard/boards/main?player=+mara+").text
    )


def test_what_is_wrong_inside_of_metadata_names_metadata(web: FlaskClient) -> None:
    answer = web.post(SCORES, data='{"player": "a", "score": 1, "metadata": {"a": 1e999}}')
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "metadata")


def test_a_board_that_could_not_be_listed_is_listed_with_its_next_post(
    web: FlaskClient, client: Client
) -> None:
    client.set(boards.KEY, "of another kind", px=60_000)
    post(web, "mara", 5)
    client.unlink(boards.KEY)
    answer = post(web, "mara", 6)
    assert boards.names(client) == ["main"]
    assert round_trips(answer) == 1 + round_trips(post(web, "mara", 7))


def test_boards_of_one_player_do_not_push_one_in_use_off_the_list(
    web: FlaskClient, client: Client
) -> None:
    for number in range(3):
        post(web, f"p{number}", 5)
    for number in range(60):
        boards.remember(client, f"junk{number}")
    assert "main" not in boards.names(client)
    first = post(web, "p0", 6)
    fourth = post(web, "p3", 6)
    assert boards.names(client)[0] == "main"
    assert round_trips(fourth) == round_trips(first) + 1


def test_places_past_the_tenth_are_shown_by_a_link(web: FlaskClient) -> None:
    scores = [{"player": f"p{number:02}", "score": 100 - number} for number in range(1, 41)]
    assert batch(web, scores).status_code == 200
    page = web.get("/leaderboard/boards/main?player=p05").text
    assert 'data-player="p11"' not in page and "from=11" in page and "Rows 11 to 35" in page
    asked = web.get("/leaderboard/boards/main?from=11")
    more = asked.text.partition('id="rows"')[2].partition("</tbody>")[0]
    assert re.findall(r'data-player="(\w+)"', more) == [f"p{number}" for number in range(11, 36)]
    assert "Rows 36 to 40" in asked.text
    assert round_trips(asked) == round_trips(web.get("/leaderboard/boards/main")) + 1
    last = web.get("/leaderboard/boards/main?from=36").text
    assert "<h3>Rows 36 to 40</h3>" in last and "from=11" in last and "from=61" not in last


@pytest.mark.parametrize("given", ["", "0", "-1", "x", "²", "1.5", "99999999", "1000000", "1"])
def test_a_place_that_is_none_is_no_error(web: FlaskClient, given: str) -> None:
    post(web, "mara", 5)
    page = web.get("/leaderboard/boards/main", query_string={"from": given})
    assert page.status_code == 200
    assert ("The board ends before" in page.text) is (given == "1000000")


def test_made_up_players_are_added_and_named_as_such(web: FlaskClient) -> None:
    answer = web.post("/leaderboard/boards/main/players")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/leaderboard/boards/main")
    assert "20 made-up players were added" in web.get("/leaderboard/boards/main").text
    found = web.get("/leaderboard/api/boards/main?limit=100").json
    assert found["total"] == 20
    assert all(entry["player"].startswith("bot-") for entry in found["entries"])


def test_made_up_players_are_bounded_and_refused_where_the_api_alone_takes_scores(
    make_app: Callable[..., Flask],
) -> None:
    web = make_app().test_client()
    answers = [web.post("/leaderboard/boards/main/players").status_code for _ in range(7)]
    assert answers == [303] * 6 + [429]
    closed = make_app(API_KEY="a key", RATE_LIMITS={}).test_client()
    assert closed.post("/leaderboard/boards/main/players").status_code == 403
    assert "made-up" not in closed.get("/leaderboard/boards/main").text
    free = make_app(RATE_LIMITS={}).test_client()
    assert free.post("/leaderboard/boards/A b/players").status_code == 404


def test_play_finds_the_app_that_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_INSTANCE_PATH", str(tmp_path))
    monkeypatch.setenv("PORT", "8123")
    assert play.running() == "http://127.0.0.1:8123"
    (tmp_path / play.ADDRESS).write_text("http://127.0.0.1:9000\n")
    assert play.running() == "http://127.0.0.1:9000"
