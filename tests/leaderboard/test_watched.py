from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import RedisError

from demo.leaderboard import boards
from demo.leaderboard.answers import Period
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.watched import Watched
from tests.leaderboard.test_ranking import agree_on_redis_day
from tests.servers import Client, connect


@pytest.mark.parametrize("days", [-1, 1])
@pytest.mark.parametrize("period", [Period.DAY, Period.WEEK])
def test_a_viewer_whose_clock_is_off_sees_redis_day_from_the_first_time(
    client: Client, days: int, period: Period
) -> None:
    reads: list[Callable[[Leaderboard], Any]] = [
        lambda board: Watched(client).look(board, period, "b"),
        lambda board: list(Watched(client).read(board, period, {"": None, "b": None}).values()),
    ]
    agree_on_redis_day(client, days, period, reads)


def test_dense_ranks_are_those_of_a_page_too(client: Client) -> None:
    board = Leaderboard(client, "dense-page", ranking="dense")
    for player, score in (("a", 9), ("b", 9), ("c", 7), ("d", 1)):
        board.submit(player, score)
    seen = Watched(client).look(board, "all", "d")
    assert seen.top.entries == board.top(9).entries
    assert [entry.rank for entry in seen.top.entries] == [1, 1, 2, 3]
    assert seen.around is not None
    assert seen.around.entries == seen.top.entries


@pytest.mark.parametrize("rows", [{"foreign": float("inf")}, {b"000000000001:\xff": 1}])
def test_a_board_that_others_have_written_into_raises_and_the_list_goes_on(
    client: Client, rows: dict[Any, float]
) -> None:
    for name in ("foreign", "kind", "own"):
        Leaderboard(client, name).submit("mara", 5)
    bad, kind, own = (Leaderboard(client, name) for name in ("foreign", "kind", "own"))
    client.zadd(bad.redis_keys("all")[0], rows)
    client.zadd(bad.redis_keys("all")[0], {b"000000000001:mara": 9})
    client.set(kind.redis_keys("all")[0], "text", px=60_000)
    for read in (lambda: bad.top(9), lambda: Watched(client).look(bad, "all")):
        with pytest.raises(RedisError):
            read()
    client.zrem(bad.redis_keys("all")[0], b"000000000001:mara")
    leads = boards.leads(client, [bad, kind, own])
    assert leads == [
        boards.Lead("foreign", 1),
        boards.Lead("kind", 0),
        boards.Lead("own", 1, "mara", 5),
    ]
    with connect("redis://127.0.0.1:1", pool_size=2, timeout_seconds=0.25) as nobody:
        with pytest.raises(RedisError):
            boards.leads(nobody, [own])
