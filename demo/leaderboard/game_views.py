"""The game of ten seconds: a page, its start, and the answer that counts."""

from typing import Any

from flask import current_app, redirect, render_template, request, url_for
from redis.exceptions import RedisError

from demo.leaderboard import game
from demo.leaderboard.answers import Conflict, Period, check_player
from demo.leaderboard.board_access import (
    PLAYER_RULE,
    as_sentence,
    bp,
    by_api,
    known,
    refuse_pages,
    sentence,
    submit,
)
from demo.teach import listing
from demo.web import flash_cookie
from demo.web.errors import RedisAway
from demo.web.services import get_redis


@bp.get("/boards/<board>/game")
def play_game(board: str) -> Any:
    """What is to be typed, with a ticket; without one what the game is."""
    name, ticket = known(board), request.args.get("ticket", "") if not by_api() else ""
    try:
        return _page(name, game.read(_secret(), name, ticket) if ticket else None)
    except game.Refused as error:
        return _page(name, None, str(error)), 422


@bp.post("/boards/<board>/game")
def start_game(board: str) -> Any:
    """Hands out a ticket; its time is Redis'."""
    name, player = known(board), request.form.get("player", "").strip()
    refuse_pages()
    try:
        check_player(player)
    except ValueError as error:
        return _page(name, None, player_error=as_sentence(error)), 422
    ticket = game.start(_secret(), name, _now_ms()).ticket
    return redirect(url_for("leaderboard.play_game", board=name, ticket=ticket, player=player), 303)


@bp.post("/boards/<board>/game/answer")
def answer_game(board: str) -> Any:
    """Judges what was typed, and submits what it is worth under the ticket's number: once."""
    name, player = known(board), request.form.get("player", "").strip()
    refuse_pages()
    try:
        check_player(player)
        played = game.read(_secret(), name, request.form.get("ticket", ""))
        result = game.judge(played, request.form.get("typed", ""), _now_ms())
        done = submit(name, player, result.score, None, idempotency_key=f"game-{played.number}")
    except game.Refused as error:
        return _page(name, None, str(error)), 422
    except Conflict:
        return _page(
            name,
            None,
            "This ticket has already been used for other words. Nothing more "
            "was counted. Start a new game.",
        ), 422
    except ValueError as error:
        return _page(name, None, player_error=as_sentence(error)), 422
    response = redirect(url_for("leaderboard.board", board=name, player=player), 303)
    told = f"{result.characters} characters in {result.seconds:.1f} s, {result.score} points. "
    flash_cookie.put(
        response, "message", told + sentence(done.standings[Period.ALL], player, result.score)
    )
    return response


def _secret() -> str:
    return str(current_app.secret_key)


def _now_ms() -> int:
    try:
        seconds, microseconds = get_redis().time()
    except RedisError as error:
        raise RedisAway(error) from None
    return int(seconds) * 1000 + int(microseconds) // 1000


def _page(name: str, played: game.Round | None, refused: str = "", player_error: str = "") -> str:
    return render_template(
        "leaderboard/game.html",
        board=name,
        played=played,
        player=request.values.get("player", "")[:64],
        refused=refused,
        by_api=by_api(),
        rule=PLAYER_RULE,
        player_error=player_error,
        game=game,
        listings=[listing.of_function(game.start), listing.of_function(game.judge)],
    )
