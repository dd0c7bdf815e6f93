"""The other patterns, each beside what one would write otherwise."""

from collections.abc import Callable

from flask import Flask

from demo.app import close, create_app
from demo.catalog.cached_catalog import CachedCatalog
from demo.client.wire import Client
from demo.leaderboard.ranking import Leaderboard
from demo.web.services import part
from tests.bench.measure import on_one_core, ratio, report, say
from tests.clients import connect


def patterns() -> None:
    """Time of one, in times of the other."""
    with on_one_core() as (url, folder):
        settings = {
            "REDIS_URL": url,
            "INSTANCE_PATH": folder,
            "PRODUCTS": 2000,
            "DB_LATENCY_MS": 0,
            "SECRET_KEY": "bench",
        }
        app = create_app(settings)
        client = connect(url, pool_size=4, timeout_seconds=5, open_seconds=1)
        catalog = part(CachedCatalog, app)
        hit = get(app, "/catalog/api/products/42")

        def miss() -> object:
            catalog.drop_product(42)
            return hit()

        say("\nThe patterns, time of one in times of the other:")
        report("a miss, database without latency / a hit", ratio(hit, miss))
        board = Leaderboard(client, "bench")
        for number in range(10_000):
            client.zadd("bench:usual", {f"player-{number}": number})
            if number < 2000:
                board.submit(f"player-{number}", number)
        report(
            "a submission, three periods in one script / the usual four calls",
            ratio(four_calls(client), lambda: board.submit("player-1000", 1000)),
        )
        client.close()
        close(app)


def get(app: Flask, path: str) -> Callable[[], object]:
    """A request by a visitor without cookies."""
    web = app.test_client()
    return lambda: web.get(path).get_data()


def four_calls(client: Client) -> Callable[[], object]:
    """The usual way to submit: read, write, ask for the rank, ask for the total. It is neither
    atomic nor fair to ties."""

    def submit() -> object:
        client.zscore("bench:usual", "player-5000")
        client.zadd("bench:usual", {"player-5000": 5000})
        return client.zrevrank("bench:usual", "player-5000"), client.zcard("bench:usual")

    return submit
