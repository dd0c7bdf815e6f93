import threading
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from redis.crc import key_slot
from redis.exceptions import RedisError

from demo.catalog import write_behind
from demo.catalog.write_behind import GROUP, Contended, Versioned, WriteBehind
from tests.servers import Client, clean, connect, lives


class Row(msgspec.Struct, frozen=True):
    number: int


class Database:
    """Rows with versions; `order` is every version that was written, by key."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, Row]] = {key: (1, Row(0)) for key in "abc"}
        self.order: dict[str, list[int]] = {key: [1] for key in "abc"}
        self.refused: set[str] = set()
        self.loads = 0
        self.batches: list[int] = []

    def load(self, key: str) -> Versioned[Row] | None:
        self.loads += 1
        if key not in self.rows:
            return None
        version, row = self.rows[key]
        return Versioned(key, version, row)

    def save_batch(self, changes: Sequence[Versioned[Row]]) -> None:
        if any(change.key in self.refused for change in changes):
            raise LookupError("refused")
        self.batches.append(len(changes))
        for change in changes:
            if self.rows[change.key][0] < change.version:
                self.rows[change.key] = (change.version, change.value)
                self.order[change.key].append(change.version)


def add(row: Row) -> Row:
    return Row(row.number + 1)


def make(client: Client, database: Database, **options: Any) -> WriteBehind[Row]:
    return WriteBehind(client, "test", Row, database.load, database.save_batch, **options)


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def store(client: Client, database: Database) -> WriteBehind[Row]:
    return make(client, database)


def test_a_change_is_seen_at_once_and_written_later(
    store: WriteBehind[Row], database: Database
) -> None:
    assert store.update("a", add) == Row(1)
    assert (store.read("a"), database.rows["a"], store.pending()) == (Row(1), (1, Row(0)), 1)
    assert store.flush("one").saved == 1
    assert (store.read("a"), database.rows["a"], store.pending()) == (Row(1), (2, Row(1)), 0)


def test_a_batch_is_one_transaction_in_the_order_of_the_changes(
    store: WriteBehind[Row], database: Database
) -> None:
    for key in "abab":
        store.update(key, add)
    assert store.flush("one").saved == 4
    assert (database.batches, database.order["a"]) == ([4], [1, 2, 3])


def test_what_is_not_there_is_none_and_cannot_be_changed(
    store: WriteBehind[Row], client: Client
) -> None:
    assert (store.read("z"), store.update("z", add)) == (None, None)
    assert not client.exists(store.entry_key("z"))


def test_a_crash_between_commit_and_acknowledgement_saves_twice_and_changes_nothing(
    store: WriteBehind[Row], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.update("a", add)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_acknowledge", _die)
        with pytest.raises(KeyboardInterrupt):
            store.flush("dies")
    assert (database.rows["a"], store.pending()) == ((2, Row(1)), 1)
    store.update("a", add)
    again = store.flush("lives", idle_ms=0)
    assert (again.claimed, again.saved, database.order["a"], store.pending()) == (
        1,
        2,
        [1, 2, 3],
        0,
    )


def test_a_change_that_is_in_the_database_already_is_no_change_that_waits(
    store: WriteBehind[Row], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was saved, its acknowledgement is under way, and its entry was evicted: read anew, the
    entry is a clean one, and lives no longer."""
    store.update("a", add)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_acknowledge", _die)
        with pytest.raises(KeyboardInterrupt):
            store.flush("dies")
    client.delete(store.entry_key("a"))
    assert store.read("a") == Row(1)
    assert client.get(store.entry_key("a")).startswith(b"2|C|")
    assert lives(client, store.entry_key("a"), 60)


