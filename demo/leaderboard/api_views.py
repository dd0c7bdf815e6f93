"""The API that programs post scores to, and read boards from."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import msgspec
from flask import Response, current_app, request
from werkzeug.exceptions import NotFound, Unauthorized

from demo.client.wire import Client
from demo.leaderboard.answers import (
    IDEMPOTENCY_KEY,
    Conflict,
    Period,
    Post,
    Refused,
    Submission,
    check_metadata,
    check_player,
)
from demo.leaderboard.board_access import bp, known, leaderboard, submit, submit_many, top
from demo.leaderboard.bodies import (
    Around,
    Batch,
    Counted,
    Own,
    Posted,
    Results,
    Rows,
    Scores,
    Submitted,
    Uncounted,
    Window,
    Wrong,
    placed,
    row,
    rows,
    submitted,
)
from demo.leaderboard.signatures import Signatures, Unsigned
from demo.web.documented import Header, documented
from demo.web.services import get_protected_redis
from demo.web.validation import Invalid, decode, fields, read_json, read_query

MAX_BATCH_BYTES = 1024 * 1024
KEY = Header(
    "Idempotency-Key",
    "requests with the same key count once within an hour",
    r"^[\x21-\x7e]{1,255}$",
    "game-7-of-mara",
)
SIGNED = tuple(
    Header(f"Demo-{name}", about, pattern, example, "SIGNING_SECRET")
    for name, about, pattern, example in (
        ("Timestamp", "seconds since the epoch", r"^[0-9]{1,12}$", "1795392000"),
        ("Nonce", "a value that is accepted once", r"^[A-Za-z0-9_-]{16,64}$", "0123456789abcdef"),
        (
            "Signature",
            "HMAC-SHA-256 of timestamp, nonce, method, path and body",
            r"^[0-9a-f]{64}$",
            "0" * 64,
        ),
    )
)
REPLAYED = {
    "Idempotency-Replayed": "true when this score was already counted under the same key, and "
    "nothing was counted now"
}
BOARD = {"board": "main"}


@bp.url_value_preprocessor
def widen(_: str | None, values: dict[str, Any] | None) -> None:
    """Lets the body of a batch be larger than others, before anybody reads it."""
    if values and values.get("many"):
        request.max_content_length = MAX_BATCH_BYTES


@bp.post("/api/boards/<board>/scores:batch", defaults={"many": True})
@bp.post("/api/boards/<board>/scores")
@documented(
    body=Posted,
    answer=Submitted,
    status=201,
    path=BOARD,
    example=Posted("mara", 1200),
    errors=(400, 401, 413, 429, 503),
    headers=(KEY, *SIGNED),
    answer_headers=REPLAYED,
)
@documented(
    "Posts up to 1,000 scores, each with its own result. An invalid score does not undo the "
    "others. Scores are counted in steps of 100; with an Idempotency-Key each step counts once. A "
    "batch uses as much of the rate limit as it has scores. Its body may have 1 MB.",
    ":batch",
    body=Scores,
    answer=Results,
    path=BOARD,
    example={"scores": [Posted("mara", 1200), {"player": "noor", "score": 1.5}]},
    errors=(400, 401, 413, 429, 503),
    headers=(KEY, *SIGNED),
    answer_headers=REPLAYED,
)
def submit_score(board: str, many: bool = False) -> Response:
    """Posts a score. With an Idempotency-Key it counts once: the same request within an hour gets
    the first answer again."""
    name = known(board, field=True)
    _check_signature()
    key = _idempotency_key()
    if many:
        return _submit_batch(name, key)
    posted = read_json(Posted)
    metadata = _metadata(posted)
    try:
        check_player(posted.player)
        check_metadata(metadata)
        done = submit(
            name, posted.player, posted.score, metadata, mode=posted.mode, idempotency_key=key
        )
    except Conflict:
        raise Invalid(
            {"Idempotency-Key": "this key was already used for another request"}
        ) from None
    except ValueError as error:
        field, _, detail = str(error).partition(": ")
        raise Invalid({field: detail}) from None
    return _answer(submitted(name, done), 201, done.replayed)


def _submit_batch(name: str, key: str | None) -> Response:
    given = read_json(Batch).scores
    results: list[Counted | Uncounted | None] = [None] * len(given)
    places, posts = [], []
    for index, raw in enumerate(given):
        try:
            posted = decode(raw, Posted)
        except msgspec.ValidationError as error:
            wrong = fields(error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            wrong = {"body": "this is not JSON"}
        else:
            places.append(index)
            posts.append(Post(posted.player, posted.score, posted.mode, _metadata(posted)))
            continue
        results[index] = Uncounted(index, [Wrong(*pair) for pair in wrong.items()])
    try:
        said = _said(given, places, posts) if key else b""
        done = submit_many(name, posts, key, said, request.get_data()) if posts else []
    except Conflict:
        raise Invalid(
            {"Idempotency-Key": "this key was already used for another request"}
        ) from None
    for index, result in zip(places, done, strict=True):
        results[index] = _result(index, result)
    body = Results(
        name, sum(isinstance(one, Counted) for one in results), [one for one in results if one]
    )
    counted = [one.replayed for one in done if isinstance(one, Submission)]
    return _answer(body, 200, key is not None and bool(counted) and all(counted))


def _said(given: Sequence[msgspec.Raw], places: Sequence[int], posts: Sequence[Post]) -> bytes:
    """What a batch says, however it is written: the order of an object's members says nothing."""
    lines = [repr(post).encode() for post in posts]
    known = dict(zip(places, lines, strict=True))
    return b"\n".join(known.get(index) or _sorted(raw) for index, raw in enumerate(given))


