import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo import xray
from demo.leaderboard import boards
from demo.leaderboard.ranking import MAX_SCORE, Entry, Leaderboard, Period, check_player
from demo.pool import Client
from tests.servers import clean

DAY_MS = 86_400_000
NOW_MS = 1_795_392_000_000  # 2026-11-23, 00:00 UTC, a Monday


class Model:
    """The rules in plain Python: the best counts, equal scores share a rank, first to reach is first in the list."""

    def __init__(self) -> None:
        self.best: dict[str, tuple[int, int]] = {}
        self.sequence = 0

    def submit(self, player: str, score: int) -> tuple[int | None, bool]:
        self.sequence += 1
        previous = self.rank(player)
        is_best = player not in self.best or score > self.best[player][0]
        if is_best:
            self.best[player] = (score, self.sequence)
        return previous, is_best

    def rank(self, player: str) -> int | None:
        if player not in self.best:
            return None
        return 1 + sum(score > self.best[player][0] for score, _ in self.best.values())

    def entries(self) -> list[Entry]:
        order = sorted(self.best, key=lambda player: (-self.best[player][0], self.best[player][1]))
        return [Entry(self.rank(player) or 0, player, self.best[player][0], None) for player in order]


SCORES = st.one_of(st.integers(-3, 3), st.sampled_from([MAX_SCORE, MAX_SCORE - 1, -MAX_SCORE, 1 - MAX_SCORE, 2**52]))
PLAYERS = st.sampled_from(["a", "b", "c:d", "é", "👩‍🚀", "z" * 64])


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(PLAYERS, SCORES, st.integers(0, 9)), min_size=1, max_size=25), st.integers(0, 7), st.integers(0, 3)
)
def test_every_rank_order_neighbour_and_page_is_the_models(
    client: Client, submissions: list[tuple[str, int, int]], offset: int, radius: int
) -> None:
    """Scores over ten days, two ISO weeks: each period has a model of its own."""
    clean(client)
    clock = [0.0]
    board = Leaderboard(client, "model", clock=lambda: clock[0])
    models: dict[str, Model] = {}
    for player, score, days in sorted(submissions, key=lambda submission: submission[2]):
        now_ms = NOW_MS + days * DAY_MS + 5
        clock[0] = now_ms / 1000
        done = board.submit(player, score, now_ms=now_ms)
        for period in Period:
            name = {Period.ALL: "all", Period.WEEK: f"week {days // 7}", Period.DAY: f"day {days}"}[period]
            model = models.setdefault(name, Model())
            previous, is_best = model.submit(player, score)
            standing = done.standings[period]
            assert (standing.best, standing.rank) == (model.best[player][0], model.rank(player))
            assert (standing.previous_rank, standing.is_best, standing.total) == (previous, is_best, len(model.best))
            assert standing.percentile == pytest.approx(100 * (standing.total - standing.rank + 1) / standing.total)
            expected = model.entries()
            assert board.page(0, 100, period).entries == tuple(expected)
            part = board.page(offset, 3, period)
            assert (part.entries, part.total) == (tuple(expected[offset : offset + 3]), len(expected))
            place = [entry.player for entry in expected].index(player)
            around = board.around(player, radius, period)
            assert around is not None
            assert around.entries == tuple(expected[max(0, place - radius) : place + radius + 1])
            assert board.rank(player, period) == expected[place]
    for key in client.scan_iter("demo:*"):
        assert client.pttl(key) > 0


def test_equal_scores_share_a_rank_and_the_next_one_is_counted_on(client: Client) -> None:
    board = Leaderboard(client, "ties")
    for player, score in (("late", 5), ("zoe", 9), ("ada", 9), ("mid", 9), ("low", 1)):
        board.submit(player, score)
    assert [(entry.rank, entry.player) for entry in board.top(9).entries] == [
        (1, "zoe"),
        (1, "ada"),
        (1, "mid"),
        (4, "late"),
        (5, "low"),
    ]


def test_who_reaches_a_score_again_keeps_the_place_of_the_first_time(client: Client) -> None:
    board = Leaderboard(client, "again")
    for player, score in (("first", 9), ("second", 9), ("first", 9), ("first", 3)):
        board.submit(player, score)
    assert [entry.player for entry in board.top(2).entries] == ["first", "second"]


def test_zero_is_zero_whatever_its_sign(client: Client) -> None:
    board = Leaderboard(client, "zero")
    board.submit("a", 0)
    board.submit("b", -0)
    assert [(entry.rank, entry.score) for entry in board.top(2).entries] == [(1, 0), (1, 0)]


@pytest.mark.parametrize("score", [True, False, 1.0, 1.5, "12", None, 2**53, -(2**53), float("inf"), float("nan")])
def test_a_score_that_a_double_may_not_hold_is_refused(client: Client, score: Any) -> None:
    board = Leaderboard(client, "bad")
    with pytest.raises(ValueError, match="score"):
        board.submit("mara", score)
    assert board.top(1).total == 0


