"""What the advisor knows, from where on it speaks, and what it says."""

from dataclasses import dataclass
from typing import Literal

from demo.monitor.reports import Gathered
from demo.monitor.server_info import Snapshot
from demo.monitor.survey import Survey


@dataclass(frozen=True)
class Facts:
    """What is known at this moment. `save` is the server's RDB schedule, `bind` its addresses, `open_door` whether its
    default user needs no password; None where it does not tell. `clock_ahead_seconds` is our clock less Redis'."""

    server: Snapshot
    use_cases: tuple[str, ...]
    pool_size: int
    workers: int
    clock_ahead_seconds: float
    embedded: bool = False
    save: str | None = None
    bind: str | None = None
    protected: bool = False
    open_door: bool | None = None
    survey: Survey | None = None
    gathered: Gathered | None = None


@dataclass(frozen=True)
class Limits:
    """From where on something is worth a word."""

    full: float = 0.75
    big_bytes: int = 10_000_000
    hot_share: float = 0.25
    hot_commands_a_second: float = 1000
    clock_seconds: float = 1.0
    fragmentation: float = 1.5
    fragmentation_bytes: int = 100_000_000


@dataclass(frozen=True)
class Finding:
    """`weight`: act (something is or will be lost), heed (it can go wrong), note (fine as it is, not everywhere)."""

    code: str
    weight: Literal["act", "heed", "note"]
    title: str
    reason: str
    command: str
