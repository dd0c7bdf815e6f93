"""Which accounts are in use. Those that nobody uses are dropped, and leave nothing to who takes the
name after.

- One that is used again a day after it was made, by a sign-in or a visit, is kept for KEEP_DAYS
  after the last use; one that is not goes after NEW_DAYS. So nobody fills the table for long.
- A row in the database holds the name; sessions, their list and the cart lie in Redis under it.
  What lies in Redis goes first, then the row, if the account still is due: a sign-in in between
  keeps it, and one that comes later finds no account. So there is never a session of an account
  that is no more.
- When a name is taken, what Redis may still hold of it is removed once more, before the new row is
  written.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, null, select, update

from demo.sessions.accounts import accounts

KEEP_DAYS, NEW_DAYS = 730, 7
USED_AFTER = timedelta(days=1)
BATCH = 50
PAUSE_SECONDS, SOON_SECONDS = 3600.0, 1.0
log = logging.getLogger(__name__)


def note(connection: Connection, name: str) -> bool:
    """Remembers that the account is in use now, by a sign-in or a visit. False where there is no
    such account, or none of somebody's own."""
    now, new_since = datetime.now(UTC), accounts.c.new_since
    used = case((new_since <= now - USED_AFTER, null()), else_=new_since)
    noted = update(accounts).where(accounts.c.name == name, ~accounts.c.is_shared)
    return connection.execute(noted.values(signed_in_at=now, new_since=used)).rowcount == 1


def due(connection: Connection, most: int) -> list[str]:
    """Accounts that nobody uses, `most` at most."""
    statement = select(accounts.c.name).where(_is_due()).order_by(accounts.c.signed_in_at)
    return list(connection.scalars(statement.limit(most)))


def drop(connection: Connection, name: str) -> bool:
    """Drops an account if it still is due; whether it was."""
    gone = delete(accounts).where(accounts.c.name == name, _is_due())
    return connection.execute(gone).rowcount == 1


def _is_due() -> ColumnElement[bool]:
    now = datetime.now(UTC)
    long_unused = accounts.c.signed_in_at < now - timedelta(days=KEEP_DAYS)
    never_used = accounts.c.new_since < now - timedelta(days=NEW_DAYS)
    return ~accounts.c.is_shared & (long_unused | never_used)


class Unused:
    """`database` has `read` and `write`, which give a connection each; `forget` removes what Redis
    holds of a user, and raises RedisError."""

    def __init__(self, database: Any, forget: Callable[[str], None]) -> None:
        self._database, self._forget = database, forget

    def drop(self, most: int) -> int:
        """Drops `most` accounts at most; how many it looked at. Raises RedisError,
        SQLAlchemyError."""
        with self._database.read(wait=False) as connection:
            names = due(connection, most)
        dropped = 0
        for name in names:
            self._forget(name)
            with self._database.write(wait=False) as connection:
                dropped += drop(connection, name)
        if names:
            log.info("accounts that nobody uses were dropped: %d", dropped)
        return len(names)

    def step(self, _: int = 0) -> float:
        """Drops some, and says after how many seconds to look again. Two that do it at once do no
        harm, so it needs no fencing token. Raises RedisError, SQLAlchemyError."""
        return SOON_SECONDS if self.drop(BATCH) == BATCH else PAUSE_SECONDS