@pytest.mark.parametrize("player", ["", "x" * 65, "a\0b", "a\nb", " a", "a ", "\t", "\ud800", "a\u202eb", "\x7f"])
def test_a_name_that_cannot_be_shown_is_refused(player: str) -> None:
    with pytest.raises(ValueError, match="player"):
        check_player(player)


@pytest.mark.parametrize("player", ["a", "x" * 64, "<b>bo</b>", "👩‍🚀", "Åsa Öberg", "a:b{c}/d", "李"])
def test_a_name_that_can_be_shown_is_taken(client: Client, player: str) -> None:
    board = Leaderboard(client, "names")
    board.submit(player, 1)
    assert board.top(1).entries[0].player == player


@pytest.mark.parametrize("name", ["", "A", "a b", "a:b", "{a}", "a/b", "-a", "a-", "x" * 41, "é", "a\n"])
def test_a_boards_name_is_checked(client: Client, name: str) -> None:
    with pytest.raises(ValueError, match="board"):
        Leaderboard(client, name)


def test_bounds_of_reads(client: Client) -> None:
    board = Leaderboard(client, "bounds")
    for call in (lambda: board.page(-1, 5), lambda: board.page(0, 101), lambda: board.around("a", 51)):
        with pytest.raises(ValueError):
            call()
    assert board.around("nobody", 3) is None
    assert board.rank("nobody") is None
    assert board.page(10, 5).entries == ()


def test_metadata_stays_with_the_player_and_is_bounded(client: Client) -> None:
    board = Leaderboard(client, "meta")
    board.submit("mara", 5, metadata='{"a":1}')
    board.submit("mara", 3)
    assert board.top(1).entries[0].metadata == '{"a":1}'
    with pytest.raises(ValueError, match="metadata"):
        board.submit("mara", 9, metadata="é" * 513)
    assert board.top(1).entries[0].score == 5


@pytest.mark.parametrize("days", [-1, 1, 30])
def test_the_day_is_redis_day_whatever_this_machines_clock_says(client: Client, days: int) -> None:
    wrong = Leaderboard(client, "clock", clock=lambda: NOW_MS / 1000 + days * 86_400)
    now_ms = NOW_MS + DAY_MS - 1
    wrong.submit("warm", 1, now_ms=now_ms)
    wrong = Leaderboard(client, "clock", clock=lambda: NOW_MS / 1000 + days * 86_400)
    assert _trips(lambda: wrong.submit("mara", 5, now_ms=now_ms)) == 2
    assert _trips(lambda: wrong.submit("mara", 6, now_ms=now_ms)) == 1
    right = Leaderboard(client, "clock", clock=lambda: now_ms / 1000)
    page = right.top(9, Period.DAY)
    assert [(entry.player, entry.score) for entry in page.entries] == [("mara", 6), ("warm", 1)]
    assert wrong.top(9, Period.DAY) == page


@pytest.mark.parametrize(
    ("day", "name"),
    [
        ("2026-12-31", "week:2026-W53"),
        ("2027-01-03", "week:2026-W53"),
        ("2027-01-04", "week:2027-W01"),
        ("2024-12-30", "week:2025-W01"),
    ],
)
def test_weeks_are_those_of_iso_8601_at_years_end_too(client: Client, day: str, name: str) -> None:
    from datetime import UTC, datetime

    moment = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    board = Leaderboard(client, "weeks", clock=lambda: moment)
    assert board.redis_keys(Period.WEEK)[0] == f"demo:leaderboard:{{weeks}}:{name}"


def test_a_submission_and_each_read_is_one_round_trip(client: Client) -> None:
    board = Leaderboard(client, "trips")
    board.submit("mara", 5)
    board.top(3)
    calls = [
        lambda: board.submit("mara", 6),
        lambda: board.top(3),
        lambda: board.around("mara", 3),
        lambda: board.rank("mara"),
    ]
    assert [_trips(call) for call in calls] == [1, 1, 1, 1]


def test_eight_that_post_at_once_end_in_the_models_state(client: Client) -> None:
    board, start = Leaderboard(client, "race"), threading.Barrier(8)

    def post(seed: int) -> None:
        start.wait()
        for number in range(40):
            board.submit(f"p{number % 10}", (number * 7919 + seed * 104_729) % 1000)

    threads = [threading.Thread(target=post, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    best = {
        f"p{player}": max((n * 7919 + s * 104_729) % 1000 for s in range(8) for n in range(40) if n % 10 == player)
        for player in range(10)
    }
    page = board.top(100)
    assert {entry.player: entry.score for entry in page.entries} == best
    assert page.total == 10
    assert [entry.score for entry in page.entries] == sorted(best.values(), reverse=True)


def test_boards_are_listed_newest_first_and_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "MOST", 3)
    for name in "abcde":
        boards.remember(client, name)
    boards.remember(client, "d")
    assert boards.names(client) == ["e", "d", "c"]


def _trips(call: Any) -> int:
    trace = xray.begin()
    call()
    xray.end()
    return trace.round_trips
