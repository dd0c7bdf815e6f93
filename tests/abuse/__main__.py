"""`python -m tests.abuse [CASE …] [--seconds N] [--short] [--worker gevent|gthread]`.

For each case: the app under gunicorn on its embedded engine, a visitor who has signed in, then
strangers from other addresses at a bounded rate. Printed is what the visitor met before and
meanwhile, how full the engine was at most, and what was left over. It runs in real time; what it
starts, it ends. It fails where the visitor was refused, the engine was more than 90 % full, or something is
left.
"""

import argparse
import json
import subprocess
import sys
import threading
from collections import Counter

import redis

from tests.abuse.cases import CASES, Case, run
from tests.abuse.innocent import Innocent, Met
from tests.servers import until
from tests.serving import GTHREAD, Server, serve

BEFORE_SECONDS, SHORT_SECONDS = 6.0, 4.0
MOST_SHARE = 0.9
SETTINGS = {
    "REDIS_URL": "",
    "DEMO_PRODUCTS": "200",
    "DEMO_DB_LATENCY_MS": "20",
    "DEMO_TRUSTED_PROXIES": "1",
}


def strangers(place: str, case: Case, seconds: float) -> "subprocess.Popen[str]":
    """In a process of their own, so that they share no interpreter with the visitor."""
    command = [sys.executable, "-m", "tests.abuse", "--as-strangers", place, case.name]
    return subprocess.Popen(
        [*command, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True
    )


class Fullest:
    """How full the engine was at most."""

    def __init__(self, server: Server) -> None:
        self.share, self._stop = 0.0, threading.Event()
        (run_file,) = server.instance.glob("engine/run")
        self._client = redis.Redis(unix_socket_path=f"{run_file.read_text()}/redis.sock")
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            told = self._client.info("memory")
            self.share = max(self.share, told["used_memory"] / told["maxmemory"])

    def end(self) -> float:
        """What was found."""
        self._stop.set()
        self._thread.join(5)
        self._client.close()
        return self.share


def trial(case: Case, seconds: float, arguments: str, *, short: bool) -> bool:
    """One case; whether the visitor noticed little enough. In a `short` one only an error counts, as
    it is run where other work may make anything late."""
    with serve(workers=2, arguments=arguments, **{**SETTINGS, **(case.settings or {})}) as server:
        visitor = Innocent(server.url)
        visitor.visit(1.0)
        before = visitor.visit(seconds / 2 if short else BEFORE_SECONDS)
        fullest = Fullest(server)
        others = strangers(server.url.removeprefix("http://"), case, seconds)
        try:
            meanwhile = visitor.visit(seconds)
        finally:
            told, _ = others.communicate(timeout=60)
        share = fullest.end()
        until(lambda: server.request("/readyz").status == 200, 30)
        # gevent's own word of a fork that is followed by exec is none: nobody meets it
        before_each = zip(["", *server.lines], server.lines, strict=False)
        lines = [
            line
            for before_it, line in before_each
            if "Traceback" in line and "_ForkHooks.after_fork_in_child" not in before_it
        ]
    # That no process and no folder is left is what `serve` ends with.
    wrong = meanwhile.errors() if short else meanwhile.wrong()
    fine = not wrong and share < MOST_SHARE and not lines
    print(f"{case.name}: {'fine' if fine else 'NOT FINE'}; strangers were answered {told.strip()}")
    for part in ("page", "score", "sign-in"):
        print(f"  {part:8} {_line(before, part)} before, {_line(meanwhile, part)} meanwhile")
    print(
        f"  engine {100 * share:.0f} % full at most; tracebacks {len(lines)}",
        flush=True,
    )
    return fine


def _line(met: Met, part: str) -> str:
    statuses = met.statuses.get(part, Counter())
    told = " ".join(f"{status or 'none'}:{count}" for status, count in sorted(statuses.items()))
    return f"{told or 'none'} p95 {met.p95_ms(part):.0f} ms"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("cases", nargs="*", choices=[*(case.name for case in CASES), []])
    asked.add_argument("--seconds", type=float, default=15.0)
    asked.add_argument("--short", action="store_true", help="4 s each; only errors fail")
    asked.add_argument("--worker", choices=("gevent", "gthread"), default="gevent")
    asked.add_argument("--as-strangers", default="", help=argparse.SUPPRESS)
    options = asked.parse_args()
    chosen = [
        case for case in CASES if case.name in (options.cases or [each.name for each in CASES])
    ]
    if options.as_strangers:
        told = run(options.as_strangers, chosen[0], options.seconds)
        print(json.dumps({str(status): count for status, count in sorted(told.items())}))
        return
    arguments = GTHREAD if options.worker == "gthread" else ""
    seconds = SHORT_SECONDS if options.short else options.seconds
    results = [trial(case, seconds, arguments, short=options.short) for case in chosen]
    sys.exit(0 if all(results) else 1)


main()
