"""What the visitor whose request runs here has chosen for himself alone; who chooses how stands in `choices`."""

from contextvars import ContextVar
from typing import Literal

import msgspec

Redis = Literal["", "refused", "slow", "readonly", "full", "paused"]


class Choices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`visitor` names the visitor's own corner of the cache; empty for who has chosen nothing."""

    database: Literal["", "slow", "down"] = ""
    redis: Redis = ""
    strategy: Literal["", "write-through", "none"] = ""
    visitor: str = ""

    @property
    def any(self) -> bool:
        """Whether something is different for this visitor."""
        return bool(self.database or self.redis or self.strategy)

    @property
    def words(self) -> str:
        """What is broken, as short as can be."""
        redis = {"": "", "slow": "Redis slow", "readonly": "Redis read-only", "full": "Redis full", "paused": "Redis hangs"}
        parts = [redis.get(self.redis, "Redis refused"), f"database {self.database}" if self.database else ""]
        return ", ".join(filter(None, parts))


NONE = Choices()
_current: ContextVar[Choices | None] = ContextVar("choices", default=None)


def current() -> Choices:
    """The choices of the visitor whose request runs in this context."""
    return _current.get() or NONE


def take(chosen: Choices | None) -> None:
    """From here on, in this context."""
    _current.set(chosen)
