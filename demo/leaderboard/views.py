"""Boards: pages, and the API that programs post scores to."""

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
from flask import Blueprint, Response, current_app, redirect, render_template, request, url_for
from flask.blueprints import BlueprintSetupState
from redis.exceptions import RedisError
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from demo import oneshot, source
from demo.errors import RedisAway
from demo.leaderboard import boards, play, reading
from demo.leaderboard.answers import (
    BOARD,
    IDEMPOTENCY_KEY,
    MAX_METADATA_BYTES,
    MAX_ROWS,
    MAX_SCORE,
    Conflict,
    Mode,
    Page,
    Period,
    Standing,
    Submission,
    check_player,
)
from demo.leaderboard.ranking import Leaderboard
from demo.pool import Client, get_redis
from demo.validation import Invalid, read_json, read_query

TITLE = "Leaderboard"
HERE = Path(__file__).parent
MAIN = "main"
ROWS = 10
SNAPSHOTS = 64
bp = Blueprint("leaderboard", __name__, url_prefix="/leaderboard", cli_group=None)
bp.cli.add_command(play.command)
PERIOD = rf"^(?:all|week|day|{reading.PAST.pattern})\Z"
CURSOR = rf"^{reading.CURSOR.pattern}\Z"
Score = Annotated[int, msgspec.Meta(ge=-MAX_SCORE, le=MAX_SCORE)]


class Posted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A score as programs post it."""

    player: str
    score: Score
    mode: Mode = Mode.BEST
    metadata: dict[str, Any] | None = None


class Window(msgspec.Struct, frozen=True):
    """Which part of a board."""

    period: Annotated[str, msgspec.Meta(pattern=PERIOD)] = "all"
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR)] | None = None
    offset: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = ROWS
    around: Annotated[int, msgspec.Meta(ge=0, le=MAX_ROWS // 2)] = 5


@dataclass(frozen=True)
class Seen:
    """A page of a board and when it was read; `stale` when Redis could not be asked now."""

    page: Page
    at: datetime
    stale: bool


_snapshots: OrderedDict[tuple[str, str, int, int, str | None], Seen] = OrderedDict()
_keeping = threading.Lock()


class PlayerName(BaseConverter):
    """A name in a path: it may hold slashes, and begin with one."""

    regex = ".+"
    part_isolating = False


@bp.record_once
def prepare(state: BlueprintSetupState) -> None:
    """Lets paths hold names."""
    state.app.url_map.converters["player"] = PlayerName


def card() -> tuple[str, str]:
    """The home page's figure."""
    try:
        seen = _top(MAIN, Period.ALL, 0, 1)
    except RedisError:
        return "Leader", "–"
    return "Leader", seen.page.entries[0].player if seen.page.entries else "nobody yet"


@bp.get("/")
def index() -> str:
    """The boards."""
    try:
        names = boards.names(get_redis())
    except RedisError:
        names = []
    return render_template("leaderboard/index.html", names=[MAIN] + [name for name in names if name != MAIN])


@bp.get("/boards/<board>")
def board(board: str) -> str:
    """One board: the top, and around one player."""
    return _board_page(_known(board), {}, {})


@bp.post("/boards/<board>/scores")
def post_score(board: str) -> Any:
    """The form that posts a score."""
    name = _known(board)
    player, text = request.form.get("player", "").strip(), request.form.get("score", "").strip()
    errors = {}
    try:
        check_player(player)
    except ValueError:
        errors["player"] = "Player: 1 to 64 visible characters."
    if not (text.removeprefix("-").isdecimal() and text.isascii() and len(text) <= 17 and abs(int(text)) <= MAX_SCORE):
        errors["score"] = "Score: a whole number within ±9\u202f007\u202f199\u202f254\u202f740\u202f991."
    if errors:
        return _board_page(name, errors, {"player": player[:64], "score": text[:32]}), 422
    done = _submit(name, player, int(text), None)
    response = redirect(url_for("leaderboard.board", board=name, player=player), 303)
    oneshot.put(response, "message", _sentence(done.standings[Period.ALL], player))
    return response


@bp.post("/api/boards/<board>/scores")
def submit_score(board: str) -> Response:
    """Takes a score. With an Idempotency-Key it counts once: sent again within a day it is answered as the first time."""
    name = _known(board, field=True)
    key, posted = _idempotency_key(), read_json(Posted)
    try:
        check_player(posted.player)
    except ValueError as error:
        raise Invalid({"player": str(error).removeprefix("player: ")}) from None
    metadata = None if posted.metadata is None else msgspec.json.encode(posted.metadata).decode()
    if metadata is not None and len(metadata.encode()) > MAX_METADATA_BYTES:
        raise Invalid({"metadata": f"{MAX_METADATA_BYTES} bytes of JSON at most"})
    try:
        done = _submit(name, posted.player, posted.score, metadata, mode=posted.mode, idempotency_key=key)
    except Conflict:
        raise Invalid({"Idempotency-Key": "it was used for another request"}) from None
    except ValueError as error:
        raise Invalid({"score": str(error).removeprefix("score: ")}) from None
    overall = done.standings[Period.ALL]
    body = {
        "board": name,
        "player": done.player,
        "score": done.score,
        **_standing(overall),
        "periods": {period: _standing(standing) for period, standing in done.standings.items()},
    }
    response = Response(msgspec.json.encode(body), 201, mimetype="application/json")
    if done.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


