"""Request traces with a seed. With the same seed, every policy and the offline optimum get the same
keys in the same order.

Popularity follows Zipf's law (the key of rank r is asked for in proportion to 1 / r), as Breslau
and others measured on web caches in 1999. A loop and a scan are the classic enemies of least
recently used; favourites that change are those of least frequently used.
"""

import itertools
import random
from typing import Literal

Kind = Literal["zipf", "scan", "loop", "shift"]
UNIVERSE = 10  # times the room: the keys there are
LOOP = 2  # times the room: a loop that does not fit
PHASES = 3


def trace(kind: Kind, requests: int, room: int, seed: int) -> list[int]:
    """`requests` numbers of keys for a memory of about `room` entries.

    - zipf: the same favourites all the time;
    - scan: zipf, but in the middle third every other request is for a key that nobody asks for
      again;
    - loop: one key after the other, over and over, twice as many as there is room for; the seed is
      where it begins;
    - shift: zipf, with other favourites in each third.
    """
    chance = random.Random(seed)
    if kind == "loop":
        length = LOOP * room
        start = chance.randrange(length)
        return [(start + number) % length for number in range(requests)]
    universe = UNIVERSE * room
    weights = list(itertools.accumulate(1 / rank for rank in range(1, universe + 1)))
    keys = chance.choices(range(universe), cum_weights=weights, k=requests)
    third = max(1, -(-requests // PHASES))
    if kind == "scan":
        once = itertools.count(universe)
        return [next(once) if at // third == 1 and at % 2 else key for at, key in enumerate(keys)]
    if kind == "shift":
        return [(key + at // third * room) % universe for at, key in enumerate(keys)]
    return keys
