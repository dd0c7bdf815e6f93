import itertools
import threading
import time
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot
from redis.exceptions import RedisError

from demo.leaderboard import upkeep
from demo.leaderboard.answers import (
    MAX_ROWS,
    MAX_SCORE,
    Conflict,
    Entry,
    Period,
    Post,
    Refused,
    Standing,
    Submission,
    check_player,
)
from demo.leaderboard.ranking import Leaderboard
from tests.servers import Client, clean, connect, private_engine, trips, until

DAY_MS = 86_400_000
NOW_MS = 1_795_392_000_000  # 2026-11-23, 00:00 UTC, a Monday


class Model:
    """The rules in plain Python: the best counts, equal scores share a rank, first to reach is
    first in the list."""

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
        return [
            Entry(self.rank(player) or 0, player, self.best[player][0], None) for player in order
        ]


SCORES = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([MAX_SCORE, MAX_SCORE - 1, -MAX_SCORE, 1 - MAX_SCORE, 2**52]),
)
PLAYERS = st.sampled_from(["a", "b", "c:d", "é", "👩‍🚀", "z" * 64])


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(PLAYERS, SCORES, st.integers(0, 9)), min_size=1, max_size=25),
    st.integers(0, 7),
    st.integers(0, 3),
)
def test_every_rank_order_neighbour_and_page_is_the_models(
    client: Client, submissions: list[tuple[str, int, int]], offset: int, radius: int
) -> None:
    """Scores over ten days, two ISO weeks: each period has a model of its own."""
    clean(client)
    clock = [0.0]
    board = Leaderboard(
        client, "model", clock=lambda: clock[0], redis_ms=lambda: round(clock[0] * 1000)
    )
    models: dict[str, Model] = {}
    for player, score, days in sorted(submissions, key=lambda submission: submission[2]):
        now_ms = NOW_MS + days * DAY_MS + 5
        clock[0] = now_ms / 1000
        done = board.submit(player, score, now_ms=now_ms)
        for period in Period:
            name = {Period.ALL: "all", Period.WEEK: f"week {days // 7}", Period.DAY: f"day {days}"}[
                period
            ]
            model = models.setdefault(name, Model())
            previous, is_best = model.submit(player, score)
            standing = done.standings[period]
            assert (standing.best, standing.rank) == (model.best[player][0], model.rank(player))
            assert (standing.previous_rank, standing.is_best, standing.total) == (
                previous,
                is_best,
                len(model.best),
            )
            assert standing.percentile == pytest.approx(
                100 * (standing.total - standing.rank + 1) / standing.total
            )
            expected = model.entries()
            assert board.page(0, 100, period).entries == tuple(expected)
            part = board.page(offset, 3, period)
            assert (part.entries, part.total) == (
                tuple(expected[offset : offset + 3]),
                len(expected),
            )
            place = [entry.player for entry in expected].index(player)
            around = board.around(player, radius, period)
            assert around is not None
            assert around.entries == tuple(expected[max(0, place - radius) : place + radius + 1])
            assert board.rank(player, period) == expected[place]
    for key in client.scan_iter("demo:*"):
        assert client.pttl(key) > 0
        if key.endswith(b":members"):  # a player who was moved leaves nothing behind
            assert client.hlen(key) == client.zcard(key.removesuffix(b":members"))


def test_every_key_ends_when_its_period_is_long_over(client: Client) -> None:
    clock = [NOW_MS / 1000]
    board = Leaderboard(client, "lives", clock=lambda: clock[0])
    steps = [("mara", 5, "{}"), ("mara", 4, None), ("mara", 6, None), ("noor", 6, "{}")]
    for number, (player, score, metadata) in enumerate(steps):
        clock[0] = NOW_MS / 1000 + number * 86_400
        for key in client.scan_iter("demo:*"):
            client.persist(key)  # as if a step before had forgotten it
        board.submit(player, score, metadata=metadata, now_ms=int(clock[0] * 1000))
        for period, days in ((Period.ALL, 400), (Period.WEEK, 35), (Period.DAY, 8)):
            for key in board.redis_keys(period):
                assert (days - 1) * DAY_MS < client.pttl(key) <= days * DAY_MS, key
        for part in ("sequence", "metadata"):
            assert 399 * DAY_MS < client.pttl(f"demo:leaderboard:{{lives}}:{part}") <= 400 * DAY_MS