@bp.get("/api/boards/<board>")
def read_board(board: str) -> Response:
    """A part of a board."""
    name, window = _known(board, field=True), read_query(Window)
    seen = _top(name, window.period, window.offset, window.limit, window.cursor)
    response = Response(msgspec.json.encode(_page_body(name, seen.page)), mimetype="application/json")
    if seen.stale:
        response.headers["Cache-Status"] = "leaderboard; hit; detail=stale"
    return response


@bp.get("/api/boards/<board>/players/<player:player>")
def read_player(board: str, player: str) -> Response:
    """A player's own row and its neighbours."""
    name, window = _known(board, field=True), read_query(Window)
    try:
        page = _leaderboard(name).around(player, window.around, window.period)
    except ValueError as error:
        raise Invalid({"player": str(error).removeprefix("player: ")}) from None
    if page is None:
        raise NotFound("This player is not on the board.")
    own = next(entry for entry in page.entries if entry.player == player)
    body = {**_page_body(name, page), "player": _entry(own)}
    return Response(msgspec.json.encode(body), mimetype="application/json")


def _idempotency_key() -> str | None:
    """The header's value, a string of the IETF draft, in quotes or without."""
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    key = given[1:-1] if len(given) > 1 and given[0] == given[-1] == '"' else given
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise Invalid({"Idempotency-Key": "1 to 255 visible ASCII characters"})
    return key


def _leaderboard(board: str) -> Leaderboard:
    return _made(get_redis(), board)


@lru_cache(maxsize=256)
def _made(client: Client, board: str) -> Leaderboard:
    return Leaderboard(client, board)


def _board_page(name: str, errors: dict[str, str], given: dict[str, str]) -> str:
    asked = request.args.get("period", "all")
    period = asked if asked in list(Period) or reading.PAST.fullmatch(asked) else Period.ALL
    player = given.get("player") or request.args.get("player", "")[:64]
    seen: Seen | None = None
    around: Page | None = None
    try:
        seen = _top(name, period, 0, ROWS)
        check_player(player)
        around = _leaderboard(name).around(player, 3, period) if not seen.stale else None
    except (RedisError, ValueError):
        current_app.logger.debug("board %s: without neighbours", name)
    return render_template(
        "leaderboard/board.html",
        board=name,
        period=period,
        periods=[(Period.DAY, "Today"), (Period.WEEK, "This week"), (Period.ALL, "All time")],
        seen=seen,
        around=around,
        player=player,
        errors=errors,
        given=given,
        listings=[source.of_file(HERE / "ranking.lua"), source.of_function(Leaderboard.submit)],
    )


def _top(board: str, period: str, offset: int, limit: int, cursor: str | None = None) -> Seen:
    """The rows, or the last ones that this process read of them; RedisError when there are none."""
    key = (board, period, offset, limit, cursor)
    try:
        seen = Seen(_leaderboard(board).page(offset, limit, period, cursor=cursor), datetime.now(UTC), False)
    except RedisError:
        last = _snapshots.get(key)
        if last is None:
            raise
        return Seen(last.page, last.at, True)
    with _keeping:
        _snapshots[key] = seen
        _snapshots.move_to_end(key)
        if len(_snapshots) > SNAPSHOTS:
            _snapshots.popitem(last=False)
    return seen


def _submit(board: str, player: str, score: int, metadata: str | None, **more: Any) -> Submission:
    try:
        done = _leaderboard(board).submit(player, score, metadata=metadata, **more)
    except RedisError as error:
        current_app.logger.warning("board %s: not submitted: %s", board, type(error).__name__)
        raise RedisAway() from None
    overall = done.standings[Period.ALL]
    if overall.total == 1 and overall.previous_rank is None:
        try:
            boards.remember(get_redis(), board)
        except RedisError as error:  # The score counts all the same.
            current_app.logger.warning("board %s: not listed: %s", board, type(error).__name__)
    return done


def _known(board: str, *, field: bool = False) -> str:
    if BOARD.fullmatch(board):
        return board
    if field:
        raise Invalid({"board": "lower-case letters, digits and inner hyphens, 40 at most"})
    raise NotFound("A board's name has lower-case letters, digits and inner hyphens, 40 at most.")


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        "best": standing.best,
        "rank": standing.rank,
        "previous_rank": standing.previous_rank,
        "total": standing.total,
        "percentile": round(standing.percentile, 3),
        "is_best": standing.is_best,
    }


def _entry(entry: Any) -> dict[str, Any]:
    metadata = None if entry.metadata is None else msgspec.Raw(entry.metadata.encode())
    return {"rank": entry.rank, "player": entry.player, "score": entry.score, "metadata": metadata}


def _page_body(board: str, page: Page) -> dict[str, Any]:
    entries = [_entry(entry) for entry in page.entries]
    return {"board": board, "period": page.period, "total": page.total, "cursor": page.cursor, "entries": entries}


def _sentence(standing: Standing, player: str) -> str:
    if not standing.is_best:
        return f"{player} stays at rank {standing.rank}: {standing.best} was better."
    if not standing.previous_rank:
        return f"{player}: rank {standing.rank}, a new player, of {standing.total}."
    share = max(1, math.ceil(100 * standing.rank / standing.total))
    return f"{player}: rank {standing.previous_rank} → {standing.rank} of {standing.total}, new best, top {share}\u202f%."
