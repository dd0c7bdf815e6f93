"""A batch is bounded, whatever comes, and what it leaves out is counted."""

import pytest

from demo.analytics import batch
from demo.analytics.batch import Batch


def test_it_counts() -> None:
    made = Batch()
    made.note("page", "mara", "42")
    made.note("page", "mara")
    made.note("other", "noor", "42")
    assert (dict(made.views), dict(made.products), made.visitors) == (
        {"page": 2, "other": 1},
        {"42": 2},
        {"mara", "noor"},
    )
    assert (made.size, made.left_out) == (3, 0)


@pytest.mark.parametrize(
    ("bound", "place"), [("MAX_NAMES", 0), ("MAX_VISITORS", 1), ("MAX_PRODUCTS", 2)]
)
def test_what_would_grow_past_a_bound_is_left_out_whole(
    monkeypatch: pytest.MonkeyPatch, bound: str, place: int
) -> None:
    monkeypatch.setattr(batch, bound, 10)
    made = Batch()
    for number in range(25):
        words = ["page", "mara", "42"]
        words[place] = str(number)
        made.note(*words)
    made.note(
        *[word if i != place else "3" for i, word in enumerate(["page", "mara", "42"])]
    )  # which it knows
    assert (made.size, made.left_out) == (11, 15)
    assert made.views.total() == made.products.total()
    assert len([made.views, made.visitors, made.products][place]) == 10
