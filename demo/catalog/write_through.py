"""Write-through: the writer stores the new value in the cache itself. After an update that no other
one overlapped, the next reader has a hit with the new value.

It is not enough to set the value after the commit. Two writers can set in another order than they
committed, and a reader that loaded the old value can set it later. So the writer first replaces the
entry by a lease, which ends every load that is under way. After its commit, the writer stores the
new value only if its own lease is still in Redis. If the lease is gone, something else was stored
or begun meanwhile, and the entry is dropped. When two updates overlap, the cache cannot tell which
one committed last, so it drops the entry.

If Redis cannot be reached after the commit, `update` raises `NotTold`, although the row is written.
The cache then holds the lease, or the old value if no lease could be taken, until it expires. An
outbox closes that gap.
"""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from demo.catalog.cache_aside import Cache

T = TypeVar("T")
log = logging.getLogger(__name__)


class NotTold(Exception):
    """The row is written, `value` is it, and Redis could not be told."""

    def __init__(self, value: object) -> None:
        super().__init__("written, but the cache could not be told")
        self.value = value


class WriteThrough(Generic[T]):
    """`load` and `change_row` as for NoCache; `cache` holds the values, outside of any group."""

    def __init__(
        self,
        cache: Cache[T],
        load: Callable[[str], T | None],
        change_row: Callable[[str, Callable[[T], T]], T | None],
    ) -> None:
        self._cache, self._load, self._change_row = cache, load, change_row

    def read(self, key: str) -> T | None:
        """The value, from the cache if it is there."""
        return self._cache.get_or_load(key, lambda: self._load(key)).value

    def update(self, key: str, change: Callable[[T], T]) -> T | None:
        """The changed value, None when there is none. Raises NotTold, and what `change_row` raises."""
        token: bytes | None = None
        try:
            token = self._cache.begin_write(key)
        except self._cache.errors as error:
            log.warning("%s: written without a lease: %s", self._cache.name, type(error).__name__)
        try:
            value = self._change_row(key, change)
        except BaseException:
            self._drop(key)
            raise
        try:
            if token is None or value is None:
                self._cache.invalidate(key)
            else:
                self._cache.finish_write(key, token, value)
        except self._cache.errors as error:
            raise NotTold(value) from error
        return value

    def _drop(self, key: str) -> None:
        try:
            self._cache.invalidate(key)
        except self._cache.errors as error:
            log.warning(
                "%s: the lease is left to run out: %s", self._cache.name, type(error).__name__
            )
