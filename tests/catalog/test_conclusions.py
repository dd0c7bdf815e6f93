"""The sentences and shares are of the figures, whatever they are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.catalog.conclusions import conclusion, parts
from demo.catalog.strategies import NAMES
from demo.catalog.workload import Options, Outcome

COUNTS = st.integers(0, 500)


def outcome(kind: str, **figures: Any) -> Outcome:
    reads, writes, errors = (figures.pop(name, 0) for name in ("reads", "writes", "errors"))
    names = ("database_reads", "database_writes", "stale_reads", "lost_writes")
    counts = dict.fromkeys(names, 0) | figures
    times = dict.fromkeys(("read_p50_ms", "read_p99_ms", "write_p50_ms", "write_p99_ms"), 1.0)
    all_of_them = {"operations": reads + writes + errors, "reads": reads, "writes": writes}
    return Outcome(kind, seconds=1.0, errors=errors, **all_of_them, **counts, **times)


def test_what_went_wrong_weighs_more_than_what_failed_and_that_more_than_hits() -> None:
    told = conclusion(
        [
            outcome("behind", reads=80, writes=20, from_redis=79, lost_writes=1),
            outcome("recipe", reads=80, writes=20, from_redis=79, stale_reads=2),
            outcome("aside", reads=80, writes=15, errors=5, from_redis=76),
            outcome("through", reads=80, writes=20, from_redis=60),
            outcome("none", reads=80, writes=20),
        ],
        Options(operations=100),
    )
    assert [sentence.partition(" answered")[0] for sentence in told] == [
        NAMES[kind] for kind in ("through", "none", "aside", "behind", "recipe")
    ]
    assert told[2] == (
        "Cache-aside answered 95 % of reads from Redis, 0 stale; 5 of 100 operations failed."
    )
    assert told[3].endswith("it lost 1 acknowledged writes.")


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("failure", ["none", "redis", "database", "memory", "worker"])
def test_every_stale_answer_has_its_reason(kind: str, failure: Any) -> None:
    found = outcome(kind, reads=10, from_redis=10, stale_reads=1)
    (sentence,) = conclusion([found], Options(operations=20, failure=failure))
    assert " 1 stale; 10 of 20 operations finished in 2 s. Reads were stale because " in sentence
    clean = outcome(kind, reads=20, from_redis=10)
    assert (
        "Reads were stale because"
        not in conclusion([clean], Options(operations=20, failure=failure))[0]
    )


@given(
    fresh=COUNTS,
    stale=COUNTS,
    stale_rows=COUNTS,
    loaded=COUNTS,
    kept=COUNTS,
    lost=COUNTS,
    errors=COUNTS,
)
def test_every_operation_has_one_place(
    fresh: int, stale: int, stale_rows: int, loaded: int, kept: int, lost: int, errors: int
) -> None:
    """Stale answers come from Redis, or from a database that has not been told yet."""
    found = outcome(
        "behind",
        reads=fresh + stale + stale_rows + loaded,
        writes=kept + lost,
        errors=errors,
        from_redis=fresh + stale,
        fresh=fresh,
        stale_reads=stale + stale_rows,
        lost_writes=lost,
    )
    counts = [count for _, _, count in parts(found)]
    assert counts == [fresh, loaded, kept, stale + stale_rows, lost, errors]
