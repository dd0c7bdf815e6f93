"""The leaderboard: beside four usual calls and the package `leaderboard`, and at a million players
beside ten thousand."""

import gc
import itertools
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis
from leaderboard.competition_ranking_leaderboard import CompetitionRankingLeaderboard as Competition
from leaderboard.leaderboard import Leaderboard as Package

from demo.client import engine
from demo.leaderboard.answers import Period, Post
from demo.leaderboard.ranking import MOST, Leaderboard
from tests.bench.measure import faster, report, say

FEW, MANY, SCORES = 10_000, 1_000_000, 1_000_000
CALLS = 6_000
DICE = random.Random(
    1
)  # goes on from one measurement to the next: the same submissions again would change nothing
Comparison = tuple[str, Callable[[], object], Callable[[], object], float | None]
# Limits: what any script with these arguments costs, and one that asks for the rows without ranks,
# ties or metadata.
NOTHING = "return {1, 0, 1, 1, 1, 1, 1}"
ROWS = """
local place = redis.call('HGET', KEYS[2], ARGV[3])
local index = redis.call('ZRANK', KEYS[1], string.sub(place, 1, 12) .. ':' .. ARGV[3])
return redis.call('ZRANGE', KEYS[1], math.max(0, index - 6), index + 5, 'WITHSCORES')
"""


def players() -> None:
    """In turns: on one core, and with Redis on another."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if cores:
        os.sched_setaffinity(0, {min(cores)})
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        url = engine.start(Path(folder), keep=False, maxmemory_mb=4096)
        client = redis.Redis.from_url(url)  # the same for all
        few, many = _board(client, FEW), _board(client, MANY)
        compared = {FEW: _comparisons(client, few, FEW), MANY: _comparisons(client, many, MANY)}
        _at_two_sizes(few, many)
        _tell(compared)
        if len(cores) > 1:
            os.sched_setaffinity(client.info("server")["process_id"], {max(cores)})
            say("\nOnce more, with Redis on a core of its own:")
            _at_two_sizes(few, many)
            _tell(compared)
        client.close()
        engine.release(Path(folder), wait_seconds=5)
    if cores:
        os.sched_setaffinity(0, cores)


def _board(
    client: redis.Redis, size: int, name: str = "bench", periods: Sequence[str] = tuple(Period)
) -> Leaderboard:
    board, dice = Leaderboard(client, f"{name}-{size}", periods=periods), random.Random(size)
    began = time.perf_counter()
    for first in range(0, size, MOST):
        board.submit_many(
            [
                Post(f"player-{first + n}", dice.randrange(SCORES))
                for n in range(min(MOST, size - first))
            ]
        )
    seconds = time.perf_counter() - began
    key, members = board.redis_keys("all")
    bytes_of = [client.memory_usage(name, samples=0) / size for name in (key, members)]
    say(
        f"\n{size:,} players: {size / seconds:,.0f} a second by batches of {MOST}, each in {len(periods)} periods"
    )
    say(
        f"  bytes a player: sorted set {bytes_of[0]:.0f} (at most 130), hash of players {bytes_of[1]:.0f}"
    )
    return board


def _calls(board: Leaderboard, size: int) -> dict[str, Callable[[], object]]:
    dice = DICE
    return {
        "submit": lambda: board.submit(
            f"player-{dice.randrange(size)}", dice.randrange(SCORES), mode="latest"
        ),
        "submit, players who come back": lambda: board.submit(
            f"player-{int(dice.paretovariate(0.9)) % size}", dice.randrange(SCORES), mode="latest"
        ),
        "top 10": lambda: board.top(10),
        "around me, 11 rows": lambda: board.around(f"player-{dice.randrange(size)}", 5),
        "a page of 10 from the middle": lambda: board.page(size // 2, 10),
    }


def _at_two_sizes(few: Leaderboard, many: Leaderboard) -> None:
    say(f"\nAt {MANY:,} players, in times of {FEW:,}, one call in turn with the other:")
    gc.disable()
    for name, small in _calls(few, FEW).items():
        times = _in_turns(small, _calls(many, MANY)[name])
        medians = [statistics.median(one) for one in times]
        slow = [statistics.quantiles(one, n=100)[98] for one in times]
        micros = f"{medians[0] * 1e6:.0f} and {medians[1] * 1e6:.0f} µs"
        for what, (base, large), most in (("median", medians, 1.25), ("p99", slow, 2.0)):
            verdict = "met" if large / base <= most else "MISSED"
            say(
                f"  {name + ', ' + what:<44} {large / base:5.2f} ×   at most {most}: {verdict}   (medians {micros})"
            )
    gc.enable()


def _in_turns(
    one: Callable[[], object], other: Callable[[], object]
) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(CALLS):
        for call, kept in (
            ((one, times[0]), (other, times[1]))
            if number % 2
            else ((other, times[1]), (one, times[0]))
        ):
            began = time.perf_counter()
            call()
            kept.append(time.perf_counter() - began)
    return times


def _comparisons(plain: redis.Redis, board: Leaderboard, size: int) -> list[Comparison]:
    dice = random.Random(2)
    key = f"bench:four:{size}"
    for first in range(0, size, MOST):
        plain.zadd(
            key,
            {f"player-{n}": dice.randrange(SCORES) for n in range(first, min(first + MOST, size))},
        )
    alone = _board(plain, size, "alone", ["all"])
    equal_ranks, own_ranks = Competition(key, connection=plain), Package(key, connection=plain)
    people = itertools.cycle(f"player-{dice.randrange(size)}" for _ in range(1000))
    nothing: list[Any] = [
        "EVALSHA",
        plain.script_load(NOTHING),
        4,
        *alone._keys_of[1],
        "",
        "",
        alone._lives,
    ]
    nothing += ["", "", alone.channel, ""]
    rows: list[Any] = ["EVALSHA", plain.script_load(ROWS), 3, *board._read_keys("all"), "", ""]

    def four() -> None:
        player, score = f"player-{dice.randrange(size)}", dice.randrange(SCORES)
        plain.zscore(key, player)
        plain.zadd(key, {player: score}, gt=True)
        plain.zrevrank(key, player)
        plain.zcard(key)

    def each() -> None:
        for _ in board.periods:
            four()

    def submit(to: Leaderboard) -> Callable[[], object]:
        return lambda: to.submit(f"player-{dice.randrange(size)}", dice.randrange(SCORES))

    def around(package: Any) -> Callable[[], object]:
        return lambda: package.around_me(next(people), page_size=11)

    def ours() -> object:
        return board.around(next(people), 5)

    return [
        ("submit, three periods / the four calls for each of three", each, submit(board), 2.5),
        ("submit, three periods / the four calls for one of three", four, submit(board), None),
        ("submit, all-time alone / ZSCORE, ZADD, ZREVRANK, ZCARD", four, submit(alone), 2.5),
        (
            "  the limit: a script that does nothing, with its arguments",
            four,
            lambda: plain.execute_command(*nothing, next(people), 5, "best", ""),
            None,
        ),
        (
            "around me / the package, by its class that shares ranks as we do",
            around(equal_ranks),
            ours,
            3.5,
        ),
        ("around me / its first class, which knows no equal ranks", around(own_ranks), ours, None),
        (
            "  the limit: a script that reads 12 rows and no more",
            around(own_ranks),
            lambda: plain.execute_command(*rows, next(people)),
            None,
        ),
    ]


def _tell(comparisons: dict[int, list[Comparison]]) -> None:
    for size, compared in comparisons.items():
        say(f"\nAt {size:,} players, how many times as fast:")
        for name, base, variant, goal in compared:
            report(name, faster(base, variant), goal)
