import os
import pickle
import threading
from pathlib import Path
from typing import Any

import flask
import pytest
from flask_session.redis import RedisSessionInterface as StockInterface
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo import xray
from demo.pool import Client
from demo.sessions import session_store
from demo.sessions.session_store import MAX_BYTES, SessionStore, SessionTooLarge, new_sid
from tests.servers import clean

NOW = 1_795_408_171_000
HOUR = 3_600_000


@pytest.fixture
def store(client: Client) -> SessionStore:
    return SessionStore(client, idle_seconds=3600, absolute_seconds=36_000)


def begin(store: SessionStore, **data: Any) -> str:
    sid = new_sid()
    assert store.save(sid, data, create=True)
    return sid


def test_what_was_saved_is_loaded(store: SessionStore) -> None:
    sid = begin(store, user="mara", nested={"a": [1, None, "é"]})
    loaded = store.load(sid)
    assert loaded is not None
    assert loaded.data == {"user": "mara", "nested": {"a": [1, None, "é"]}}
    assert loaded.absolute_expires_at - loaded.created_at == pytest.approx(36_000)
    assert 3590 < loaded.idle_seconds_left <= 3600


def test_two_requests_that_change_different_things_both_count(store: SessionStore) -> None:
    sid = begin(store, user="mara")
    first, second = store.load(sid), store.load(sid)
    assert first and second
    store.save(sid, {"cart": 1})
    store.save(sid, {"theme": "dark"}, ["user"])
    loaded = store.load(sid)
    assert loaded and loaded.data == {"cart": 1, "theme": "dark"}


def test_a_request_in_flight_cannot_revive_an_ended_session(store: SessionStore, client: Client) -> None:
    sid = begin(store, user="mara")
    in_flight = store.load(sid)
    assert in_flight
    store.delete(sid)
    assert store.save(sid, {"cart": 1}) is False
    assert client.exists(store.redis_key(sid)) == 0


def test_an_id_that_is_not_known_is_never_adopted(store: SessionStore, client: Client) -> None:
    sid = new_sid()
    assert store.load(sid) is None
    assert store.save(sid, {"user": "mara"}) is False
    assert not list(client.scan_iter("demo:*"))


@pytest.mark.parametrize(
    "sid", ["", "x", "x" * 42, "x" * 44, "demo:catalog:{product:42}", "é" * 43, "../" * 15, "\x00" * 43, "x" * 42 + "\n"]
)
def test_what_has_not_the_form_of_an_id_is_not_even_asked_for(store: SessionStore, sid: str) -> None:
    trace = xray.begin()
    assert store.load(sid) is None
    assert trace.round_trips == 0
    xray.end()


def test_the_id_is_nowhere_in_redis(store: SessionStore, client: Client) -> None:
    sid = begin(store, user="mara")
    for key in client.scan_iter("*"):
        assert sid.encode() not in key
        if key.startswith(b"demo:sessions:"):
            assert sid.encode() not in b"".join(client.hgetall(key)) + b"".join(client.hgetall(key).values())


def test_the_idle_time_starts_anew_at_most_once_a_minute(store: SessionStore, client: Client) -> None:
    sid = new_sid()
    store.save(sid, {"a": 1}, create=True, now_ms=NOW)
    seen = [int(store.load(sid, now_ms=NOW + ms).seen_at * 1000) for ms in (59_999, 60_000, 60_001, 119_999, 120_000)]  # type: ignore[union-attr]
    assert seen == [NOW, NOW, NOW + 60_000, NOW + 60_000, NOW + 60_000]
    assert store.load(sid, now_ms=NOW + 130_000).seen_at * 1000 == NOW + 120_000  # type: ignore[union-attr]


def test_a_visit_gives_the_idle_time_back(store: SessionStore, client: Client) -> None:
    sid = new_sid()
    store.save(sid, {"a": 1}, create=True, now_ms=NOW)
    client.pexpire(store.redis_key(sid), 5000)
    store.load(sid, now_ms=NOW + 60_000)
    assert client.pttl(store.redis_key(sid)) > 3_590_000


def test_nothing_outlives_the_absolute_end(store: SessionStore, client: Client) -> None:
    sid = new_sid()
    store.save(sid, {"a": 1}, create=True, now_ms=NOW)
    late = NOW + 36_000_000 - 10_000
    assert store.load(sid, now_ms=late)
    assert 0 < client.pttl(store.redis_key(sid)) <= 10_000
    assert store.save(sid, {"a": 2}, now_ms=late + 1)
    assert 0 < client.pttl(store.redis_key(sid)) <= 10_000
    assert store.save(sid, {"a": 3}, now_ms=late + 10_000) is False
    assert store.load(sid, now_ms=late + 10_000) is None
    assert client.exists(store.redis_key(sid)) == 0


