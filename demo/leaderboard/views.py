"""The pages: the boards, one board, and the form that posts a score."""

import logging
import secrets
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from flask import Flask, current_app, redirect, render_template, request, url_for
from redis.exceptions import RedisError

from demo.client.memory import Memory
from demo.leaderboard import (
    api_views,
    boards,
    game_views,
    lesson_scores,
    play,
    players_views,
    reading,
    show_me,
    stream,
    stream_views,
    transfer_commands,
)
from demo.leaderboard.answers import BOARD, MAX_SCORE, Mode, Page, Period, check_player
from demo.leaderboard.board_access import (
    PLAYER_RULE,
    SAMPLE,
    PlayerName,
    Seen,
    as_sentence,
    bp,
    by_api,
    known,
    leaderboard,
    look,
    refuse_pages,
    sentence,
    submit,
    top,
)
from demo.leaderboard.making_room import MakingRoom
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.sample_boards import NAMES, SampleBoards
from demo.observe import metrics
from demo.teach import listing, sketches
from demo.teach.busy_runner import Errand
from demo.web import flash_cookie
from demo.web.errors import RedisAway
from demo.web.origin import absolute
from demo.web.services import Services, get_redis, part, services
from demo.web.simulated import MARK

STEPS = show_me.STEPS
LESSONS = {"scores": lesson_scores.EXPERIMENT}
TITLE = "Leaderboard"
# What this use case sends itself; what its scripts run is read from them.
NEEDS = "EXISTS EXPIRE UNLINK ZADD ZCARD ZRANGE ZREM ZREVRANGE"
HERE = Path(__file__).parent
log = logging.getLogger(__name__)
MAIN, SIMULATED, SIMULATED_SECONDS = "main", "simulated", 3600
REFRESH_SECONDS = 10
MORE_ROWS, LAST_ROW = 25, 1_000_000
SCORE_RULE = "A whole number within ±9\u202f007\u202f199\u202f254\u202f740\u202f991."
ROOMS = (
    api_views,
    stream_views,
    game_views,
    players_views,
)  # which add their views to the blueprint
RUNNING = [
    (Period.DAY.value, "Today"),
    (Period.WEEK.value, "This week"),
    (Period.ALL.value, "All time"),
]
__all__ = ["ROOMS", "STEPS", "TITLE", "bp", "after_busy", "card", "errands"]
bp.cli.add_command(play.command)
bp.cli.add_command(transfer_commands.group)


def init(app: Flask, services: Services) -> None:
    """Lets paths hold names of players, and has room made for new boards."""
    app.url_map.converters["player"] = PlayerName
    client, memory = services.protected_redis, part(Memory, app)
    making_room = MakingRoom(
        client,
        share=lambda: memory.share,
        board=lambda name: Leaderboard(client, name),
        told=_gone,
        kept=(MAIN,),
    )
    sample = SampleBoards(
        client,
        partial(_post_sample, app),
        lambda name: Leaderboard(client, name),
        wanted=app.config["SAMPLE_DATA"] and not app.config["SIGNING_SECRET"],
    )

    def step(token: int) -> float:
        sample.once()
        return making_room.step(token)

    services.background.elect("boards", step, lead="sampler")
    for what in ("board", "row"):
        metrics.GIVEN_UP.labels(what)  # an alert needs a sample before there is anything to tell
    app.register_blueprint(bp)


def _post_sample(app: Flask, board: str, scores: list[dict[str, Any]]) -> bool:
    """Posts made-up scores by the API, as a visitor who is simulated: no real one is counted for it."""
    key = app.config["API_KEY"]
    answer = app.test_client().post(
        f"/leaderboard/api/boards/{board}/scores:batch",
        json={"scores": scores},
        base_url=app.config["ORIGIN"] or "http://localhost",
        headers={"Authorization": f"Bearer {key}"} if key else {},
        environ_overrides={MARK: True},
    )
    return answer.status_code == 200


def _gone(dropped: int, rows: int) -> None:
    """What had to go is told."""
    log.warning("Memory is short: %d boards and %d rows of others had to go.", dropped, rows)
    metrics.GIVEN_UP.labels("board").inc(dropped)
    metrics.GIVEN_UP.labels("row").inc(rows)


def errands() -> list[Errand]:
    """What simulated visitors do: they play on a board of their own, where scores need no signature,
    and look at it."""
    path = f"/leaderboard/api/boards/{SIMULATED}"
    look = [Errand(path, 10), Errand(f"/leaderboard/boards/{SIMULATED}", 2)]
    if current_app.config["SIGNING_SECRET"]:
        return look
    key = current_app.config["API_KEY"]
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    score: dict[str, str | int] = {"player": "simulated {visitor}", "score": "{score}"}
    return [*look, Errand(f"{path}/scores", 15, body=score, headers=headers)]


def after_busy() -> None:
    """The board of simulated visitors is listed no more, and goes within an hour. Raises
    RedisError."""
    client = services().protected_redis
    pipeline = client.pipeline(transaction=False)
    for key in leaderboard(SIMULATED).all_keys(tuple(Period)):
        pipeline.expire(key, SIMULATED_SECONDS)
    pipeline.execute()
    boards.forget(client, SIMULATED)


