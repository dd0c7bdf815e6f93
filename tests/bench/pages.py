"""A product page, in the process and over HTTP: ours beside a constant string, no cache, the common
recipe, Flask-Caching and dogpile.cache."""

import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import redis
from werkzeug.test import EnvironBuilder

from demo.app import close, create_app
from demo.database import sqlite_url
from demo.web.services import services
from tests.bench import peers
from tests.bench.measure import faster, on_one_core, report, say
from tests.servers import REPOSITORY, until
from tests.serving import Server, serve

PAGE = "/catalog/products/42"
GZIP = {"Accept-Encoding": "gzip"}
TRIPLES, SECONDS = 7, 1
ALONE = "the round trip, in the two rows below; the log line and the metrics come on top."
OBSERVED = "the log line, the metrics and the request id: the row below has none of them."
SERVER = "gunicorn’s own work for a request: the last row has these bytes and no app, so nothing is above it."


def in_process() -> None:
    """WSGI calls, app and Redis on one core."""
    with on_one_core() as (url, folder):
        settings = {
            "REDIS_URL": url,
            "INSTANCE_PATH": folder,
            "PRODUCTS": 500,
            "DB_LATENCY_MS": 0,
            "SECRET_KEY": "bench",
        }
        plain = create_app({**settings, "XRAY": False})
        near = create_app({**settings, "XRAY": False, "NEAR_CACHE": True})
        shown = create_app(settings)
        body = plain.test_client().get(PAGE).text
        stock = peers.make(url, sqlite_url(Path(folder)), constant=body)
        constant, caching = call(stock, "/constant"), call(stock, "/flask-caching")
        ours, held = call(plain, PAGE), call(near, PAGE)
        until(lambda: "near" in near.test_client().get(PAGE).headers["Cache-Status"])
        say(
            f"\nA product page of {len(body)} bytes in the process, as a fraction of a stock view of it as a constant:"
        )
        for name, path in (
            ("no cache: query and template", "/none"),
            ("the common recipe: JSON in Redis, template each time", "/recipe"),
            ("dogpile.cache, one worker’s lock", "/dogpile-local"),
            ("Flask-Caching", "/flask-caching"),
        ):
            report(name, faster(constant, call(stock, path)))
        names = sorted(services(plain).redis.scan_iter("*{page:42}*"))
        mget, stock_mget = (
            partial(client.mget, names * 2)  # about as many names as a page has
            for client in (services(plain).redis, redis.Redis.from_url(url))
        )
        report("ours, one trip to Redis", faster(constant, ours), 1.0, limit=ALONE)
        report("  its MGET alone", faster(constant, mget))
        report("  an MGET of redis-py’s own client", faster(constant, stock_mget))
        report("ours, near cache", faster(constant, held), 4.5, limit=OBSERVED)
        report(
            "  without log line, metrics and request id",
            faster(constant, call(services(near).before_flask, PAGE)),
        )
        report(
            "ours with the x-ray, its lessons and a visitor’s parts",
            faster(constant, call(shown, PAGE)),
            0.4,
        )
        say("In times of Flask-Caching:")
        report("ours, one trip to Redis", faster(caching, ours), 1.2)
        for app in (plain, near, shown):
            close(app)


def over_http() -> None:
    """wrk, two gevent workers, sixteen connections, in turns of a second."""
    if not shutil.which("wrk"):
        say("\nOver HTTP: not measured, wrk is not installed.")
        return
    quiet = {"DEMO_PRODUCTS": "500", "DEMO_DB_LATENCY_MS": "0", "DEMO_XRAY": "false"}
    with serve(**quiet) as one, serve(DEMO_NEAR_CACHE="true", **quiet) as near:
        body = one.request(PAGE).text
        with serve_peers(one, body) as stock:
            say("\nThe same over HTTP, requests a second as a fraction of the constant:")
            for name, url, goal in (
                ("no cache", stock + "/none", None),
                ("the common recipe", stock + "/recipe", None),
                ("Flask-Caching", stock + "/flask-caching", None),
                ("ours, one trip to Redis", one.url + PAGE, 1.0),
                ("ours, near cache", near.url + PAGE, 2.0),
                ("gunicorn alone: these bytes, and no app", stock + "/bytes", None),
            ):
                report(name, turns(stock + "/constant", url), goal, limit=SERVER)
            say("In times of Flask-Caching:")
            caching = turns(stock + "/flask-caching", one.url + PAGE)
            report("ours, one trip to Redis", caching, 1.7)


@contextmanager
def serve_peers(
    ours: Server, constant: str = "", latency_ms: int = 0, *, log: bool = False
) -> Iterator[str]:
    """The stock app under two gevent workers, on the engine and the database of a running app of
    ours; with `log` it writes an access log."""
    socket = next(ours.temporary.glob("*/redis.sock"))
    environment = {
        **os.environ,
        "BENCH_REDIS_URL": f"unix://{socket}",
        "BENCH_DATABASE_URL": sqlite_url(ours.instance),
        "BENCH_LATENCY_MS": str(latency_ms),
        "BENCH_CONSTANT": constant,
    }
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "/dev/null",
        "-k",
        "gevent",
        "-w",
        "2",
        "--no-control-socket",
    ]
    if log:
        command += ["--access-logfile", str(ours.temporary.parent / "access.log")]
    said = ours.temporary.parent / "peers.log"
    with said.open("w") as out:
        process = subprocess.Popen(
            [*command, "-b", "127.0.0.1:0", "tests.bench.peers:make()"],
            cwd=REPOSITORY,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            yield until(lambda: _address(said), 30)
        finally:
            process.terminate()
            process.wait(20)


def _address(log: Path) -> str | None:
    text = log.read_text()
    found = re.search(r"Listening at: (http://\S+)", text)
    return found[1] if found and text.count("Booting worker") == 2 else None


def turns(
    base: str,
    variant: str,
    base_more: Sequence[str] = (),
    variant_more: Sequence[str] = (),
    *,
    refused: bool = False,
) -> tuple[float, float, float]:
    """Requests a second of `variant` in times of `base`, each with what wrk is told more."""
    for url, more in ((base, base_more), (variant, variant_more)):
        wrk(url, more, refused=refused)
    ratios: list[float] = []
    for _ in range(3 * TRIPLES):
        first = wrk(base, base_more, refused=refused)
        middle = wrk(variant, variant_more, refused=refused)
        last = wrk(base, base_more, refused=refused)
        if first and abs(first - last) <= 0.15 * max(first, last):
            ratios.append(2 * middle / (first + last))
        if len(ratios) == TRIPLES:
            break
    if len(ratios) < 3:
        return float("nan"), float("nan"), float("nan")
    low, median, high = statistics.quantiles(ratios, n=4)
    return median, low, high


def wrk(url: str, more: Sequence[str] = (), *, refused: bool = False) -> float:
    """Requests a second, all of them answered with 2xx, unless they may be refused."""
    command = ["wrk", "-t1", "-c16", f"-d{SECONDS}s", "-H", "Accept-Encoding: gzip", *more, url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out and not refused:
        raise SystemExit(f"{url}: {out}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])  # type: ignore[index]


def call(app: Any, path: str) -> Callable[[], object]:
    environ = EnvironBuilder(path, headers=GZIP).get_environ()

    def run() -> object:
        answer = app(dict(environ), lambda *_: None)
        body = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        return body

    run()
    return run