def test_a_session_that_would_grow_too_large_is_refused_whole(store: SessionStore) -> None:
    sid = begin(store, a=1)
    with pytest.raises(SessionTooLarge):
        store.save(sid, {"b": 2, "big": "x" * MAX_BYTES})
    loaded = store.load(sid)
    assert loaded and loaded.data == {"a": 1}
    half = "x" * (MAX_BYTES // 2)
    store.save(sid, {"one": half})
    with pytest.raises(SessionTooLarge):
        store.save(sid, {"two": half})
    assert store.save(sid, {"two": half}, ["one"])


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("value", [b"\x81", b"\xc1", b"", b"\x92\x01", b"{}x"])
def test_bytes_that_do_not_decode_are_no_session(store: SessionStore, client: Client, value: bytes) -> None:
    sid = begin(store, user="mara")
    client.hset(store.redis_key(sid), "d:user", value)
    assert store.load(sid) is None


def test_a_pickle_is_not_executed(store: SessionStore, client: Client, tmp_path: Path) -> None:
    sid = begin(store, user="mara")
    client.hset(store.redis_key(sid), "d:user", pickle.dumps(Payload(tmp_path / "executed")))
    assert store.load(sid) is None
    assert not (tmp_path / "executed").exists()


def test_a_key_of_another_kind_and_a_hash_of_somebody_else_are_no_session(store: SessionStore, client: Client) -> None:
    for write in (
        lambda key: client.set(key, "x"),
        lambda key: client.rpush(key, "x"),
        lambda key: client.hset(key, "a", "b"),
    ):
        sid = new_sid()
        write(store.redis_key(sid))
        assert store.load(sid) is None


def test_every_session_expires_and_every_call_is_one_round_trip(store: SessionStore, client: Client) -> None:
    sid = begin(store, user="mara")
    store.load(sid)
    for call in (lambda: store.load(sid), lambda: store.save(sid, {"a": 1}), lambda: store.save(sid, {}, ["a"])):
        trace = xray.begin()
        call()
        assert trace.round_trips == 1
        assert client.pttl(store.redis_key(sid)) > 0
    xray.end()


def test_many_requests_at_once_lose_no_field(store: SessionStore) -> None:
    sid, start = begin(store), threading.Barrier(10)
    store.save(sid, {"begun": True}, create=True)

    def add(number: int) -> None:
        start.wait()
        for turn in range(10):
            assert store.save(sid, {f"field{number}-{turn}": turn})

    threads = [threading.Thread(target=add, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loaded = store.load(sid)
    assert loaded and len(loaded.data) == 101


@pytest.mark.parametrize(("idle", "absolute"), [(0, 1), (1, 0), (-1, 1)])
def test_lifetimes_have_to_be_positive(client: Client, idle: float, absolute: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        SessionStore(client, idle_seconds=idle, absolute_seconds=absolute)


@pytest.mark.filterwarnings("ignore")
def test_the_same_traps_do_catch_the_stock_interface(client: Client) -> None:
    """So that the tests above are known to be able to fail: one blob a session, written whole."""
    app = flask.Flask("stock")
    stock = StockInterface(app, client=client, key_prefix="demo:sessions:stock:")

    def load(sid: str) -> Any:
        return stock.session_class(stock._retrieve_session_data(f"demo:sessions:stock:{sid}"), sid=sid)

    def save(session: Any) -> None:
        stock._upsert_session(app.permanent_session_lifetime, session, f"demo:sessions:stock:{session.sid}")

    save(stock.session_class({"user": "mara"}, sid="s"))
    first, second = load("s"), load("s")
    first["cart"] = 1
    save(first)
    save(second)  # it changed nothing, and undoes the first
    assert "cart" not in load("s")
    stock._delete_session("demo:sessions:stock:s")
    save(first)
    assert load("s")["user"] == "mara"  # back from the dead


def test_a_handle_is_of_no_use_as_an_id() -> None:
    sid = new_sid()
    assert session_store.SID.fullmatch(sid)
    assert not session_store.SID.fullmatch(session_store.handle(sid))
    assert session_store.handle(sid) not in sid


def test_a_session_that_lost_its_last_value_ends_but_not_one_that_another_request_added_to(
    store: SessionStore, client: Client
) -> None:
    sid = begin(store, a=1)
    store.save(sid, {"b": 2})
    assert store.save(sid, {}, ["a"])
    loaded = store.load(sid)
    assert loaded and loaded.data == {"b": 2}
    assert store.save(sid, {}, ["b"])
    assert client.exists(store.redis_key(sid)) == 0
    assert store.save(sid, {"c": 3}) is False


def test_a_read_writes_nothing(store: SessionStore, client: Client) -> None:
    sid = begin(store, user="mara")
    key = store.redis_key(sid)
    client.pexpire(key, 100_000)
    before = client.hgetall(key)
    for _ in range(3):
        assert store.load(sid)
    assert client.hgetall(key) == before
    assert 0 < client.pttl(key) <= 100_000


@pytest.mark.parametrize(("idle", "absolute", "most_ms"), [(60, 3600, 60_000), (3600, 60, 60_000), (60, 60, 60_000)])
def test_a_key_lives_for_the_shorter_of_both_lifetimes(client: Client, idle: int, absolute: int, most_ms: int) -> None:
    store, sid = SessionStore(client, idle_seconds=idle, absolute_seconds=absolute), new_sid()
    store.save(sid, {"a": 1}, create=True)
    assert most_ms - 10_000 < client.pttl(store.redis_key(sid)) <= most_ms
    loaded = store.load(sid)
    assert loaded and loaded.absolute_expires_at - loaded.created_at == absolute
    assert most_ms / 1000 - 10 < loaded.idle_seconds_left <= most_ms / 1000


def test_changing_a_session_does_not_move_its_absolute_end(store: SessionStore) -> None:
    sid = new_sid()
    store.save(sid, {"a": 1}, create=True, now_ms=NOW)
    store.save(sid, {"a": 2}, now_ms=NOW + HOUR)
    loaded = store.load(sid, now_ms=NOW + HOUR)
    assert loaded
    assert (loaded.created_at, loaded.absolute_expires_at) == (NOW / 1000, NOW / 1000 + 36_000)
    assert loaded.seen_at == (NOW + HOUR) / 1000


def test_values_cannot_reach_the_sessions_own_fields(store: SessionStore) -> None:
    sid = new_sid()
    store.save(sid, {"_ends": 1, "_created": 2, "_seen": "x", "d:": 3, "": 4}, create=True, now_ms=NOW)
    loaded = store.load(sid, now_ms=NOW)
    assert loaded and loaded.data == {"_ends": 1, "_created": 2, "_seen": "x", "d:": 3, "": 4}
    assert loaded.absolute_expires_at == NOW / 1000 + 36_000


def test_as_many_fields_as_fit_are_loaded(store: SessionStore) -> None:
    data = {chr(33 + number % 90) + chr(33 + number // 90): 1 for number in range(3200)}
    sid = begin(store, **data)
    loaded = store.load(sid)
    assert loaded and loaded.data == data and loaded.bytes <= MAX_BYTES


def test_the_bound_is_exact(store: SessionStore, client: Client) -> None:
    sid = begin(store, a="x" * 1000)
    taken = sum(len(name) + len(value) for name, value in client.hgetall(store.redis_key(sid)).items())
    free = MAX_BYTES - taken
    with pytest.raises(SessionTooLarge):
        store.save(sid, {"a": "x" * (1000 + free + 1)})
    assert store.save(sid, {"a": "x" * (1000 + free)})


@pytest.mark.parametrize("value", [object(), {1, 2}.__iter__(), lambda: None])
def test_a_value_that_cannot_be_stored_is_an_error_and_nothing_is_written(
    store: SessionStore, client: Client, value: Any
) -> None:
    sid = begin(store, a=1)
    before = client.hgetall(store.redis_key(sid))
    with pytest.raises(TypeError):
        store.save(sid, {"b": 2, "value": value})
    assert client.hgetall(store.redis_key(sid)) == before


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40) | st.sampled_from([b"\x91" * 16_000, b"\x81\xa1a" * 5_000, b"\xdd\xff\xff\xff\xff"]))
def test_no_bytes_whatever_raise(store: SessionStore, client: Client, value: bytes) -> None:
    sid = begin(store, user="mara")
    try:
        client.hset(store.redis_key(sid), "d:user", value)
        assert store.load(sid) is None or len(value) <= 40
        for field in ("_ends", "_created", "_seen"):
            client.hset(store.redis_key(sid), field, value)
            store.load(sid)
    finally:
        store.delete(sid)


NAMES = st.sampled_from(["user", "cart:1", "cart:2", "é"])
STEPS = st.one_of(
    st.tuples(
        st.just("save"),
        st.dictionaries(NAMES, st.integers(0, 999) | st.text(max_size=3), max_size=3),
        st.lists(NAMES, max_size=2),
    ),
    st.tuples(st.just("load"), st.sampled_from([0, 59_999, 60_000, HOUR, 9 * HOUR]), st.none()),
    st.tuples(st.just("end"), st.none(), st.none()),
)


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=15))
def test_a_session_is_the_sum_of_what_its_requests_changed(
    store: SessionStore, client: Client, steps: list[tuple[str, Any, Any]]
) -> None:
    clean(client)
    sid, now, seen = new_sid(), NOW, NOW
    model: dict[str, Any] | None = {"user": "mara"}
    assert store.save(sid, {"user": "mara"}, create=True, now_ms=now)
    for step, what, removed in steps:
        if now >= NOW + 10 * HOUR:
            model = None
        if step == "save":
            removed = [name for name in removed if name not in what]
            assert store.save(sid, what, removed, now_ms=now) is (model is not None)
            if model is not None:
                model, seen = {name: value for name, value in (model | what).items() if name not in removed} or None, now
        elif step == "load":
            now += what
            loaded = store.load(sid, now_ms=now)
            model = None if now >= NOW + 10 * HOUR else model
            assert (loaded.data if loaded else None) == model
            assert loaded is None or loaded.seen_at == seen / 1000
            seen = now if loaded and now - seen >= 60_000 else seen
        else:
            store.delete(sid)
            model = None
        assert client.exists(store.redis_key(sid)) == 0 or client.pttl(store.redis_key(sid)) > 0
