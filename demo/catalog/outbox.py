"""The outbox: invalidations that survive a crash. An event is written in the same SQL transaction
as its change, and delivery is retried until it succeeds.

Between a commit and the call to Redis the process can die, or Redis can be away. The caches would
then go on serving the old value. So the event is a row in the database. The process that commits
also tells the caches and removes the row. If the process that made the change cannot deliver its
event, the leader among the processes delivers it later. Delivering an event twice does no harm.

Source: C. Richardson, "Transactional outbox",
https://microservices.io/patterns/data/transactional-outbox.html
"""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Integer,
    String,
    Table,
    delete,
    func,
    insert,
    select,
    tuple_,
)
from sqlalchemy.exc import SQLAlchemyError

from demo.catalog.products import metadata
from demo.client.contract import any_errors

BATCH = 500
KEPT_SECONDS = 120
outbox = Table(
    "catalog_outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("product_id", Integer, nullable=False),
    Column("category", String(32), nullable=False),
)
told = Table(
    "catalog_told",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("product_id", Integer, nullable=False),
    Column("category", String(32), nullable=False),
    Column("told_at", DateTime(timezone=True), nullable=False),
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """A product changed; without a product, 0, all of a category."""

    id: int
    product_id: int
    category: str


def add(connection: Connection, product_id: int, category: str) -> Event:
    """Writes the event in the caller's transaction."""
    statement = (
        insert(outbox).values(product_id=product_id, category=category).returning(outbox.c.id)
    )
    return Event(connection.execute(statement).scalar_one(), product_id, category)


OLDEST = select(outbox).order_by(outbox.c.id).limit(BATCH)


def pending(connection: Connection) -> list[Event]:
    """The oldest events that nobody has removed, BATCH at most."""
    rows = connection.execute(OLDEST).all()
    return [Event(row.id, row.product_id, row.category) for row in rows]


def count(connection: Connection) -> int:
    """How many events nobody has removed."""
    return connection.execute(select(func.count()).select_from(outbox)).scalar_one()


def settle(connection: Connection, events: Sequence[Event]) -> None:
    """Removes what was told, and remembers that it was."""
    connection.execute(delete(outbox).where(outbox.c.id.in_([event.id for event in events])))
    remember(connection, {(event.product_id, event.category) for event in events})


def remember(connection: Connection, subjects: Collection[tuple[int, str]]) -> None:
    """Keeps product and category of what was told just now, each once, and drops what is old."""
    now = datetime.now(UTC)
    old = told.c.told_at < now - timedelta(seconds=KEPT_SECONDS)
    connection.execute(
        delete(told).where(old | tuple_(told.c.product_id, told.c.category).in_(subjects))
    )
    rows = [
        {"product_id": product_id, "category": category, "told_at": now}
        for product_id, category in sorted(subjects)
    ]
    connection.execute(insert(told), rows)


def lately(connection: Connection) -> list[Event]:
    """What was told in the last KEPT_SECONDS, and may have been dropped since."""
    since = datetime.now(UTC) - timedelta(seconds=KEPT_SECONDS)
    rows = connection.execute(select(told).where(told.c.told_at >= since)).all()
    return [Event(row.id, row.product_id, row.category) for row in rows]


class Deliverer:
    """Delivers what is left over: `publish` tells the caches of events and raises RedisError when it
    cannot.

    `step` is for a job that one process of all runs, and that only while Redis is there; what waits
    meanwhile waits in the database. `database` has `read` and `write`, which give a connection
    each.
    """

    def __init__(
        self,
        database: Any,
        publish: Callable[[Sequence[Event]], None],
        interval_seconds: float = 1.0,
    ) -> None:
        self._database = database
        self._publish = publish
        self._interval_seconds = interval_seconds

    def deliver(self) -> bool:
        """One pass over all that is pending; whether nothing is left. Raises SQLAlchemyError."""
        while True:
            with self._database.read(wait=False) as connection:
                events = pending(connection)
            if not events:
                return True
            try:
                self._publish(events)
            except any_errors():
                return False
            with self._database.write(wait=False) as connection:
                settle(connection, events)
            log.info("outbox: %d late invalidations delivered", len(events))

    def step(self, _: int = 0) -> float:
        """A pass, and after how many seconds the next is due: any process may have left something.
        Raises SQLAlchemyError. Needs no fencing token, since telling twice does no harm."""
        self.deliver()
        return self._interval_seconds

    def again(self) -> int:
        """Tells the caches once more of what was told lately; how much that was. Raises RedisError,
        SQLAlchemyError."""
        with self._database.read(wait=False) as connection:
            events = lately(connection)
        if events:
            self._publish(events)
        return len(events)

    def remember(self, subjects: Collection[tuple[int, str]]) -> None:
        """Has product and category of what was invalidated by hand told again, like a change. Where
        the database is away it is not, and the caches were told all the same."""
        try:
            with self._database.write(wait=False) as connection:
                remember(connection, subjects)
        except SQLAlchemyError as error:
            log.warning("outbox: told by hand, not remembered: %s", type(error).__name__)