def _sorted(raw: msgspec.Raw) -> bytes:
    try:
        return msgspec.json.encode(msgspec.json.decode(raw), order="sorted")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return bytes(raw)


def _result(index: int, done: Submission | Refused) -> Counted | Uncounted:
    if isinstance(done, Refused):
        return Uncounted(index, [Wrong(done.field, done.detail)])
    standing = done.standings[Period.ALL]
    return Counted(**placed(standing), index=index, player=done.player, score=done.score)


@bp.get("/api/boards/<board>")
@documented(query=Window, answer=Rows, path=BOARD, errors=(503,))
def read_board(board: str) -> Response:
    """Rows of a board, from `offset` or after a `cursor`."""
    name, window = known(board, field=True), read_query(Window)
    seen = top(name, window.period, window.offset, window.limit, window.cursor)
    response = _answer(rows(name, seen.page))
    if seen.stale:
        response.headers["Cache-Status"] = "leaderboard; hit; detail=stale"
    return response


@bp.get("/api/boards/<board>/players/<player:player>")
@documented(query=Around, answer=Own, path={"board": "main", "player": "mara"}, errors=(404, 503))
def read_player(board: str, player: str) -> Response:
    """A player's own row and `around` neighbours on each side."""
    name, window = known(board, field=True), read_query(Around)
    try:
        player = check_player(player)
        page = leaderboard(name).around(player, window.around, window.period)
    except ValueError as error:
        raise Invalid({"player": str(error).removeprefix("player: ")}) from None
    if page is None:
        raise NotFound("This player is not on the board.")
    own = next(entry for entry in page.entries if entry.player == player)
    return _answer(Own(**msgspec.structs.asdict(rows(name, page)), player=row(own)))


def _check_signature() -> None:
    """Raises Unauthorized for what is not signed, where a secret is set. One more round trip then."""
    secret = current_app.config["SIGNING_SECRET"]
    if not secret:
        return
    stamp, nonce, signature = (
        request.headers.get(f"Demo-{name}", "") for name in ("Timestamp", "Nonce", "Signature")
    )
    try:
        _signatures(get_protected_redis(), secret).check(
            stamp, nonce, signature, request.method, _signed_path(), request.get_data()
        )
    except Unsigned as error:
        raise Unauthorized(str(error), www_authenticate=None) from None


def _signed_path() -> str:
    """The path as the client asked for it, with its query: what a proxy has taken off its beginning
    is put back."""
    query = request.query_string.decode("latin-1")
    path = request.environ.get("RAW_URI") or request.path + (f"?{query}" if query else "")
    if unquote(path.partition("?")[0]) != request.path:
        return str(path)
    return request.script_root + str(path)


@lru_cache(maxsize=8)
def _signatures(client: Client, secret: str) -> Signatures:
    return Signatures(client, secret)


def _answer(body: Any, status: int = 200, replayed: bool = False) -> Response:
    response = Response(msgspec.json.encode(body), status, mimetype="application/json")
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _metadata(posted: Posted) -> str | None:
    """As it is kept: its keys in one order, so that the same is the same however it was sent."""
    if posted.metadata is None:
        return None
    return msgspec.json.encode(posted.metadata, order="sorted").decode()


def _idempotency_key() -> str | None:
    """The header's value, a string of the IETF draft, in quotes or without."""
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    key = given[1:-1] if len(given) > 1 and given[0] == given[-1] == '"' else given
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise Invalid({"Idempotency-Key": "1 to 255 visible ASCII characters"})
    return key
