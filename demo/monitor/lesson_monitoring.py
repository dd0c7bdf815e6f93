"""How do you monitor a cache? Each figure provoked on an engine of the run's own, and read back."""

import msgspec
from werkzeug.exceptions import ServiceUnavailable

from demo.client import folders
from demo.monitor import own_engine
from demo.monitor.monitoring_runner import TOUCHED, Task, Told
from demo.teach.experiments import Bench, Experiment, Found, Row

touched = TOUCHED


def measure(bench: Bench) -> Found:
    """Everything, where an engine can be started."""
    told = bench.part("The figures", provoked)
    if told is None:
        return Found()
    rows = [
        Row(
            "Hit ratio of the cache, %",
            [told.own_ratio, "hits / (hits + misses) of the application"],
        ),
        Row(
            "Hit ratio of the server, %", [told.server_ratio, "INFO: keyspace_hits, of all clients"]
        ),
        Row("Evicted keys", [told.evicted, "INFO stats: memory was full"]),
        Row("Expired keys", [told.expired, "INFO stats: a TTL had passed"]),
        Row("Memory used, MB", [told.memory_bytes / 2**20, "INFO memory, beside maxmemory"]),
        Row("Slowest command, ms", [told.slow_ms, "SLOWLOG GET: a script that counted"]),
        Row("p95 of a read, ms", [told.p95_ms, "the client’s clock, network included"]),
    ]
    counts = {
        "own": told.own_ratio,
        "server": told.server_ratio,
        "evicted": told.evicted,
        "expired": told.expired,
        "slow_ms": told.slow_ms,
    }
    return Found(rows, counts, engine=told.engine)


def provoked() -> Told:
    """In a process of its own. Raises ServiceUnavailable."""
    binary = own_engine.binary(
        "No engine is installed here, and figures of a shared one are not this run’s."
    )
    with folders.scratch("monitoring") as folder:
        try:
            task = Task(binary, str(folder), touched)
            with own_engine.told("demo.monitor.monitoring_runner", task) as lines:
                return msgspec.json.decode(lines.readline(), type=Told)
        except (OSError, msgspec.MsgspecError):
            raise ServiceUnavailable("The run could not be finished.") from None


def verdict(found: Found) -> str:
    """The server's ratio beside the cache's own."""
    if not found.has("own", "server"):
        return ""
    own, server = found.counts["own"], found.counts["server"]
    return "same" if abs(own - server) < 1 else "lower" if server < own else "higher"


def tell(found: Found) -> str:
    """Both ratios, then what was provoked."""
    if not found.has("own", "server"):
        return ""
    counts = found.counts
    return (
        f"The cache answered {counts['own']:.0f} % of its reads; INFO says {counts['server']:.0f} %, as it "
        f"counts every client’s look-ups. {counts['evicted']:.0f} keys were evicted, {counts['expired']:.0f} "
        f"expired, and the slow log holds a command of {counts['slow_ms']:.0f} ms."
    )


EXPERIMENT = Experiment(measure, verdict, tell, ("Measured", "Where to find it"))