def test_all_keys_of_a_board_share_a_slot_and_another_board_has_its_own(client: Client) -> None:
    board = Leaderboard(client, "slots")
    board.submit("a:{b}", 1, metadata="{}")
    made = set(client.scan_iter("demo:*"))
    declared = {key.encode() for period in Period for key in board.redis_keys(period)}
    assert made == declared | {
        b"demo:leaderboard:{slots}:sequence",
        b"demo:leaderboard:{slots}:metadata",
    }
    assert {key_slot(key) for key in made} == {key_slot(b"slots")}


def test_a_server_that_forgot_the_scripts_is_told_them_again() -> None:
    with (
        private_engine() as engine,
        connect(engine.url, pool_size=2, timeout_seconds=1) as client,
    ):
        board = Leaderboard(client, "flushed")
        client.script_flush()
        board.submit("mara", 5)
        client.script_flush()
        assert board.top(1).total == 1


def test_without_redis_or_on_a_key_of_another_kind_every_call_raises(client: Client) -> None:
    board = Leaderboard(client, "kinds")
    client.set(board.redis_keys(Period.DAY)[0], "text", px=60_000)
    with connect("redis://127.0.0.1:1", pool_size=2, timeout_seconds=0.25) as nobody:
        away = Leaderboard(nobody, "kinds")
        for call in (
            lambda: away.submit("a", 1),
            lambda: away.top(1),
            lambda: away.around("a", 1),
            lambda: away.rank("a"),
            lambda: board.submit("a", 1),
            lambda: board.top(1, Period.DAY),
        ):
            with pytest.raises(RedisError):
                call()


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


