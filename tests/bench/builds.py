"""This build beside an older one, and beside the stock app: the figures that the work on speed is
measured by. The older one is named by BENCH_BUILD, a commit; without it what needs one is left out.
"""

import contextlib
import http.client
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.measure import report, say
from tests.bench.pages import PAGE, serve_peers, turns
from tests.servers import REPOSITORY, until
from tests.serving import descendants, serve

SETTINGS = {
    "DEMO_PRODUCTS": "500",
    "DEMO_DB_LATENCY_MS": "0",
    "DEMO_RATE_LIMITS": "{}",
}
BARE = SETTINGS | {"DEMO_XRAY": "false"}
SCORE = """
wrk.method, wrk.body = "POST", '{"player": "mara", "score": 5}'
wrk.headers["Content-Type"] = "application/json"
"""
FLASK = "of 445 Python calls 276 are Flask’s and werkzeug’s own (sys.setprofile), and one trip."
IDLE = (
    "a round trip under gevent takes 0.2 to 0.3 ms of a cold worker (cProfile), and reports, the "
    "leader, the memory and the outbox take some three a second where it leads, else one."
)
MEMORY = "20 to 26 MB of each process are its own (smaps_rollup)."
IDLE_SECONDS, REQUESTS, STARTS = 30, 1000, 3


@dataclass
class Build:
    """gunicorn of one build, the folder of its files, and where it answers."""

    process: subprocess.Popen[bytes]
    folder: Path
    url: str

    def pids(self) -> list[int]:
        """The master and its workers."""
        mine = descendants(self.process.pid)
        told = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in mine}
        return [self.process.pid, *[pid for pid, line in told.items() if b"gunicorn" in line]]


def builds() -> None:
    """All that is compared between builds."""
    commit = os.environ.get("BENCH_BUILD")
    if not commit or not shutil.which("wrk"):
        say("\nBeside an older build: not measured, BENCH_BUILD names none, or wrk is missing.")
        return
    with _checked_out(commit) as old:
        say(f"\nThis build beside {commit[:12]}, over HTTP, requests a second:")
        _over_http(old)
        say("CPU seconds from the command to the first answer, 2 workers:")
        _both(old, _start_seconds, "start", 0.4)
        say(f"CPU seconds of workers that idle for {IDLE_SECONDS} s:")
        _both(old, _idle_seconds, "idle", 0.3, IDLE)
        for workers, most in ((2, 0.75), (8, 0.5)):
            say(
                f"Memory of master and {workers} workers after {REQUESTS} requests each, PSS in MB:"
            )
            name = f"{workers} workers"
            _both(old, lambda tree, many=workers: _memory(tree, many), name, most, MEMORY)


def _both(
    old: Path, measure: Callable[[Path], float], name: str, most: float, limit: str = ""
) -> None:
    before, now = measure(old), measure(REPOSITORY)
    say(f"  {before:.2f} then, {now:.2f} now")
    report(name, (now / before, now / before, now / before), most=most, limit=limit)


def _over_http(old: Path) -> None:
    with _run(old, BARE) as then, _run(REPOSITORY, BARE) as now:
        for name, path, goal in (
            ("the bare product page, one GET", PAGE, None),
            ("a board’s first page as JSON", "/leaderboard/api/boards/main", None),
        ):
            report(name, turns(then.url + path, now.url + path), goal)
        cookies = [_signed_in(build.url) for build in (then, now)]
        headers = [["-H", f"Cookie: {cookie}"] for cookie in cookies]
        signed = turns(then.url + PAGE, now.url + PAGE, headers[0], headers[1])
        report("the same page, signed in", signed, 2.0)
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(SCORE)
            script.flush()
            post, more = "/leaderboard/api/boards/main/scores", ["-s", script.name]
            posted = turns(then.url + post, now.url + post, more, more)
            report("a score posted", posted, 1.5, limit=FLASK)
            limits = "/rate-limit/api/hits"
            script.seek(0)
            script.write(SCORE.replace('{"player": "mara", "score": 5}', '{"identity": "me"}'))
            script.truncate()
            script.flush()
            report(
                "a hit on a limit, mostly refused",
                turns(then.url + limits, now.url + limits, more, more, refused=True),
            )


