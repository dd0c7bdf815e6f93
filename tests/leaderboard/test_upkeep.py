"""Removing, trimming, closing and the order of ties: what goes, store by store and step by step, and
that everything else stays. What the state machine of `test_machine.py` would find by chance."""

from collections.abc import Callable
from typing import Any

import pytest

from demo.leaderboard.answers import Entry, Period, Post, Ranking
from demo.leaderboard.ranking import Leaderboard
from tests.servers import Client

NOW_MS = 1_795_000_000_000
DAY_MS = 86_400_000
MONDAY_MS = 1_795_392_000_000  # 2026-11-23, 00:00 UTC
RANKINGS = pytest.mark.parametrize("ranking", Ranking)


def make(client: Client, ranking: Ranking = Ranking.COMPETITION, now: Any = None) -> Leaderboard:
    now = now or [NOW_MS]
    return Leaderboard(
        client, "b", ranking=ranking, clock=lambda: now[0] / 1000, redis_ms=lambda: now[0]
    )


def stores(client: Client) -> dict[str, dict[str, str]]:
    """Everything that Redis holds of the board: players, or scores, with what is noted of them."""
    held = {}
    for key in client.scan_iter("demo:leaderboard:{b}:*"):
        name = key.decode().removeprefix("demo:leaderboard:{b}:")
        kind = client.type(key)
        if kind == b"hash":
            rows = client.hgetall(key).items()
            held[name] = {player.decode(): value.decode() for player, value in rows}
        elif kind == b"zset":
            rows = client.zrange(key, 0, -1, withscores=True)
            held[name] = {member.decode(): f"{score:.0f}" for member, score in rows}
    return held


def players(held: dict[str, dict[str, str]]) -> dict[str, set[str]]:
    """Who stands in each store; of the distinct scores which there are."""
    return {name: {each.partition(":")[2] or each for each in rows} for name, rows in held.items()}


def fill(board: Leaderboard) -> None:
    """Two who share the first place, one between, two who share the last."""
    for player, score in (("a", 9), ("b", 9), ("c", 5), ("d", 1), ("e", 1)):
        board.submit(player, score, metadata=f'{{"of":"{player}"}}')


def order(board: Leaderboard, period: str = Period.ALL) -> list[tuple[int, str]]:
    return [(entry.rank, entry.player) for entry in board.top(10, period).entries]


@RANKINGS
def test_who_is_removed_is_gone_from_every_store_and_nobody_else_is(
    client: Client, ranking: Ranking
) -> None:
    """Of two with one score, whose score is still one of the distinct ones, and of one alone."""
    board = make(client, ranking)
    fill(board)
    for gone, score_goes in (("a", False), ("c", True)):
        before = stores(client)
        assert board.remove(gone) and not board.remove(gone)
        after = stores(client)
        assert after.keys() == before.keys()
        for name, rows in before.items():
            left = {
                each: value
                for each, value in rows.items()
                if each.partition(":")[2] != gone and each != gone
            }
            if name.endswith(":distinct") and score_goes:
                left = {score: value for score, value in left.items() if score != "-5"}
            assert after[name] == left, name
    assert order(board) == [(1, "b"), (2, "d"), (2, "e")]
    assert not any("a" in rows or "c" in rows for rows in players(stores(client)).values())


@RANKINGS
def test_of_equal_scores_at_the_edge_of_a_trim_the_first_to_reach_it_stays(
    client: Client, ranking: Ranking
) -> None:
    board = make(client, ranking)
    fill(board)
    before = stores(client)
    assert board.trim(4) == 1
    rows = players(stores(client))
    for name in ("all", "all:members", "metadata"):
        assert rows[name] == {"a", "b", "c", "d"}, name
    assert board.trim(4) == 0
    # The running week and day are others' matter, and keep who is trimmed of all time.
    for period in ("week", "day"):
        for key in board.redis_keys(period):
            name = key.removeprefix("demo:leaderboard:{b}:")
            assert stores(client)[name] == before[name], name
    assert board.trim(2) == 2
    rows = players(stores(client))
    assert rows["all"] == rows["all:members"] == rows["metadata"] == {"a", "b"}
    if ranking is Ranking.DENSE:
        assert rows["all:distinct"] == {"-9"}
    assert board.trim(0) == 2
    assert not {"all", "all:members", "all:distinct", "metadata"} & stores(client).keys()


