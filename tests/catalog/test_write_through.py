import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from demo.catalog.cache_aside import Cache, CacheStatus
from demo.catalog.write_through import NotTold, WriteThrough
from tests.servers import Client, connect, private_engine


class Row(msgspec.Struct, frozen=True):
    number: int


class Database:
    """One row, changed under a lock, with a hook between the commit and the return."""

    def __init__(self) -> None:
        self.rows = {"1": Row(0)}
        self.loads = 0
        self.committed: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def load(self, key: str) -> Row | None:
        self.loads += 1
        return self.rows.get(key)

    def change_row(self, key: str, change: Callable[[Row], Row]) -> Row | None:
        with self._lock:
            if key not in self.rows:
                return None
            self.rows[key] = value = change(self.rows[key])
        self.committed()
        return value


def add(row: Row) -> Row:
    return Row(row.number + 1)


def make(client: Client, database: Database) -> tuple[WriteThrough[Row], Cache[Row]]:
    cache = Cache(client, "through", Row, ttl_seconds=60, wait_seconds=0.2)
    return WriteThrough(cache, database.load, database.change_row), cache


def must_not_load() -> Row:
    raise AssertionError("loaded")


def test_the_next_reader_has_a_hit_with_the_new_value(client: Client) -> None:
    database = Database()
    store, cache = make(client, database)
    assert store.read("1") == Row(0)
    assert store.update("1", add) == Row(1)
    assert cache.get_or_load("1", must_not_load).value == Row(1)
    assert (store.read("1"), database.loads) == (Row(1), 1)


def test_what_is_not_there_cannot_be_changed_and_is_not_stored(client: Client) -> None:
    store, cache = make(client, Database())
    assert store.update("2", add) is None
    assert not client.exists(cache.redis_key("2"))


def test_two_writers_whose_commits_cross_leave_the_newest_or_nothing(client: Client) -> None:
    """The first has committed; before it can store, a second one begins, commits and stores."""
    database = Database()
    store, cache = make(client, database)

    def cross() -> None:
        database.committed = lambda: None
        assert store.update("1", add) == Row(2)

    database.committed = cross
    assert store.update("1", add) == Row(1)
    assert store.read("1") == Row(2)


def test_a_reader_that_loaded_before_the_commit_stores_nothing(client: Client) -> None:
    database = Database()
    store, cache = make(client, database)

    def load_then_be_overtaken() -> Row:
        old = database.rows["1"]
        store.update("1", add)
        return old

    assert cache.get_or_load("1", load_then_be_overtaken).value == Row(0)
    assert store.read("1") == Row(1)


def test_a_lease_that_ran_out_before_the_commit_drops_what_others_stored_meanwhile(
    client: Client,
) -> None:
    database = Database()
    store, cache = make(client, database)
    original = database.change_row

    def slow(key: str, change: Callable[[Row], Row]) -> Row | None:
        client.delete(
            cache.redis_key(key)
        )  # the writer's lease runs out, and a reader stores the old row
        assert cache.get_or_load(key, lambda: Row(0)).status is CacheStatus.MISS
        return original(key, change)

    store._change_row = slow
    store.update("1", add)
    assert store.read("1") == Row(1)


def test_a_change_that_fails_gives_the_lease_back(client: Client) -> None:
    store, cache = make(client, Database())

    def fail(_: Row) -> Row:
        raise LookupError

    with pytest.raises(LookupError):
        store.update("1", fail)
    assert not client.exists(cache.redis_key("1"))


def test_without_redis_the_row_is_written_and_the_caller_is_told() -> None:
    database = Database()
    store, _ = make(connect("redis://127.0.0.1:1", pool_size=2, timeout_seconds=0.25), database)
    with pytest.raises(NotTold) as told:
        store.update("1", add)
    assert (told.value.value, database.rows["1"], store.read("1")) == (Row(1), Row(1), Row(1))


def test_redis_lost_after_the_commit_leaves_a_lease_and_no_old_value() -> None:
    with (
        private_engine() as engine,
        connect(engine.url, pool_size=2, timeout_seconds=0.25) as client,
    ):
        database = Database()
        store, cache = make(client, database)
        store.read("1")
        database.committed = engine.pause
        with pytest.raises(NotTold):
            store.update("1", add)
        engine.resume()
        seen: list[Any] = []
        while not seen or seen[-1].status is CacheStatus.BYPASS and len(seen) < 200:
            seen.append(cache.get_or_load("1", lambda: database.rows["1"]))
        assert {cached.value for cached in seen} == {Row(1)}


def test_many_writers_lose_no_change_and_leave_the_last_value(client: Client) -> None:
    database = Database()
    store, _ = make(client, database)
    threads = [
        threading.Thread(target=lambda: [store.update("1", add) for _ in range(10)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (database.rows["1"], store.read("1")) == (Row(80), Row(80))