def shown() -> None:
    """The default page, with its x-ray, beside the bare one of the same build."""
    if not shutil.which("wrk"):
        return
    with serve(**BARE) as bare, serve(**SETTINGS) as full:
        say("\nThe default page over HTTP, as a fraction of the bare one:")
        report("with its x-ray", turns(bare.url + PAGE, full.url + PAGE), 0.6)


def logging_peers() -> None:
    """Peers that write an access log, as ours writes a line."""
    if not shutil.which("wrk"):
        return
    with serve(**BARE) as one, serve(DEMO_NEAR_CACHE="true", **BARE) as near:
        body = one.request(PAGE).text
        with serve_peers(one, body, log=True) as stock:
            say("\nOver HTTP, where the peers write an access log too:")
            constant, caching = stock + "/constant", stock + "/flask-caching"
            report("ours, one trip / constant", turns(constant, one.url + PAGE), 1.0)
            report("ours, one trip / Flask-Caching", turns(caching, one.url + PAGE), 1.7)
            report("ours, near cache / constant", turns(constant, near.url + PAGE), 2.0)


@contextmanager
def _checked_out(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="build-") as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(REPOSITORY), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


@contextmanager
def _run(tree: Path, settings: dict[str, str], workers: int = 2) -> Iterator[Build]:
    """gunicorn, started by its command in the folder of a build."""
    with tempfile.TemporaryDirectory(prefix="run-") as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        log = folder / "log"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DEMO_")}
        environment = (
            kept
            | settings
            | {
                "DEMO_INSTANCE_PATH": str(folder / "instance"),
                "TMPDIR": str(folder / "tmp"),
                "WEB_CONCURRENCY": str(workers),
                "REDIS_URL": "",
                "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:0",
            }
        )
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn"],
                cwd=tree,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            found = until(lambda: re.search(r"Listening at: (http://\S+)", log.read_text()), 60)
            until(lambda: _answers(found[1]), 60)
            yield Build(process, folder, found[1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _answered(url: str, path: str = PAGE, cookie: str = "") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        answer.read()
        return answer


def _answers(url: str) -> bool:
    try:
        return _answered(url, "/livez").status == 200
    except OSError:
        return False


def _signed_in(url: str) -> str:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    with contextlib.closing(connection):
        form = "name=mara&password=correct+horse"
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/sessions/login", form, kind)
        answer = connection.getresponse()
        given = answer.headers.get_all("Set-Cookie") or []
        assert answer.status == 303, answer.status
        return next(text.partition(";")[0] for text in given if "session=" in text)


def _start_seconds(tree: Path) -> float:
    """The middle of some starts: the CPU of all processes until one has answered, the engine's and
    that of processes which have ended included."""
    taken = []
    for _ in range(STARTS):
        with _run(tree, SETTINGS) as build:
            alive = [build.process.pid, *descendants(build.process.pid)]
            taken.append(sum(map(_cpu_seconds, alive)) + _reaped_seconds(build.process.pid))
    return statistics.median(taken)


def _idle_seconds(tree: Path) -> float:
    with _run(tree, SETTINGS) as build:
        for _ in range(50):
            _answered(build.url)
        time.sleep(3)
        workers = build.pids()[1:]
        before = sum(map(_cpu_seconds, workers))
        time.sleep(IDLE_SECONDS)
        return sum(map(_cpu_seconds, workers)) - before


def _memory(tree: Path, workers: int) -> float:
    with _run(tree, SETTINGS, workers) as build:
        subprocess.run(
            ["wrk", "-t1", f"-c{8 * workers}", "-d4s", build.url + PAGE],
            check=True,
            capture_output=True,
        )
        return sum(map(_pss_kb, build.pids())) / 1000


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        return sum(map(int, _stat(pid)[11:13])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _reaped_seconds(pid: int) -> float:
    """What its children took that have ended."""
    return sum(map(int, _stat(pid)[13:15])) / os.sysconf("SC_CLK_TCK")


def _pss_kb(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return float(text.split("\nPss:")[1].split()[0])