@RANKINGS
def test_a_trim_of_a_day_leaves_all_time_and_every_metadata(
    client: Client, ranking: Ranking
) -> None:
    board = make(client, ranking)
    fill(board)
    before = stores(client)
    assert board.trim(1, Period.DAY) == 4
    after = stores(client)
    day = {key.removeprefix("demo:leaderboard:{b}:") for key in board.redis_keys(Period.DAY)}
    day |= {key.removeprefix("demo:leaderboard:{b}:") for key in board._distinct_keys(["day"])}
    assert {name: rows for name, rows in after.items() if name not in day} == {
        name: rows for name, rows in before.items() if name not in day
    }
    assert order(board, Period.DAY) == [(1, "a")]
    assert board.rank("a", Period.DAY) == Entry(1, "a", 9, '{"of":"a"}')


@RANKINGS
def test_the_first_to_reach_a_score_is_first_wherever_it_is_read(
    client: Client, ranking: Ranking
) -> None:
    """Names in another order than they came, so that neither bytes nor chance decide."""
    board = make(client, ranking)
    came = ["m", "z", "a", "q"]
    for player in came:
        board.submit(player, 7)
    board.submit("z", 3)  # a worse one changes no place
    board.submit("m", 7)  # nor does the same once more
    wanted = [(1, player) for player in came]
    for period in board.periods:
        assert order(board, period) == wanted
        first, second = board.page(0, 2, period), board.page(2, 2, period)
        assert [(e.rank, e.player) for e in (*first.entries, *second.entries)] == wanted
        assert first.cursor
        behind = board.page(0, 2, period, cursor=first.cursor)
        assert [entry.player for entry in behind.entries] == came[2:]
        around = board.around("a", 1, period)
        assert around and [entry.player for entry in around.entries] == came[1:]
        friends = board.for_players(sorted(came), period)
        assert [entry.player for entry in friends] == came
    board.remove("m")
    board.submit("m", 7)  # who comes again comes last
    assert order(board) == [(1, player) for player in (*came[1:], "m")]
    board.submit("q", 8)
    board.submit("q", 7, mode="latest")  # and so does who left the score
    assert order(board) == [(1, player) for player in ("z", "a", "m", "q")]


def test_the_list_of_seasons_names_none_whose_archive_has_expired(client: Client) -> None:
    now = [NOW_MS]
    board = make(client, now=now)
    for name, days in (("one", 0), ("two", 399), ("three", 2)):
        now[0] += days * DAY_MS
        board.submit("a", 1)
        assert board.season(name, now_ms=now[0]) == 1
    assert board.seasons() == ["three", "two"]


@RANKINGS
def test_a_season_takes_every_store_whole_and_leaves_the_running_periods(
    client: Client, ranking: Ranking
) -> None:
    now = [NOW_MS]
    board = make(client, ranking, now)
    board.submit("old", 4, metadata='{"of":"old"}')
    now[0] += 30 * DAY_MS
    fill(board)
    board.trim(5)  # the last of all time; of the running week everybody stays
    client.hset("demo:leaderboard:{b}:metadata", "e", '{"of":"e"}')  # of a running period alone
    client.hset("demo:leaderboard:{b}:metadata", "stranger", "{}")
    before, standing = stores(client), order(board)
    assert board.season("one", now_ms=now[0]) == 5
    after = stores(client)
    for part in ("", ":members", *([":distinct"] if ranking is Ranking.DENSE else [])):
        assert f"all{part}" not in after
        assert after[f"season:one{part}"] == before[f"all{part}"], part
    assert order(board, "season:one") == standing
    for player in ("a", "old"):
        entry = board.rank(player, "season:one")
        assert entry and entry.metadata == f'{{"of":"{player}"}}'
    in_week = {"a", "b", "c", "d", "e"}
    assert after["season:one:metadata"].keys() == {"a", "b", "c", "d", "old"}
    assert after["metadata"] == {each: f'{{"of":"{each}"}}' for each in in_week}
    for period in (Period.WEEK, Period.DAY):
        for key in [*board.redis_keys(period), *board._distinct_keys([period])]:
            name = key.removeprefix("demo:leaderboard:{b}:")
            assert after[name] == before[name], name
    assert after["seasons"] == {"one": str(now[0])}
    with pytest.raises(ValueError, match="a season of this name already exists"):
        board.submit_many([Post("f", 1)]) and board.season("one", now_ms=now[0])
    assert stores(client)["season:one"] == after["season:one"]


