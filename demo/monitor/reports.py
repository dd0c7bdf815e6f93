"""What each process has counted, brought together in one stream: a report every two seconds, and
the sampler keeps the last two minutes of them.

Redis sets the time of each report, so the clocks of the processes do not matter. A report is sent
once: if its answer is lost, it may have arrived, so it is not sent again. A gap of two seconds is
better than counting twice.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from demo.client.contract import PREFIX, RedisClient, beginning, checked
from demo.monitor import latest
from demo.monitor.latest import Kept
from demo.monitor.names import shown_key


def stream_key(prefix: str) -> str:
    """Where the reports lie."""
    return f"{beginning(prefix, 'monitor')}{{sampler}}:reports"


STREAM = stream_key(PREFIX)
EVERY_SECONDS, KEPT_SECONDS, AT_MOST, HOT_KEYS = 2.0, 120, 5_000, 5


class Room(msgspec.Struct, array_like=True):
    """One use case in one report: commands, lookups that found something or not, round trips by
    bucket of time."""

    commands: int
    hits: int
    misses: int
    times: dict[int, int]


class Beside(msgspec.Struct, array_like=True):
    """What a process did beside asking Redis: answers over HTTP by their upper bound in
    microseconds, visits to the database by time bucket, and how often a call found no free
    connection."""

    answers: dict[int, int] = {}
    visits: dict[int, int] = {}
    waited: int = 0


class Report(msgspec.Struct, array_like=True):
    """What one process did since its last report. `pool_peak` is how many of `pool_size`
    connections it held at once at most; `hot` tells about how often single keys were asked for,
    by names fit to be shown; `limited` is how many requests the limits let pass and refused."""

    process: str
    pool_peak: int
    pool_size: int
    rooms: dict[str, Room]
    hot: dict[str, int]
    limited: tuple[int, int] = (0, 0)
    beside: Beside = msgspec.field(default_factory=Beside)


@dataclass(frozen=True)
class Worker:
    """A process that reported within the last seconds."""

    process: str
    pool_peak: int
    pool_size: int
    commands: int


@dataclass(frozen=True)
class Gathered:
    """All reports of some time together. `seconds` is how long that was."""

    seconds: float
    rooms: dict[str, Room]
    workers: tuple[Worker, ...]
    hot: tuple[tuple[str, int], ...]
    limited: tuple[int, int] = (0, 0)
    beside: Beside = field(default_factory=Beside)

    @property
    def outcomes(self) -> dict[str, tuple[int, int]]:
        """Of each use case how often it ended well and how often not, by all processes together;
        none at all where no process has reported."""
        if not self.workers:
            return {}
        found = {name: (room.hits, room.misses) for name, room in self.rooms.items()}
        return defaultdict(lambda: (0, 0), found | {"rate_limit": self.limited})


def send(client: Any, report: Report, prefix: str = PREFIX) -> Any:
    """Adds a report; what was sampled last of all processes. One round trip; raises RedisError."""
    stream, pipeline = stream_key(prefix), client.pipeline(transaction=False)
    pipeline.xadd(stream, {"r": msgspec.msgpack.encode(report)}, maxlen=AT_MOST)
    pipeline.pexpire(stream, KEPT_SECONDS * 1000)
    pipeline.get(latest.key_of(prefix))
    return pipeline.execute()[-1]


def gather(entries: Iterable[tuple[bytes, dict[bytes, bytes]]], seconds: float) -> Gathered:
    """Sums up what XRANGE has answered; what does not decode is left out."""
    rooms: dict[str, Room] = {}
    workers: dict[str, Worker] = {}
    hot: Counter[str] = Counter()
    passed = refused = 0
    answers, visits, waited = Counter[int](), Counter[int](), 0
    for _, fields in entries:
        try:
            report = msgspec.msgpack.decode(fields.get(b"r", b""), type=Report)
        except msgspec.MsgspecError:
            continue
        before = workers.get(report.process)
        commands = sum(room.commands for room in report.rooms.values())
        workers[report.process] = Worker(
            report.process,
            max(report.pool_peak, before.pool_peak if before else 0),
            report.pool_size,
            commands + (before.commands if before else 0),
        )
        hot.update(report.hot)
        passed, refused = passed + report.limited[0], refused + report.limited[1]
        answers.update(report.beside.answers)
        visits.update(report.beside.visits)
        waited += report.beside.waited
        for name, room in report.rooms.items():
            add(rooms.setdefault(name, Room(0, 0, 0, {})), room)
    return Gathered(
        seconds,
        rooms,
        tuple(sorted(workers.values(), key=lambda w: w.process)),
        tuple(hot.most_common(HOT_KEYS)),
        (passed, refused),
        Beside(answers, visits, waited),
    )


def add(mine: Room, theirs: Room) -> None:
    """Sums of one use case into another's."""
    mine.commands += theirs.commands
    mine.hits += theirs.hits
    mine.misses += theirs.misses
    for bucket, count in theirs.times.items():
        mine.times[bucket] = mine.times.get(bucket, 0) + count


class Reporter:
    """One process' job: takes what its `sums` hold, and sends it. `name` tells the process, `pool`
    its peak and its size, `limited` how many requests the limits have let pass and refused since it
    began; `not_sent` is the error that proves that a report never left: then it counts again with
    the next one. `beside` tells what else it did; what was sampled last is `kept`."""

    def __init__(
        self,
        client: RedisClient,
        sums: Any,
        name: Callable[[], str],
        pool: Callable[[], tuple[int, int]],
        not_sent: type[Exception],
        limited: Callable[[], tuple[int, int]] = lambda: (0, 0),
        *,
        beside: Callable[[], Beside] = Beside,
        prefix: str = PREFIX,
    ) -> None:
        self._client, self._sums, self._prefix = checked(client), sums, prefix
        stream_key(prefix)
        self._name, self._pool, self._not_sent = name, pool, not_sent
        self._limited, self._told = limited, (0, 0)
        self._beside, self.kept = beside, Kept()

    def step(self) -> float:
        """Sends a report; after how many seconds the next is due. Raises RedisError."""
        sums, keys = self._sums.take()
        peak, size = self._pool()
        before, now = self._told, self._limited()
        self._told = now
        limited = now[0] - before[0], now[1] - before[1]
        rooms = {
            name: Room(s.commands, s.hits, s.misses, dict(s.times)) for name, s in sums.items()
        }
        hot = {shown_key(key, self._prefix): count for key, count in keys.most_common(HOT_KEYS)}
        report = Report(self._name(), peak, size, rooms, hot, limited, self._beside())
        try:
            self.kept.learn(send(self._client, report, self._prefix))
        except self._not_sent:
            self._told = before
            self._sums.put_back(sums)
        return EVERY_SECONDS
