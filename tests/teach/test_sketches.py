import re

import pytest

from demo.teach import sketches


@pytest.mark.parametrize(
    ("good", "bad", "dots", "crosses"),
    [
        (0, 0, 0, 0),
        (1, 0, 1, 0),
        (0, 1, 0, 1),
        (1, 1, 1, 1),
        (1000, 1, 7, 1),
        (1, 1000, 1, 7),
        (6, 2, 6, 2),
        (0, 50, 0, 8),
    ],
)
def test_neither_verdict_is_rounded_away(good: int, bad: int, dots: int, crosses: int) -> None:
    drawn = sketches.verdicts(good, bad)
    assert (drawn.count("<circle"), drawn.count("<path")) == (dots, crosses)


@pytest.mark.parametrize(
    ("share", "width"), [(-1, "0.0"), (0.25, "25.0"), (1, "100.0"), (7, "100.0")]
)
def test_a_meter_is_never_wider_than_its_track(share: float, width: str) -> None:
    assert re.findall(r'width="([\d.]+)%"', sketches.meter(share)) == ["100.0", width]


@pytest.mark.parametrize(("count", "shapes"), [(0, 0), (3, 3), (900, 8)])
def test_people_are_counted_to_eight(count: int, shapes: int) -> None:
    assert sketches.people(count).count("<circle") == shapes


@pytest.mark.parametrize("places", [0, 1, 2, 3])
def test_a_podium_has_as_many_steps_as_there_are_places_taken(places: int) -> None:
    assert sketches.podium(places).count("<rect") == places


def test_a_meter_shows_the_share_in_another_colour_than_the_whole() -> None:
    assert re.findall(r'class="([\w-]+)"', sketches.meter(0.5)) == ["f-track", "f-redis"]
