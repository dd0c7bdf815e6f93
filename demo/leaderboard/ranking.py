"""A leaderboard on sorted sets: for all time, the ISO week and the day; or for all time alone. One
submission updates the all-time, week and day rankings in one script and one round trip.

- A player's best score counts, or the latest, or the sum, as each submission says. Scores are
  integers within ±(2^53 − 1), which a sorted set holds exactly; a sum outside this range is refused
  before anything is written.
- Equal scores share a rank (competition ranking: 1, 1, 3). Of players with equal scores, the one
  who reached the score first is listed first.
- A batch of submissions goes in steps of STEP, so that a script holds Redis for a few milliseconds
  only. Each step of a batch is atomic, and each submission has its own result; a refused one undoes
  none of the others.
- A board with dense ranking keeps its distinct scores in a separate sorted set, in the same step.
  It has to be dense from its first score on.
- A submission with an idempotency key counts once: if it is sent again within `once_seconds`, by
  default a day, it gets the first answer again.
- Days and weeks begin and end in UTC, by Redis' clock. Keys have to be named before the script
  runs, so the caller names those of the day that it believes in. If Redis' date differs from the
  caller's, the script refuses, and the caller tries once more, with Redis' date. The keys of a past
  day stay for at least one week, and those of a past week for at least four weeks.

How ties are kept in order: the member is "<sequence>:<player>", and the score is stored negated (as
it is where lower is better). So the sorted set's own order, by score, then by bytes, is best first,
then earliest first. A hash leads from the player to the sequence and the score.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from demo.client.contract import RedisClient, whole
from demo.leaderboard.answers import (
    DAY_SECONDS,
    IDEMPOTENCY_KEY,
    KEPT_SECONDS,
    LIFE_SECONDS,
    Conflict,
    Mode,
    Post,
    Refused,
    Standing,
    Submission,
    check_metadata,
    check_player,
    check_score,
)
from demo.leaderboard.upkeep import Upkeep

HERE = Path(__file__)
MOST, STEP = 1000, 100
ANOTHER_DAY, COUNTED, REPLAYED, CONFLICT = range(4)
SUM = "the sum leaves ±(2^53 − 1)"


class Leaderboard(Upkeep):
    """One board. Every submission is one round trip, two when it meets midnight. `on_submit` hears
    of each that was answered."""

    def __init__(
        self,
        client: RedisClient,
        board: str,
        *,
        once_seconds: int = DAY_SECONDS,
        on_submit: Callable[[Submission], None] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(client, board, **more)
        self._on_submit = on_submit
        whole("once_seconds", once_seconds)
        lives = (KEPT_SECONDS, *(LIFE_SECONDS[period] for period in self.periods), once_seconds)
        self._lives = " ".join(str(seconds * 1000) for seconds in lives)
        self._script = client.register_script(HERE.with_suffix(".lua").read_text())
        self._keys_of: tuple[int | str, list[str]] = (-1, [])
        self._timed = len(self.periods) > 1  # whether a key names a day
        self._lives_given_on = -1

    def submit(
        self,
        player: str,
        score: int,
        *,
        mode: str = Mode.BEST,
        metadata: str | None = None,
        idempotency_key: str | None = None,
        request: bytes | None = None,
        now_ms: int | None = None,
    ) -> Submission:
        """Submits a score to each period. Raises ValueError for what it does not take, a sum past
        ±(2^53 − 1) included, and Conflict when the idempotency key was used for another request;
        then nothing is written. What tells requests apart is `request` where it is given, else
        the other arguments."""
        args = self._checked(player, score, mode, metadata)
        reply = self._ask(
            args, _digest(request or args, idempotency_key), idempotency_key, now_ms, 0
        )
        done = self._submission(reply, 2, args[0], score)
        if done is None:
            raise ValueError(f"score: {SUM}")
        return done

    def submit_many(
        self,
        posts: Sequence[Post],
        *,
        idempotency_key: str | None = None,
        request: bytes | None = None,
        now_ms: int | None = None,
    ) -> list[Submission | Refused]:
        """Submits up to MOST scores, in their order, STEP in a round trip, and returns a result for
        each. Raises ValueError for none or too many, and Conflict as `submit` does, before anything
        is written. With an idempotency key each step counts once. The same batch sent again after
        an error gets the kept answers of the steps that were done, and the other steps are done."""
        if not 1 <= len(posts) <= MOST:
            raise ValueError(f"posts: must be from 1 to {MOST}")
        results: list[Submission | Refused | None] = [None] * len(posts)
        good: list[tuple[int, list[Any]]] = []
        for number, post in enumerate(posts):
            try:
                good.append(
                    (number, self._checked(post.player, post.score, post.mode, post.metadata))
                )
            except ValueError as error:
                field, _, detail = str(error).partition(": ")
                results[number] = Refused(post.player, field, detail)
        digest = _digest(request or [posts], idempotency_key)
        for begin in range(0, len(good), STEP):
            step = good[begin : begin + STEP]
            reply = self._ask(
                [arg for _, args in step for arg in args], digest, idempotency_key, now_ms, begin
            )
            width = (len(reply) - 2) // len(step)
            for place, (number, args) in enumerate(step):
                post = posts[number]
                done = self._submission(reply, 2 + width * place, args[0], post.score)
                results[number] = done or Refused(post.player, "score", SUM)
        return [result for result in results if result is not None]

    def _checked(self, player: str, score: int, mode: str, metadata: str | None) -> list[Any]:
        player = check_player(player)
        check_score(score)
        check_metadata(metadata)
        return [
            player,
            self._sign * score,
            mode if mode.__class__ is Mode else _mode(mode),
            metadata or "",
        ]

    def _ask(
        self, args: list[Any], digest: str, key: str | None, now_ms: int | None, begin: int
    ) -> list[Any]:
        # Whether there is a conflict is decided in the first step alone: the digest is in the names
        # of the later ones.
        once = (
            [self._once(key) + (f":{digest}:{begin}" if begin else "")] if key is not None else []
        )
        now, dense = self._now(now_ms), "1" if self.dense else ""
        for _ in range(2):
            today = self._day()
            day = today if self._timed else ""
            anew = "" if self._lives_given_on == today else "1"
            if self._keys_of[0] != day:
                keys = [f"{self._beginning}sequence", f"{self._beginning}metadata"]
                keys += [key for period in self.periods for key in self.redis_keys(period)]
                self._keys_of = (day, keys + self._distinct_keys(self.periods))
            keys = self._keys_of[1] + once
            reply: list[Any] = self._run(
                self._script,
                keys,
                [day, now, self._lives, anew, dense, self.channel, digest, *args],
            )
            if reply[0] == CONFLICT:
                raise Conflict("the idempotency key was used for another request")
            if reply[0] != ANOTHER_DAY:
                if reply[0] == COUNTED:
                    self._lives_given_on = today
                return reply
            self._ahead_seconds = reply[1] / 1000 - self._clock()
        raise RuntimeError("the day turned twice within one submission")

    def _once(self, key: str) -> str:
        return f"{self._beginning}once:{hashlib.sha256(key.encode()).hexdigest()}"

    def _submission(self, reply: list[Any], at: int, player: str, score: int) -> Submission | None:
        """None for a sum that does not fit."""
        if not reply[at + 1]:
            return None
        standings, width = {}, 7 if self.dense else 5
        for period in self.periods:
            stored, above, before, total, is_best = reply[at : at + 5]
            share = 100 * (total - above + 1) / total
            rank, previous = reply[at + 5 : at + 7] if self.dense else (above, before)
            standings[period] = Standing(
                self._sign * stored, rank, previous or None, total, share, is_best == 1
            )
            at += width
        done = Submission(self.board, player, score, standings, reply[0] == REPLAYED)
        if self._on_submit:
            self._on_submit(done)
        return done


def _mode(mode: str) -> Mode:
    try:
        return Mode(mode)
    except ValueError:
        raise ValueError(f"mode: must be one of {', '.join(Mode)}") from None


def _digest(request: bytes | list[Any], key: str | None) -> str:
    """What tells one request from another; empty without a key. Raises ValueError for a key that is
    none."""
    if key is None:
        return ""
    if not isinstance(key, str) or not IDEMPOTENCY_KEY.fullmatch(key):
        raise ValueError("idempotency_key: must be 1 to 255 visible ASCII characters")
    return hashlib.sha256(
        request if isinstance(request, bytes) else repr(request).encode()
    ).hexdigest()
