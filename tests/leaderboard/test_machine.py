"""Whatever is done to a board, in whatever order: every rank, order, neighbour and page is the
model's."""

import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from demo.leaderboard.answers import (
    MAX_SCORE,
    Conflict,
    Mode,
    Period,
    Post,
    Ranking,
    Refused,
    Submission,
)
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.watched import Watched
from tests.leaderboard.models import Model
from tests.servers import REPOSITORY, Client, clean

DAY_MS = 86_400_000
START_MS = 1_798_588_800_000  # 2026-12-30, 00:00 UTC, in ISO week 53
EXAMPLES = 2000 if os.environ.get("CI") else 100
SCORES = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([MAX_SCORE, MAX_SCORE - 1, -MAX_SCORE, 1 - MAX_SCORE, 2**52]),
)
PLAYERS = st.sampled_from(["a", "b", "c:d", "é", "👩‍🚀", "5"])
MODES = st.sampled_from(list(Mode))
PERIODS = st.sampled_from([tuple(Period), (Period.ALL, Period.DAY), (Period.ALL,)])
METADATA = st.sampled_from([None, None, '{"a":1}', '{"b":"é"}'])


class Machine(RuleBasedStateMachine):
    client: Client

    @initialize(lower=st.booleans(), ranking=st.sampled_from(list(Ranking)), periods=PERIODS)
    def begin(self, lower: bool, ranking: Ranking, periods: tuple[Period, ...]) -> None:
        clean(self.client)
        self.now_ms, self.wrong_seconds = START_MS, 0.0
        self.board = Leaderboard(
            self.client,
            "model",
            lower_is_better=lower,
            ranking=ranking,
            periods=periods,
            clock=lambda: self.now_ms / 1000 + self.wrong_seconds,
            redis_ms=lambda: self.now_ms,
        )
        self.model = Model(lower, ranking is Ranking.DENSE, periods)
        self.answered: dict[str, tuple[tuple[object, ...], object]] = {}
        self.watched = Watched(self.client)
        self.steps = [0]
        self.cursor: tuple[Period, str, int, int] | None = None

    def kept(self, period: Period) -> Period:
        return period if period in self.board.periods else Period.ALL

    @rule(player=PLAYERS, score=SCORES, mode=MODES, metadata=METADATA)
    def submit(self, player: str, score: int, mode: Mode, metadata: str | None) -> None:
        expected = self.model.submit(player, score, mode, metadata, self.now_ms)
        if expected is None:
            with pytest.raises(ValueError, match="sum"):
                self.board.submit(player, score, mode=mode, metadata=metadata, now_ms=self.now_ms)
        else:
            done = self.board.submit(
                player, score, mode=mode, metadata=metadata, now_ms=self.now_ms
            )
            assert done.standings == expected

    @rule(posts=st.lists(st.builds(Post, PLAYERS, SCORES, MODES, METADATA), min_size=1, max_size=5))
    def submit_many(self, posts: list[Post]) -> None:
        expected = [
            self.model.submit(p.player, p.score, Mode(p.mode), p.metadata, self.now_ms)
            for p in posts
        ]
        done = self.board.submit_many(posts, now_ms=self.now_ms)
        assert [
            result.standings if isinstance(result, Submission) else None for result in done
        ] == expected
        assert all(result.field == "score" for result in done if isinstance(result, Refused))

    @rule(key=st.sampled_from("xy"), player=PLAYERS, score=st.integers(-3, 3), mode=MODES)
    def submit_once(self, key: str, player: str, score: int, mode: Mode) -> None:
        request = (player, score, mode)
        more = {"mode": mode, "idempotency_key": key, "now_ms": self.now_ms}
        if key in self.answered:
            if self.answered[key][0] == request:
                done = self.board.submit(player, score, **more)
                assert (done.standings, done.replayed) == (self.answered[key][1], True)
            else:
                with pytest.raises(Conflict):
                    self.board.submit(player, score, **more)
            return
        expected = self.model.submit(player, score, mode, None, self.now_ms)
        if expected is None:
            with pytest.raises(ValueError, match="sum"):
                self.board.submit(player, score, **more)
            return
        done = self.board.submit(player, score, **more)
        assert (done.standings, done.replayed) == (expected, False)
        self.answered[key] = (request, expected)

    @rule(player=PLAYERS)
    def remove(self, player: str) -> None:
        assert self.board.remove(player, now_ms=self.now_ms) == self.model.remove(
            player, self.now_ms
        )

    @rule(period=st.sampled_from(list(Period)), keep=st.integers(0, 4))
    def trim(self, period: Period, keep: int) -> None:
        period = self.kept(period)
        assert self.board.trim(keep, period) == self.model.trim(period, keep, self.now_ms)

    @rule(name=st.sampled_from(["one", "two"]))
    def season(self, name: str) -> None:
        expected = self.model.season(name, self.now_ms)
        if expected < 0:
            with pytest.raises(ValueError, match="season"):
                self.board.season(name, now_ms=self.now_ms)
        else:
            assert self.board.season(name, now_ms=self.now_ms) == expected

    @rule(days=st.sampled_from([0.5, 1, 2, 5]), wrong_days=st.sampled_from([0, 0, -1, 1]))
    def time_goes_on(self, days: float, wrong_days: int) -> None:
        self.now_ms += int(days * DAY_MS)
        self.wrong_seconds = wrong_days * 86_400.0 - self.board._ahead_seconds

    @rule(period=st.sampled_from(list(Period)), count=st.integers(1, 3))
    def begin_a_page(self, period: Period, count: int) -> None:
        period = self.kept(period)
        page = self.board.page(0, count, period)
        if page.cursor:
            last = page.entries[-1].player
            self.cursor = (
                period,
                self.model.name(period, self.now_ms),
                *self.model.rows(period, self.now_ms)[last],
            )
            self.text = page.cursor

    @precondition(lambda self: self.cursor)
    @rule(count=st.integers(1, 3))
    def go_on_from_the_cursor(self, count: int) -> None:
        assert self.cursor
        period, name, score, step = self.cursor
        page = self.board.page(
            0,
            count,
            period if self.model.name(period, self.now_ms) == name else name,
            cursor=self.text,
        )
        expected = self.model.after(name, self.now_ms, score, step)
        assert [entry.player for entry in page.entries] == expected[:count]
        assert (page.cursor is not None) == (len(expected) > count)

    @rule(
        period=st.sampled_from(list(Period)),
        offset=st.integers(0, 4),
        player=PLAYERS,
        radius=st.integers(0, 2),
    )
    def read_a_part(self, period: Period, offset: int, player: str, radius: int) -> None:
        period = self.kept(period)
        rows = self.model.entries(period, self.now_ms)
        assert self.board.page(offset, 2, period).entries == tuple(rows[offset : offset + 2])
        assert self.board.size(period) == len(rows)
        place = next((i for i, entry in enumerate(rows) if entry.player == player), None)
        around = self.board.around(player, radius, period)
        assert self.board.rank(player, period) == (None if place is None else rows[place])
        if place is None:
            assert around is None
        else:
            assert around is not None
            assert around.entries == tuple(rows[max(0, place - radius) : place + radius + 1])
            share = 100 * sum(entry.rank >= rows[place].rank for entry in rows) / len(rows)
            assert self.board.percentile(player, period) == share
        friends = ["a", player, "nobody", "é"]
        found = self.board.for_players(friends, period)
        assert found == tuple(entry for entry in rows if entry.player in friends)
        assert self.watched.look(self.board, period).top.entries == tuple(rows)

    @invariant()
    def every_board_is_the_models(self) -> None:
        if not hasattr(self, "model"):
            return
        for name in self.model.boards:
            assert self.board.top(100, name).entries == tuple(
                self.model.entries(name, self.now_ms)
            ), name
        assert set(self.board.seasons()) == {n.removeprefix("season:") for n in self.model.archived}

    def teardown(self) -> None:
        for key in self.client.scan_iter("demo:*"):
            assert self.client.pttl(key) > 0, key
            if key.endswith(b":metadata") and b":season:" in key:  # of its own players alone
                players = self.client.hgetall(key.removesuffix(b"metadata") + b"members")
                assert set(self.client.hgetall(key)) <= set(players)
            if key.endswith(b":members"):  # nobody who went leaves anything behind
                assert self.client.hlen(key) == self.client.zcard(key.removesuffix(b":members"))
            if key.endswith(b":distinct"):
                scores = {
                    score
                    for _, score in self.client.zrange(
                        key.removesuffix(b":distinct"), 0, -1, withscores=True
                    )
                }
                assert {
                    score for _, score in self.client.zrange(key, 0, -1, withscores=True)
                } == scores


