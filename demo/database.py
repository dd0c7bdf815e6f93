"""The one SQL engine: the source of truth behind the catalog's cache.

SQLite in the instance folder by default, Postgres by DATABASE_URL. Each visit can be made slow on
purpose, which stands for a busy database across a network. The wait is spent before the transaction
begins: nobody holds a lock meanwhile.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from demo.config import ConfigError

CONNECTIONS = 10
WAIT_SECONDS = 3.0


class VisitEvents(event.Events["Database"]):
    """What a database tells those who listen (`sqlalchemy.event.listen`)."""

    def before_visit(self) -> None:
        """A visit begins, no connection is taken yet: a listener may wait, or raise
        SQLAlchemyError."""

    def after_visit(self, label: str, began: float) -> None:
        """A visit is over, well or not; `began` is of `time.perf_counter`."""


class Database(event.EventTarget):
    """A pool of `CONNECTIONS`, which also bounds how many readers reach the database without Redis."""

    dispatch = event.dispatcher(VisitEvents)

    def __init__(self, url: str, latency_ms: int = 0) -> None:
        self.latency_ms = latency_ms
        self.engine = _engine(url)

    @contextmanager
    def read(self, *, wait: bool = True) -> Iterator[Connection]:
        """One visit that reads; without `wait`, the app's own housekeeping, nothing slows it down.

        Raises sqlalchemy.exc.SQLAlchemyError.
        """
        with self._visit("SELECT", wait) as connection:
            yield connection

    @contextmanager
    def write(self, *, wait: bool = True) -> Iterator[Connection]:
        """One visit that writes: committed when the block ends well, undone when it raises."""
        with self._visit("UPDATE", wait) as connection, connection.begin():
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def _visit(self, label: str, wait: bool) -> Iterator[Connection]:
        began = time.perf_counter()
        try:
            if wait:
                self.dispatch.before_visit()
            with self.engine.connect() as connection:
                if wait and self.latency_ms:
                    time.sleep(self.latency_ms / 1000)
                yield connection
        finally:
            self.dispatch.after_visit(label, began)


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        options: dict[str, Any] = {}
        if (
            "postgresql" in parsed.drivername
        ):  # text comes as text from a database of no encoding too
            options["connect_args"] = {"connect_timeout": 2, "client_encoding": "utf8"}
        if parsed.get_backend_name() == "sqlite":
            options["connect_args"] = {"timeout": 5, "check_same_thread": False}
        engine = create_engine(
            parsed,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=WAIT_SECONDS,
            pool_pre_ping=parsed.get_backend_name() != "sqlite",  # a file does not hang up
            **options,
        )
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError, ValueError):
        raise ConfigError(
            "DATABASE_URL is wrong: sqlite:///path or postgresql://user:password@host/name."
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours to say, see Database.write
    connection.execute("PRAGMA busy_timeout=5000")
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _use_wal(connection: Any) -> None:
    """Several that open a new file at once all want to change its mode, and SQLite tells some of
    them that it is locked without waiting for the busy timeout."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)


def sqlite_url(instance: Path) -> str:
    """Where the catalog lies when there is no DATABASE_URL."""
    return f"sqlite:///{instance.resolve() / 'catalog.sqlite3'}"
