"""Sessions that ended recently, in the database: they were signed out, moved to a new id, or ended
with all others of their user.

A replica that becomes Redis' primary may lack the last writes of the one before, and a session that
ended then would be valid again. So each ending is a row for KEPT_SECONDS. After a failover, all
sessions that ended recently are ended again on the new primary. Ending a session twice does no
harm.

Why a session was ended is kept longer, for the next click of its browser.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, DateTime, Integer, String, Table, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from demo.sessions.accounts import metadata
from demo.sessions.session_store import Ending, SessionStore

KEPT_SECONDS = 120
TOLD_DAYS, MOST_TOLD = 7, 50
endings = Table(
    "session_endings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("handle", String(32), nullable=False),
    Column("before", String(16), nullable=False),
    Column("epoch", String(16), nullable=False),
    Column("ended_at", DateTime(timezone=True), nullable=False),
)
reasons = Table(
    "session_reasons",
    metadata,
    Column("handle", String(32), primary_key=True),
    Column("reason", String(80), nullable=False),
    Column("ended_at", DateTime(timezone=True), nullable=False),
)
log = logging.getLogger(__name__)


class Endings:
    """`database` has `read` and `write`, which give a connection each."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def keep(self, ending: Ending, reason: str = "") -> None:
        """Writes it down, with the reason that the browsers of its sessions are told, MOST_TOLD of
        them at most, and drops what is old. Where the database is away it is only logged: the
        session has ended all the same."""
        now = datetime.now(UTC)
        row = {
            "owner": ending.owner,
            "handle": ending.handle,
            "before": ending.before,
            "epoch": ending.epoch,
            "ended_at": now,
        }
        old = endings.c.ended_at < now - timedelta(seconds=KEPT_SECONDS)
        too_old = reasons.c.ended_at < now - timedelta(days=TOLD_DAYS)
        told = [
            {"handle": handle, "reason": reason, "ended_at": now}
            for handle in filter(None, (ending.handle, *ending.handles[:MOST_TOLD]))
        ]
        try:
            with self._database.write(wait=False) as connection:
                connection.execute(delete(endings).where(old))
                connection.execute(insert(endings), row)
                if reason and told:
                    again = reasons.c.handle.in_([each["handle"] for each in told])
                    connection.execute(delete(reasons).where(too_old | again))
                    connection.execute(insert(reasons), told)
        except SQLAlchemyError as error:
            log.warning("a session ended, not written down: %s", type(error).__name__)

    def why(self, handle: str) -> str | None:
        """Why the session of this handle was ended, if somebody ended it lately; None too where the
        database is away."""
        sought = select(reasons.c.reason).where(reasons.c.handle == handle)
        try:
            with self._database.read(wait=False) as connection:
                reason: str | None = connection.execute(sought).scalar()
                return reason
        except SQLAlchemyError:
            return None

    def again(self, store: SessionStore) -> int:
        """Ends once more what is kept, the oldest first; how many there were. Raises RedisError,
        SQLAlchemyError."""
        since = datetime.now(UTC) - timedelta(seconds=KEPT_SECONDS)
        columns = (endings.c.owner, endings.c.handle, endings.c.before, endings.c.epoch)
        lately = select(*columns).where(endings.c.ended_at >= since).order_by(endings.c.id)
        with self._database.read(wait=False) as connection:
            rows = connection.execute(lately).all()
        for row in rows:
            store.again(Ending(*row))
        return len(rows)
