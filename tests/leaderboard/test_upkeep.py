"""Removing, trimming and closing, store by store: what goes, and that everything else stays."""

from typing import Any

import pytest

from demo.leaderboard.answers import Entry, Period, Post, Ranking
from demo.leaderboard.ranking import Leaderboard
from tests.servers import Client

NOW_MS = 1_795_000_000_000
DAY_MS = 86_400_000
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
