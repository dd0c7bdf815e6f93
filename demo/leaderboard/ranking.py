"""A leaderboard on sorted sets: all-time, ISO week and day at once, in one script and one round trip.

- Of a player the best score counts, or the latest, or the sum, as each submission says. Scores are integers within
  ±(2^53 − 1), which a sorted set holds exactly; a sum that leaves them is refused before anything is written.
- Equal scores share a rank (competition ranking: 1, 1, 3); among them, who reached the score first is listed first.
- A submission with an idempotency key counts once: sent again within a day it is answered as it was the first time.
- Periods are UTC by Redis' clock. Keys have to be named before the script runs, so the caller names those of the day
  that it believes in, and the script refuses when that is another one; then the caller asks again, once, with the day
  that Redis told. Keys of a past day live on for a week, of a past week for four.

How ties are kept in order: the member is "<sequence>:<player>" and the score is stored negated (as it is where lower is
better), so the sorted set's own order (by score, then by bytes) is best first, then earliest first. A hash leads from
the player to the sequence and the score.
"""

import hashlib
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError

from demo.leaderboard.answers import (
    DAY_SECONDS,
    IDEMPOTENCY_KEY,
    KEPT_SECONDS,
    LIFE_SECONDS,
    MAX_METADATA_BYTES,
    Conflict,
    Mode,
    Period,
    Standing,
    Submission,
    check_player,
    check_score,
)
from demo.leaderboard.upkeep import Upkeep

HERE = Path(__file__)
LIVES = tuple(str(seconds * 1000) for seconds in (KEPT_SECONDS, *(LIFE_SECONDS[period] for period in Period)))
REPLAY_MS = DAY_SECONDS * 1000
ANOTHER_DAY, COUNTED, REPLAYED, CONFLICT, TOO_LARGE = range(5)


class Leaderboard(Upkeep):
    """One board. Every submission is one round trip, two when it meets midnight."""

    def __init__(self, client: Any, board: str, **more: Any) -> None:
        super().__init__(client, board, **more)
        self._script = client.register_script(HERE.with_suffix(".lua").read_text())
        self._sha = self._script.sha.encode()
        self._keys_of: tuple[int, list[str]] = (-1, [])

    def submit(
        self,
        player: str,
        score: int,
        *,
        mode: str = Mode.BEST,
        metadata: str | None = None,
        idempotency_key: str | None = None,
        now_ms: int | None = None,
    ) -> Submission:
        """Submits a score to each period. Raises ValueError for what it does not take, a sum past ±(2^53 − 1) included,
        and Conflict when the idempotency key was used for another request; then nothing is written."""
        check_player(player)
        check_score(score)
        mode = Mode(mode)
        if metadata is not None and len(metadata.encode()) > MAX_METADATA_BYTES:
            raise ValueError(f"metadata: {MAX_METADATA_BYTES} bytes at most")
        args: list[Any] = [player, self._sign * score, 0, mode.value, metadata or "", *LIVES]
        more: list[str] = []
        once: list[Any] = ["", ""]
        if idempotency_key is not None:
            if not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
                raise ValueError("idempotency key: 1 to 255 visible ASCII characters")
            more = [f"{self._beginning}once:{hashlib.sha256(idempotency_key.encode()).hexdigest()}"]
            request = "\0".join((player, str(score), mode, metadata or ""))
            once = [hashlib.sha256(request.encode()).hexdigest(), REPLAY_MS]
        args += [*once, "" if now_ms is None else now_ms, self.channel]
        reply = self._ask(args, more)
        if reply[0] == ANOTHER_DAY:
            self._ahead_seconds = reply[1] / 1000 - self._clock()
            reply = self._ask(args, more)
            if reply[0] == ANOTHER_DAY:
                raise RuntimeError("the day turned twice within one submission")
        if reply[0] == CONFLICT:
            raise Conflict("the idempotency key was used for another request")
        if reply[0] == TOO_LARGE:
            raise ValueError("score: the sum leaves ±(2^53 − 1)")
        standings = {period: self._standing(reply, 2 + 5 * i) for i, period in enumerate(Period)}
        return Submission(self.board, player, score, standings, reply[0] == REPLAYED)

    def _ask(self, args: list[Any], more: list[str]) -> list[Any]:
        day = args[2] = self._day()
        if self._keys_of[0] != day:
            common = [f"{self._beginning}sequence", f"{self._beginning}metadata"]
            self._keys_of = (day, common + [key for period in Period for key in self.redis_keys(period)])
        keys = self._keys_of[1] + more
        try:
            reply: list[Any] = self._client.execute_command("EVALSHA", self._sha, len(keys), *keys, *args)
        except NoScriptError:  # a server that was restarted is told the script again
            reply = self._script(keys=keys, args=args)
        return reply

    def _standing(self, reply: list[Any], at: int) -> Standing:
        stored, rank, previous, total, is_best = reply[at : at + 5]
        return Standing(self._sign * stored, rank, previous or None, total, 100 * (total - rank + 1) / total, is_best == 1)
