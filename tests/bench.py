"""`make bench`: each thing beside a neighbour, in turns, in one run. Only the ratios mean something: machines drift."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask

from demo import engine
from demo.app import create_app
from demo.leaderboard.ranking import Leaderboard
from demo.pool import Client, connect
from demo.rate_limit.sliding_window import Quota, SlidingWindowLog

ROUNDS, CALLS = 25, 60


def ratio(base: Callable[[], object], variant: Callable[[], object]) -> tuple[float, float, float]:
    """How long `variant` takes, in times of `base`: base, variant, base in turns; median, p25 and p75 of the pairs."""
    ratios = []
    for _ in range(ROUNDS):
        first, middle, last = _slice(base), _slice(variant), _slice(base)
        ratios.append(2 * middle / (first + last))
    low, median, high = statistics.quantiles(ratios, n=4)
    return median, low, high


def _slice(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return time.perf_counter() - began


def calibrate() -> float:
    """A fixed loop, before and after: when it drifted, so did everything."""
    began = time.perf_counter()
    sum(number * number for number in range(500_000))
    return (time.perf_counter() - began) * 1000


def get(app: Flask, path: str) -> Callable[[], object]:
    web = app.test_client()
    return lambda: web.get(path).get_data()


def report(name: str, figures: tuple[float, float, float]) -> None:
    median, low, high = figures
    print(f"  {name:<62} {median:6.2f} ×   ({low:.2f} to {high:.2f})", flush=True)


def four_calls(client: Client) -> Callable[[], object]:
    """The usual way to submit: read, write, ask for the rank, ask for the total. It is neither atomic nor fair to ties."""

    def submit() -> object:
        client.zscore("bench:usual", "player-5000")
        client.zadd("bench:usual", {"player-5000": 5000})
        return client.zrevrank("bench:usual", "player-5000"), client.zcard("bench:usual")

    return submit


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        instance = Path(folder)
        url = engine.start(instance, keep=False)
        settings = {"REDIS_URL": url, "INSTANCE_PATH": folder, "PRODUCTS": 2000, "DB_LATENCY_MS": 0, "SECRET_KEY": "bench"}
        app = create_app(settings)
        plain = create_app({**settings, "XRAY": False})
        client = connect(url, pool_size=4, timeout_seconds=5, open_seconds=1)

        @app.get("/constant")
        def constant() -> str:
            return "constant"

        print(f"A fixed loop: {calibrate():.1f} ms")
        print("Time of one, in times of the other (median, quartiles):")
        report(
            "a cached product as JSON / a constant view", ratio(get(app, "/constant"), get(app, "/catalog/api/products/42"))
        )

        shelf = app.extensions["shelf"]

        def miss() -> object:
            shelf.pages.invalidate("42")
            return get(app, "/catalog/api/products/42")()

        report("a miss, database without latency / a hit", ratio(get(app, "/catalog/api/products/42"), miss))
        page = "/catalog/products/42"
        report("a product page with the x-ray / without", ratio(get(plain, page), get(app, page)))
        client.set("bench:get", "x" * 100)
        limiter = SlidingWindowLog(client, "bench", Quota(100, 0.05))
        report("a rate-limit check / a GET", ratio(lambda: client.get("bench:get"), lambda: limiter.hit("me")))
        board = Leaderboard(client, "bench")
        for number in range(10_000):
            client.zadd("bench:usual", {f"player-{number}": number})
            if number < 2000:
                board.submit(f"player-{number}", number)
        report(
            "a submission, three periods in one script / the usual four calls",
            ratio(four_calls(client), lambda: board.submit("player-1000", 1000)),
        )
        print(f"The fixed loop again: {calibrate():.1f} ms")
        client.close()
        engine.release(instance, wait_seconds=5)


if __name__ == "__main__":
    main()
