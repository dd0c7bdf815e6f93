"""What is counted for operators, in the words of Prometheus, over all workers.

Under gunicorn every worker writes into files of one folder (PROMETHEUS_MULTIPROC_DIR, set before the workers start), so
that /metrics tells the sum whichever of them answers, and nothing is lost when a worker is recycled. Without that
variable there is one process, and it counts for itself.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, multiprocess

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
registry = CollectorRegistry()

RATE_LIMIT_DECISIONS = Counter(
    "demo_rate_limit_decisions",
    "Decisions of the rate limits, by limit and by outcome: passed, refused, blocked, would_refuse where nothing is "
    "enforced; without Redis fallback_allow, fallback_deny, fallback_local_passed, fallback_local_refused",
    ("limit", "outcome"),
    registry=registry,
)
STREAMS_OPEN = Gauge("demo_streams_open", "Viewers of live boards, now", registry=registry, multiprocess_mode="livesum")


def in_this_process(counter: Counter, **labels: str) -> int:
    """What this process has counted under these values of some labels, the others whatever they are; a value that ends in *
    stands for all that begin so."""
    wanted = {name: value.removesuffix("*") for name, value in labels.items()}
    exact = {name for name, value in labels.items() if not value.endswith("*")}
    samples = [sample for family in counter.collect() for sample in family.samples if sample.name.endswith("_total")]
    return int(
        sum(
            sample.value
            for sample in samples
            if all(
                sample.labels[name] == value if name in exact else sample.labels[name].startswith(value)
                for name, value in wanted.items()
            )
        )
    )


def exposition() -> bytes:
    """All metrics of all workers in the text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(registry)
    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together)
    return generate_latest(together)
