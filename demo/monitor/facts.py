"""What the advisor knows, from where on it speaks, and what it says."""

from dataclasses import dataclass
from typing import Final, Literal

from demo.monitor.reports import Gathered
from demo.monitor.server_info import Snapshot
from demo.monitor.server_list import Server
from demo.monitor.survey import Survey


@dataclass(frozen=True)
class Facts:
    """What is known at this moment. `server` is the one that is looked at, of `servers`. `save` is
    the server's RDB schedule, `bind` its addresses, `open_door` whether its default user needs no
    password, `clock_ahead_seconds` our clock less Redis'; None where it does not tell, or nobody
    has looked."""

    server: Snapshot
    use_cases: tuple[str, ...]
    pool_size: int
    workers: int
    clock_ahead_seconds: float | None
    embedded: bool = False
    save: str | None = None
    bind: str | None = None
    protected: bool = False
    open_door: bool | None = None
    survey: Survey | None = None
    gathered: Gathered | None = None
    servers: tuple[Server, ...] = ()


@dataclass(frozen=True)
class Limits:
    """From where on something is worth a word."""

    full: float = 0.75
    big_bytes: int = 10_000_000
    hot_share: float = 0.25
    hot_commands_a_second: float = 1000
    clock_seconds: float = 1.0


@dataclass(frozen=True)
class Finding:
    """`weight`: act (something is or will be lost), heed (it can go wrong), note (fine as it is,
    not everywhere). `of_one_server` is false for what is no matter of one server."""

    code: str
    weight: Literal["act", "heed", "note"]
    title: str
    reason: str
    command: str
    of_one_server: bool = True


NotKnown = Literal["not known"]
NOT_KNOWN: Final = "not known"
Outcome = Finding | NotKnown | None
"""What a check comes to: None is well, NOT_KNOWN could not be looked at."""
