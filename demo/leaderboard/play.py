"""`flask --app wsgi play`: many simulated players who post scores over HTTP, as programs do."""

import http.client
import json
import os
import random
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

HERE = Path(__file__).resolve().parent
ADDRESS = "address"  # a file in the instance folder, which the server writes
FIRST = [
    "ada",
    "bo",
    "cleo",
    "dag",
    "eva",
    "finn",
    "gus",
    "hana",
    "ivo",
    "jun",
    "kaya",
    "lars",
    "mara",
    "noor",
    "omar",
    "pia",
    "quin",
    "rosa",
    "sven",
    "tara",
    "uma",
    "vito",
    "wim",
    "yuki",
    "zoe",
]


def post(url: str, body: dict[str, Any]) -> int:
    """Posts one score and returns the status; waits as long as a 429 or 503 asks for, ten times at
    most."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    for _ in range(10):
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503):
                return error.code
            time.sleep(float(error.headers.get("Retry-After", "1")))
    return 429


def running() -> str:
    """Where the app answers that was started last with this instance folder; else where it would by
    default."""
    folder = os.environ.get("DEMO_INSTANCE_PATH") or HERE.parent.parent / "instance"
    try:
        return (Path(folder) / ADDRESS).read_text().strip()
    except OSError:
        return f"http://127.0.0.1:{os.environ.get('PORT') or 8000}"


@click.command("play")
@click.option("--players", type=click.IntRange(1, 1_000_000), default=200, show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 10_000),
    default=None,
    help="maximum posts per second; unlimited by default",
)
@click.option("--board", default="main", show_default=True)
@click.option("--url", default=None, help="address of the app; by default the one that runs here")
@click.option(
    "--seed",
    type=int,
    default=None,
    help="seed of the random scores: the same seed posts the same scores",
)
def command(
    players: int, rate: float | None, board: str, url: str | None, seed: int | None
) -> None:
    """Post one score for each simulated player."""
    url = url or running()
    dice = random.Random(seed)
    bodies = [
        {"player": f"{dice.choice(FIRST)}-{number}", "score": int(dice.lognormvariate(8, 0.8))}
        for number in range(1, players + 1)
    ]
    target = f"{url.rstrip('/')}/leaderboard/api/boards/{board}/scores"
    began = time.monotonic()

    def post_in_time(number: int) -> int:
        if rate:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        return post(target, bodies[number])

    try:
        with (
            ThreadPoolExecutor(8) as pool,
            click.progressbar(length=players, label="Players") as bar,
        ):
            statuses = []
            for status in pool.map(post_in_time, range(players)):
                statuses.append(status)
                bar.update(1)
    except OSError as error:
        raise click.ClickException(
            f"{url} does not answer ({error}). Is the app running?"
        ) from None
    except (ValueError, http.client.HTTPException) as error:
        raise click.ClickException(f"{target} is not a valid address ({error}).") from None
    done = statuses.count(201)
    click.echo(f"{done} of {players} scores posted to {url}/leaderboard/boards/{board}")
    if done < players:
        raise click.ClickException(f"other status codes: {sorted(set(statuses) - {201})}")
