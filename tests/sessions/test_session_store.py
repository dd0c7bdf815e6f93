import os
import pickle
import threading
from pathlib import Path
from typing import Any

import flask
import pytest
from flask_session.redis import RedisSessionInterface as StockInterface

from demo import xray
from demo.pool import Client
from demo.sessions import session_store
from demo.sessions.session_store import MAX_BYTES, SessionStore, SessionTooLarge, new_sid

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