POSTS = [Post("a", 9, metadata="{}"), Post("b", 7), Post("c", 7, metadata="{}"), Post("d", 1)]


class Board:
    """A dense board of all periods at a time that a test moves, and what Redis holds of it."""

    def __init__(self, client: Client) -> None:
        self.client, self.now_ms = client, MONDAY_MS
        self.board = Leaderboard(
            client,
            "kept",
            ranking="dense",
            clock=lambda: self.now_ms / 1000,
            redis_ms=lambda: self.now_ms,
        )

    def post(self, *posts: Post) -> None:
        self.board.submit_many(posts, now_ms=self.now_ms)

    def rows(self, period: str = Period.ALL) -> list[tuple[int, str, int]]:
        return [(row.rank, row.player, row.score) for row in self.board.top(9, period).entries]

    def players(self, period: str = Period.ALL) -> set[str]:
        return {player.decode() for player in self.client.hkeys(self.board.redis_keys(period)[1])}

    def distinct(self, period: str = Period.ALL) -> list[int]:
        key = f"{self.board.redis_keys(period)[0]}:distinct"
        return [int(-score) for _, score in self.client.zrange(key, 0, -1, withscores=True)]

    def described(self) -> set[str]:
        return {name.decode() for name in self.client.hkeys("demo:leaderboard:{kept}:metadata")}


@pytest.fixture
def given(client: Client) -> Board:
    made = Board(client)
    made.post(*POSTS)
    return made


FULL = [(1, "a", 9), (2, "b", 7), (2, "c", 7), (3, "d", 1)]


def test_a_trim_takes_the_last_rows_and_everything_that_is_theirs(given: Board) -> None:
    assert given.board.trim(2) == 2
    assert given.rows() == [(1, "a", 9), (2, "b", 7)]
    assert (given.players(), given.distinct(), given.described()) == ({"a", "b"}, [9, 7], {"a"})
    assert (given.rows(Period.WEEK), given.rows(Period.DAY)) == (FULL, FULL)
    assert (given.players(Period.DAY), given.distinct(Period.DAY)) == (set("abcd"), [9, 7, 1])


def test_who_was_trimmed_begins_anew_and_behind_those_who_stayed(given: Board) -> None:
    given.board.trim(2)
    done = given.board.submit("c", 7, now_ms=MONDAY_MS).standings
    assert (done[Period.ALL].previous_rank, done[Period.ALL].is_best) == (None, True)
    assert (done[Period.DAY].previous_rank, done[Period.DAY].is_best) == (2, False)
    done = given.board.submit("d", -5, now_ms=MONDAY_MS).standings
    assert (done[Period.ALL].best, done[Period.DAY].best) == (-5, 1)
    assert given.rows() == [(1, "a", 9), (2, "b", 7), (2, "c", 7), (3, "d", -5)]


@pytest.mark.parametrize("period", [Period.WEEK, Period.DAY])
def test_a_trim_of_a_running_period_leaves_the_others_and_the_metadata(
    given: Board, period: Period
) -> None:
    assert given.board.trim(1, period) == 3
    assert given.rows(period) == [(1, "a", 9)]
    assert (given.players(period), given.distinct(period)) == ({"a"}, [9])
    assert (given.rows(), given.distinct(), given.described()) == (FULL, [9, 7, 1], {"a", "c"})