def _die(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_crash_before_the_commit_loses_nothing(
    store: WriteBehind[Row], client: Client, database: Database
) -> None:
    store.update("a", add)
    store.flush("warm")
    store.update("a", add)
    client.xreadgroup(GROUP, "dies", {store.stream: ">"}, count=10)
    assert store.flush("other", idle_ms=60_000).saved == 0  # not yet
    assert store.flush("other", idle_ms=0).claimed == 1
    assert database.rows["a"] == (3, Row(2))


def test_of_two_workers_the_slower_writes_no_older_change_over_a_newer(
    store: WriteBehind[Row], client: Client, database: Database
) -> None:
    def slow(changes: Sequence[Versioned[Row]]) -> None:
        store._save_batch = save
        store.update("a", add)
        assert store.flush("quick").saved == 1
        save(changes)

    save = store._save_batch
    store.update("a", add)
    store._save_batch = slow
    store.flush("slow")
    assert (database.rows["a"], database.order["a"], store.pending()) == ((3, Row(2)), [1, 3], 0)


@pytest.mark.parametrize("when", ["before the change is read", "after it was read"])
def test_an_entry_that_is_gone_while_its_change_waits_is_found_in_the_stream(
    store: WriteBehind[Row], client: Client, database: Database, when: str
) -> None:
    store.update("a", add)
    if when == "after it was read":
        store.flush("warm")
        store.update("a", add)
        client.xreadgroup(GROUP, "dies", {store.stream: ">"}, count=10)
    expected = store.read("a")
    client.delete(store.entry_key("a"))
    assert store.read("a") == expected
    assert store.update("a", add) == add(expected)  # type: ignore[arg-type]
    while store.pending():
        store.flush("one", idle_ms=0)
    assert database.rows["a"][1] == add(expected)  # type: ignore[arg-type]


def test_a_load_that_is_overtaken_by_a_change_is_not_stored(
    store: WriteBehind[Row], client: Client, database: Database
) -> None:
    load = store._load

    def overtaken(key: str) -> Versioned[Row] | None:
        store._load = load
        client.delete(store.entry_key("a"))  # the lease runs out
        store.update("a", add)
        return Versioned(key, 1, Row(0))

    store._load = overtaken
    assert store.read("a") == Row(1)


def test_a_clean_entry_expires_and_a_dirty_one_waits(
    store: WriteBehind[Row], client: Client
) -> None:
    store.read("a")
    assert lives(client, store.entry_key("a"), 60)
    store.update("a", add)
    assert lives(client, store.entry_key("a"), 86_400) and lives(client, store.stream, 86_400)
    store.flush("one")
    assert lives(client, store.entry_key("a"), 60)
    assert set(client.scan_iter("demo:catalog:{behind-*")) == {
        store.entry_key("a").encode(),
        store.stream.encode(),
    }
    assert lives(client, store.stream, 86_400)


def test_an_entry_changed_again_before_it_was_saved_stays_dirty(
    store: WriteBehind[Row], client: Client
) -> None:
    save = store._save_batch

    def changed_meanwhile(changes: Sequence[Versioned[Row]]) -> None:
        store._save_batch = save
        save(changes)
        store.update("a", add)

    store.update("a", add)
    store._save_batch = changed_meanwhile
    store.flush("one")
    assert client.get(store.entry_key("a")).startswith(b"3|D|")
    assert store.pending() == 1


def test_a_change_that_cannot_be_saved_holds_up_no_other_and_is_kept_for_a_person(
    client: Client, database: Database
) -> None:
    store = make(client, database, max_deliveries=3)
    database.refused = {"a"}
    for key in "abc":
        store.update(key, add)
    first = store.flush("one")
    assert (first.saved, first.dead, database.rows["b"], store.pending()) == (2, 0, (2, Row(1)), 1)
    passes = [store.flush("one", idle_ms=0) for _ in range(3)]
    assert sum(each.dead for each in passes) == 1
    assert (store.pending(), client.xlen(store.dead)) == (0, 1)
    assert lives(client, store.dead, 86_400)


@pytest.mark.parametrize(
    "fields",
    [
        {"x": "y"},
        {"key": "a", "version": "two", "value": b"\x80"},
        {"key": "a", "version": 2, "value": b"\xc1"},
    ],
)
def test_what_is_no_change_is_given_up(
    store: WriteBehind[Row], client: Client, fields: dict[str, Any]
) -> None:
    client.xadd(store.stream, fields)
    store.update("b", add)
    assert store.flush("one").saved == 1
    assert (store.pending(), client.xlen(store.dead)) == (0, 1)


@pytest.mark.parametrize("garbage", [b"", b"x", b"1|C", b"x|C|\x80", b"2|D|\xc1"])
def test_an_entry_that_does_not_decode_is_a_miss(
    store: WriteBehind[Row], client: Client, garbage: bytes
) -> None:
    client.set(store.entry_key("a"), garbage, px=60_000)
    assert store.read("a") == Row(0)


def test_a_group_that_is_gone_is_made_again_and_reads_from_the_beginning(
    store: WriteBehind[Row], client: Client
) -> None:
    store.update("a", add)
    store.flush("one")
    store.update("a", add)
    client.xgroup_destroy(store.stream, GROUP)
    assert store.flush("one").saved == 1


def test_twenty_writers_lose_no_change(store: WriteBehind[Row], database: Database) -> None:
    over = threading.Event()

    def work() -> None:
        while not over.is_set() or store.pending():
            store.flush("worker", count=7)

    worker = threading.Thread(target=work)
    worker.start()
    writers = [
        threading.Thread(target=lambda: [store.update("a", add) for _ in range(10)])
        for _ in range(20)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    over.set()
    worker.join()
    assert (database.rows["a"], store.read("a")) == ((201, Row(200)), Row(200))
    assert database.order["a"] == sorted(database.order["a"])


def test_readers_of_one_missing_key_load_it_once(
    store: WriteBehind[Row], database: Database
) -> None:
    start = threading.Barrier(10)

    def read() -> None:
        start.wait()
        assert store.read("a") == Row(0)

    threads = [threading.Thread(target=read) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.loads == 1


def test_somebody_elses_endless_load_ends_in_an_error(client: Client, database: Database) -> None:
    store = make(client, database, lease_seconds=0.1, sleep=lambda _: None)
    client.set(store.entry_key("a"), "L|somebody|", px=60_000)
    with pytest.raises(Contended):
        store.read("a")


def test_a_load_that_fails_gives_the_lease_back(store: WriteBehind[Row], client: Client) -> None:
    def fail(_: str) -> Versioned[Row] | None:
        raise LookupError

    store._load = fail
    with pytest.raises(LookupError):
        store.read("a")
    assert not client.exists(store.entry_key("a"))


def test_without_redis_nothing_is_written_and_the_caller_is_told(database: Database) -> None:
    store = make(connect("redis://127.0.0.1:1", pool_size=2, timeout_seconds=0.25), database)
    for call in (
        lambda: store.read("a"),
        lambda: store.update("a", add),
        lambda: store.flush("one"),
    ):
        with pytest.raises(RedisError):
            call()
    assert database.rows["a"] == (1, Row(0))


def test_the_keys_of_its_scripts_share_a_slot(store: WriteBehind[Row]) -> None:
    assert (
        len(
            {
                key_slot(key.encode())
                for key in (store.stream, store.dead, *map(store.entry_key, "abc"))
            }
        )
        == 1
    )


class Machine(RuleBasedStateMachine):
    """Changes, workers that save, die before or after the commit, and entries that vanish, against
    a counter by key."""

    client: Client

    def __init__(self) -> None:
        super().__init__()
        clean(self.client)
        self.database = Database()
        self.store = make(self.client, self.database)
        self.model = dict.fromkeys("abc", 0)

    @rule(key=st.sampled_from("abc"))
    def change(self, key: str) -> None:
        self.model[key] += 1
        assert self.store.update(key, add) == Row(self.model[key])

    @rule(key=st.sampled_from("abc"))
    def read(self, key: str) -> None:
        assert self.store.read(key) == Row(self.model[key])

    @rule(key=st.sampled_from("abc"))
    def vanish(self, key: str) -> None:
        self.client.delete(self.store.entry_key(key))

    @rule(
        worker=st.sampled_from(["one", "two"]),
        count=st.integers(1, 4),
        idle=st.sampled_from([0, 60_000]),
    )
    def flush(self, worker: str, count: int, idle: int) -> None:
        self.store.flush(worker, count=count, idle_ms=idle)

    @rule(after_commit=st.booleans(), count=st.integers(1, 4))
    def die(self, after_commit: bool, count: int) -> None:
        dying = make(self.client, self.database)
        dying._acknowledge = _die  # type: ignore[method-assign]
        if not after_commit:
            dying._save_batch = _die
        try:
            dying.flush("dies", count=count, idle_ms=0)
        except KeyboardInterrupt:
            pass

    def teardown(self) -> None:
        while self.store.pending():
            self.store.flush("last", idle_ms=0)
        for key, number in self.model.items():
            assert self.database.rows[key] == (number + 1, Row(number))
            assert self.database.order[key] == sorted(set(self.database.order[key]))


def test_no_acknowledged_change_is_lost_whoever_dies(client: Client) -> None:
    machine = type("Case", (Machine,), {"client": client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=100,
            stateful_step_count=25,
            deadline=None,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_loaded_value_that_cannot_be_written_leaves_no_lease(client: Any) -> None:
    values: list[Any] = [object(), 1]
    queue = WriteBehind(
        client, "unwritable", int, lambda key: Versioned(key, 1, values.pop(0)), lambda _: None
    )
    with pytest.raises(TypeError):
        queue.read("a")
    assert client.get(queue.entry_key("a")) is None
    assert queue.read("a") == 1


@pytest.mark.parametrize("key", [5, None, b"a"])
def test_a_key_that_is_no_text_is_refused_by_name(client: Any, key: Any) -> None:
    queue = WriteBehind(client, "typed", int, lambda key: None, lambda _: None)
    with pytest.raises(TypeError, match="^key: must be a text"):
        queue.read(key)


def test_what_was_given_up_is_bounded(
    store: WriteBehind[Row], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much there is of it: the newest is kept, and the oldest goes by the hundred."""
    monkeypatch.setattr(write_behind, "DEAD_AT_MOST", 100)
    with client.pipeline(transaction=False) as pipeline:
        for number in range(350):
            pipeline.xadd(store.stream, {"x": number})
        pipeline.execute()
    store.update("b", add)
    store.flush("one", count=400)
    dead = [int(fields[b"x"]) for _, fields in client.xrange(store.dead)]
    assert 100 <= len(dead) <= 200 and dead == list(range(350 - len(dead), 350))
