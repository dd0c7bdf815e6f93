"""What the rooms of the leaderboard share: the blueprint, the boards, and what this process has
read of them last."""

import math
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from flask import Blueprint, current_app, request
from redis.exceptions import RedisError
from werkzeug.exceptions import Forbidden, NotFound
from werkzeug.routing import BaseConverter

from demo.client import refusals
from demo.client.memory import LESSONS_SHARE, LessonsFull, Memory
from demo.client.wire import Client
from demo.leaderboard import boards, sample_boards
from demo.leaderboard.answers import (
    BOARD,
    Conflict,
    Page,
    Period,
    Post,
    Refused,
    Standing,
    Submission,
)
from demo.leaderboard.ranking import STEP, Leaderboard
from demo.leaderboard.watched import ROWS, Look, Watched
from demo.web.budgets import Budgets, network
from demo.web.errors import RedisAway
from demo.web.services import get_redis, part
from demo.web.simulated import MARK
from demo.web.validation import Invalid

SNAPSHOTS = 64
ONCE_SECONDS, NEW_BOARD_SECONDS = 3600, 2 * 86_400
MOST_MET = 10_000
KEY_BYTES, ANSWER_BYTES = (
    450,
    120,
)  # what Redis keeps for an idempotency key, and for each score's answer
BOARD_BYTES = 4000
ROW_BYTES, ROW_SECONDS = 1700, 60  # of a new player, with as much metadata as may be
REFUSED = "Nothing was changed."
_NOT_KNOWN = "The score may or may not have been counted."
LOST = f"{_NOT_KNOWN} Look at the board before you send it again."
LOST_ONCE = f"{_NOT_KNOWN} Send it again with the same Idempotency-Key: it counts once."
NOT_ALL = (
    "Some scores may have been counted. "
    "Send the same batch again: with an Idempotency-Key nothing counts twice."
)
BY_API = (
    "Scores are accepted only through the API here. "
    "Each needs an API key or a signature, which this page does not have."
)
bp = Blueprint("leaderboard", __name__, url_prefix="/leaderboard", cli_group=None)


@dataclass(frozen=True)
class Seen:
    """A page of a board and when it was read; `stale` when Redis could not be asked now."""

    page: Page
    at: datetime
    stale: bool


_snapshots: OrderedDict[tuple[str, str, int, int, str | None], Seen] = OrderedDict()
_keeping = threading.Lock()
SAMPLE = "All players on this board are sample data. Post scores to any other board."
PLAYER_RULE = "1 to 64 visible characters."
_unlisted: set[str] = set()
_met: set[str] = set()  # boards that somebody has posted to in this process


class PlayerName(BaseConverter):
    """A name in a path: it may hold slashes, and begin with one."""

    regex = ".+"
    part_isolating = False


def leaderboard(board: str) -> Leaderboard:
    """The board of that name, on the app's client."""
    return _made(get_redis(), board)


@lru_cache(maxsize=256)
def _made(client: Client, board: str) -> Leaderboard:
    return Leaderboard(client, board, once_seconds=ONCE_SECONDS)


def top(board: str, period: str, offset: int, limit: int, cursor: str | None = None) -> Seen:
    """The rows, or the last ones that this process read of them; RedisError when there are none."""
    key = (board, period, offset, limit, cursor)
    try:
        seen = Seen(
            leaderboard(board).page(offset, limit, period, cursor=cursor), datetime.now(UTC), False
        )
    except RedisError:
        last = _snapshots.get(key)
        if last is None:
            raise
        return Seen(last.page, last.at, True)
    _keep(key, seen)
    return seen


def look(board: str, period: str, player: str) -> tuple[Seen, Look | None]:
    """What a page shows of a board, in one round trip; or the last rows that this process read of
    it, and RedisError when there are none."""
    key = (board, period, 0, ROWS, None)
    try:
        found = _watched(get_redis()).look(leaderboard(board), period, player)
    except RedisError:
        last = _snapshots.get(key)
        if last is None:
            raise
        return Seen(last.page, last.at, True), None
    seen = Seen(found.top, datetime.now(UTC), False)
    _keep(key, seen)
    return seen, found


@lru_cache(maxsize=8)
def _watched(client: Client) -> Watched:
    return Watched(client)


def _keep(key: tuple[str, str, int, int, str | None], seen: Seen) -> None:
    with _keeping:
        _snapshots[key] = seen
        _snapshots.move_to_end(key)
        if len(_snapshots) > SNAPSHOTS:
            _snapshots.popitem(last=False)


def submit(board: str, player: str, score: int, metadata: str | None, **more: Any) -> Submission:
    """Submits, and lists the board. Raises RedisAway, OutOfBudget, and what the pattern raises."""
    if board in sample_boards.NAMES:
        _refuse_mixing()
    _take_room(board, more.get("idempotency_key"), 1)
    try:
        done = leaderboard(board).submit(player, score, metadata=metadata, **more)
    except RedisError as error:
        current_app.logger.warning("board %s: not submitted: %s", board, refusals.of(error).name)
        if not refusals.may_have_counted(error):
            raise RedisAway(error, REFUSED) from None
        raise RedisAway(error, LOST_ONCE if more.get("idempotency_key") else LOST) from None
    _remember(board, [done])
    return done


