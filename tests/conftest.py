"""Fixtures: a real Redis of this test process' own, and apps on it."""

import gc
import os
import shutil
import sqlite3
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from jinja2.bccache import Bucket
from werkzeug.security import generate_password_hash
from xdist.scheduler import LoadScopeScheduling

from demo import database
from demo.app import close, create_app
from demo.catalog import hostile_pickle, strategies_views, trials_views
from demo.catalog.seed import seed
from demo.client import engine
from demo.database import Database, sqlite_url
from demo.monitor import eviction_views
from demo.sessions import accounts, endings
from demo.web.templating import Kept
from tests import compiled_rules, gunicorn_forks, servers
from tests.clients import connect

PRODUCTS = 500
# Where the environment forbids bytecode, each of some hundred servers and processes that tests start
# would compile the whole app again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


class InTwoBrowsers(LoadScopeScheduling):
    """Every test by itself, but those of the browser in two groups, so that two browsers are
    started and not one by each worker.

    What is done is forgotten: of thousands of scopes to a worker it would be counted after each test
    which are done."""

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        super().mark_test_complete(node, item_index, duration)
        assigned = self.assigned_work[node]
        scope = self._split_scope(self.registered_collections[node][item_index])
        if all(assigned[scope].values()):
            del assigned[scope]

    def _split_scope(self, nodeid: str) -> str:
        return (
            f"browser {zlib.crc32(nodeid.encode()) % 2}" if "tests/browser/" in nodeid else nodeid
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first: one that begins last is what everybody waits for."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What is imported and collected stays to the end: the garbage collector need not go through it
    again and again, neither now nor beside the tests. Nor does it look at the rest after every 700
    objects, of which an app has many times as many: that was a seventh of what tests cost."""
    gc.disable()
    found = yield
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    gc.enable()
    return found


def pytest_sessionfinish() -> None:
    gunicorn_forks.close()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return InTwoBrowsers(config, log)


@pytest.fixture(autouse=True)
def no_socket_stays_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes what the pools of a test have opened, on engines of its own too."""
    made: list[redis.ConnectionPool] = []
    original = redis.ConnectionPool.__init__

    def keep(self: redis.ConnectionPool, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        made.append(self)

    monkeypatch.setattr(redis.ConnectionPool, "__init__", keep)
    yield
    for pool in made:
        pool.disconnect()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that no other test process uses."""
    url = servers.shared_url()
    if url:
        yield url
        return
    folder = tmp_path_factory.mktemp("instance")
    yield engine.start(folder, keep=False)
    engine.release(folder, wait_seconds=5)


@pytest.fixture
def client(redis_url: str) -> Iterator[servers.Client]:
    """redis-py's own client of bytes on a server without any of the app's keys."""
    made = servers.connect(redis_url)
    servers.clean(made)
    yield made
    made.close()


@pytest.fixture
def wired(client: servers.Client, redis_url: str) -> Iterator[Any]:
    """The app's kind of client on the same server, with what stands around the wire."""
    made = connect(redis_url, pool_size=64, timeout_seconds=5.0, open_seconds=0.5)
    yield made
    made.close()


compiled_rules.remember()
_prepare_sqlite = database._prepare_sqlite


def _in_memory_is_enough(connection: sqlite3.Connection, record: Any) -> None:
    """Nobody takes the power away from a test: nothing has to be on the disk before it goes on."""
    _prepare_sqlite(connection, record)
    connection.execute("PRAGMA synchronous=OFF")


database._prepare_sqlite = _in_memory_is_enough
CHEAP = "scrypt:1024:8:1"
CHEAP_HASH = generate_password_hash(accounts.DEMO_PASSWORD, CHEAP)


@pytest.fixture(autouse=True)
def hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a password costs is test_accounts' matter, and 60 ms for each sign-in of the others."""
    monkeypatch.setattr(accounts, "HASHING", CHEAP)
    monkeypatch.setattr(accounts, "DEMO_HASH", CHEAP_HASH)
    monkeypatch.setattr(accounts, "NOBODY", f"{CHEAP_HASH.rpartition('$')[0]}${'0' * 128}")


class Compiled(Kept):
    """Templates that an app of this test process has looked up already."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: dict[tuple[str, str], Any] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self.codes.get((bucket.key, bucket.checksum))
        if bucket.code is None:
            super().load_bytecode(bucket)
            self.codes[bucket.key, bucket.checksum] = bucket.code

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.codes[bucket.key, bucket.checksum] = bucket.code
        super().dump_bytecode(bucket)


@pytest.fixture(scope="session")
def compiled() -> Compiled:
    return Compiled()


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with PRODUCTS products and the demo accounts, to be copied: making them takes as
    long as many a test."""
    folder = tmp_path_factory.mktemp("seeded")
    made = Database(sqlite_url(folder), 0)
    assert endings.metadata is accounts.metadata  # its table too, or each app would make it
    seed(made.engine, PRODUCTS)
    with pytest.MonkeyPatch.context() as patch, made.write() as connection:
        patch.setattr(accounts, "DEMO_HASH", CHEAP_HASH)
        accounts.prepare(connection)
    made.engine.dispose()
    return folder / "catalog.sqlite3"


@pytest.fixture
def make_app(
    redis_url: str, client: servers.Client, tmp_path: Path, compiled: Compiled, seeded: Path
) -> Iterator[Callable[..., Flask]]:
    """Apps with settings of a test's choice; two of one test share Redis and the database, as two
    workers do."""
    made: list[Flask] = []

    def make(use_cases: tuple[str, ...] | None = None, **settings: Any) -> Flask:
        defaults = {
            "REDIS_URL": redis_url,
            "INSTANCE_PATH": str(tmp_path / "instance"),
            "SECRET_KEY": "of the tests",
            "PRODUCTS": PRODUCTS,
            "DB_LATENCY_MS": 0,
            "REDIS_TIMEOUT_SECONDS": 2.0,
            "BACKGROUND": "none",
            "SAMPLE_DATA": False,
        }
        chosen = {**defaults, **settings}
        file = Path(chosen["INSTANCE_PATH"]) / "catalog.sqlite3"
        if chosen["PRODUCTS"] == PRODUCTS and not file.exists():
            file.parent.mkdir(exist_ok=True)
            shutil.copyfile(seeded, file)
        made.append(create_app(chosen) if use_cases is None else create_app(chosen, use_cases))
        made[-1].jinja_env.bytecode_cache = compiled
        return made[-1]

    yield make
    for app in made:
        close(app)


@pytest.fixture
def make_database(tmp_path: Path) -> Iterator[Callable[..., Database]]:
    """Databases in one SQLite file of the test's own."""
    made: list[Database] = []

    def make(latency_ms: int = 0) -> Database:
        made.append(Database(sqlite_url(tmp_path), latency_ms))
        return made[-1]

    yield make
    for each in made:
        each.engine.dispose()


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def no_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that ask for every address: the labs' processes are their own tests' matter."""
    monkeypatch.setattr(strategies_views, "_run", lambda *_: [])
    monkeypatch.setattr(eviction_views, "_begin", lambda *given: given[-1].leave())
    monkeypatch.setattr(hostile_pickle, "let_it_run", lambda: hostile_pickle.Deed("", "", ""))
    monkeypatch.setattr(trials_views, "READERS", 5)


@pytest.fixture
def web(app: Flask) -> FlaskClient:
    """A visitor of the app."""
    return app.test_client()


@pytest.fixture
def away(make_app: Callable[..., Flask]) -> Flask:
    """An app whose Redis is not there, a port that nobody listens on, and whose breaker stays open
    once it knows."""
    return make_app(REDIS_URL="redis://127.0.0.1:1", REDIS_TIMEOUT_SECONDS=0.25, BREAKER_SECONDS=60)


def round_trips(response: Any) -> int:
    """What the x-ray says in Server-Timing."""
    return int(response.headers["Server-Timing"].split('desc="')[1].split()[0])