def card(_: object) -> tuple[str, str, str]:
    """The home page's figure and picture."""
    try:
        entries = top(MAIN, Period.ALL, 0, 3).page.entries
    except RedisError:
        return "Leader", "–", ""
    return (
        "Leader",
        entries[0].player if entries else "no players yet",
        sketches.podium(len(entries)),
    )


@bp.get("/")
def index() -> Any:
    """The boards, and who leads them; with a name, the way to that board."""
    asked = request.args.get("board", "").strip()
    if BOARD.fullmatch(asked):
        return redirect(url_for("leaderboard.board", board=asked), 303)
    leads: list[boards.Lead] | None = None
    try:
        names = boards.names(get_redis())
        leads = boards.leads(
            get_redis(), [leaderboard(name) for name in dict.fromkeys([MAIN, *names])]
        )
    except RedisError as error:
        current_app.logger.debug("boards: not listed: %s", type(error).__name__)
    page = render_template(
        "leaderboard/index.html",
        leads=leads,
        main=MAIN,
        sample=NAMES,
        asked=asked[:60],
        by_api=by_api(),
        listings=[listing.of_function(boards.leads)],
    )
    return page, 422 if asked else 200


@bp.get("/boards/<board>")
def board(board: str) -> str:
    """One board: the top, around one player, and with `?from=` the ranks from there. For who has no
    live page it reloads by itself, until `?refresh=0`."""
    return _board_page(known(board), {}, {})


@bp.post("/boards/<board>/scores")
def post_score(board: str) -> Any:
    """The form that posts a score, or, with `twice`, adds it by two requests under one key."""
    name = known(board)
    refuse_pages()
    player, text = request.form.get("player", "").strip(), request.form.get("score", "").strip()
    errors = {}
    try:
        player = check_player(player)
    except ValueError as error:
        errors["player"] = as_sentence(error)
    if not (
        text.removeprefix("-").isdecimal()
        and text.isascii()
        and len(text) <= 17
        and abs(int(text)) <= MAX_SCORE
    ):
        errors["score"] = f"Score: {SCORE_RULE[0].lower()}{SCORE_RULE[1:]}"
    if errors:
        return _board_page(name, errors, {"player": player[:64], "score": text[:32]}), 422
    response = redirect(url_for("leaderboard.board", board=name, player=player), 303)
    if not request.form.get("twice"):
        done = submit(name, player, int(text), None)
        flash_cookie.put(
            response, "message", sentence(done.standings[Period.ALL], player, int(text))
        )
        return response
    key = secrets.token_hex(8)
    told: list[tuple[int, bool, str]] = []
    for _ in range(2):
        try:
            done = submit(name, player, int(text), None, mode=Mode.SUM, idempotency_key=key)
        except ValueError as error:
            return _board_page(
                name, {"score": as_sentence(error)}, {"player": player, "score": text}
            ), 422
        except RedisAway as away:
            if not told:
                raise
            told.append((503, False, str(away.description)))
        else:
            overall = done.standings[Period.ALL]
            body = {
                "best": overall.best,
                "rank": overall.rank,
                "previous_rank": overall.previous_rank,
                "total": overall.total,
            }
            told.append((201, done.replayed, msgspec.json.encode(body).decode()))
    flash_cookie.put(
        response, "twice", {"key": key, "score": int(text), "player": player, "answers": told}
    )
    return response


def _board_page(name: str, errors: dict[str, str], given: dict[str, str]) -> str:
    asked = request.args.get("period", "all")
    period = asked if asked in list(Period) or reading.PAST.fullmatch(asked) else Period.ALL.value
    player = given.get("player") or request.args.get("player", "").strip()[:64]
    first = _from(request.args.get("from", ""))
    seen: Seen | None = None
    more: Seen | None = None
    around: Page | None = None
    seasons: tuple[str, ...] = ()
    try:
        watched = player = check_player(player)
    except ValueError:
        watched = ""
    try:
        seen, found = look(name, period, watched)
        around, seasons = (found.around, found.seasons) if found else (None, ())
        more = top(name, period, first - 1, MORE_ROWS) if first else None
    except RedisError:
        current_app.logger.debug("board %s: not read yet", name)
    tabs = [*RUNNING, *((f"season:{season}", f"Season {season}") for season in seasons)]
    if period not in dict(tabs):
        tabs.append((period, period.replace(":", " ").capitalize()))
    return render_template(
        "leaderboard/board.html",
        board=name,
        period=period,
        tabs=tabs,
        seen=seen,
        around=around,
        first=first,
        more=more,
        more_rows=MORE_ROWS,
        player=player,
        watched=watched or None,
        errors=errors,
        given=given,
        made_up=name in NAMES,
        rules={"player": PLAYER_RULE, "score": SCORE_RULE},
        by_api=SAMPLE if name in NAMES else by_api(),
        twice=flash_cookie.take("twice"),
        stopped=request.args.get("refresh") == "0",
        seconds=REFRESH_SECONDS,
        address=absolute(
            url_for("leaderboard.stream", board=name, player=player or "mara"), "https://…"
        ),
        listings=[
            listing.of_file(HERE / "ranking.lua"),
            listing.of_function(Leaderboard.submit),
            listing.of_function(stream.Streams._read_what_is_due),
        ],
    )


def _from(text: str) -> int:
    """The place on the board from which more rows are asked for; 0 where none are."""
    good = text.isascii() and text.isdecimal() and len(text) <= 7
    return min(int(text), LAST_ROW) if good else 0
