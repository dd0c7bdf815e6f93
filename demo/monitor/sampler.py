"""The job of the one elected process: every ten seconds a point of history, every minute a look
around in memory."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import msgspec

from demo.client.contract import PREFIX, RedisClient, checked, errors_of
from demo.monitor import latest, reports
from demo.monitor.history import STEP_SECONDS, History, Moment, Point, state_key
from demo.monitor.latest import Flow, Latest, Node
from demo.monitor.names import shown_client
from demo.monitor.reports import Gathered, Room
from demo.monitor.server_info import Snapshot
from demo.monitor.server_list import Server, every, merged, snapshot
from demo.monitor.survey import Survey, survey
from demo.observe.redis_sums import percentile_ms

SURVEY_SECONDS, TRIPS = 60.0, 5


class Own(msgspec.Struct, array_like=True):
    """What is to be taken off the server's lookups that found something or not: those from before
    `since`, and the looks around after it."""

    since: float
    hits: int
    misses: int

    def holds(self, now: float, info: Snapshot) -> bool:
        """Whether the server is still the one that has counted these."""
        same = now - info.uptime_seconds <= self.since + 2
        return same and info.hits >= self.hits and info.misses >= self.misses


class State(msgspec.Struct, array_like=True):
    """What changes slowly. `clients` counts connections by their names; `by` is who
    sampled. `cluster` is what CLUSTER INFO says, empty without one. `survey` is None where the
    server does not let us look around; `without` names what else it does not permit."""

    at: float
    by: str
    survey: Survey | None
    clients: dict[str, int]
    cluster: dict[str, str]
    without: list[str] = []
    own: Own | None = None


class Sampler:
    """`name` tells this process, `without` the commands that are of use and not permitted. `clock`
    is monotonic, `pause` waits so many seconds."""

    def __init__(
        self,
        client: RedisClient,
        name: Callable[[], str],
        *,
        without: Callable[[], list[str]] = list,
        survey_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        prefix: str = PREFIX,
    ) -> None:
        self._client, self._name, self._clock, self._pause = checked(client), name, clock, pause
        self._errors, self._prefix = errors_of(client), prefix
        self._reports = reports.stream_key(prefix)
        self._survey_seconds, self._without = survey_seconds, without
        self._history = History(client, prefix=prefix)
        self._looked = float("-inf")
        self._own: Own | None = None

    def step(self, token: int) -> float:
        """A point for the ten seconds that are over; after how many seconds the next are. Raises
        RedisError, Superseded."""
        seconds, microseconds = self._client.time(**self._where())
        now_ms = seconds * 1000 + microseconds // 1000
        whole_ms = int(STEP_SECONDS * 1000)
        end_ms = now_ms // whole_ms * whole_ms
        state = b""
        if self._clock() - self._looked >= SURVEY_SECONDS:
            self._looked = self._clock()
            state = self._look_around(now_ms / 1000)
        point, around = self._point(end_ms, whole_ms)
        self._history.add(token, point, state)
        pipeline = self._client.pipeline(transaction=False)
        oldest = now_ms - reports.KEPT_SECONDS * 1000
        pipeline.xtrim(self._reports, minid=oldest, approximate=False)
        latest.store(pipeline, around, self._prefix)
        pipeline.execute()
        return float((end_ms + whole_ms - now_ms) / 1000 + 0.05)

    def _point(self, end_ms: int, whole_ms: int) -> tuple[Point, Latest]:
        entries = self._client.xrange(self._reports, end_ms - whole_ms, end_ms - 1)
        gathered = reports.gather(entries, STEP_SECONDS)
        servers = every(self._client)
        info, own = merged(servers), self._own or Own(0, 0, 0)
        point = Point(
            end_ms,
            info.memory_bytes,
            info.clients,
            info.commands_a_second,
            max(0, info.hits - own.hits),
            max(0, info.misses - own.misses),
            info.evicted,
            info.expired,
            *self._latency(),
            {name: _moment(room) for name, room in gathered.rooms.items()},
        )
        return point, _latest(point, gathered, servers)

    def _latency(self) -> tuple[int, int]:
        """The shortest of some round trips, and the most that a timer was late, in microseconds."""
        trips, late = [], []
        for _ in range(TRIPS):
            began = self._clock()
            self._client.ping(**self._where())
            trips.append(self._clock() - began)
            began = self._clock()
            self._pause(0.002)
            late.append(self._clock() - began - 0.002)
        return round(min(trips) * 1e6), round(max(0.0, *late) * 1e6)

    def _look_around(self, now: float) -> bytes:
        found: Survey | None = None
        own = self._begin(now)
        with contextlib.suppress(self._errors.response):  # not permitted
            found = survey(self._client, seconds=self._survey_seconds, prefix=self._prefix)
        hits, misses = found.looks if found else (0, 0)
        self._own = Own(own.since, own.hits + hits, own.misses + misses)
        around = self._clients(), self._cluster(), self._without(), self._own
        state = State(now, self._name(), found, *around)
        return msgspec.msgpack.encode(state)

    def _begin(self, now: float) -> Own:
        """What was taken off so far, under any leader; from now on where nothing was, or where the
        server has started to count again."""
        info = snapshot(self._client)
        before = decode_state(self._client.get(state_key(self._prefix)))
        own = before.own if before else None
        return own if own and own.holds(now, info) else Own(now, info.hits, info.misses)

    def _where(self) -> dict[str, Any]:
        """Of a cluster, one node is asked for what each has of its own."""
        return (
            {"target_nodes": self._client.get_default_node()}
            if hasattr(self._client, "get_node_from_key")
            else {}
        )

    def _clients(self) -> dict[str, int]:
        names: dict[str, int] = {}
        try:
            for connection in self._client.client_list(_type="normal"):
                name = shown_client(connection.get("name", ""), self._prefix)
                names[name] = names.get(name, 0) + 1
        except (
            self._errors.response,
            AttributeError,
        ):  # not permitted, or a cluster, which answers by node
            return {}
        return dict(sorted(names.items(), key=lambda item: -item[1])[:16])

    def _cluster(self) -> dict[str, str]:
        if not self._where():
            return {}
        try:
            told = self._client.cluster_info(**self._where())
        except self._errors.all:
            return {}
        wanted = (
            "cluster_state",
            "cluster_slots_ok",
            "cluster_slots_fail",
            "cluster_known_nodes",
            "cluster_size",
        )
        return {name: str(told[name]) for name in wanted if name in told}


def _latest(point: Point, gathered: Gathered, servers: list[Server]) -> Latest:
    beside, together = gathered.beside, Room(0, 0, 0, {})
    for room in gathered.rooms.values():
        reports.add(together, room)
    return Latest(
        point.at_ms,
        len(gathered.workers),
        sum(worker.pool_peak for worker in gathered.workers),
        sum(worker.pool_size for worker in gathered.workers),
        beside.waited,
        {name: Flow(moment.commands, moment.p95_us) for name, moment in point.rooms.items()},
        Flow(sum(beside.answers.values()), latest.p95_of_bounds(beside.answers)),
        Flow(sum(beside.visits.values()), _p95_us(beside.visits)),
        [Node(each.name, each.role, each.trouble) for each in servers],
        Flow(together.commands, _p95_us(together.times)),
    )


def _p95_us(times: dict[int, int]) -> int:
    return round((percentile_ms(times, 95) or 0.0) * 1000)


def decode_state(raw: Any) -> State | None:
    """What was kept; None where nothing was, or it does not decode."""
    try:
        return msgspec.msgpack.decode(raw, type=State) if raw else None
    except msgspec.MsgspecError:
        return None


def _moment(room: Room) -> Moment:
    times = [round((percentile_ms(room.times, percent) or 0.0) * 1000) for percent in (50, 95, 99)]
    return Moment(room.commands, room.hits, room.misses, *times)
