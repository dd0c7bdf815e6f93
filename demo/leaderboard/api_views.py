"""The API that programs post scores to, and read boards from."""

from typing import Annotated, Any

import msgspec
from flask import Response, request
from werkzeug.exceptions import NotFound

from demo.leaderboard import reading
from demo.leaderboard.answers import (
    IDEMPOTENCY_KEY,
    MAX_METADATA_BYTES,
    MAX_ROWS,
    MAX_SCORE,
    Conflict,
    Entry,
    Mode,
    Page,
    Period,
    Standing,
    check_player,
)
from demo.leaderboard.common_views import bp, known, leaderboard, submit, top
from demo.validation import Invalid, read_json, read_query

ROWS = 10
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


@bp.post("/api/boards/<board>/scores")
def submit_score(board: str) -> Response:
    """Takes a score. With an Idempotency-Key it counts once: sent again within a day it is answered as the first time."""
    name = known(board, field=True)
    key, posted = _idempotency_key(), read_json(Posted)
    try:
        check_player(posted.player)
    except ValueError as error:
        raise Invalid({"player": str(error).removeprefix("player: ")}) from None
    metadata = None if posted.metadata is None else msgspec.json.encode(posted.metadata).decode()
    if metadata is not None and len(metadata.encode()) > MAX_METADATA_BYTES:
        raise Invalid({"metadata": f"{MAX_METADATA_BYTES} bytes of JSON at most"})
    try:
        done = submit(name, posted.player, posted.score, metadata, mode=posted.mode, idempotency_key=key)
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
    name, window = known(board, field=True), read_query(Window)
    seen = top(name, window.period, window.offset, window.limit, window.cursor)
    response = Response(msgspec.json.encode(_page_body(name, seen.page)), mimetype="application/json")
    if seen.stale:
        response.headers["Cache-Status"] = "leaderboard; hit; detail=stale"
    return response


@bp.get("/api/boards/<board>/players/<player:player>")
def read_player(board: str, player: str) -> Response:
    """A player's own row and its neighbours."""
    name, window = known(board, field=True), read_query(Window)
    try:
        page = leaderboard(name).around(player, window.around, window.period)
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


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        "best": standing.best,
        "rank": standing.rank,
        "previous_rank": standing.previous_rank,
        "total": standing.total,
        "percentile": round(standing.percentile, 3),
        "is_best": standing.is_best,
    }


def _entry(entry: Entry) -> dict[str, Any]:
    metadata = None if entry.metadata is None else msgspec.Raw(entry.metadata.encode())
    return {"rank": entry.rank, "player": entry.player, "score": entry.score, "metadata": metadata}


def _page_body(board: str, page: Page) -> dict[str, Any]:
    entries = [_entry(entry) for entry in page.entries]
    return {"board": board, "period": page.period, "total": page.total, "cursor": page.cursor, "entries": entries}
