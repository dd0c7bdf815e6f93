"""Flask without the app that these come from: a cached page, a limit and a board."""

import math

import redis
from flask import Flask, Response, jsonify, request

from demo.catalog.cache_aside import Cache
from demo.leaderboard.ranking import Leaderboard
from demo.rate_limit.limiter import Quota
from demo.rate_limit.sliding_window import SlidingWindowLog


def create_app(client: redis.Redis) -> Flask:
    """An app on a client of bytes."""
    app = Flask(__name__)
    cache: Cache[dict[str, int]] = Cache(client, "square", dict[str, int], ttl_seconds=60)
    limiter = SlidingWindowLog(client, "scores", Quota(3, 60))
    board = Leaderboard(client, "main")

    @cache.cached(key=lambda number: str(number))
    def square(number: int) -> dict[str, int]:
        return {"square": number * number}

    @app.get("/squares/<int:number>")
    def show(number: int) -> Response:
        return jsonify(square(number))

    @app.post("/scores")
    def score() -> Response | tuple[Response, int] | tuple[Response, int, dict[str, str]]:
        decision = limiter.hit(request.remote_addr or "unknown")
        if not decision.allowed:
            wait = str(max(1, math.ceil(decision.retry_after_seconds)))
            return jsonify(error="too many"), 429, {"Retry-After": wait}
        sent = request.get_json()
        try:
            done = board.submit(sent.get("player"), sent.get("score"))
        except ValueError as error:  # it names what is wrong
            return jsonify(error=str(error)), 422
        return jsonify(rank=done.standings["day"].rank)  # type: ignore[index]

    return app
