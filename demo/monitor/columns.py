"""The history as a page draws it and as a program reads it: columns of figures, one for each
moment."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from demo.monitor.history import Moment, Point, thinned
from demo.monitor.overview import Overview

MOST = 32
SHORT_MS = 300_000
Column = list[float | None]


@dataclass(frozen=True)
class Columns:
    """At most MOST moments, `at` in seconds since 1970, `labels` in hours and minutes of UTC, and
    seconds where all of it is shorter than SHORT_MS. None where nobody sampled. Ratios are in
    per cent, rates are means; times are in ms, and of each group the worst, so that no peak is
    lost."""

    at: list[float]
    labels: list[str]
    megabytes: Column
    clients: Column
    commands: Column
    hits: Column
    evicted: Column
    expired: Column
    trip_ms: Column
    late_ms: Column
    rooms_hits: dict[str, Column]
    rooms_p95: dict[str, Column]
    rooms_commands: dict[str, Column]


def of(points: Sequence[Point]) -> Columns:
    """The columns of a history, the oldest first."""
    groups = thinned(points, MOST)
    names = sorted({name for point in points for name in point.rooms})
    span_ms = (points[-1].at_ms - points[0].at_ms) / max(1, len(groups) - 1) if points else 0
    label = "%H:%M:%S" if points and points[-1].at_ms - points[0].at_ms < SHORT_MS else "%H:%M"
    at = [(points[0].at_ms + number * span_ms) / 1000 for number in range(len(groups))]
    return Columns(
        at,
        [time.strftime(label, time.gmtime(seconds)) for seconds in at],
        [max((p.memory / 1e6 for p in group), default=None) for group in groups],
        [max((p.clients for p in group), default=None) for group in groups],
        [_mean([p.commands_a_second for p in group]) for group in groups],
        _growing_share(groups),
        _growth(groups, "evicted"),
        _growth(groups, "expired"),
        [max((p.trip_us / 1000 for p in group), default=None) for group in groups],
        [max((p.late_us / 1000 for p in group), default=None) for group in groups],
        {name: [_share(_moments(group, name)) for group in groups] for name in names},
        {
            name: [
                max((m.p95_us / 1000 for m in _moments(group, name) if m.p95_us), default=None)
                for group in groups
            ]
            for name in names
        },
        {
            name: [_mean([m.commands / 10 for m in _moments(group, name)]) for group in groups]
            for name in names
        },
    )


def twin(seen: Overview) -> dict[str, Any]:
    """The overview with names for everything, for JSON; histograms, which are for summing up, left
    out."""
    return {
        "at": seen.at,
        "sampled_seconds_ago": seen.sampled_seconds_ago,
        "server": asdict(seen.server),
        "servers": [asdict(server) for server in seen.servers],
        "changes": [asdict(change) for change in seen.changes],
        "use_cases": [asdict(figures) for figures in seen.use_cases],
        "workers": [asdict(worker) for worker in seen.gathered.workers],
        "hot_keys": [{"key": key, "commands": count} for key, count in seen.gathered.hot],
        "memory": None
        if seen.state is None or seen.state.survey is None
        else {
            "at": seen.state.at,
            "keys_seen": seen.state.survey.seen,
            "keys": seen.state.survey.total,
            "biggest": [{"key": key, "bytes": size} for key, size in seen.state.survey.biggest],
            "without_ttl": seen.state.survey.endless,
        },
        "clients": seen.state.clients if seen.state else None,
        "cluster": seen.state.cluster if seen.state else None,
        "slow": [asdict(slow) for slow in seen.slow],
        "denied": seen.denied,
        "without": seen.state.without if seen.state else None,
        "findings": [asdict(finding) for finding in seen.findings],
        "well": seen.well,
        "not_known": seen.not_known,
        "history": [_named(point) for point in seen.points],
    }


def _named(point: Point) -> dict[str, Any]:
    rooms = {name: msgspec.structs.asdict(moment) for name, moment in point.rooms.items()}
    return {**msgspec.structs.asdict(point), "rooms": rooms}


def _moments(group: Sequence[Point], name: str) -> list[Moment]:
    return [point.rooms[name] for point in group if name in point.rooms]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _share(moments: Sequence[Moment]) -> float | None:
    hits, misses = sum(m.hits for m in moments), sum(m.misses for m in moments)
    return 100 * hits / (hits + misses) if hits + misses else None


def _growth(groups: Sequence[Sequence[Point]], field: str) -> Column:
    """By how much a counter rose since the group before; None after a gap; after a restart it
    counts from nothing."""
    column: Column = []
    before: int | None = None
    for group in groups:
        now = getattr(group[-1], field) if group else None
        grown = None if now is None or before is None else now - before if now >= before else now
        column.append(grown)
        before = now
    return column


def _growing_share(groups: Sequence[Sequence[Point]]) -> Column:
    hits, misses = _growth(groups, "hits"), _growth(groups, "misses")
    pairs = zip(hits, misses, strict=True)
    return [None if h is None or m is None or not h + m else 100 * h / (h + m) for h, m in pairs]
