from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.monitor import belady


def best(trace: list[int], capacity: int) -> int:
    """The most hits of all ways to forget, each tried."""

    @cache
    def from_here(at: int, held: frozenset[int]) -> int:
        if at == len(trace):
            return 0
        key = trace[at]
        if key in held:
            return 1 + from_here(at + 1, held)
        grown = held | {key}
        if len(grown) <= capacity:
            return from_here(at + 1, grown)
        return max(from_here(at + 1, grown - {gone}) for gone in grown)

    return from_here(0, frozenset())


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(0, 4))
def test_it_is_the_best_of_all_ways_to_forget(trace: list[int], capacity: int) -> None:
    assert sum(belady.hits(trace, capacity)) == best(trace, capacity)


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 9))
def test_more_room_is_never_worse_and_nothing_is_answered_before_it_was_asked(
    trace: list[int], capacity: int
) -> None:
    few, more = belady.hits(trace, capacity), belady.hits(trace, capacity + 1)
    assert sum(few) <= sum(more) <= len(trace) - len(set(trace))
    assert not any(hit for at, hit in enumerate(more) if trace[at] not in trace[:at])


def test_a_negative_room_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity"):
        belady.hits([1], -1)
