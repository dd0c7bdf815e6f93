"""The pages: the boards, one board, and the form that posts a score."""

import math
from pathlib import Path
from typing import Any

from flask import current_app, redirect, render_template, request, url_for
from redis.exceptions import RedisError

from demo import oneshot, source
from demo.leaderboard import api_views, boards, play, reading, stream_views
from demo.leaderboard.answers import MAX_SCORE, Page, Period, Standing, check_player
from demo.leaderboard.common_views import Seen, bp, known, leaderboard, submit, top
from demo.leaderboard.ranking import Leaderboard
from demo.pool import get_redis

TITLE = "Leaderboard"
HERE = Path(__file__).parent
MAIN = "main"
ROOMS = (api_views, stream_views)  # which add their views to the blueprint
__all__ = ["ROOMS", "TITLE", "bp", "card"]
bp.cli.add_command(play.command)


def card() -> tuple[str, str]:
    """The home page's figure."""
    try:
        seen = top(MAIN, Period.ALL, 0, 1)
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
    return _board_page(known(board), {}, {})


@bp.post("/boards/<board>/scores")
def post_score(board: str) -> Any:
    """The form that posts a score."""
    name = known(board)
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
    done = submit(name, player, int(text), None)
    response = redirect(url_for("leaderboard.board", board=name, player=player), 303)
    oneshot.put(response, "message", _sentence(done.standings[Period.ALL], player))
    return response


def _board_page(name: str, errors: dict[str, str], given: dict[str, str]) -> str:
    asked = request.args.get("period", "all")
    period = asked if asked in list(Period) or reading.PAST.fullmatch(asked) else Period.ALL
    player = given.get("player") or request.args.get("player", "")[:64]
    seen: Seen | None = None
    around: Page | None = None
    try:
        seen = top(name, period, 0, api_views.ROWS)
        check_player(player)
        around = leaderboard(name).around(player, 3, period) if not seen.stale else None
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


def _sentence(standing: Standing, player: str) -> str:
    if not standing.is_best:
        return f"{player} stays at rank {standing.rank}: {standing.best} was better."
    if not standing.previous_rank:
        return f"{player}: rank {standing.rank}, a new player, of {standing.total}."
    share = max(1, math.ceil(100 * standing.rank / standing.total))
    return f"{player}: rank {standing.previous_rank} → {standing.rank} of {standing.total}, new best, top {share}\u202f%."
