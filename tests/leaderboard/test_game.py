"""The game whose score is earned: tickets, the clock, the ceiling; then its pages."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from demo.leaderboard import game, game_views
from demo.leaderboard.game import Refused, judge, read, start

NOW_MS = 1_795_392_000_000
PAGE = "/leaderboard/boards/main/game"
BOARD = "/leaderboard/api/boards/main"


def test_a_ticket_is_read_as_it_was_written_and_words_follow_from_it() -> None:
    one, other = start("key", "main", NOW_MS), start("key", "main", NOW_MS)
    assert read("key", "main", one.ticket) == one
    assert one.words != other.words and one.number != other.number
    assert len(set(one.words)) == game.COUNT


@given(st.integers(0, 102), st.sampled_from("0123456789abcdef."))
def test_no_character_of_a_ticket_can_be_changed(at: int, by: str) -> None:
    ticket = start("key", "main", NOW_MS).ticket
    at %= len(ticket)
    if ticket[at] != by:
        with pytest.raises(Refused, match="ticket"):
            read("key", "main", ticket[:at] + by + ticket[at + 1 :])


@pytest.mark.parametrize(("secret", "board"), [("other", "main"), ("key", "other")])
def test_a_ticket_is_for_one_board_of_one_server(secret: str, board: str) -> None:
    with pytest.raises(Refused, match="ticket"):
        read(secret, board, start("key", "main", NOW_MS).ticket)


@given(st.integers(1, 36), st.integers(0, 13_000))
def test_points_are_for_right_characters_and_never_above_what_the_time_allows(
    count: int, took_ms: int
) -> None:
    played = start("key", "main", NOW_MS)
    characters = sum(map(len, played.words[:count]))
    typed = " ".join(played.words[:count]) + "  wrong " + " ".join(played.words[count:])
    if took_ms > 12_000 or characters > 20 * took_ms / 1000:
        with pytest.raises(Refused):
            judge(played, typed, NOW_MS + took_ms)
    else:
        assert judge(played, typed, NOW_MS + took_ms) == game.Result(
            10 * characters, characters, took_ms / 1000
        )


@pytest.mark.parametrize("typed", ["", "x" * 100_000, "\0\n\t", "<script>", "é" * 500])
def test_what_is_no_answer_earns_nothing(typed: str) -> None:
    assert judge(start("key", "main", NOW_MS), typed, NOW_MS + 9000).score == 0


def test_a_clock_that_goes_back_earns_nothing() -> None:
    with pytest.raises(Refused, match="over"):
        judge(start("key", "main", NOW_MS), "", NOW_MS - 1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [NOW_MS]
    monkeypatch.setattr(game_views, "_now_ms", lambda: now[0])
    return now


def begin(web: FlaskClient, player: str = "mara") -> dict[str, str]:
    started = web.post(PAGE, data={"player": player})
    assert started.status_code == 303
    page = web.get(started.headers["Location"]).text
    words = re.search(r'id="words">([^<]*)<', page)
    assert words
    ticket = parse_qs(urlsplit(started.headers["Location"]).query)["ticket"][0]
    assert f'name="ticket" value="{ticket}"' in page
    return {"ticket": ticket, "player": player, "typed": unescape(words[1])}


def answer(web: FlaskClient, given: dict[str, str], **change: str) -> Any:
    return web.post(f"{PAGE}/answer", data=given | change)


def test_a_game_is_played_and_a_ticket_counts_once(web: FlaskClient, clock: list[int]) -> None:
    given = begin(web, "<b>bo</b>")
    typed = " ".join(given["typed"].split()[:9])
    points = 10 * sum(map(len, typed.split()))
    clock[0] += 9000
    done = answer(web, given, typed=typed)
    assert done.status_code == 303
    page = web.get(done.headers["Location"]).text
    assert (
        f"in 9.0 s, {points} points. &lt;b&gt;bo&lt;/b&gt; is new on this board: rank 1 of 1."
        in page
    )
    assert answer(web, given, typed=typed).status_code == 303
    for change in ({"typed": typed.rpartition(" ")[0]}, {"typed": typed, "player": "noor"}):
        refused = answer(web, given, **change)
        assert (refused.status_code, "This ticket has already been used" in refused.text) == (
            422,
            True,
        )
    assert [(row["player"], row["score"]) for row in web.get(BOARD).json["entries"]] == [
        ("<b>bo</b>", points)
    ]


def test_who_is_late_too_quick_or_forges_gets_nothing(web: FlaskClient, clock: list[int]) -> None:
    given = begin(web)
    assert "nobody types that fast" in answer(web, given).text
    assert "Start" in web.get(f"{PAGE}?ticket={given['ticket'][:-1]}").text
    assert web.get(f"{PAGE}?ticket={given['ticket'][:-1]}").status_code == 422
    assert answer(web, given, ticket="").status_code == 422
    assert answer(web, given, player=" \n").status_code == 422
    assert web.post("/leaderboard/boards/other/game/answer", data=given).status_code == 422
    clock[0] += 12_001
    late = answer(web, given)
    assert (late.status_code, "The ten seconds are over" in late.text) == (422, True)
    assert web.get(BOARD).json["total"] == 0


@pytest.mark.parametrize("player", ["", "\0", "x" * 65, "\u200d"])
def test_a_game_is_begun_by_a_name(web: FlaskClient, player: str) -> None:
    refused = web.post(PAGE, data={"player": player})
    assert refused.status_code == 422
    assert 'aria-describedby="player-error"' in refused.text


def test_a_game_and_a_live_board_are_limited_by_address(web: FlaskClient) -> None:
    for answered in (
        web.post(PAGE, data={"player": "mara"}),
        web.post(f"{PAGE}/answer", data={"player": "mara"}),
        web.head("/leaderboard/api/boards/main/stream"),
    ):
        assert "RateLimit-Policy" in answered.headers


def test_names_and_tickets_are_shown_as_text(web: FlaskClient) -> None:
    for path in (f"{PAGE}?player=<script>x</script>", f"{PAGE}?ticket=<script>x</script>"):
        assert "<script>x" not in web.get(path).text
    assert web.get("/leaderboard/boards/A/game").status_code == 404


def test_without_redis_no_ticket_is_handed_out(
    away: Flask, make_app: Callable[..., Flask], clock: list[int]
) -> None:
    given = begin(make_app().test_client())
    clock[0] += 9000
    assert answer(away.test_client(), given, typed="x").status_code == 503


def test_the_clock_is_that_of_redis(make_app: Callable[..., Flask], away: Flask) -> None:
    web = make_app(RATE_LIMITS={}).test_client()
    assert (
        web.post(PAGE, data={"player": "mara"})
        .headers["Server-Timing"]
        .count('desc="1 round trip"')
        == 1
    )
    refused = away.test_client().post(PAGE, data={"player": "mara"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")


def test_the_page_of_all_boards_leads_to_a_game_on_the_main_one(web: FlaskClient) -> None:
    page = web.get("/leaderboard/").text
    assert 'class="btn primary" href="/leaderboard/boards/main/game"' in page