def test_whatever_is_done_every_rank_order_neighbour_and_page_is_the_models(client: Client) -> None:
    Machine.client = client
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=20,
            deadline=None,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink takes minutes
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


# Eight processes of one that has imported it all.
POSTERS = """
import multiprocessing, sys
from demo.leaderboard.ranking import Leaderboard
from tests.servers import connect
fork = multiprocessing.get_context("fork")
begin = fork.Barrier(8)

def post(seed):
    with connect(sys.argv[1], pool_size=1, timeout_seconds=5) as client:
        board = Leaderboard(client, "processes")
        begin.wait(30)
        for number in range(60):
            board.submit(f"p{number % 7}", (number * 7919 + seed * 104_729) % 1000)
            board.submit(f"sum{number % 3}", seed + 1, mode="sum")
            board.submit("once", 1, mode="sum", idempotency_key=f"k{number}")

with fork.Pool(8) as pool:
    pool.map(post, range(8), chunksize=1)
"""


def test_eight_processes_that_post_at_once_end_in_the_models_state(
    client: Client, redis_url: str
) -> None:
    command = [sys.executable, "-c", POSTERS, redis_url]
    subprocess.run(command, cwd=REPOSITORY, timeout=60, check=True)
    best = {
        f"p{p}": max(
            (n * 7919 + s * 104_729) % 1000 for s in range(8) for n in range(60) if n % 7 == p
        )
        for p in range(7)
    }
    sums = {f"sum{number}": 20 * sum(range(1, 9)) for number in range(3)}
    expected = best | sums | {"once": 60}
    page = Leaderboard(client, "processes").top(100)
    assert {entry.player: entry.score for entry in page.entries} == expected
    assert [entry.score for entry in page.entries] == sorted(expected.values(), reverse=True)
    assert [entry.rank for entry in page.entries] == [
        1 + sum(score > entry.score for score in expected.values()) for entry in page.entries
    ]
