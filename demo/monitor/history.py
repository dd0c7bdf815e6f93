"""A day of history, in points of about 200 bytes. The stream keeps the last 8,640 points, one every
ten seconds, which is one day.

Each point is stored by a script, which checks who leads now. The script refuses a point from a
process that has lost the lead, for example during a pause. No two points of the history have the
same time.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from demo.client.contract import PREFIX, RedisClient, beginning, checked
from demo.client.leader import token_key


def stream_key(prefix: str) -> str:
    """Where the points lie."""
    return f"{beginning(prefix, 'monitor')}{{sampler}}:history"


def state_key(prefix: str) -> str:
    """Where what changes slowly lies."""
    return f"{beginning(prefix, 'monitor')}{{sampler}}:state"


STREAM, STATE = stream_key(PREFIX), state_key(PREFIX)
STEP_SECONDS, POINTS, KEPT_SECONDS, STATE_SECONDS = 10, 8640, 2 * 86_400, 300


class Moment(msgspec.Struct, array_like=True):
    """One use case in ten seconds; times in microseconds, 0 where there was no round trip."""

    commands: int
    hits: int
    misses: int
    p50_us: int
    p95_us: int
    p99_us: int


class Point(msgspec.Struct, array_like=True):
    """Ten seconds. Memory in bytes at their end; `hits`, `misses`, `evicted` and `expired` are the
    server's, since it started; `trip_us` is the shortest of some round trips, `late_us` the most
    that a timer was late in the sampler."""

    at_ms: int
    memory: int
    clients: int
    commands_a_second: int
    hits: int
    misses: int
    evicted: int
    expired: int
    trip_us: int
    late_us: int
    rooms: dict[str, Moment]


class History:
    """The points, by a client of bytes."""

    def __init__(self, client: RedisClient, *, prefix: str = PREFIX) -> None:
        self._keys = [stream_key(prefix), token_key("sampler", prefix), state_key(prefix)]
        self._add = checked(client).register_script(Path(__file__).with_suffix(".lua").read_text())

    def add(self, token: int, point: Point, state: bytes = b"") -> bool:
        """Whether the point is kept: its time is new. `state` goes along, if there is any. Raises
        Superseded when `token` is not the last one, and RedisError."""
        args = [
            token,
            point.at_ms,
            msgspec.msgpack.encode(point),
            POINTS,
            KEPT_SECONDS * 1000,
            state,
            STATE_SECONDS * 1000,
        ]
        done = self._add(keys=self._keys, args=args)
        if done < 0:
            raise Superseded
        return bool(done)


class Superseded(Exception):
    """Another leads by now."""


def decode(entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[Point]:
    """The points of an answer to XREVRANGE, the oldest first; what does not decode is left out."""
    points = []
    for _, fields in entries:
        try:
            points.append(msgspec.msgpack.decode(fields.get(b"p", b""), type=Point))
        except msgspec.MsgspecError:
            continue
    return points[::-1]


def thinned(points: Sequence[Point], most: int) -> list[list[Point]]:
    """The points in at most `most` groups of the same length in time, empty ones where nobody
    sampled."""
    if not points:
        return []
    first, last = points[0].at_ms, points[-1].at_ms
    steps = (last - first) // (STEP_SECONDS * 1000) + 1
    each = -(-steps // most)
    groups: list[list[Point]] = [[] for _ in range(-(-steps // each))]
    for point in points:
        groups[(point.at_ms - first) // (STEP_SECONDS * 1000 * each)].append(point)
    return groups
