"""No cache: each read asks the database, each write changes it. What every strategy is measured
against."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NoCache(Generic[T]):
    """`load(key)` gives a value or None, `change_row(key, change)` changes one in a transaction of
    its own and returns it, None when there is none. What they raise is raised here."""

    def __init__(
        self,
        load: Callable[[str], T | None],
        change_row: Callable[[str, Callable[[T], T]], T | None],
    ) -> None:
        self._load, self._change_row = load, change_row

    def read(self, key: str) -> T | None:
        """The value as the database has it."""
        return self._load(key)

    def update(self, key: str, change: Callable[[T], T]) -> T | None:
        """The changed value, None when there is none."""
        return self._change_row(key, change)
