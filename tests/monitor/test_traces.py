from collections import Counter
from typing import get_args

import pytest

from demo.monitor.traces import LOOP, UNIVERSE, Kind, trace


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_same_seed_asks_the_same_and_another_one_does_not(kind: Kind) -> None:
    first, again, other = (trace(kind, 3000, 100, seed) for seed in (1, 1, 2))
    assert len(first) == 3000 and first == again != other


def test_favourites_follow_zipf() -> None:
    counts = Counter(trace("zipf", 30_000, 100, 3))
    assert max(counts) < UNIVERSE * 100
    assert 1.7 < counts[0] / counts[1] < 2.3


def test_a_loop_is_longer_than_the_room() -> None:
    asked = trace("loop", 1000, 100, 5)
    assert (
        len(set(asked)) == LOOP * 100 and asked[: LOOP * 100] == asked[LOOP * 100 : 2 * LOOP * 100]
    )


def test_a_scan_asks_once_for_keys_of_its_own_in_the_middle_third() -> None:
    asked = trace("scan", 3000, 100, 7)
    scanned = [key for key in asked if key >= UNIVERSE * 100]
    assert len(scanned) == len(set(scanned)) == 500
    assert max(asked[:1000] + asked[2000:]) < UNIVERSE * 100


def test_favourites_change_twice() -> None:
    asked = trace("shift", 9000, 100, 9)
    favourites = [
        Counter(asked[first : first + 3000]).most_common(1)[0][0] for first in (0, 3000, 6000)
    ]
    assert favourites == [0, 100, 200]
