"""What is in memory, by SCAN and MEMORY USAGE: keys and bytes by use case. A survey names the
biggest keys and the keys that never expire.

A look at all keys can take minutes. A survey ends when its time is over, or when it has seen about
MOST keys. A survey looks at the time after each SCAN, so it ends in time even if SCAN finds no key.
However many keys there are, a survey sends at most MOST / BATCH pipelines that ask for sizes. SCAN
walks through the table by hash, and hashes are as good as chance. The keys that a survey has seen
are a random sample, so sums are scaled up, with twice their standard error beside them. (Sampling
without replacement: W. Cochran, Sampling Techniques, 1977.)

MEMORY USAGE itself is an estimate, even when every key was seen. It leaves out the entry of an
expiry and the table's own slots, and estimates a large key from some of its parts. So the sum is
compared with what the server uses beyond its start. The true size is at least the measured size.
The true size is at most what the server has taken since its start, times the part that the measured
size has in the sum of all measured sizes. Where a sample meets the largest part of a key, both are
too high.
"""

import math
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from demo.client.contract import PREFIX, RedisClient, checked
from demo.monitor.names import shown_key

BATCH, SAMPLES, SHOWN = 200, 20, 8
MOST = 20_000
ROOM = re.compile(rb":([a-z_]{1,24}):")


class Size(msgspec.Struct, array_like=True):
    """Of one use case: keys, bytes, and by how much the bytes may be wrong either way (95 %); 0
    when all were seen."""

    keys: int
    bytes: int
    error_bytes: int


class Survey(msgspec.Struct, array_like=True):
    """`seen` of `total` keys were looked at. `held` bytes does the server use beyond those of its
    start, 0 where it does not tell; `looks` are the lookups of this survey, found and not, in the
    server's own count. `biggest` are the biggest of them with their bytes;
    `endless` counts those of this app that never expire, with the names of some."""

    seen: int
    total: int
    rooms: dict[str, Size]
    biggest: list[tuple[str, int]]
    endless: int
    endless_names: list[str]
    held: int = 0
    looks: tuple[int, int] = (0, 0)

    @property
    def bytes(self) -> int:
        """What was measured, all together, scaled up."""
        return sum(size.bytes for size in self.rooms.values())

    def between(self, size: Size) -> tuple[int, int]:
        """The least and the most that a size may be."""
        factor = max(1.0, self.held / (self.bytes or 1))
        least = max(0, size.bytes - size.error_bytes)
        return least, round((size.bytes + size.error_bytes) * factor)


def survey(
    client: RedisClient,
    *,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    prefix: str = PREFIX,
) -> Survey:
    """Looks around for about so many seconds, and at about MOST keys at most. Raises RedisError."""
    asked: Any = checked(client)
    until, own = clock() + seconds, f"{prefix}:".encode()
    cluster = hasattr(asked, "get_node_from_key")
    total = int(asked.dbsize(target_nodes="primaries") if cluster else asked.dbsize())
    sizes: dict[bytes, int] = {}
    endless: list[bytes] = []
    whole, looks = True, [0, 0]
    for found, is_last in _scanned(asked, cluster):
        batch = [key for key in dict.fromkeys(found) if key not in sizes]
        for key, (size, left_ms) in zip(batch, _measure(client, batch), strict=True):
            looks[left_ms == -2] += 1
            if size:
                sizes[key] = size
                if left_ms == -1 and key.startswith(own):
                    endless.append(key)
        if not is_last and (len(sizes) >= MOST or clock() >= until):
            whole = False
            break
    biggest = sorted(sizes.items(), key=lambda item: -item[1])[:SHOWN]
    return Survey(
        len(sizes),
        max(total, len(sizes)) if not whole else len(sizes),
        _by_room(sizes, None if whole else total, prefix.encode()),
        [(shown_key(key, prefix), size) for key, size in biggest],
        len(endless),
        sorted(shown_key(key, prefix) for key in endless[:SHOWN]),
        _held(client, cluster),
        (looks[0], looks[1]),
    )


def _scanned(client: Any, cluster: bool) -> Iterator[tuple[list[bytes], bool]]:
    """What each SCAN finds, of a cluster one primary after the other: BATCH keys or so, or none;
    and whether it is the last."""
    nodes = client.get_primaries() if cluster else [None]
    for number, node in enumerate(nodes, 1):
        cursor = 0
        while True:
            if node is None:
                cursor, found = client.scan(cursor, count=BATCH)
            else:
                cursors, found = client.scan(cursor, count=BATCH, target_nodes=node)
                cursor = cursors[node.name]
            yield found, not cursor and number == len(nodes)
            if not cursor:
                break


def _held(client: Any, cluster: bool) -> int:
    told = client.info("memory", **({"target_nodes": "primaries"} if cluster else {}))
    each = [told] if "used_memory" in told else told.values()
    return sum(
        one["used_memory"] - one["used_memory_startup"]
        for one in each
        if "used_memory_startup" in one
    )


def _measure(client: Any, keys: list[bytes]) -> list[tuple[int | None, int]]:
    if not keys:
        return []
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.memory_usage(key, samples=SAMPLES)
        pipeline.pttl(key)
    replies = pipeline.execute()
    return list(zip(replies[::2], replies[1::2], strict=True))


def _by_room(sizes: dict[bytes, int], total: int | None, prefix: bytes) -> dict[str, Size]:
    """Sums by use case; where `total` is given, scaled up from the sample to so many keys."""
    rooms: dict[str, list[int]] = {}
    for key, size in sizes.items():
        named = ROOM.match(key, len(prefix)) if key.startswith(prefix) else None
        rooms.setdefault(named[1].decode() if named else "other", []).append(size)
    seen = len(sizes)
    if total is None or total <= seen or seen < 2:
        return {name: Size(len(found), sum(found), 0) for name, found in rooms.items()}
    scaled = {}
    for name, found in rooms.items():
        mean = sum(found) / seen
        spread = (sum(size * size for size in found) - seen * mean * mean) / (seen - 1)
        error = 2 * total * math.sqrt(max(0.0, spread) / seen * (1 - seen / total))
        scaled[name] = Size(round(len(found) * total / seen), round(mean * total), round(error))
    return scaled
