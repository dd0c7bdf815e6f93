"""The offline optimum: how many requests a cache could answer if it knew the future. With entries
of equal size, no other choice of keys to forget answers more requests.

On a miss with no room, forget the key that is asked for last, the newcomer included (L. A. Belady,
1966; Mattson and others proved it in 1970, for entries of equal size). A heap of next uses makes it
O(n log n); its entries from before a key was asked for again are skipped when they come up.
"""

import heapq
from collections.abc import Hashable, Sequence


def hits(trace: Sequence[Hashable], capacity: int) -> list[bool]:
    """For each request, whether it is answered from `capacity` entries of equal size. Raises
    ValueError when that is negative."""
    if capacity < 0:
        raise ValueError(f"capacity: must be 0 or more, not {capacity}")
    never = len(trace)
    next_use = _next_uses(trace)
    held: dict[Hashable, int] = {}
    farthest: list[tuple[int, int]] = []  # minus the next use, and the request that knows the key
    answered = []
    for at, key in enumerate(trace):
        answered.append(key in held)
        held.pop(key, None)
        if next_use[at] == never:
            continue  # nobody asks for it again: keeping it is of no use
        held[key] = next_use[at]
        heapq.heappush(farthest, (-next_use[at], at))
        while len(held) > capacity:
            use, known_at = heapq.heappop(farthest)
            if held.get(trace[known_at]) == -use:
                del held[trace[known_at]]
    return answered


def _next_uses(trace: Sequence[Hashable]) -> list[int]:
    found, last = [len(trace)] * len(trace), dict[Hashable, int]()
    for at in range(len(trace) - 1, -1, -1):
        found[at] = last.get(trace[at], len(trace))
        last[trace[at]] = at
    return found