def test_a_trim_to_nothing_leaves_no_key_of_the_period(given: Board) -> None:
    assert given.board.trim(0) == 4
    first, members = given.board.redis_keys(Period.ALL)
    assert given.client.exists(first, members, f"{first}:distinct") == 0
    assert (given.described(), given.rows(Period.DAY)) == (set(), FULL)


@pytest.mark.parametrize("keep", [4, 5, 100])
def test_a_trim_to_as_many_as_there_are_takes_nothing(given: Board, keep: int) -> None:
    assert given.board.trim(keep) == 0
    assert (given.rows(), given.players(), given.distinct()) == (FULL, set("abcd"), [9, 7, 1])


def test_a_trim_to_fewer_than_none_is_refused(given: Board) -> None:
    with pytest.raises(ValueError, match="keep"):
        given.board.trim(-1)
    assert given.rows() == FULL


def test_who_is_removed_leaves_every_period_and_takes_nobody_along(given: Board) -> None:
    assert given.board.remove("b", now_ms=MONDAY_MS) is True
    for period in Period:
        assert given.rows(period) == [(1, "a", 9), (2, "c", 7), (3, "d", 1)]
        assert (given.players(period), given.distinct(period)) == (set("acd"), [9, 7, 1])
    assert given.board.remove("c", now_ms=MONDAY_MS) is True  # the last one with this score
    for period in Period:
        assert given.rows(period) == [(1, "a", 9), (2, "d", 1)]
        assert given.distinct(period) == [9, 1]
    assert given.described() == {"a"}
    assert given.board.remove("c", now_ms=MONDAY_MS) is False


def test_who_was_removed_and_comes_back_is_the_last_to_have_come(given: Board) -> None:
    given.board.remove("b", now_ms=MONDAY_MS)
    done = given.board.submit("b", 7, now_ms=MONDAY_MS).standings[Period.ALL]
    assert (done.rank, done.previous_rank, done.is_best, done.total) == (2, None, True, 4)
    assert given.rows() == [(1, "a", 9), (2, "c", 7), (2, "b", 7), (3, "d", 1)]


def test_who_is_in_one_period_alone_is_removed_from_that(given: Board) -> None:
    given.now_ms += DAY_MS
    given.post(Post("today", 3))
    assert given.board.remove("a", now_ms=given.now_ms) is True  # of the all-time board and week
    assert given.rows(Period.DAY) == [(1, "today", 3)]
    given.board.trim(0)
    assert given.board.remove("today", now_ms=given.now_ms) is True
    assert given.client.exists(*given.board.redis_keys(Period.DAY)) == 0


def test_who_has_no_row_and_is_removed_leaves_no_metadata(given: Board) -> None:
    given.client.hset("demo:leaderboard:{kept}:metadata", "gone", "{}")
    assert given.board.remove("gone", now_ms=MONDAY_MS) is False
    assert given.described() == {"a", "c"}


def _away_and_back(board: Leaderboard, mode: str) -> None:
    board.submit("b", 1, mode=mode, now_ms=MONDAY_MS)
    board.submit("b", 7 if mode == "latest" else 6, mode=mode, now_ms=MONDAY_MS)


TIES: dict[str, tuple[Callable[[Board], Any], str]] = {
    "nothing": (lambda given: None, "bc"),
    "the same again": (lambda given: given.post(Post("b", 7)), "bc"),
    "the same as the latest": (lambda given: given.post(Post("b", 7, "latest")), "bc"),
    "a worse one": (lambda given: given.post(Post("b", 2)), "bc"),
    "nothing added": (lambda given: given.post(Post("b", 0, "sum")), "bc"),
    "away and back": (lambda given: _away_and_back(given.board, "latest"), "cb"),
    "down and up": (
        lambda given: given.post(Post("b", -1, "sum"), Post("b", 1, "sum")),
        "cb",
    ),
    "another who comes": (lambda given: given.post(Post("0", 7)), "bc0"),
    "another who climbs": (lambda given: given.post(Post("d", 6, "sum")), "bcd"),
    "another who falls": (lambda given: given.post(Post("a", 7, "latest")), "bca"),
}


