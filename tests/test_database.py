import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from demo.catalog import outbox, products
from demo.config import ConfigError
from demo.database import Database, _use_wal
from demo.sessions import accounts, endings
from demo.web.services import services
from tests.servers import until
from tests.web.test_preconditions import two_that_read_the_same


def postgres_binaries() -> Path | None:
    """The newest server installed, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a private Postgres on a unix socket. It refuses to run as root, so it runs as its
    own user then."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("needs a Postgres server")
    who = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        if who:
            shutil.chown(folder, "postgres")
        data = f"{folder}/data"
        quiet: dict[str, Any] = {
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
            "cwd": folder,
        }
        subprocess.run(
            [*who, str(binaries / "initdb"), "-D", data, "-U", "demo", "-A", "trust", "-E", "UTF8"],
            check=True,
            **quiet,
        )
        options = ["-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        server = subprocess.Popen([*who, str(binaries / "postgres"), *options], **quiet)
        try:
            ready = [str(binaries / "pg_isready"), "-h", folder, "-U", "demo", "-q"]
            until(lambda: subprocess.run(ready, check=False).returncode == 0, 20)
            yield f"postgresql://demo@/postgres?host={folder}"
        finally:
            stop = [*who, str(binaries / "pg_ctl"), "-D", data, "stop", "-m", "fast"]
            with contextlib.suppress(subprocess.CalledProcessError):
                subprocess.run(stop, check=True, **quiet)
            server.wait(10)


def test_a_postgres_database_without_an_encoding_will_do(
    make_app: Callable[..., Flask], postgres: str
) -> None:
    engine = create_engine(
        postgres.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        create = "CREATE DATABASE plain ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        connection.exec_driver_sql(create)
    engine.dispose()
    web = make_app(
        DATABASE_URL=postgres.replace("@/postgres", "@/plain"), PRODUCTS=50
    ).test_client()
    assert web.patch("/catalog/api/products/42", json={"name": "Lämp"}).json["name"] == "Lämp"
    assert web.get("/catalog/?q=l%C3%A4mp").status_code == 200


def test_the_app_runs_on_postgres_and_three_that_start_at_once_make_one_catalog(
    make_app: Callable[..., Flask], postgres: str
) -> None:
    apps: list[Flask] = []
    threads = [
        threading.Thread(target=lambda: apps.append(make_app(DATABASE_URL=postgres, PRODUCTS=1500)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(apps) == 3
    web = apps[0].test_client()
    assert web.get("/catalog/api/products").json["total"] == 1500
    assert web.get("/catalog/products/1500").status_code == 200
    assert web.get("/catalog/products/1501").status_code == 404
    assert web.get("/catalog/?q=OAK%25_%5C").status_code == 200
    assert web.get("/catalog/api/products/42").json["version"] == 1
    assert web.patch("/catalog/api/products/42", json={"price_cents": 5}).json["version"] == 2
    assert apps[1].test_client().get("/catalog/api/products/42").json["price_cents"] == 5
    assert web.post("/sessions/cart", data={"product": "42"}).status_code == 303
    assert web.get("/readyz").json == {
        "database": "ok",
        "redis": "ok",
        "memory": "ok",
        "degraded": [],
        "not_permitted": {},
        "stopping": False,
    }
    assert (
        web.post("/sessions/login", data={"name": "mara", "password": "correct horse"}).status_code
        == 303
    )
    mine, taken = {"name": "ida", "password": "a long enough phrase"}, apps[1].test_client()
    assert web.post("/sessions/sign-up", data=mine).status_code == 303
    assert taken.post("/sessions/sign-up", data=mine).status_code == 422
    assert taken.post("/sessions/login", data=mine).status_code == 303
    change = {"password": mine["password"], "new": "another long phrase"}
    assert web.post("/sessions/password", data=change).status_code == 303
    assert web.get("/sessions/api/me").json["user"] == "ida"
    assert taken.get("/sessions/api/me").json["user"] is None


def test_of_two_that_read_the_same_product_one_writes_on_postgres_too(
    make_app: Callable[..., Flask], postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(DATABASE_URL=postgres, PRODUCTS=50)
    engine = create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))

    def waits() -> None:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            until(lambda: connection.exec_driver_sql(asked).scalar_one())

    answers = two_that_read_the_same(app, monkeypatch, waits)
    engine.dispose()
    assert answers == {1: 200, 2: 412}
    assert app.test_client().get("/catalog/api/products/43").json["price_cents"] == 1


def test_the_accounts_of_an_older_build_are_kept_on_postgres_too(
    make_app: Callable[..., Flask], postgres: str
) -> None:
    driver = postgres.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(driver, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE older")
    engine.dispose()
    url = postgres.replace("@/postgres", "@/older")
    mine = {"name": "ida", "password": "a long enough phrase"}
    made = make_app(DATABASE_URL=url, PRODUCTS=50).test_client()
    assert made.post("/sessions/sign-up", data=mine).status_code == 303
    engine = create_engine(driver.replace("@/postgres", "@/older"))
    with engine.begin() as connection:  # as it was before the column
        connection.exec_driver_sql("ALTER TABLE accounts DROP COLUMN new_since")
    app = make_app(DATABASE_URL=url, PRODUCTS=50)
    web = app.test_client()
    assert web.post("/sessions/login", data=mine).status_code == 303
    assert web.post("/sessions/sign-up", data={**mine, "name": "ole"}).status_code == 303
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE accounts SET new_since = new_since - interval '8 days'")
    assert services(app).background.jobs["accounts"].step(0) > 1
    with engine.begin() as connection:
        names = connection.exec_driver_sql("SELECT name FROM accounts WHERE NOT is_shared")
        assert [name for (name,) in names] == ["ida"]
    engine.dispose()


def test_sqlite_readers_do_not_wait_for_a_writer(make_database: Callable[..., Database]) -> None:
    database = make_database()
    with database.write() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
        connection.execute(text("INSERT INTO t VALUES (1)"))
    with database.write() as writer, database.read() as reader:
        writer.execute(text("UPDATE t SET n = 2"))
        assert reader.scalar(text("SELECT n FROM t")) == 1
    with database.read() as reader:
        assert reader.scalar(text("SELECT n FROM t")) == 2


def test_what_raises_within_a_write_is_undone(make_database: Callable[..., Database]) -> None:
    database = make_database()
    with database.write() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
    with pytest.raises(SQLAlchemyError), database.write() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
        connection.execute(text("INSERT INTO nowhere VALUES (1)"))
    with database.read() as reader:
        assert reader.scalar(text("SELECT count(*) FROM t")) == 0


def test_the_wait_is_spent_before_the_transaction_so_that_no_lock_is_held(
    make_database: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = make_database(latency_ms=50), make_database()
    with quick.write() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        with (
            quick.write() as connection
        ):  # would deadlock if the slow one held the lock while it waits
            connection.execute(text("INSERT INTO t VALUES (1)"))

    monkeypatch.setattr("demo.database.time.sleep", sleep)
    with slow.write() as connection:
        connection.execute(text("INSERT INTO t VALUES (2)"))
    assert waits == [0.05]


@pytest.mark.parametrize(
    "url", ["nonsense", "mongodb://h/d", "sqlite+nothing:///x", "postgresql://h:port/d"]
)
def test_a_wrong_database_url_is_one_sentence(url: str) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL is wrong"):
        Database(url)


def test_a_file_that_another_one_is_just_changing_the_mode_of_is_waited_for(tmp_path: Path) -> None:
    class Locked:
        """Refuses the mode a few times, as SQLite does without waiting."""

        def __init__(self, connection: Any, times: int) -> None:
            self.connection, self.times = connection, times

        def execute(self, statement: str) -> Any:
            if "journal_mode" in statement and self.times:
                self.times -= 1
                raise sqlite3.OperationalError("database is locked")
            return self.connection.execute(statement)

    with contextlib.closing(sqlite3.connect(tmp_path / "new.sqlite3")) as connection:
        locked = Locked(connection, 3)
        _use_wal(locked)
        assert locked.times == 0
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_of_an_earlier_build_goes_on_being_read() -> None:
    """Its tables and columns keep their names, and what a row always had it has. Another name would
    be another, empty table beside the old one."""
    assert endings.metadata is accounts.metadata and outbox.metadata is products.metadata
    found = {
        table.name: {column.name: column.nullable for column in table.columns}
        for each in (products.metadata, accounts.metadata)
        for table in each.tables.values()
    }
    event = dict.fromkeys(("id", "product_id", "category"), False)
    wanted = ("sku", "name", "category", "description", "price_cents", "stock", "version")
    assert found == {
        "products": {"id": False, **dict.fromkeys(wanted, False), "updated_at": False},
        "catalog_outbox": event,
        "catalog_told": {**event, "told_at": False},
        "accounts": {
            **dict.fromkeys(("name", "password_hash", "is_shared", "signed_in_at"), False),
            "new_since": True,
        },
        "session_endings": dict.fromkeys(
            ("id", "owner", "handle", "before", "epoch", "ended_at"), False
        ),
        "session_reasons": dict.fromkeys(("handle", "reason", "ended_at"), False),
    }
