import threading
from collections.abc import Iterator

import pytest

from demo.rate_limit.block_list import BlockList
from demo.rate_limit.limiter import Quota
from demo.rate_limit.sliding_window import SlidingWindowLog
from tests.clock import Clock
from tests.servers import Client, trips


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def limiter(client: Client) -> SlidingWindowLog:
    made = SlidingWindowLog(client, "blocked", Quota(1, 600))
    made.peek("nobody")  # a server that no other test has told the script would be told it later
    return made


@pytest.fixture
def seen() -> Iterator[list[list[str]]]:
    with trips() as made:
        yield made


def test_after_so_many_refusals_in_a_row_nobody_is_asked(
    limiter: SlidingWindowLog, clock: Clock, seen: list[list[str]]
) -> None:
    blocks = BlockList(limiter, after=3, seconds=30, clock=clock)
    assert blocks.hit("me").allowed
    first, second, third = (blocks.hit("me") for _ in range(3))
    assert not (first.allowed or second.allowed or third.allowed)
    assert 590 < third.retry_after_seconds <= 600
    assert len(seen) == 4
    clock.now += 12.5
    blocked = blocks.hit("me")
    assert len(seen) == 4
    assert (blocked.allowed, blocked.blocked, blocked.remaining, blocked.retry_after_seconds) == (
        False,
        True,
        0,
        17.5,
    )
    assert blocks.peek("me") == blocked
    assert blocks.hit("you").allowed


def test_each_worker_learns_by_itself_after_at_most_as_many_refusals(
    limiter: SlidingWindowLog, clock: Clock, seen: list[list[str]]
) -> None:
    workers = [BlockList(limiter, after=3, seconds=30, clock=clock) for _ in range(2)]
    assert workers[0].hit("me").allowed
    for turn in range(10):
        refused = [worker.hit("me") for worker in workers]
        assert [(each.allowed, each.blocked) for each in refused] == [(False, turn > 2)] * 2
    assert len(seen) == 1 + 2 * 3


def test_the_refusal_that_blocks_says_how_long(client: Client, clock: Clock) -> None:
    blocks = BlockList(
        SlidingWindowLog(client, "short", Quota(1, 1)), after=1, seconds=30, clock=clock
    )
    blocks.hit("me")
    assert blocks.hit("me").retry_after_seconds == 30


def test_a_block_ends_by_itself_and_the_row_begins_anew(
    limiter: SlidingWindowLog, clock: Clock, seen: list[list[str]]
) -> None:
    blocks = BlockList(limiter, after=2, seconds=30, clock=clock)
    for _ in range(3):
        blocks.hit("me")
    assert blocks.hit("me").blocked
    clock.now += 30
    again = blocks.hit("me")
    assert (again.allowed, again.blocked) == (False, False)
    assert not blocks.hit("me").blocked
    assert blocks.hit("me").blocked


def test_a_hit_that_passes_ends_the_row(limiter: SlidingWindowLog, clock: Clock) -> None:
    blocks = BlockList(limiter, after=2, seconds=30, clock=clock)
    for _ in range(4):
        limiter.reset("me")
        assert blocks.hit("me").allowed
        assert not blocks.hit("me").blocked
    assert not blocks.hit("me").blocked
    assert blocks.hit("me").blocked


def test_a_reset_forgets_the_block_and_a_refund_the_hit(
    limiter: SlidingWindowLog, clock: Clock
) -> None:
    blocks = BlockList(limiter, after=1, seconds=30, clock=clock)
    blocks.hit("me")
    blocks.hit("me")
    assert blocks.hit("me").blocked
    blocks.reset("me")
    assert blocks.hit("me").allowed
    assert blocks.refund("me").remaining == 1
    assert blocks.hit("me").allowed


def test_the_list_is_bounded(limiter: SlidingWindowLog, clock: Clock) -> None:
    blocks = BlockList(limiter, after=1, seconds=30, most=3, clock=clock)
    for name in "abcd":
        blocks.hit(name)
        blocks.hit(name)
    assert not blocks.blocked("a")
    assert all(blocks.blocked(name) for name in "bcd")


def test_the_smallest_list_blocks_one_for_a_moment(limiter: SlidingWindowLog, clock: Clock) -> None:
    blocks = BlockList(limiter, after=1, seconds=0.5, most=1, clock=clock)
    for name in "ab":
        blocks.hit(name)
        blocks.hit(name)
    blocked = blocks.blocked("b")
    assert blocked is not None and not blocks.blocked("a")
    assert (blocked.retry_after_seconds, blocked.reset_after_seconds) == (0.5, 0.5)
    assert (blocked.limit, blocked.used) == (1, 1)
    clock.now += 0.5
    assert blocks.blocked("b") is None


@pytest.mark.parametrize(
    "wrong",
    [{"after": 0, "seconds": 1}, {"after": 1, "seconds": 0}, {"after": 1, "seconds": 1, "most": 0}],
)
def test_a_list_that_makes_no_sense_is_refused(
    limiter: SlidingWindowLog, wrong: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match="^after, seconds, most: must be positive"):
        BlockList(limiter, **wrong)


def test_threads_that_are_refused_at_once_are_counted_one_by_one(
    limiter: SlidingWindowLog, clock: Clock
) -> None:
    blocks, start = BlockList(limiter, after=10, seconds=30, clock=clock), threading.Barrier(9)
    blocks.hit("me")

    def hit() -> None:
        start.wait()
        blocks.hit("me")

    threads = [threading.Thread(target=hit) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not blocks.blocked("me")
    assert not blocks.hit("me").blocked
    assert blocks.blocked("me")
