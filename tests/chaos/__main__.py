"""`python -m tests.chaos [sentinel|cluster|slow|full|restart …] [--rounds N] [--binary PATH]`.

For each fault of the kinds named, of all if none is, and each round: a topology of its own on
loopback, the app under gunicorn with two workers, light mixed load, the fault, its end, and what was
lost, counted twice, stale or revived. `--must N` has a primary take writes only while N replicas
follow. It runs in real time, as load and failovers do, and is no test. Bounded; what it starts, it
ends.
"""

import argparse
import contextlib
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.load import Load
from tests.chaos.proxy import Habits, between
from tests.chaos.report import FINE, Round, tell
from tests.chaos.servers import given, promotions
from tests.servers import until
from tests.serving import serve

KINDS = ("sentinel", "cluster", "slow", "full", "restart")
BEFORE_SECONDS, BACK_SECONDS = 3.0, 20.0
SETTINGS = {
    "DEMO_PRODUCTS": "200",
    "DEMO_DB_LATENCY_MS": "0",
    "DEMO_RATE_LIMITS": "{}",
    "DEMO_XRAY": "false",
}
TOLD = re.compile(r"(Redis has another primary.*|.*Traceback.*)")


def trial(fault: Fault, number: int, binary: str | None, must: int) -> Round:
    """One round of one fault."""
    topology = fault.kind if fault.kind in ("sentinel", "cluster") else "standalone"
    with contextlib.ExitStack() as stack:
        there = stack.enter_context(given(topology, binary, must=must))
        habits, url = Habits(), there.url
        if fault.habits:
            port = stack.enter_context(between(there.nodes[0].port, habits))
            url = f"redis://127.0.0.1:{port}"
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-"))
        server = stack.enter_context(
            serve(workers=2, instance=Path(folder) / "instance", REDIS_URL=url, **SETTINGS)
        )
        until(lambda: server.request("/readyz").status == 200, 30)
        promoted = stack.enter_context(promotions(there.nodes))
        load = Load(server.url)
        load.start()
        time.sleep(BEFORE_SECONDS)
        at = time.monotonic()
        if fault.habits:
            vars(habits).update(vars(fault.habits))
        fault.does(there)
        time.sleep(max(0.0, fault.seconds - (time.monotonic() - at)))
        vars(habits).update(vars(Habits()))
        fault.mends(there)
        mended = time.monotonic()
        until(lambda: _is_well(load, mended), BACK_SECONDS)
        back = time.monotonic() - mended
        time.sleep(1.0)
        load.stop()
        until(lambda: server.request("/readyz").status == 200, 30)
        found = load.audit()
        lines = [f"log: {match[1]}" for line in server.lines if (match := TOLD.search(line))]
        title = f"{fault.kind}: {fault.name}, round {number}, well {back:.1f} s after its end"
        return tell(title, load.told, at, found, lines, promoted)


def _is_well(load: Load, since: float) -> bool:
    """Whether each part has been answered well, and nothing else, for half a second."""
    last = [
        seen for seen in load.told.seen[-200:] if seen.began >= max(since, time.monotonic() - 0.5)
    ]
    parts = {seen.part for seen in last if seen.status in FINE}
    return {"page", "price", "cart", "score", "limit"} <= parts and all(
        seen.status in FINE for seen in last
    )


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("kinds", nargs="*", choices=[*KINDS, []])
    asked.add_argument("--rounds", type=int, default=1)
    asked.add_argument("--binary")
    asked.add_argument("--must", type=int, default=0)
    asked.add_argument("--only", default="", help="faults whose name contains this")
    options = asked.parse_args()
    failed = 0
    for fault in FAULTS:
        if fault.kind in (options.kinds or KINDS) and options.only in fault.name:
            for number in range(1, options.rounds + 1):
                told = trial(fault, number, options.binary, options.must)
                failed += told.errors
                print(told, flush=True)
    sys.exit(1 if failed else 0)


main()