@pytest.mark.parametrize("step", TIES)
@pytest.mark.parametrize("period", Period)
def test_among_equals_who_reached_the_score_first_is_first(
    given: Board, step: str, period: Period
) -> None:
    then, expected = TIES[step]
    then(given)
    rows = given.board.top(9, period).entries
    assert "".join(row.player for row in rows if row.score == 7) == expected
    assert {row.rank for row in rows if row.score == 7} == {2 if rows[0].score == 9 else 1}
    around = given.board.around(expected[-1], 2, period)
    assert around is not None
    assert [row for row in around.entries if row.score == 7] == [r for r in rows if r.score == 7]
    assert given.board.for_players(list("0abcd"), period) == rows


def test_where_lower_is_better_the_first_of_equals_is_first_too(client: Client) -> None:
    board = Leaderboard(client, "golf", lower_is_better=True)
    board.submit_many([Post("late", 5), Post("best", 3), Post("b", 4), Post("a", 4)])
    board.submit("late", 4)
    assert board.top(9).entries == (
        Entry(1, "best", 3, None),
        Entry(2, "b", 4, None),
        Entry(2, "a", 4, None),
        Entry(2, "late", 4, None),
    )
    assert board.trim(2) == 2
    assert [row.player for row in board.top(9).entries] == ["best", "b"]


def test_a_season_that_closes_leaves_no_key_without_an_end(given: Board) -> None:
    """Nor one whose end is that of something else: what was a board's is an archive's from here."""
    for key in given.client.scan_iter("demo:leaderboard:{kept}:all*"):
        given.client.pexpire(key, 1000)
    given.client.persist("demo:leaderboard:{kept}:metadata")
    assert given.board.season("one", now_ms=MONDAY_MS) == 4
    kept = [
        *(f"season:one{part}" for part in ("", ":members", ":metadata", ":distinct")),
        "seasons",
        "metadata",
    ]
    for part in kept:
        left = given.client.pttl(f"demo:leaderboard:{{kept}}:{part}")
        assert 399 * DAY_MS < left <= 400 * DAY_MS, part
    assert all(given.client.pttl(key) > 0 for key in given.client.scan_iter("demo:*"))


def test_the_list_names_no_season_whose_archive_is_over(given: Board) -> None:
    given.board.season("one", now_ms=MONDAY_MS)
    for name, now_ms, listed in (
        ("two", MONDAY_MS + 400 * DAY_MS - 1, ["two", "one"]),
        ("three", MONDAY_MS + 400 * DAY_MS, ["three", "two"]),
    ):
        given.now_ms = now_ms
        given.post(Post("d", 2))
        given.board.season(name, now_ms=now_ms)
        assert given.board.seasons() == listed


def test_a_name_that_is_free_again_brings_no_metadata_of_the_season_before(
    client: Client,
) -> None:
    """An archive's board may be evicted, and its metadata not."""
    board = Leaderboard(client, "kept")
    client.hset("demo:leaderboard:{kept}:season:one:metadata", "b", '"old"')
    board.submit("b", 1)
    assert board.season("one") == 1
    assert board.top(9, "season:one").entries == (Entry(1, "b", 1, None),)


def test_a_season_that_closes_archives_the_rows_and_the_next_begins_with_none(
    given: Board,
) -> None:
    given.board.season("one", now_ms=MONDAY_MS)
    assert given.rows("season:one") == FULL
    assert (given.rows(), given.rows(Period.WEEK), given.rows(Period.DAY)) == ([], FULL, FULL)
    assert [row.metadata for row in given.board.top(9, "season:one").entries] == [
        "{}",
        None,
        "{}",
        None,
    ]
    with pytest.raises(ValueError, match="^name: must be new"):
        given.board.season("one", now_ms=MONDAY_MS)
    assert given.board.season("two", now_ms=MONDAY_MS) == 0
    given.post(Post("d", 2))
    assert (given.rows(), given.distinct()) == ([(1, "d", 2)], [2])
    assert given.rows("season:one") == FULL
    assert given.board.seasons() == ["one"]
