"""Made-up players for a board that has too few to look at: one request that posts many scores."""

import random

from flask import url_for
from werkzeug import Response
from werkzeug.utils import redirect

from demo.leaderboard import play
from demo.leaderboard.answers import Post
from demo.leaderboard.board_access import bp, known, refuse_pages, submit_many
from demo.web import flash_cookie

PLAYERS = 20
BOT = "bot-"  # what their names begin with


@bp.post("/boards/<board>/players")
def add_players(board: str) -> Response:
    """Adds PLAYERS of them, with a score each."""
    name = known(board)
    refuse_pages()
    submit_many(name, made_up(PLAYERS, random.Random()), None, b"", b"")
    response = redirect(url_for("leaderboard.board", board=name), 303)
    told = f"{PLAYERS} made-up players were added. Their names begin with {BOT}"
    flash_cookie.put(response, "message", told)
    return response


def made_up(count: int, dice: random.Random) -> list[Post]:
    """So many of them, each with a name of its own."""
    numbers = dice.sample(range(100, 10_000), count)
    return [
        Post(f"{BOT}{dice.choice(play.FIRST)}-{number}", int(dice.lognormvariate(8, 0.8)))
        for number in numbers
    ]