def submit_many(
    board: str, posts: Sequence[Post], key: str | None, request: bytes, body: bytes
) -> list[Submission | Refused]:
    """The same for many, which came in this body; `request` is what it says, written one way."""
    if board in sample_boards.NAMES:
        _refuse_mixing()
    _take_room(board, key, len(posts))
    rows, network_, batch = part(Budgets).rows, network(), secrets.token_hex(8)
    rows.take(network_, batch, ROW_BYTES * len(posts), ROW_SECONDS)
    try:
        try:
            done = leaderboard(board).submit_many(posts, idempotency_key=key, request=request)
        except Conflict:  # a build before told requests apart by their bytes
            done = leaderboard(board).submit_many(posts, idempotency_key=key, request=body)
    except RedisError as error:
        current_app.logger.warning(
            "board %s: not all submitted: %s", board, refusals.of(error).name
        )
        raise RedisAway(error, NOT_ALL) from None
    rows.settle(network_, batch, ROW_BYTES * sum(map(_is_new, done)))
    _remember(board, done)
    return done


def _is_new(done: Submission | Refused) -> bool:
    return (
        isinstance(done, Submission)
        and not done.replayed
        and done.standings[Period.ALL].previous_rank is None
    )


def _refuse_mixing() -> None:
    """Raises Forbidden for a score of anybody on a board of made-up players."""
    if MARK not in request.environ:
        raise Forbidden(SAMPLE)


def _take_room(board: str, key: str | None, scores: int) -> None:
    """Raises OutOfBudget where no more keys or new boards may be kept for this client. Raises
    RedisAway for a new board where the room that is left is kept for others."""
    if board in _met and key is None:
        return
    kept = part(Budgets)
    if board not in _met:
        if part(Memory).share >= LESSONS_SHARE and not get_redis().exists(
            *leaderboard(board).redis_keys(Period.ALL)
        ):
            raise RedisAway(LessonsFull(), REFUSED)
        kept.boards.take(network(), board, BOARD_BYTES, NEW_BOARD_SECONDS)
    if key is not None:
        size = KEY_BYTES * (1 + scores // STEP) + ANSWER_BYTES * scores
        kept.keys.take(network(), f"{board} {key}", size, ONCE_SECONDS)


def _remember(board: str, done: Sequence[Submission | Refused]) -> None:
    """Puts the board first on the list with the first, second, fourth, … player of its day, and
    what failed again."""
    if board not in _met and done and len(_met) < MOST_MET:
        _met.add(board)
        of_all = (one.standings[Period.ALL].total for one in done if isinstance(one, Submission))
        if min(of_all, default=0) > 1:
            part(Budgets).boards.settle(network(), board)
    days = [
        one.standings[Period.DAY]
        for one in done
        if isinstance(one, Submission) and not one.replayed
    ]
    grown = any(day.previous_rank is None and day.total & (day.total - 1) == 0 for day in days)
    if not grown and board not in _unlisted:
        return
    try:
        boards.remember(get_redis(), board)
        _unlisted.discard(board)
    except RedisError as error:  # The score counts all the same.
        if len(_unlisted) < boards.MOST:
            _unlisted.add(board)
        current_app.logger.warning("board %s: not listed: %s", board, type(error).__name__)


def known(board: str, *, field: bool = False) -> str:
    """The name, if it is one. Raises NotFound, or for a field of the API Invalid."""
    if BOARD.fullmatch(board):
        return board
    if field:
        raise Invalid({"board": "up to 40 lower-case letters, digits and inner hyphens"})
    raise NotFound("A board's name has up to 40 lower-case letters, digits and inner hyphens.")


def by_api() -> str:
    """Why no page takes scores, where the API asks for a key or a signature; empty where pages do."""
    return BY_API if current_app.config["SIGNING_SECRET"] or current_app.config["API_KEY"] else ""


def refuse_pages() -> None:
    """Raises Forbidden where scores are taken by the API alone."""
    if by_api():
        raise Forbidden(BY_API)


def as_sentence(error: ValueError) -> str:
    """What is wrong, as pages say it."""
    text = f"{error}."
    return text[0].upper() + text[1:]


def sentence(standing: Standing, player: str, score: int) -> str:
    """What a submission has moved, for the player."""
    if not standing.is_best and standing.best == score:
        return f"{player} stays at rank {standing.rank}: {score} equals their best score."
    if not standing.is_best:
        return (
            f"{player} stays at rank {standing.rank}: their best score, {standing.best}, is better."
        )
    if not standing.previous_rank:
        return f"{player} is new on this board: rank {standing.rank} of {standing.total}."
    share = max(1, math.ceil(100 * standing.rank / standing.total))
    return f"{player}: rank {standing.previous_rank} → {standing.rank} of {standing.total}, new best, top {share}\u202f%."
