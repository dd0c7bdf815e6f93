"""What happens when memory is full? Every eviction policy on one trace, with sessions in the same
Redis, on engines of the run's own, and the offline optimum beside them."""

from contextlib import suppress

import msgspec
from werkzeug.exceptions import ServiceUnavailable

from demo.client import folders
from demo.monitor import own_engine
from demo.monitor.eviction import Options, Outcome, Result
from demo.monitor.eviction_runner import Task
from demo.teach.experiments import Bench, Experiment, Found, Row

REQUESTS, MEMORY_KB, BATCH = 280, 512, 10
SESSIONS, VALUE_BYTES = 20, 4000
SECONDS, LONGEST_SECONDS = 2.5, 5.0


def outcome() -> Outcome:
    """A small run in a process of its own. Raises ServiceUnavailable."""
    binary = own_engine.binary(
        "No engine is installed here, and an engine that is used cannot be filled."
    )
    last = b""
    with folders.scratch("eviction") as folder:
        task = Task(
            binary,
            str(folder),
            Options(),
            SECONDS,
            LONGEST_SECONDS,
            batch=BATCH,
            sessions=SESSIONS,
            value_bytes=VALUE_BYTES,
            requests=REQUESTS,
            memory_kb=MEMORY_KB,
        )
        with (
            suppress(OSError),
            own_engine.told("demo.monitor.eviction_runner", task) as lines,
        ):
            for line in lines:
                last = line
    if not last:
        raise ServiceUnavailable("The run could not be finished.")
    return msgspec.json.decode(last, type=Outcome)


def measure(bench: Bench) -> Found:
    """What each policy answered, forgot and refused."""
    done = bench.part("The policies", outcome)
    if done is None or not done.results:
        return Found()
    rows = [_row(result) for result in sorted(done.results, key=_rank)]
    asked = done.results[0].asked
    optimum = 100 * done.optimum_hits / max(1, asked)
    rows.append(Row("Offline optimum", [optimum, None, None]))
    counts: dict[str, float] = {"requests": asked, "optimum": optimum}
    for result in done.results:
        counts[f"gone {result.policy}"] = SESSIONS - result.sessions
        counts[f"refused {result.policy}"] = result.refused
    return Found(rows, counts, engine=done.engine)


def _rank(result: Result) -> tuple[bool, int]:
    """Who lost nothing comes first, then who answered most."""
    return result.sessions < SESSIONS or result.refused > 0, -result.hits


def _row(result: Result) -> Row:
    share = 100 * result.hits / max(1, result.asked)
    return Row(result.policy, [share, SESSIONS - result.sessions, result.refused])


def verdict(found: Found) -> str:
    """Which policy lost no session and refused no write."""
    well = [row.name for row in found.rows if row.values[1] == 0 and row.values[2] == 0]
    if not found.rows:
        return ""
    return {"allkeys-lru": "lru", "noeviction": "noeviction", "volatile-ttl": "ttl"}.get(
        well[0] if well else "", "none"
    )


def tell(found: Found) -> str:
    """The cost of each."""
    if not found.rows:
        return ""
    *policies, _ = found.rows
    cost = "; ".join(
        f"{row.name} answered {row.values[0]:.0f} %, signed out {row.values[1]:.0f} of {SESSIONS}, refused "
        f"{row.values[2]:.0f} writes"
        for row in policies
        if row.name in ("volatile-ttl", "allkeys-lru", "noeviction")
    )
    return f"{cost}. No policy could have answered more than {found.counts['optimum']:.0f} %."


EXPERIMENT = Experiment(
    measure, verdict, tell, ("Answered %", "Sessions lost", "Writes refused"), drawn=0
)
