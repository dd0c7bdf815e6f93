"""The house as a picture: the visitors, the use cases, the one pool that they share, the servers of
Redis and the database, with what flows between them.

The figures are those that a use case has at hand, the sums of all processes; nothing is asked for
them. What this process knows to be away, or this visitor has taken away for himself, is drawn so.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import current_app

from demo.client.breaker import Breakers
from demo.observe.database_visits import DatabaseVisits
from demo.teach import pull_the_plug
from demo.teach.faults import LOST
from demo.web.services import get_breaker, part, services

OLD_SECONDS = 30.0
MOST_NODES, MOST_DOTS, IN_A_ROW = 7, 64, 4
AWAY, FOR_YOU, REDIS = "away", "away for you", "Redis"


@dataclass(frozen=True)
class Flow:
    """Along one line: how many a second, and how long 95 of 100 took at most, None without any."""

    a_second: float
    p95_ms: float | None


@dataclass(frozen=True)
class Node:
    """A server of Redis, and what is the matter with it."""

    name: str
    role: str
    trouble: str = ""


@dataclass(frozen=True)
class Figures:
    """What a use case tells of all processes: of `seconds` up to `until`, seconds since 1970.
    `pool_peak` adds up the most connections that each process had out at once, `waited` counts calls
    that found none free. `flows` are commands by the first part of their keys' names, `total` all of
    them."""

    until: float
    seconds: float
    age_seconds: float
    processes: int
    pool_peak: int
    pool_size: int
    waited: int
    flows: Mapping[str, Flow]
    answers: Flow
    visits: Flow
    nodes: Sequence[Node]
    total: Flow


@dataclass(frozen=True)
class House:
    """What is drawn. `nodes` are (what it is, what is the matter with it); without `figures` the
    lines have none, and `why` says it."""

    titles: Mapping[str, str]
    figures: Figures | None
    nodes: Sequence[tuple[str, str]]
    more_nodes: int
    database: str
    why: str = ""
    pool_size: int = field(default=0)

    @property
    def rest(self) -> float:
        """Those of no use case."""
        shown = sum(flow.a_second for name in self.titles if (flow := self.flow(name)))
        return max(0.0, self.figures.total.a_second - shown) if self.figures else 0.0

    @property
    def away(self) -> str:
        """What is the matter where no primary answers; empty while one does."""
        primaries = [told for what, told in self.nodes if self.takes_writes(what)]
        return primaries[0] if all(primaries) and primaries else ""

    @staticmethod
    def takes_writes(what: str) -> bool:
        """Whether it is a primary, which commands go to."""
        return not what.startswith(("replica", "Sentinel"))

    @property
    def primaries(self) -> int:
        """How many there are."""
        return sum(self.takes_writes(what) for what, _ in self.nodes)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is drawn as away."""
        return not self.database and not any(trouble for _, trouble in self.nodes)

    def flow(self, name: str) -> Flow | None:
        """That of a use case; none at all is a flow of nothing."""
        return self.figures.flows.get(name, Flow(0.0, None)) if self.figures else None

    @staticmethod
    def thickness(a_second: float) -> float:
        """Of a line, in pixels: ten times as much is two more, and never so much that it hides words."""
        return min(9.0, 1 + 2 * math.log10(1 + a_second))

    def dots(self) -> list[tuple[int, int, bool]]:
        """The connections: where each is drawn, and whether it was in use."""
        size = self.figures.pool_size if self.figures else self.pool_size
        share = max(1, math.ceil(size / MOST_DOTS))
        used = math.ceil(self.figures.pool_peak / share) if self.figures else 0
        return [(n % IN_A_ROW, n // IN_A_ROW, n < used) for n in range(math.ceil(size / share))]


def look(modules: Iterable[Any]) -> House:
    """As it is now."""
    found: Figures | None = next((m.house() for m in modules if hasattr(m, "house")), None)
    fresh = found if found and found.age_seconds <= OLD_SECONDS else None
    known = fresh if fresh and fresh.processes else None
    nodes = list(fresh.nodes) if fresh else [Node("", REDIS)]
    chosen = pull_the_plug.current()
    database = AWAY if part(DatabaseVisits).away else ""
    return House(
        services().titles,
        known,
        _told(nodes[:MOST_NODES]),
        max(0, len(nodes) - MOST_NODES),
        FOR_YOU if chosen.database == "down" else database,
        "" if known else _why(found),
        current_app.config["POOL_SIZE"],
    )


def _told(nodes: Sequence[Node]) -> list[tuple[str, str]]:
    if len(nodes) == 1:
        return [(REDIS, _trouble(nodes[0]))]
    told, often = list[tuple[str, str]](), [node.role for node in nodes]
    for place, node in enumerate(nodes):
        number = often[: place + 1].count(node.role)
        what = f"{node.role} {number}" if often.count(node.role) > 1 else node.role
        told.append((what, _trouble(node)))
    return told


def _trouble(node: Node) -> str:
    if node.role == "Sentinel":
        return node.trouble
    if pull_the_plug.current().redis in LOST:
        return FOR_YOU
    breaker = get_breaker()
    if not breaker.is_open:
        return node.trouble
    if isinstance(breaker, Breakers) and node.name and node.name not in breaker.open:
        return node.trouble
    return AWAY


def _why(found: Figures | None) -> str:
    if found and found.age_seconds > OLD_SECONDS:
        return f"There are no figures, because no process has taken a sample for {found.age_seconds:.0f} s."
    if current_app.config["BACKGROUND"] == "none":
        return "There are no figures, because DEMO_BACKGROUND is none and no process takes samples."
    return "The first figures will be here within ten seconds."
