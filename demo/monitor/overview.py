"""What the monitor's page shows. One round trip reads all data of the monitor's page (in a cluster:
one to each server, and a few more).

Data that the server does not permit is left out, and the page says so. Samples that do not exist
yet are missing. Raises only where Redis does not answer at all, or does not permit INFO.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from demo.client import changes as told_changes
from demo.client.changes import Change
from demo.client.contract import PREFIX, errors_of
from demo.monitor import history, reports
from demo.monitor.advisor import advise
from demo.monitor.facts import Facts, Finding
from demo.monitor.history import Point
from demo.monitor.names import shown_command
from demo.monitor.reports import Gathered, Room
from demo.monitor.sampler import State, decode_state
from demo.monitor.server_info import Snapshot
from demo.monitor.server_list import Server, every, merged, of_cluster
from demo.observe.redis_sums import percentile_ms

NOW_SECONDS = 30
SPANS = {"hour": 360, "day": history.POINTS}


@dataclass(frozen=True)
class Figures:
    """One use case over the last NOW_SECONDS; sizes from the last look around. What is not known is
    None."""

    name: str
    commands_a_second: float
    hit_ratio: float | None
    hits: int
    misses: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    keys: int | None
    bytes: int | None
    error_bytes: int | None


@dataclass(frozen=True)
class Slow:
    """One entry of the slow log, its words left out."""

    at: float
    milliseconds: float
    command: str


@dataclass(frozen=True)
class Overview:
    """The page. `at` is Redis' time; `server` sums up a cluster's primaries, `servers` are all that
    there are, none where there is one alone; `changes` tell of other primaries, the last first.
    `sampled_seconds_ago` None: nobody has sampled. `denied` names what the server does not permit
    to be asked."""

    at: float
    server: Snapshot
    servers: tuple[Server, ...]
    use_cases: tuple[Figures, ...]
    gathered: Gathered
    points: list[Point]
    state: State | None
    sampled_seconds_ago: float | None
    slow: tuple[Slow, ...]
    denied: tuple[str, ...]
    changes: list[Change]
    findings: list[Finding]
    well: list[str]
    not_known: list[str]

    @property
    def reads(self) -> tuple[float, int, int] | None:
        """Since when the server's lookups are counted without the looks around, and how many found
        something and did not; None where nobody has begun."""
        own = self.state.own if self.state else None
        if own is None or not own.holds(self.at, self.server):
            return None
        return own.since, self.server.hits - own.hits, self.server.misses - own.misses


@dataclass(frozen=True)
class Known:
    """What the app knows of itself."""

    use_cases: tuple[str, ...]
    pool_size: int
    workers: int
    embedded: bool


def overview(
    client: Any,
    known: Known,
    *,
    span: str = "hour",
    clock: Callable[[], float] = time.time,
    prefix: str = PREFIX,
) -> Overview:
    """Asks. Raises RedisError."""
    asked = {
        "INFO": ("INFO",),
        "TIME": ("TIME",),
        "CONFIG GET": ("CONFIG GET", "save", "bind", "protected-mode"),
        "ACL GETUSER": ("ACL GETUSER", "default"),
        "SLOWLOG GET": ("SLOWLOG GET", "10"),
    }
    began = clock()
    told, stored = _ask(client, asked, SPANS[span], prefix)
    if isinstance(told["INFO"], Exception):
        raise told["INFO"]
    at = _time(told["TIME"], began)
    info = told["INFO"]
    servers = info if isinstance(info, list) else every(client, info)
    server = merged(servers)
    recent = [
        entry for entry in stored[0] if int(entry[0].split(b"-")[0]) >= (at - NOW_SECONDS) * 1000
    ]
    gathered = reports.gather(recent, NOW_SECONDS)
    points = history.decode(stored[1])
    state = decode_state(stored[2])
    config = _pairs(told["CONFIG GET"])
    facts = Facts(
        server,
        known.use_cases,
        known.pool_size,
        max(known.workers, len(gathered.workers)),
        (began + clock()) / 2 - at if not isinstance(told["TIME"], Exception) else None,
        known.embedded,
        config.get("save"),
        config.get("bind"),
        config.get("protected-mode") == "yes",
        _needs_no_password(told["ACL GETUSER"]),
        state.survey if state else None,
        gathered,
        tuple(servers),
    )
    findings, well, not_known = advise(facts)
    return Overview(
        at,
        server,
        tuple(servers) if len(servers) > 1 else (),
        tuple(_figures(name, gathered, state) for name in known.use_cases),
        gathered,
        points,
        state,
        at - points[-1].at_ms / 1000 if points else None,
        _slow(told["SLOWLOG GET"]),
        tuple(name for name, reply in told.items() if isinstance(reply, Exception)),
        told_changes.decode(stored[3]),
        findings,
        well,
        not_known,
    )


def _ask(
    client: Any, asked: dict[str, tuple[str, ...]], points: int, prefix: str
) -> tuple[dict[str, Any], list[Any]]:
    """The answers by name, an exception for what is refused, and those from our own keys."""
    cluster = hasattr(client, "get_node_from_key")
    pipeline = client.pipeline(transaction=False)
    if not cluster:
        for words in asked.values():
            pipeline.execute_command(*words)
    pipeline.xrange(reports.stream_key(prefix))  # by Redis' time, which is not known yet
    pipeline.xrevrange(history.stream_key(prefix), count=points)
    pipeline.get(history.state_key(prefix))
    pipeline.lrange(told_changes.KEY, 0, -1)
    replies = pipeline.execute(raise_on_error=False)
    told = {name: _of_cluster(client, words) for name, words in asked.items()} if cluster else {}
    told = told or dict(zip(asked, replies, strict=False))
    return told, [[] if isinstance(reply, Exception) else reply for reply in replies[-4:]]


def _of_cluster(client: Any, words: tuple[str, ...]) -> Any:
    """Of each server what differs, of one what is the same everywhere."""
    try:
        if words == ("INFO",):
            return of_cluster(client)
        return client.execute_command(*words, target_nodes=client.get_default_node())
    except errors_of(client).all as error:
        return error


def _time(reply: Any, otherwise: float) -> float:
    return otherwise if isinstance(reply, Exception) else int(reply[0]) + int(reply[1]) / 1e6


def _pairs(reply: Any) -> dict[str, str]:
    """CONFIG GET, as the words of a list or as a mapping."""
    if isinstance(reply, Exception) or not reply:
        return {}
    items = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=False)
    return {_text(name): _text(value) for name, value in items}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _needs_no_password(reply: Any) -> bool | None:
    if isinstance(reply, Exception) or not reply:
        return None
    flags: list[Any] = (
        reply.get("flags") or reply.get(b"flags") or [] if isinstance(reply, dict) else reply[1]
    )
    names = {_text(flag) for flag in flags}
    return "nopass" in names and "off" not in names


def _slow(reply: Any) -> tuple[Slow, ...]:
    if isinstance(reply, Exception):
        return ()
    return tuple(
        Slow(float(entry["start_time"]), entry["duration"] / 1000, shown_command(entry["command"]))
        for entry in reply
    )


def _figures(name: str, gathered: Gathered, state: State | None) -> Figures:
    room = gathered.rooms.get(name, Room(0, 0, 0, {}))
    survey = state.survey if state else None
    size = survey.rooms.get(name) if survey else None
    looked = room.hits + room.misses
    return Figures(
        name,
        room.commands / gathered.seconds,
        room.hits / looked if looked else None,
        room.hits,
        room.misses,
        percentile_ms(room.times, 50),
        percentile_ms(room.times, 95),
        percentile_ms(room.times, 99),
        (size.keys if size else 0) if survey else None,
        (size.bytes if size else 0) if survey else None,
        (size.error_bytes if size else 0) if survey else None,
    )
