"""What a run of the strategies says, in sentences that are computed from it, and what became of each
hundred operations."""

from collections.abc import Sequence

from demo.catalog import workload
from demo.catalog.strategies import NAMES
from demo.catalog.workload import Options, Outcome

# Why a strategy can serve what is stale, by what went wrong; "" whatever it was.
STALE = {
    "recipe": {"": "a slow reader put an old row back after a write had deleted the entry"},
    "aside": {
        "redis": "a write could not delete the entry while Redis was away, and reported its "
        "outcome as unknown",
    },
    "through": {
        "redis": "writes reached only the database while Redis was away; Redis came back with the "
        "old entries, which stay until they expire",
    },
    "behind": {
        "memory": "Redis lost changes that were stored nowhere else yet, so the database answered "
        "with the older rows",
    },
}
OTHERWISE = "a write was saved but the cache could not be invalidated"


def conclusion(outcomes: Sequence[Outcome], options: Options) -> list[str]:
    """A sentence or two for each strategy, the best first: what went stale or got lost weighs more
    than what failed, and that more than reads that Redis answered."""
    return [_told(outcome, options) for outcome in sorted(outcomes, key=_rank)]


def parts(outcome: Outcome) -> list[tuple[str, str, int]]:
    """What became of the operations that were begun: name, colour and number of each kind."""
    return [
        ("read from Redis", "f-redis", outcome.fresh),
        ("read from the database", "f-db", outcome.reads - outcome.fresh - outcome.stale_reads),
        ("written", "f-ok", outcome.writes - outcome.lost_writes),
        ("stale", "f-stale", outcome.stale_reads),
        ("lost", "f-ink", outcome.lost_writes),
        ("failed", "f-bad", outcome.errors),
    ]


def _rank(outcome: Outcome) -> tuple[int, float, float]:
    wrong = outcome.stale_reads + outcome.lost_writes
    return wrong, outcome.errors / max(1, outcome.operations), -_share(outcome)


def _share(outcome: Outcome) -> float:
    return outcome.from_redis / max(1, outcome.reads)


def _told(outcome: Outcome, options: Options) -> str:
    said = [
        f"{NAMES[outcome.kind]} answered {100 * _share(outcome):.0f} % of reads from Redis, "
        f"{outcome.stale_reads} stale"
    ]
    if outcome.errors:
        said.append(f"{outcome.errors} of {outcome.operations} operations failed")
    if outcome.lost_writes:
        said.append(f"it lost {outcome.lost_writes} acknowledged writes")
    if outcome.operations < options.operations:
        said.append(
            f"{outcome.operations} of {options.operations} operations finished in "
            f"{workload.SECONDS_AT_MOST:g} s"
        )
    why = ""
    if outcome.stale_reads:
        known = STALE.get(outcome.kind, {})
        why = (
            f" Reads were stale because {known.get(options.failure) or known.get('') or OTHERWISE}."
        )
    return f"{'; '.join(said)}.{why}"