def test_forty_who_reach_the_same_score_are_listed_as_they_came(client: Client) -> None:
    board = Leaderboard(client, "many")
    players = [f"p{number * 7 % 40}" for number in range(40)]
    for player in players:
        board.submit(player, 9)
    assert [(entry.rank, entry.player) for entry in board.top(40).entries] == [
        (1, player) for player in players
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


@pytest.mark.parametrize(
    "score", [True, False, 1.0, 1.5, "12", None, 2**53, -(2**53), float("inf"), float("nan")]
)
def test_a_score_that_a_double_may_not_hold_is_refused(client: Client, score: Any) -> None:
    board = Leaderboard(client, "bad")
    with pytest.raises(ValueError, match="score"):
        board.submit("mara", score)
    assert board.top(1).total == 0


@pytest.mark.parametrize(
    "player",
    [
        "\u200d",
        "\ufe0f\u200d",
        "\u3164",
        "\u2800",
        "\u034f",
        "\u200d\u3164\u200d",
        "mara\u3164",
        "\u00a0",
        "a\u2028b",
        "",
        "x" * 65,
        "a\0b",
        "a\nb",
        " a",
        "a ",
        "\t",
        "\ud800",
        "a\u202eb",
        "\x7f",
    ],
)
def test_a_name_that_cannot_be_shown_is_refused(player: str) -> None:
    with pytest.raises(ValueError, match="player"):
        check_player(player)


@pytest.mark.parametrize(
    ("player", "told"),
    [
        ("ma\u200bra", "U+200B (zero width space) is not allowed"),
        ("mara\u202eb", "U+202E (right-to-left override) is not allowed"),
        ("a\x07", "U+0007 is not allowed"),
        ("Jean\u00a0Paul", "U+00A0 (no-break space) is not allowed"),
        ("mara ", "U+0020 (space) is not allowed at the start or end"),
        ("山田\u3000", "U+3000 (ideographic space) is not allowed at the start or end"),
        ("\u200cعلی", "U+200C (zero width non-joiner) is not allowed at the start or end"),
        ("mara\u3164", "U+3164 (hangul filler) is not allowed at the start or end"),
        ("\u200d", "it begins with U+200D (zero width joiner)"),
    ],
)
def test_the_character_that_is_not_taken_is_told(player: str, told: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_player(player)
    assert told in str(refused.value)


NAMES = (  # what real words of these languages are written with
    *("علی\u200cرضا", "می\u200cخواهم"),  # Persian
    *("山田\u3000太郎", "葛\U000e0100城"),  # Japanese, with a variation selector
    *("র\u200c্যাব", "ന\u200d", "क्षत्रिय", "ศรีสุดา", "မြန်မာ"),  # Bengali to Burmese
    *("ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ", "ᠬᠠᠨ\u180eᠠ", "ᚑᚌᚐᚋ\u1680ᚋᚐᚊ"),  # Mongolian, Ogham
    *("נִקּוּד", "Nguye\u0302\u0303n", "q\u0323\u0307", "בן־גוריון", "O’Neill"),  # marks
)


@pytest.mark.parametrize("player", NAMES, ids=ascii)
def test_a_name_of_a_real_language_is_taken(player: str) -> None:
    assert check_player(player) == unicodedata.normalize("NFC", player)


@pytest.mark.parametrize(
    "player", ["a", "x" * 64, "<b>bo</b>", "👩‍🚀", "Åsa Öberg", "a:b{c}/d", "李"]
)
def test_a_name_that_can_be_shown_is_taken(client: Client, player: str) -> None:
    board = Leaderboard(client, "names")
    board.submit(player, 1)
    assert board.top(1).entries[0].player == player


def test_a_name_is_one_player_however_it_was_typed(client: Client) -> None:
    board, composed, typed = Leaderboard(client, "forms"), "\u00e9", "e\u0301"
    done = board.submit(typed, 5)
    assert done.player == composed
    (one,) = board.submit_many([Post(typed, 6)])
    assert one.player == composed
    for read in (lambda: board.for_players([typed, composed]), lambda: board.top(9).entries):
        assert read() == (Entry(1, composed, 6, None),)
    assert board.rank(typed) == board.rank(composed)
    assert board.percentile(typed) == 100.0
    assert board.remove(typed)


@pytest.mark.parametrize(
    "name", ["", "A", "a b", "a:b", "{a}", "a/b", "-a", "a-", "x" * 41, "é", "a\n"]
)
def test_a_boards_name_is_checked(client: Client, name: str) -> None:
    with pytest.raises(ValueError, match="board"):
        Leaderboard(client, name)


def test_bounds_of_reads(client: Client) -> None:
    board = Leaderboard(client, "bounds")
    for call in (
        lambda: board.page(-1, 5),
        lambda: board.page(0, 101),
        lambda: board.around("a", 51),
    ):
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
    board.submit("mara", 4, metadata="é" * 512)
    assert board.top(1).entries[0].metadata == "é" * 512
    with pytest.raises(ValueError, match="metadata"):
        board.submit("mara", 9, metadata="é" * 512 + "x")
    assert board.top(1).entries[0].score == 5


@pytest.mark.parametrize("days", [-1, 1, 30])
def test_the_day_is_redis_day_whatever_this_machines_clock_says(client: Client, days: int) -> None:
    wrong = Leaderboard(client, "clock", clock=lambda: NOW_MS / 1000 + days * 86_400)
    now_ms = NOW_MS + DAY_MS - 1
    wrong.submit("warm", 1, now_ms=now_ms)
    wrong = Leaderboard(
        client, "clock", clock=lambda: NOW_MS / 1000 + days * 86_400, redis_ms=lambda: now_ms
    )
    assert _trips(lambda: wrong.submit("mara", 5, now_ms=now_ms)) == 2
    assert _trips(lambda: wrong.submit("mara", 6, now_ms=now_ms)) == 1
    right = Leaderboard(client, "clock", clock=lambda: now_ms / 1000, redis_ms=lambda: now_ms)
    page = right.top(9, Period.DAY)
    assert [(entry.player, entry.score) for entry in page.entries] == [("mara", 6), ("warm", 1)]
    assert wrong.top(9, Period.DAY) == page
    assert wrong.top(9, Period.ALL).total == right.top(9, Period.WEEK).total == 2
    days = set(client.scan_iter("demo:leaderboard:{clock}:day:*"))
    assert days == {
        key.encode() for key in right.redis_keys(Period.DAY)
    }  # nothing on the day that it took it for


def agree_on_redis_day(
    client: Client, days: int, period: Period, reads: list[Callable[[Leaderboard], Any]]
) -> None:
    """Asserts that reads by a process whose clock is days off are those of one that is right, from
    the first time on, which takes one round trip more."""
    now_ms = NOW_MS + (0 if days < 0 else 7 * DAY_MS - 1)  # with another week before, or behind
    right = Leaderboard(client, "readers", clock=lambda: now_ms / 1000, redis_ms=lambda: now_ms)
    for player in "ab":
        right.submit(player, 5)
    for read in reads:
        read(right)
        wrong = Leaderboard(
            client, "readers", clock=lambda: now_ms / 1000 + days * 86_400, redis_ms=lambda: now_ms
        )
        assert _trips(partial(read, wrong)) == 2
        assert _trips(partial(read, wrong)) == 1
        assert read(wrong) == read(right)


@pytest.mark.parametrize("days", [-1, 1])
@pytest.mark.parametrize("period", [Period.DAY, Period.WEEK])
def test_a_reader_whose_clock_is_off_reads_redis_day_from_the_first_time(
    client: Client, days: int, period: Period
) -> None:
    reads: list[Callable[[Leaderboard], Any]] = [
        lambda board: board.top(9, period),
        lambda board: board.around("b", 1, period),
        lambda board: board.percentile("b", period),
        lambda board: board.for_players(["b", "a"], period),
        lambda board: board.size(period),
        lambda board: board.trim(2, period),
    ]
    agree_on_redis_day(client, days, period, reads)


@pytest.mark.parametrize("lower", [False, True])
def test_by_cursor_every_row_that_stays_comes_once_however_the_others_move(
    client: Client, lower: bool
) -> None:
    board, sign = Leaderboard(client, "cursors", lower_is_better=lower), -1 if lower else 1
    board.submit_many([Post(f"p{number:02}", sign * (number // 4)) for number in range(20)])
    expected = [entry.player for entry in board.top(20).entries]
    seen, cursor = list[str](), None
    for step in range(20):
        page = board.page(0, 3, cursor=cursor)
        assert page.total == 20 + step
        seen += [entry.player for entry in page.entries if entry.player.startswith("p")]
        board.submit(f"new{step}", sign * (99 + step))  # every place moves on by one
        if (cursor := page.cursor) is None:
            break
    assert seen == expected
    assert (len(page.entries), page.offset) == (2, page.total - 2)
    assert board.page(0, page.total).cursor is not None  # one more has come since
    assert board.page(0, page.total + 1).cursor is None


def test_the_first_to_reach_a_score_is_first_among_friends(client: Client) -> None:
    board = Leaderboard(client, "friends")
    for player in "xyz":
        board.submit(player, 10)
    board.submit("x", 9, mode="latest")
    board.submit("x", 10)
    assert [entry.player for entry in board.for_players(["z", "x", "y"])] == ["y", "z", "x"]
    assert board.for_players(["nobody"]) == ()


@pytest.mark.parametrize("seconds", [-3 * 86_400, 3 * 86_400])
def test_the_day_is_told_by_the_servers_own_time(client: Client, seconds: float) -> None:
    board = Leaderboard(client, "time", clock=lambda: time.time() + seconds)
    assert [_trips(lambda score=score: board.submit("mara", score)) for score in (1, 2, 3)] == [
        2,
        1,
        1,
    ]
    now = client.time()[0]
    there = Leaderboard(client, "time", clock=lambda: now)
    assert [there.top(1, period).entries[0].score for period in Period] == [3, 3, 3]


def test_a_day_that_turns_between_two_submissions_begins_a_ranking_and_keeps_the_others(
    client: Client,
) -> None:
    midnight = NOW_MS + 3 * DAY_MS
    clock = [midnight / 1000 - 0.001]
    board = Leaderboard(client, "midnight", clock=lambda: clock[0])
    before = board.submit("mara", 9, now_ms=midnight - 1)
    after = board.submit(
        "mara", 5, now_ms=midnight
    )  # this machine still believes in the day before
    assert [before.standings[period].best for period in Period] == [9, 9, 9]
    assert [after.standings[period].best for period in Period] == [9, 9, 5]
    assert [after.standings[period].previous_rank for period in Period] == [1, 1, None]
    clock[0] -= 60
    earlier = Leaderboard(client, "midnight", clock=lambda: clock[0], redis_ms=lambda: midnight - 1)
    assert earlier.rank("mara", Period.DAY) == Entry(1, "mara", 9, None)


def test_a_clock_that_never_agrees_ends_in_an_error_and_writes_nothing(client: Client) -> None:
    days = itertools.count()
    board = Leaderboard(client, "mad", clock=lambda: next(days) * 86_400)
    with pytest.raises(RuntimeError, match="turned twice"):
        board.submit("mara", 5)
    assert list(client.scan_iter("demo:*")) == []


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
    board.for_players(["mara"])
    board.trim(5)
    board.season("before")
    board.remove("nobody")
    board.submit("mara", 5)
    calls = [
        lambda: board.submit("mara", 6),
        lambda: board.top(3),
        lambda: board.around("mara", 3),
        lambda: board.rank("mara"),
        lambda: board.submit("mara", 1, mode="sum", metadata="{}", idempotency_key="k"),
        lambda: board.page(0, 9, cursor="0.000000000001"),
        lambda: board.percentile("mara"),
        lambda: board.for_players(["mara", "noor"]),
        lambda: board.size(),
        lambda: board.trim(5),
        lambda: board.season("one"),
        lambda: board.seasons(),
        lambda: board.remove("mara"),
    ]
    assert [_trips(call) for call in calls] == [1] * len(calls)


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
        f"p{player}": max(
            (n * 7919 + s * 104_729) % 1000 for s in range(8) for n in range(40) if n % 10 == player
        )
        for player in range(10)
    }
    page = board.top(100)
    assert {entry.player: entry.score for entry in page.entries} == best
    assert page.total == 10
    assert [entry.score for entry in page.entries] == sorted(best.values(), reverse=True)


def test_a_key_counts_once_for_a_day_and_lies_under_the_boards_tag(client: Client) -> None:
    board = Leaderboard(client, "once")
    first = board.submit("mara", 5, mode="sum", idempotency_key="a{b}:c")
    again = board.submit("mara", 5, mode="sum", idempotency_key="a{b}:c")
    assert (first.replayed, again.replayed, again.standings) == (False, True, first.standings)
    for player, score, more in (
        ("noor", 5, {}),
        ("mara", 6, {}),
        ("mara", 5, {"metadata": "{}"}),
        ("mara", 5, {"mode": "best"}),
    ):
        with pytest.raises(Conflict):
            board.submit(player, score, **{"mode": "sum", "idempotency_key": "a{b}:c", **more})
    (key,) = client.scan_iter("demo:leaderboard:{once}:once:*")
    assert key_slot(key) == key_slot(b"once")
    assert DAY_MS - 60_000 < client.pttl(key) <= DAY_MS
    assert (board.size(), board.top(1).entries[0].score) == (1, 5)


def test_a_replay_after_midnight_is_the_answer_of_the_day_before(client: Client) -> None:
    clock = [NOW_MS / 1000 + 86_399]
    board = Leaderboard(
        client, "replay", clock=lambda: clock[0], redis_ms=lambda: round(clock[0] * 1000)
    )
    first = board.submit("mara", 5, idempotency_key="k", now_ms=int(clock[0] * 1000))
    clock[0] += 2
    assert (
        board.submit("mara", 5, idempotency_key="k", now_ms=int(clock[0] * 1000)).standings
        == first.standings
    )
    assert board.size(Period.DAY) == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "é", "a\n"])
def test_an_idempotency_key_is_checked(client: Client, key: str) -> None:
    with pytest.raises(ValueError, match="idempotency"):
        Leaderboard(client, "keys").submit("mara", 5, idempotency_key=key)
    assert list(client.scan_iter("demo:*")) == []


@pytest.mark.parametrize("lower", [True, False])
def test_a_sum_that_leaves_the_exact_integers_is_refused_and_nothing_is_written(
    client: Client, lower: bool
) -> None:
    board = Leaderboard(client, "sums", lower_is_better=lower)
    for player, score in (("up", MAX_SCORE), ("down", -MAX_SCORE)):
        board.submit(player, score, mode="sum")
        with pytest.raises(ValueError, match="sum"):
            board.submit(
                player, 1 if score > 0 else -1, mode="sum", metadata="{}", idempotency_key="k"
            )
    assert {entry.score for entry in board.top(9).entries} == {MAX_SCORE, -MAX_SCORE}
    assert client.exists("demo:leaderboard:{sums}:metadata") == 0
    assert not list(client.scan_iter("*:once:*"))


def test_a_board_that_an_earlier_version_wrote_goes_on(client: Client) -> None:
    board = Leaderboard(client, "old")
    for period in Period:
        key, members = board.redis_keys(period)
        client.zadd(key, {"00000000000a:5": -7})
        client.hset(members, "5", "00000000000a:5")
    client.set("demo:leaderboard:{old}:sequence", 10)
    done = board.submit("5", 9).standings[Period.ALL]
    assert (done.best, done.previous_rank, done.total) == (9, 1, 1)
    assert board.rank("5") == Entry(1, "5", 9, None)


def test_trimming_goes_in_steps_and_leaves_nothing_behind(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "TRIMMED_AT_ONCE", 4)
    board = Leaderboard(client, "trim")
    for number in range(15):
        board.submit(f"p{number}", number, metadata="{}")
    assert board.trim(3) == 12
    assert [entry.player for entry in board.top(9).entries] == ["p14", "p13", "p12"]
    assert client.hlen("demo:leaderboard:{trim}:metadata") == 3
    assert board.size(Period.DAY) == 15


def test_a_season_takes_the_metadata_with_it_but_for_the_running_week_and_day(
    client: Client,
) -> None:
    now = [NOW_MS]
    board = Leaderboard(client, "seasons", clock=lambda: now[0] / 1000, redis_ms=lambda: now[0])
    board.submit_many([Post(f"p{number}", number, metadata="{}") for number in range(100)])
    for number in range(1500):
        client.hset("demo:leaderboard:{seasons}:metadata", f"stranger{number}", "{}")
    board.season("one")
    assert client.hlen("demo:leaderboard:{seasons}:season:one:metadata") == 100
    assert client.hlen("demo:leaderboard:{seasons}:metadata") == 100
    assert board.rank("p5", Period.WEEK) == Entry(95, "p5", 5, "{}")
    now[0] += 60 * DAY_MS
    board.submit("new", 1, metadata="{}")
    other = Leaderboard(
        client, "seasons", clock=lambda: NOW_MS / 1000, redis_ms=lambda: now[0]
    )  # two months behind
    assert other.season("two") == 1
    assert client.hkeys("demo:leaderboard:{seasons}:season:two:metadata") == [b"new"]
    assert client.hkeys("demo:leaderboard:{seasons}:metadata") == [b"new"]
    assert board.rank("p5", "season:one") == Entry(95, "p5", 5, "{}")


def test_a_hundred_boards_keep_to_themselves(client: Client) -> None:
    for number in range(100):
        Leaderboard(client, f"b-{number}").submit("mara", number)
    for number in range(100):
        page = Leaderboard(client, f"b-{number}").top(9)
        assert (page.total, page.entries) == (1, (Entry(1, "mara", number, None),))


def test_dense_ranks_count_the_distinct_scores_above(client: Client) -> None:
    board = Leaderboard(client, "dense", ranking="dense")
    for player, score in (("a", 9), ("b", 7), ("c", 7), ("d", 1)):
        done = board.submit(player, score)
    assert [entry.rank for entry in board.top(9).entries] == [1, 2, 2, 3]
    assert (done.standings[Period.ALL].rank, done.standings[Period.ALL].percentile) == (3, 25.0)
    assert [entry.rank for entry in board.page(2, 2).entries] == [2, 3]
    assert (board.percentile("d"), board.percentile("c")) == (25.0, 75.0)
    assert _trips(lambda: board.submit("d", 8)) == _trips(lambda: board.rank("d")) == 1
    assert board.rank("c") == Entry(3, "c", 7, None)


def test_a_board_of_all_time_alone_holds_nothing_of_other_periods(client: Client) -> None:
    board = Leaderboard(client, "alone", periods=["all"])
    assert _trips(lambda: board.submit("a", 5, metadata="{}", idempotency_key="k")) == 1
    assert list(board.submit("b", 7).standings) == [Period.ALL]
    assert board.top(9).entries == (Entry(1, "b", 7, None), Entry(2, "a", 5, "{}"))
    names = {
        key.decode().rsplit("}:")[1].split(":")[0]
        for key in client.scan_iter("demo:leaderboard:{alone}*")
    }
    assert names == {"all", "sequence", "metadata", "once"}
    with pytest.raises(ValueError, match="period: this board keeps no week"):
        board.top(9, "week")


@pytest.mark.parametrize("periods", [["day"], ["all", "year"], ["all", "all"], []])
def test_which_periods_a_board_keeps_is_checked(client: Client, periods: list[str]) -> None:
    with pytest.raises(ValueError, match="periods"):
        Leaderboard(client, "periods", periods=periods)


@pytest.mark.parametrize(
    "cursor", ["\u0967.000000000001", "1.00000000000g", "1", "", "1.000000000001\n"]
)
def test_a_cursor_is_checked(client: Client, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        Leaderboard(client, "cursors").page(0, 5, cursor=cursor)


@pytest.mark.parametrize(
    "period",
    [
        "day:\u0968\u0966\u0968\u096c-11-22",
        "week:\u0968\u0966\u0968\u096c-W47",
        "year",
        "day:2026",
        "season:A",
        "all:members",
        "day:2026-11-22\n",
        "",
    ],
)
def test_a_period_is_checked(client: Client, period: str) -> None:
    with pytest.raises(ValueError, match="period"):
        Leaderboard(client, "periods").top(1, period)


def _trips(call: Any) -> int:
    with trips() as seen:
        call()
    return len(seen)


def test_who_listens_is_told_once_of_each_change_and_of_nothing_else(client: Client) -> None:
    board = Leaderboard(client, "told")
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(board.channel)
        until(lambda: client.pubsub_numsub(board.channel)[0][1] == 1)

        def after(call: Any) -> int:
            call()
            client.publish(board.channel, "end")
            count = 0
            while (message := listener.get_message(timeout=5)) is None or message["data"] != b"end":
                count += message is not None and message["type"] == "message"
            return count

        assert after(lambda: board.submit("mara", 5)) == 1
        assert after(lambda: board.submit("mara", 4)) == 0
        assert after(lambda: board.submit("mara", 4, metadata="{}")) == 1
        assert after(lambda: board.submit("noor", 9, idempotency_key="k")) == 1
        assert after(lambda: board.submit("noor", 9, idempotency_key="k")) == 0
        assert after(lambda: board.remove("nobody")) == 0
        assert after(lambda: board.trim(1)) == 1
        assert after(lambda: board.trim(1)) == 0
        assert after(lambda: board.season("one")) == 1
        assert after(lambda: board.season("one-more")) == 0
        assert after(lambda: board.remove("noor")) == 1


def contents(client: Client) -> dict[bytes, object]:
    return {key: client.dump(key) for key in client.scan_iter("demo:*")}


def test_a_batch_under_the_key_of_another_is_refused_before_anything_is_written(
    client: Client,
) -> None:
    """Also where nothing counted in the other's first step."""
    board = Leaderboard(client, "conflict")
    board.submit("full", MAX_SCORE)
    batch = [*[Post("full", 1, "sum")] * 100, Post("later", 5, "sum")]
    other = [*(Post(f"n{number}", 1, "sum") for number in range(100)), Post("later", 6)]
    board.submit_many(batch, idempotency_key="k")
    before = contents(client)
    with pytest.raises(Conflict):
        board.submit_many(other, idempotency_key="k")
    assert contents(client) == before
    last = board.submit_many(batch, idempotency_key="k")[100]
    assert isinstance(last, Submission)
    assert (last.replayed, last.standings[Period.ALL].best) == (True, 5)
    client.delete(board._once("k"))  # as it is a moment before the later step's answer
    assert all(isinstance(one, Submission) for one in board.submit_many(other, idempotency_key="k"))


def test_what_tells_requests_apart_can_be_given(client: Client) -> None:
    board = Leaderboard(client, "requests")
    board.submit("mara", 5, idempotency_key="one", request=b"a")
    assert board.submit("mara", 6, idempotency_key="one", request=b"a").replayed
    board.submit_many([Post("mara", 7)], idempotency_key="many", request=b"a")
    for call in (
        lambda: board.submit("mara", 5, idempotency_key="one", request=b"b"),
        lambda: board.submit_many([Post("mara", 7)], idempotency_key="many", request=b"b"),
    ):
        with pytest.raises(Conflict):
            call()


@pytest.mark.parametrize("periods", [["all"], ["all", "week"], list(Period)])
def test_a_board_lives_on_for_as_long_as_it_is_used(client: Client, periods: list[str]) -> None:
    clock = [NOW_MS / 1000]

    def process() -> Leaderboard:
        return Leaderboard(
            client,
            "used",
            periods=periods,
            clock=lambda: clock[0],
            redis_ms=lambda: round(clock[0] * 1000),
        )

    board = process()
    board.submit_many([Post("mara", 5), Post("noor", 5)])
    keys = [*board.redis_keys(Period.ALL), "demo:leaderboard:{used}:sequence"]
    for days_later, another, expected_days in (
        (0, board, 1),
        (1, board, 400),
        (0, board, 1),
        (0, process(), 400),
    ):
        clock[0] += days_later * 86_400
        for key in keys:
            client.pexpire(key, DAY_MS)
        another.submit("mara", 4)  # nothing changes
        for key in keys:
            assert expected_days * DAY_MS - 60_000 < client.pttl(key) <= expected_days * DAY_MS, (
                key,
                days_later,
            )


@pytest.mark.parametrize("ranking", ["competition", "dense"])
def test_a_period_whose_sorted_set_is_lost_begins_anew(client: Client, ranking: str) -> None:
    board = Leaderboard(client, "lost", ranking=ranking)
    for number, player in enumerate("abc"):
        board.submit(player, 10 * number)
    client.unlink(board.redis_keys(Period.DAY)[0])
    done = board.submit("a", -5).standings
    assert (done[Period.ALL].total, done[Period.ALL].best, done[Period.ALL].previous_rank) == (
        3,
        0,
        3,
    )
    assert done[Period.DAY] == Standing(-5, 1, None, 1, 100.0, True)
    assert board.submit("b", -6).standings[Period.DAY] == Standing(-6, 2, None, 2, 50.0, True)
    assert [entry.player for entry in board.top(9, Period.DAY).entries] == ["a", "b"]


def test_a_hash_of_players_that_is_lost_is_made_again(client: Client) -> None:
    board = Leaderboard(client, "hash")
    board.submit_many([Post(f"p{number}", number) for number in range(1000)])
    board.submit_many([Post(f"q{number}", number) for number in range(1000)])
    board.submit("max", MAX_SCORE)
    members = board.redis_keys(Period.ALL)[1]
    before = client.hgetall(members)
    client.unlink(members)
    done = board.submit("p5", 3).standings[Period.ALL]
    assert (done.best, done.total, done.previous_rank) == (5, 2001, 1990)
    assert client.hgetall(members) == before
    assert 399 * DAY_MS < client.pttl(members) <= 400 * DAY_MS
    client.unlink(members)
    assert board.submit("new", 3).standings[Period.ALL].total == 2002
    assert client.hlen(members) == 2002


@pytest.mark.parametrize(
    "part",
    ["all", "week", "day", "all:members", "day:members", "all:distinct", "metadata", "sequence"],
)
def test_a_post_that_meets_a_key_of_another_kind_writes_nothing(client: Client, part: str) -> None:
    board = Leaderboard(client, "kind", ranking="dense")
    period, _, more = part.partition(":")
    key = (
        board.redis_keys(period)[0]
        if period in list(Period)
        else f"demo:leaderboard:{{kind}}:{part}"
    )
    client.set(f"{key}:{more}".rstrip(":"), "text", px=60_000)
    with pytest.raises(RedisError):
        board.submit_many([Post("mara", 5), Post("noor", 6, metadata="{}")])
    assert len(list(client.scan_iter("demo:*"))) == 1


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"player": 5, "score": 1}, "player"),
        ({"player": None, "score": 1}, "player"),
        ({"player": ["a"], "score": 1}, "player"),
        ({"player": "a", "score": "1"}, "score"),
        ({"player": "a", "score": None}, "score"),
        ({"player": "a", "score": 1.5}, "score"),
        ({"player": "a", "score": 1, "mode": 7}, "mode"),
        ({"player": "a", "score": 1, "metadata": 7}, "metadata"),
        ({"player": "a", "score": 1, "idempotency_key": 7}, "idempotency_key"),
    ],
)
def test_what_a_strangers_handler_passes_on_is_refused_by_name(
    client: Client, given: dict[str, Any], named: str
) -> None:
    board = Leaderboard(client, "strange")
    with pytest.raises(ValueError, match=f"^{named}: "):
        board.submit(**given)
    assert board.size() == 0
    if named != "idempotency_key":
        post = Post(**given)
        refused = board.submit_many([post])[0]
        assert isinstance(refused, Refused) and refused.field == named


@pytest.mark.parametrize("wrong", [None, "5", 1.5])
def test_reads_refuse_by_name(client: Client, wrong: Any) -> None:
    board = Leaderboard(client, "strange")
    for call, named in (
        (lambda: board.top(wrong), "count"),
        (lambda: board.page(wrong, 5), "offset"),
        (lambda: board.around("a", wrong), "radius"),
        (lambda: board.top(5, wrong), "period"),
        (lambda: board.rank(5), "player"),
        (lambda: board.trim(wrong), "keep"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{named}: "):
            call()


def test_neighbours_are_as_many_as_a_page_has_rows_at_most(client: Client) -> None:
    board = Leaderboard(client, "b")
    board.submit("a", 1)
    assert board.around("a", MAX_ROWS // 2) and board.around("a", 0)
    for radius in (-1, MAX_ROWS // 2 + 1):
        with pytest.raises(ValueError, match="radius"):
            board.around("a", radius)
