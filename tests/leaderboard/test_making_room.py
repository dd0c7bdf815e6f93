"""What gives way when memory is short, and what does not."""

import time
from typing import Any

import pytest

from demo.leaderboard import boards, making_room
from demo.leaderboard.answers import Post
from demo.leaderboard.making_room import AT_ONCE, KEEP, UNUSED_SECONDS, MakingRoom
from demo.leaderboard.ranking import Leaderboard
from tests.servers import Client

NOW = time.time()


class Given:
    def __init__(self, client: Client) -> None:
        self.client, self.share = client, 0.0
        self.told: list[tuple[int, int]] = []
        self.room = MakingRoom(
            client,
            share=lambda: self.share,
            board=lambda name: Leaderboard(client, name),
            told=lambda dropped, rows: self.told.append((dropped, rows)),
            kept=("main",),
            clock=lambda: NOW,
        )

    def board(self, name: str, ago_seconds: float, players: int = 1) -> Leaderboard:
        made = Leaderboard(self.client, name)
        made.submit_many([Post(f"p{number}", number) for number in range(players)])
        self.client.zadd(boards.KEY, {name: NOW - ago_seconds})
        return made

    def keys(self, name: str) -> int:
        return len(list(self.client.scan_iter(f"demo:leaderboard:{{{name}}}:*")))


@pytest.fixture
def given(client: Client) -> Given:
    return Given(client)


def test_while_there_is_room_everything_stays(given: Given) -> None:
    given.board("old", 10 * UNUSED_SECONDS, players=60)
    assert given.room.step() == making_room.STEP_SECONDS
    assert given.told == [] and boards.names(given.client) == ["old"]


def test_boards_that_nobody_used_for_days_go_first_and_whole(given: Given) -> None:
    given.share = 0.65
    old = given.board("old", 2 * UNUSED_SECONDS, players=3)
    old.season("first")
    old.submit("late", 5, metadata='{"a":1}')
    given.client.zadd(boards.KEY, {"old": NOW - 2 * UNUSED_SECONDS})
    given.board("main", 3 * UNUSED_SECONDS)
    given.board("new", UNUSED_SECONDS / 2)
    assert given.room.step() == making_room.SHORT_STEP_SECONDS
    assert given.told == [(1, 0)]
    assert given.keys("old") == 0
    assert set(boards.names(given.client)) == {"main", "new"}
    assert Leaderboard(given.client, "new").page(0, 10).total == 1


def test_then_the_last_rows_of_the_longest(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making_room, "KEEP", 8)
    monkeypatch.setattr(making_room, "LEAST_KEPT", 4)
    given = Given(given.client)
    given.share = 0.65
    long, short = given.board("long", 0, players=10), given.board("short", 0, players=4)
    given.room.step()
    assert given.told == [(0, 6)]  # two of each period
    assert [row.player for row in long.page(0, 10).entries] == [f"p{n}" for n in range(9, 1, -1)]
    given.room.step()  # nothing over eight
    given.room.step()
    assert given.told == [(0, 6), (0, 12)]
    given.room.step()
    assert (long.page(0, 10).total, short.page(0, 10).total) == (4, 4)
    given.share = 0.5
    given.room.step()
    assert given.room._keep == making_room.KEEP


def test_past_those_that_are_listed_the_longest_unused_go(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "MOST", 3)
    for number in range(5):
        given.board(f"b{number}", 100 - number)
    given.room.step()
    assert given.told == [(2, 0)]
    assert boards.names(given.client) == ["b4", "b3", "b2"]
    assert given.keys("b0") == given.keys("b1") == 0


def test_who_posts_while_a_board_goes_begins_it_anew(given: Given) -> None:
    given.share = 0.65
    old = given.board("old", 2 * UNUSED_SECONDS)
    unlink: Any = given.client.unlink

    def post_first(*keys: str) -> Any:
        done = unlink(*keys)
        old.submit("late", 5)
        boards.remember(given.client, "old")
        return done

    given.client.unlink = post_first  # type: ignore[method-assign]
    given.room.step()
    assert [row.player for row in old.page(0, 10).entries] == ["late"]
    assert boards.names(given.client) == ["old"]


def test_so_many_at_once(given: Given) -> None:
    given.share = 0.65
    for number in range(AT_ONCE + 2):
        given.board(f"b{number}", 2 * UNUSED_SECONDS)
    given.room.step()
    given.room.step()
    assert given.told == [(AT_ONCE, 0), (2, 0)]
    assert KEEP > making_room.LEAST_KEPT
