"""What "Show me" shows of a leaderboard: one score on a board of the run's own, and when a reader saw
it. The board goes with the run; should that be killed, a minute later."""

import contextvars
import secrets
import threading
import time
from contextlib import suppress

from redis.exceptions import RedisError

from demo.leaderboard.answers import Period, Post
from demo.leaderboard.ranking import Leaderboard
from demo.teach.show_me import Clock, Measured, Row, Step, told
from demo.web.services import get_redis

YOU, OTHERS, LIFE_SECONDS = "you", 11, 60
FIRST_SCORE, SCORE = 150, 1050
LOOK_SECONDS, LONGEST_SECONDS = 0.002, 2.0


def score() -> tuple[list[Row], dict[str, float]]:
    """Posts it while a reader looks at the board again and again."""
    board = Leaderboard(get_redis(), f"show-{secrets.token_hex(6)}", periods=(Period.ALL,))
    keys, clock, over = board.all_keys((Period.ALL,)), Clock(), threading.Event()
    looks: list[tuple[float, float]] = []
    seen_at: list[float] = []

    def look() -> None:
        with suppress(RedisError):
            while not over.wait(LOOK_SECONDS):
                began = clock.now()
                found = board.page(0, OTHERS + 1)
                looks.append((began, clock.now()))
                if any(entry.player == YOU and entry.score == SCORE for entry in found.entries):
                    seen_at.append(clock.now())
                    return

    try:
        others = [Post(f"player-{number}", 100 * number) for number in range(1, OTHERS + 1)]
        board.submit_many([*others, Post(YOU, FIRST_SCORE)])
        for key in keys:
            get_redis().expire(key, LIFE_SECONDS)
        reader = threading.Thread(target=contextvars.copy_context().run, args=(look,))
        reader.start()
        try:
            time.sleep(10 * LOOK_SECONDS)
            asked_at = clock.now()
            done = board.submit(YOU, SCORE)
            done_at = clock.now()
            reader.join(LONGEST_SECONDS)
        finally:
            over.set()
            reader.join()
    finally:
        with suppress(RedisError):
            get_redis().unlink(*keys)
    standing = done.standings[Period.ALL]
    counts = {
        "before": standing.previous_rank or 0,
        "rank": standing.rank,
        "total": standing.total,
        "seen_ms": max(0.0, seen_at[0] - done_at) if seen_at else -1.0,
    }
    rows = [
        Row("The score", [done_at - asked_at], "ok"),
        Row("Board reads", [ended - began for began, ended in looks], "redis"),
    ]
    return rows, counts


def _tell(found: Measured) -> str:
    counts = found.counts
    moved = (
        f"One score, posted in {told(found.rows[0].median)}, moved you from rank "
        f"{counts['before']:.0f} to {counts['rank']:.0f} of {counts['total']:.0f}"
    )
    if counts["seen_ms"] < 0:
        return f"{moved}; a reader of the board did not see it within {LONGEST_SECONDS:.0f} s."
    return f"{moved}; a reader of the board saw it {told(counts['seen_ms'])} later."


STEPS = (
    Step(
        6,
        "score",
        "Post a score",
        f"Posts a score to a board of {OTHERS + 1} players while another client reads the board.",
        score,
        _tell,
    ),
)
