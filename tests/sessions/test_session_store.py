import os
import pickle
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    multiple,
    rule,
    run_state_machine_as_test,
)
from redis.sentinel import Sentinel

from demo.sessions import session_id
from demo.sessions.session_id import Place, owner_of, place
from demo.sessions.session_store import MAX_BYTES, SessionStore, SessionTooLarge
from demo.sessions.session_values import encode, read_device
from tests.servers import (
    Client,
    clean,
    cluster_node,
    connect,
    lives,
    private_engine,
    sentinel_of,
    tcp_server,
    trips,
    until,
)

NOW = 1_795_408_171_000
HOUR = 3_600_000


@pytest.fixture
def store(client: Client) -> SessionStore:
    return SessionStore(client, idle_seconds=3600, absolute_seconds=36_000, along=("cart",))


def key_of(sid: str) -> str:
    found = place(sid)
    assert found
    return found.session


def begin(
    store: SessionStore, now_ms: int | None = None, user: str | None = None, **data: Any
) -> str:
    sid = store.begin(data, user=user, epoch=store.epoch(user) if user else "", now_ms=now_ms)
    assert sid
    return sid


def test_what_was_saved_is_loaded(store: SessionStore) -> None:
    sid = begin(store, user="mara", nested={"a": [1, None, "é"]})
    loaded = store.load(sid)
    assert loaded is not None
    assert (loaded.user, loaded.data) == ("mara", {"nested": {"a": [1, None, "é"]}})
    assert loaded.absolute_expires_at - loaded.created_at == pytest.approx(36_000)
    assert 3590 < loaded.idle_seconds_left <= 3600
    assert loaded.handle == session_id.handle(sid)


def test_two_requests_that_change_different_things_both_count(store: SessionStore) -> None:
    sid = begin(store, theme="light")
    first, second = store.load(sid), store.load(sid)
    assert first and second
    store.save(sid, {"cart": 1})
    store.save(sid, {"lens": "dark"}, ["theme"])
    loaded = store.load(sid)
    assert loaded and loaded.data == {"cart": 1, "lens": "dark"}


ENDINGS: dict[str, Callable[[SessionStore, str], Any]] = {
    "delete": lambda store, sid: store.delete(sid),
    "revoke": lambda store, sid: store.revoke("mara", session_id.handle(sid)),
    "revoke_all": lambda store, sid: store.revoke_all("mara"),
    "revoke_others": lambda store, sid: store.revoke_others(begin(store, user="mara")),
    "rotate": lambda store, sid: store.rotate(sid),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_request_in_flight_cannot_revive_an_ended_session(
    store: SessionStore, client: Client, ending: str
) -> None:
    sid = begin(store, user="mara", a=1)
    assert store.load(sid)
    ENDINGS[ending](store, sid)
    assert store.save(sid, {"cart": 1}) is False
    assert store.rotate(sid) is None and store.revoke_others(sid) is None
    assert store.load(sid) is None
    assert client.exists(key_of(sid)) == 0
    assert session_id.handle(sid) not in [device.handle for device in store.list_for("mara")[0]]


def test_ending_all_ends_even_what_nothing_but_the_epoch_knows_of(
    store: SessionStore, client: Client
) -> None:
    """The index was lost, so nobody deletes the session itself; and the other way round."""
    sid = begin(store, user="mara")
    there = place(sid)
    assert there
    client.unlink(there.index)
    store.revoke_all("mara")
    assert client.exists(there.session) == 1
    assert store.save(sid, {"a": 1}) is False
    assert store.load(sid) is None
    assert client.exists(there.session) == 0


def test_a_lost_epoch_ends_the_users_sessions_and_revives_none(
    store: SessionStore, client: Client
) -> None:
    old = begin(store, user="mara")
    held = client.dump(key_of(old))
    store.revoke_all("mara")
    sid = begin(store, user="mara")
    there = place(sid)
    assert there
    client.unlink(there.epoch)
    client.restore(key_of(old), 60_000, held)
    for dead in (old, sid):
        assert store.save(dead, {"a": 1}) is False
        assert store.load(dead) is None


def test_a_sign_in_that_began_before_all_were_ended_is_refused(
    store: SessionStore, client: Client
) -> None:
    epoch = store.epoch("mara")
    assert epoch == store.epoch("mara")
    store.revoke_all("mara")
    assert store.begin({}, user="mara", epoch=epoch) is None
    assert store.list_for("mara") == ([], 0)
    assert store.begin({}, user="mara", epoch="") is None
    assert store.begin({}, user="mara", epoch=store.epoch("mara"))


def test_two_first_sign_ins_at_once_both_count(store: SessionStore) -> None:
    epochs = [store.epoch("mara"), store.epoch("mara")]
    assert all(store.begin({}, user="mara", epoch=epoch) for epoch in epochs)
    assert store.list_for("mara")[1] == 2


def test_ending_the_others_leaves_this_one_as_it_is(store: SessionStore, client: Client) -> None:
    others = [begin(store, user="mara") for _ in range(3)]
    sid, noor = begin(store, user="mara", a=1), begin(store, user="noor")
    assert store.revoke_others(sid) == 3
    assert store.load(sid).data == {"a": 1}  # type: ignore[union-attr]
    assert store.save(sid, {"b": 2})
    assert store.load(noor)
    assert not any(store.load(other) for other in others)
    (left,), total = store.list_for("mara")
    assert (left.handle, total) == (session_id.handle(sid), 1)
    assert client.exists(*map(key_of, others)) == 0
    assert store.revoke_others(sid) == 0


def test_nobody_has_no_others(store: SessionStore) -> None:
    assert store.revoke_others(begin(store)) is None


def test_one_user_cannot_end_a_session_of_another(store: SessionStore) -> None:
    sid = begin(store, user="mara")
    assert store.revoke("noor", session_id.handle(sid)) is False
    for handle in ("", "epoch", "index", "cart", "*", "x" * 32, session_id.handle(sid)[:8]):
        assert store.revoke("mara", handle) is False
    assert store.load(sid)


def test_the_list_tells_what_was_noted_and_is_pruned_when_it_is_read(
    store: SessionStore, client: Client
) -> None:
    epoch = store.epoch("mara")
    early = store.begin({}, user="mara", epoch=epoch, noted={"agent": "Firefox"}, now_ms=NOW)
    late = store.begin({}, user="mara", epoch=epoch, noted={"agent": "Safari"}, now_ms=NOW + 60_000)
    assert early and late
    devices, total = store.list_for("mara", now_ms=NOW + 120_000)
    assert [(device.noted["agent"], device.created_at, device.seen_at) for device in devices] == [
        ("Safari", NOW / 1000 + 60, NOW / 1000 + 60), ("Firefox", NOW / 1000, NOW / 1000)
    ]  # fmt: skip
    assert devices[0].idle_expires_at == NOW / 1000 + 60 + 3600 and total == 2
    assert len(store.list_for("mara", 1, now_ms=NOW)[0]) == 1
    store.load(late, now_ms=NOW + HOUR)
    devices, total = store.list_for("mara", now_ms=NOW + HOUR)
    assert [(device.noted["agent"], device.seen_at) for device in devices] == [
        ("Safari", (NOW + HOUR) / 1000)
    ]
    there = place(late)
    assert there and client.zcard(there.index) == 1 and client.hlen(there.devices) == 3


def test_an_id_that_is_not_known_is_never_adopted(store: SessionStore, client: Client) -> None:
    for sid in (session_id.new(), session_id.new("mara"), "x"):
        assert store.load(sid) is None
        assert store.save(sid, {"user": "mara"}) is False
        assert store.rotate(sid) is None
        assert store.revoke_others(sid) is None
        assert store.delete(sid).found is False
    assert not list(client.scan_iter("demo:*"))


def test_what_has_not_the_form_of_an_id_is_not_even_asked_for(store: SessionStore) -> None:
    with trips() as seen:
        for sid in ("", "x" * 76, "demo:catalog:{product:42}", "é" * 76):
            assert store.load(sid) is None and store.save(sid, {}) is False
            assert store.rotate(sid) is None and store.delete(sid).found is False
            assert store.revoke_others(sid) is None
    assert seen == []


def test_the_id_is_nowhere_in_redis(store: SessionStore, client: Client) -> None:
    sid = begin(store, user="mara", a=1)
    store.load(sid)
    secret = sid.partition(".")[2].encode()
    for key in client.scan_iter("demo:*"):
        assert secret not in key + (client.dump(key) or b"")


def test_a_rotated_session_is_the_same_under_another_id(
    store: SessionStore, client: Client
) -> None:
    for user in (None, "mara"):
        sid = begin(store, user=user, a=1)
        client.hset(Place(sid[:32], "").part("cart"), "42", 1)
        ttl = client.pttl(key_of(sid))
        fresh = store.rotate(sid)
        assert fresh and fresh != sid and fresh[:32] == sid[:32]
        loaded = store.load(fresh)
        assert loaded and (loaded.user, loaded.data, loaded.along["cart"]) == (
            user,
            {"a": 1},
            {b"42": b"1"},
        )
        assert store.load(sid) is None and 0 < client.pttl(key_of(fresh)) <= ttl
    assert [device.handle for device in store.list_for("mara")[0]] == [session_id.handle(fresh)]


def test_a_rotated_session_stands_in_the_list_as_it_did(store: SessionStore) -> None:
    sid = begin(store, now_ms=NOW, user="mara")
    assert store.load(sid, now_ms=NOW + 70_000)
    (before,), _ = store.list_for("mara", now_ms=NOW + 70_000)
    fresh = store.rotate(sid, now_ms=NOW + 80_000)
    (after,), total = store.list_for("mara", now_ms=NOW + 80_000)
    assert fresh and total == 1
    assert after == replace(before, handle=session_id.handle(fresh))
    assert (after.created_at, after.seen_at) == (NOW / 1000, NOW / 1000 + 70)


def test_of_what_has_ended_no_store_keeps_anything(store: SessionStore, client: Client) -> None:
    """Whichever way it ended: the session, the list, what was noted, and what lay along."""
    user = Place(owner_of("mara"), "")
    for end in (store.delete, lambda sid: store.revoke("mara", session_id.handle(sid))):
        kept, gone = begin(store, user="mara", a=1), begin(store, user="mara", a=1)
        here, there = (session_id.handle(sid) for sid in (kept, gone))
        end(gone)
        assert client.exists(key_of(gone)) == 0
        assert client.zrange(user.index, 0, -1) == [here.encode()]
        noted = {field.decode().partition(":")[0] for field in client.hkeys(user.devices)}
        assert noted == {here} and there != here
        end(kept)
    client.hset(user.part("cart"), "42", 1)
    begin(store, user="mara", a=1)
    store.forget("mara")
    assert list(client.scan_iter("demo:sessions:*")) == []


def test_a_device_of_which_nothing_is_noted_any_more_is_listed_all_the_same(
    store: SessionStore, client: Client
) -> None:
    sid = begin(store, now_ms=NOW, user="mara")
    client.delete(Place(owner_of("mara"), "").devices)  # evicted
    (device,), total = store.list_for("mara", now_ms=NOW)
    assert (total, device.handle, device.noted) == (1, session_id.handle(sid), {})
    assert (device.created_at, device.seen_at) == (0.0, 0.0)
    assert device.idle_expires_at == NOW / 1000 + 3600
    sid = begin(store, user="noor")
    there = Place(owner_of("noor"), session_id.handle(sid))
    client.hdel(there.devices, f"{there.handle}:seen", f"{there.handle}:created")
    assert store.revoke_others(sid) == 0  # which writes down anew what there is
    ((device,), _) = store.list_for("noor")
    assert (device.created_at, device.seen_at) == (0.0, 0.0)


def test_the_idle_time_starts_anew_at_most_once_a_minute(store: SessionStore) -> None:
    sid = begin(store, now_ms=NOW, a=1)
    loads = [store.load(sid, now_ms=NOW + ms) for ms in (59_999, 60_000, 60_001, 119_999, 120_000)]
    assert [int(load.seen_at * 1000) for load in loads if load] == [
        NOW,
        NOW,
        NOW + 60_000,
        NOW + 60_000,
        NOW + 60_000,
    ]
    assert [load.slid for load in loads if load] == [False, True, False, False, True]
    assert store.load(sid, now_ms=NOW + 130_000).seen_at * 1000 == NOW + 120_000  # type: ignore[union-attr]


def test_a_visit_gives_the_idle_time_back_to_all_that_belongs_to_the_session(
    store: SessionStore, client: Client
) -> None:
    sid = begin(store, user="mara", now_ms=NOW)
    there = place(sid)
    assert there
    client.hset(there.part("cart"), "42", 1)
    keys = (there.session, there.index, there.devices, there.part("cart"))
    for key in keys:
        client.pexpire(key, 5000)
    store.load(sid, now_ms=NOW + 60_000)
    assert all(lives(client, key, 3600) for key in keys)
    client.pexpire(keys[3], 9_000_000)
    store.load(sid, now_ms=NOW + 120_000)
    assert lives(client, keys[3], 9000)


def test_nothing_outlives_the_absolute_end(store: SessionStore, client: Client) -> None:
    sid = begin(store, now_ms=NOW, user="mara", a=1)
    late = NOW + 36_000_000 - 10_000
    assert store.load(sid, now_ms=late)
    assert lives(client, key_of(sid), 10)
    assert store.save(sid, {"a": 2}, now_ms=late + 1)
    assert lives(client, key_of(sid), 10)
    assert store.save(sid, {"a": 3}, now_ms=late + 10_000) is False
    assert store.rotate(sid, now_ms=late + 10_000) is None
    assert store.revoke_others(sid, now_ms=late + 10_000) is None
    assert store.load(sid, now_ms=late + 10_000) is None
    assert client.exists(key_of(sid)) == 0 and store.list_for("mara", now_ms=NOW)[1] == 0


def test_a_session_that_would_grow_too_large_is_refused_whole(store: SessionStore) -> None:
    sid = begin(store, a=1)
    with pytest.raises(SessionTooLarge, match="16384 bytes"):
        store.save(sid, {"b": 2, "big": "x" * MAX_BYTES})
    loaded = store.load(sid)
    assert loaded and loaded.data == {"a": 1}
    half = "x" * (MAX_BYTES // 2)
    store.save(sid, {"one": half})
    with pytest.raises(SessionTooLarge):
        store.save(sid, {"two": half})
    assert store.save(sid, {"two": half}, ["one"])
    with pytest.raises(SessionTooLarge):
        store.begin({"big": "x" * MAX_BYTES})


def test_the_bound_is_exact(store: SessionStore) -> None:
    sid = begin(store, a="x" * 1000)
    loaded = store.load(sid)
    assert loaded
    free = MAX_BYTES - loaded.bytes
    with pytest.raises(SessionTooLarge):
        store.save(sid, {"a": "x" * (1000 + free + 1)})
    assert store.save(sid, {"a": "x" * (1000 + free)})


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("value", [b"\x81", b"\xc1", b"", b"\x92\x01", b"{}x"])
def test_bytes_that_do_not_decode_are_no_session_and_are_logged(
    store: SessionStore, client: Client, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    sid = begin(store, user="mara", a=1)
    client.hset(key_of(sid), "d:a", value)
    assert store.load(sid) is None
    assert "does not decode" in caplog.text and sid not in caplog.text


def test_a_pickle_is_not_executed(store: SessionStore, client: Client, tmp_path: Path) -> None:
    sid = begin(store, user="mara")
    client.hset(key_of(sid), "d:user", pickle.dumps(Payload(tmp_path / "executed")))
    assert store.load(sid) is None
    assert not (tmp_path / "executed").exists()


def test_a_key_of_another_kind_and_a_hash_of_somebody_else_are_no_session(
    store: SessionStore, client: Client
) -> None:
    for write in (
        lambda key: client.set(key, "x"),
        lambda key: client.rpush(key, "x"),
        lambda key: client.hset(key, "a", "b"),
    ):
        sid = session_id.new()
        write(key_of(sid))
        assert store.load(sid) is None


@pytest.mark.parametrize("part", ["epoch", "index", "devices", "cart"])
def test_what_lies_beside_a_session_may_be_of_any_kind(
    store: SessionStore, client: Client, part: str
) -> None:
    sid = begin(store, user="mara", now_ms=NOW, a=1)
    there = place(sid)
    assert there
    client.unlink(there.part(part))
    client.rpush(there.part(part), "x")
    loaded = store.load(sid, now_ms=NOW + 60_000)
    assert loaded is None if part == "epoch" else loaded and loaded.along == {"cart": {}}


def test_every_session_expires_and_every_call_is_one_round_trip(
    store: SessionStore, client: Client
) -> None:
    sid = begin(store, user="mara", a=1)
    there = place(sid)
    assert there
    for call in (
        lambda: store.load(sid),
        lambda: store.save(sid, {"a": 1}),
        lambda: store.save(sid, {}, ["a"]),
        lambda: store.list_for("mara"),
        lambda: store.revoke_others(sid),
        lambda: store.epoch("mara"),
        lambda: store.delete(sid),
    ):
        for key in (there.session, there.epoch, there.index, there.devices):
            assert client.pttl(key) > 0
        with trips() as seen:
            call()
        assert len(seen) == 1


def test_many_requests_at_once_lose_no_field(store: SessionStore) -> None:
    sid, start = begin(store, begun=True), threading.Barrier(10)

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


def test_a_second_is_a_lifetime(client: Client) -> None:
    store = SessionStore(client, idle_seconds=1, absolute_seconds=1)
    assert lives(client, key_of(begin(store, a=1)), 1)


def test_a_visitors_session_that_lost_its_last_value_ends_but_not_one_that_another_request_added_to(
    store: SessionStore, client: Client
) -> None:
    sid = begin(store, a=1)
    store.save(sid, {"b": 2})
    assert store.save(sid, {}, ["a"])
    loaded = store.load(sid)
    assert loaded and loaded.data == {"b": 2}
    assert store.save(sid, {}, ["b"])
    assert client.exists(key_of(sid)) == 0
    assert store.save(sid, {"c": 3}) is False
    with_cart = begin(store, a=1)
    client.hset(Place(with_cart[:32], "").part("cart"), "42", 1)
    assert store.save(with_cart, {}, ["a"]) and store.load(with_cart)
    mara = begin(store, user="mara", a=1)
    assert store.save(mara, {}, ["a"]) and store.load(mara)


def test_ending_a_visitors_session_takes_his_cart_along_but_never_a_users(
    store: SessionStore, client: Client
) -> None:
    for user, left in ((None, 0), ("mara", 1)):
        sid = begin(store, user=user)
        cart = Place(sid[:32], "").part("cart")
        client.hset(cart, "42", 3)
        ended = store.delete(sid)
        assert ended.found and ended.along == ({} if user else {"cart": {b"42": b"3"}})
        assert client.exists(cart) == left
        assert store.delete(sid).found is False


def test_a_read_writes_nothing(store: SessionStore, client: Client) -> None:
    sid = begin(store, a=1)
    client.pexpire(key_of(sid), 100_000)
    before = client.hgetall(key_of(sid))
    for _ in range(3):
        assert store.load(sid)
    assert client.hgetall(key_of(sid)) == before
    assert lives(client, key_of(sid), 100)


@pytest.mark.parametrize(
    ("idle", "absolute", "most_ms"), [(60, 3600, 60_000), (3600, 60, 60_000), (60, 60, 60_000)]
)
def test_a_key_lives_for_the_shorter_of_both_lifetimes(
    client: Client, idle: int, absolute: int, most_ms: int
) -> None:
    store = SessionStore(client, idle_seconds=idle, absolute_seconds=absolute)
    sid = begin(store, a=1)
    assert most_ms - 10_000 < client.pttl(key_of(sid)) <= most_ms
    loaded = store.load(sid)
    assert loaded and loaded.absolute_expires_at - loaded.created_at == absolute
    assert most_ms / 1000 - 10 < loaded.idle_seconds_left <= most_ms / 1000


def test_the_epoch_outlives_every_session_that_bears_it(client: Client) -> None:
    store = SessionStore(client, idle_seconds=60, absolute_seconds=3600)
    sid = begin(store, user="mara")
    there = place(sid)
    assert there
    assert lives(client, there.epoch, 3600)
    for act in (store.revoke_others(sid), begin(store, user="mara")):
        assert act is not None and lives(client, there.epoch, 3600)


def test_changing_a_session_does_not_move_its_absolute_end(store: SessionStore) -> None:
    sid = begin(store, now_ms=NOW, a=1)
    store.save(sid, {"a": 2}, now_ms=NOW + HOUR)
    loaded = store.load(sid, now_ms=NOW + HOUR)
    assert loaded
    assert (loaded.created_at, loaded.absolute_expires_at) == (NOW / 1000, NOW / 1000 + 36_000)


def test_values_cannot_reach_the_sessions_own_fields(store: SessionStore) -> None:
    data = {"_ends": 1, "_created": 2, "_seen": "x", "_user": "noor", "_epoch": "y", "d:": 3, "": 4}
    sid = begin(store, now_ms=NOW, **data)  # type: ignore[arg-type]
    loaded = store.load(sid, now_ms=NOW)
    assert loaded and loaded.data == data and loaded.user is None
    assert loaded.absolute_expires_at == NOW / 1000 + 36_000


def test_as_many_fields_as_fit_are_loaded(store: SessionStore) -> None:
    data = {chr(33 + number % 90) + chr(33 + number // 90): 1 for number in range(3200)}
    sid = begin(store)
    assert store.save(sid, data)
    loaded = store.load(sid)
    assert loaded and loaded.data == data and loaded.bytes <= MAX_BYTES


@pytest.mark.parametrize("value", [object(), {1, 2}.__iter__(), lambda: None])
def test_a_value_that_cannot_be_stored_is_an_error_and_nothing_is_written(
    store: SessionStore, client: Client, value: Any
) -> None:
    sid = begin(store, a=1)
    before = client.hgetall(key_of(sid))
    with pytest.raises(TypeError):
        store.save(sid, {"b": 2, "value": value})
    assert client.hgetall(key_of(sid)) == before


def test_text_of_a_richer_kind_is_stored_as_text() -> None:
    class Marked(str):
        pass

    assert encode(Marked("<b>")) == encode("<b>")


def test_a_redis_without_memory_still_knows_who_is_signed_in() -> None:
    with private_engine("--maxmemory-policy", "noeviction") as own:
        client = connect(own.url, pool_size=4, timeout_seconds=2)
        store = SessionStore(client, idle_seconds=3600, absolute_seconds=36_000, along=("cart",))
        sid = begin(store, user="mara", now_ms=NOW, a=1)
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.ResponseError):
            store.save(sid, {"b": 1}, now_ms=NOW)
        loaded = store.load(sid, now_ms=NOW + 60_000)
        assert loaded and loaded.data == {"a": 1}
        assert store.revoke("mara", session_id.handle(sid))
        assert store.load(sid) is None
        client.close()


def test_on_a_cluster() -> None:
    with cluster_node() as port:
        client = redis.RedisCluster(host="127.0.0.1", port=port)
        store = SessionStore(client, idle_seconds=3600, absolute_seconds=36_000, along=("cart",))
        sids = [begin(store, user="mara", a=1) for _ in range(3)]
        fresh = store.rotate(sids[0])
        assert (
            fresh
            and store.save(fresh, {"b": 1})
            and store.revoke("mara", session_id.handle(sids[1]))
        )
        assert store.revoke_others(fresh) == 1
        assert store.load(fresh).data == {"a": 1, "b": 1}  # type: ignore[union-attr]
        assert store.list_for("mara")[1] == 1 and store.revoke_all("mara") == 1
        assert store.delete(begin(store, a=1)).found
        client.close()


def test_behind_sentinel() -> None:
    with tcp_server() as master, sentinel_of(master) as port:
        sentinel = Sentinel([("127.0.0.1", port)])
        client = sentinel.master_for("prime")
        until(lambda: client.ping())
        store = SessionStore(client, idle_seconds=3600, absolute_seconds=36_000, along=("cart",))
        sid = begin(store, user="mara", a=1)
        assert store.save(sid, {"b": 2}) and store.revoke_others(sid) == 0
        assert store.load(sid).data == {"a": 1, "b": 2}  # type: ignore[union-attr]
        assert store.revoke_all("mara") == 1 and store.load(sid) is None
        client.close()
        for one in sentinel.sentinels:
            one.close()


@settings(
    deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.binary(max_size=40)
    | st.sampled_from([b"\x91" * 16_000, b"\x81\xa1a" * 5_000, b"\xdd\xff\xff\xff\xff"])
)
def test_no_bytes_whatever_raise(store: SessionStore, client: Client, value: bytes) -> None:
    sid = begin(store, user="mara", a=1)
    there = place(sid)
    assert there
    try:
        client.hset(there.session, "d:a", value)
        assert store.load(sid) is None or len(value) <= 40
        client.hset(there.devices, there.handle, value)
        client.hset(there.devices, there.handle + ":seen", value)
        store.list_for("mara")
        for field in ("_ends", "_created", "_seen", "_user", "_epoch"):
            client.hset(there.session, field, value)
            store.load(sid)
            store.save(sid, {"b": 1})
    finally:
        store.delete(sid)
        store.revoke_all("mara")


class Machine(RuleBasedStateMachine):
    """Sessions of a visitor and of two users, three requests in flight, in any order, against a
    model."""

    client: Client
    sids = Bundle("sids")

    def __init__(self) -> None:
        super().__init__()
        clean(self.client)
        self.store = SessionStore(self.client, idle_seconds=3600, absolute_seconds=36_000)
        self.now = NOW
        self.model: dict[str, dict[str, Any]] = {}  # what each id that lives holds
        self.users: dict[str, str | None] = {}
        self.ends: dict[str, int] = {}
        self.idle: dict[str, int] = {}
        self.open: list[tuple[str, dict[str, Any]] | None] = [None, None, None]

    def age(self) -> None:
        """What time has ended; Redis' own clock is not ours to turn, so the key goes by hand."""
        for sid in list(self.model):
            if self.now >= min(self.ends[sid], self.idle[sid]):
                if self.now < self.ends[sid]:
                    self.client.unlink(key_of(sid))
                del self.model[sid]

    def of(self, user: str) -> list[str]:
        return [sid for sid in self.model if self.users[sid] == user]

    @rule(target=sids, user=st.sampled_from([None, "mara", "noor"]), value=st.integers(0, 9))
    def begin(self, user: str | None, value: int) -> str:
        sid = begin(self.store, now_ms=self.now, user=user, a=value)
        self.model[sid], self.users[sid] = {"a": value}, user
        self.ends[sid], self.idle[sid] = self.now + 10 * HOUR, self.now + HOUR
        return sid

    @rule(sid=sids, slot=st.integers(0, 2))
    def load(self, sid: str, slot: int) -> None:
        loaded = self.store.load(sid, now_ms=self.now)
        assert (loaded.data if loaded else None) == self.model.get(sid)
        if loaded:
            assert loaded.user == self.users[sid]
            if loaded.slid:
                self.idle[sid] = min(self.now + HOUR, self.ends[sid])
            self.open[slot] = (sid, dict(loaded.data))

    @rule(slot=st.integers(0, 2), name=st.sampled_from("abc"), value=st.integers(0, 9) | st.none())
    def change(self, slot: int, name: str, value: int | None) -> None:
        """The request saves what it changed of what it had loaded; the others may have changed
        other things since."""
        held = self.open[slot]
        if held is None:
            return
        sid, data = held
        self.open[slot] = None
        changed = {name: value} if value is not None else {}
        removed = [name] if value is None and name in data else []
        if not changed and not removed:
            return
        kept = self.store.save(sid, changed, removed, now_ms=self.now)
        assert kept is (sid in self.model)
        if kept:
            self.model[sid] |= changed
            for gone in removed:
                self.model[sid].pop(gone, None)
            if not self.model[sid] and self.users[sid] is None:
                del self.model[sid]

    @rule(target=sids, sid=consumes(sids))
    def rotate(self, sid: str) -> Any:
        fresh = self.store.rotate(sid, now_ms=self.now)
        assert (fresh is not None) is (sid in self.model)
        if fresh is None:
            return sid
        for each in (self.model, self.users, self.ends, self.idle):
            each[fresh] = each[sid]  # type: ignore[index]
        del self.model[sid]
        return multiple(sid, fresh)

    @rule(sid=sids)
    def end(self, sid: str) -> None:
        was = self.store.delete(sid).found
        assert was or sid not in self.model
        self.model.pop(sid, None)

    @rule(sid=sids, user=st.sampled_from(["mara", "noor"]))
    def revoke(self, sid: str, user: str) -> None:
        self.store.revoke(user, session_id.handle(sid))
        if self.users[sid] == user:
            self.model.pop(sid, None)

    @rule(sid=sids)
    def revoke_others(self, sid: str) -> None:
        done = self.store.revoke_others(sid, now_ms=self.now)
        assert (done is not None) is (sid in self.model and self.users[sid] is not None)
        if done is not None:
            for other in self.of(self.users[sid] or ""):
                if other != sid:
                    del self.model[other]

    @rule(user=st.sampled_from(["mara", "noor"]))
    def revoke_all(self, user: str) -> None:
        self.store.revoke_all(user)
        for sid in self.of(user):
            del self.model[sid]

    @rule(ms=st.sampled_from([59_999, 60_000, HOUR - 1, HOUR]))
    def wait(self, ms: int) -> None:
        self.now += ms
        self.age()

    @rule(user=st.sampled_from(["mara", "noor"]))
    def look(self, user: str) -> None:
        listed, total = self.store.list_for(user, now_ms=self.now)
        assert total == len(listed)
        assert {device.handle for device in listed} == {
            session_id.handle(sid) for sid in self.of(user)
        }
        for device in listed:
            sid = next(sid for sid in self.of(user) if session_id.handle(sid) == device.handle)
            assert device.idle_expires_at * 1000 == self.idle[sid]

    def teardown(self) -> None:
        for key in self.client.scan_iter("demo:*", count=1000):
            assert self.client.pttl(key) > 0, key
        assert owner_of("mara") != owner_of("noor")


@pytest.mark.long
def test_any_interleaving_agrees_with_a_model(client: Client) -> None:
    machine = type("Case", (Machine,), {"client": client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=2000 if os.environ.get("CI") else 150,
            stateful_step_count=30,
            deadline=None,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_of_a_device_that_nothing_was_noted_of_nothing_is_told() -> None:
    device = read_device(b"handle", b"60000", b"", b"", b"")
    assert (device.created_at, device.seen_at, device.noted) == (0.0, 0.0, {})


KEPT = {
    "tuple": (1, (2, "x")),
    "set": {1, 2, 3},
    "frozenset": frozenset(("a",)),
    "time": datetime(2026, 11, 30, 12, 0, 1, 5, tzinfo=UTC),
    "naive": datetime(2026, 11, 30),
    "date": date(2026, 11, 30),
    "decimal": Decimal("19.90"),
    "uuid": UUID(int=7),
    "nested": {"a": [(1, 2), {"b": {Decimal("1")}}], 5: b"x"},
    "plain": [None, True, 1.5, "text", b"bytes", {"a": 1}],
}


@pytest.mark.parametrize("name", KEPT)
def test_a_value_comes_back_as_what_it_is(client: Client, name: str) -> None:
    store = SessionStore(client, idle_seconds=60, absolute_seconds=60)
    sid = str(store.begin({"value": KEPT[name]}))
    found = store.load(sid)
    assert found and found.data["value"] == KEPT[name]
    assert type(found.data["value"]) is type(KEPT[name])
    assert repr(found.data["value"]) == repr(KEPT[name]) or name == "set"


class Enumerated(IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    "value",
    [object(), 1j, Enumerated.ONE, bytearray(b"x"), [object()], {(1, 2): 3}, {1.5: 2}, 2**64],
)
def test_a_value_that_would_come_back_as_another_is_refused_by_its_keys_name(
    client: Client, value: object
) -> None:
    store = SessionStore(client, idle_seconds=60, absolute_seconds=60)
    with pytest.raises((TypeError, ValueError), match="^basket: "):
        store.begin({"fine": 1, "basket": value})
    sid = str(store.begin({"fine": 1}))
    with pytest.raises((TypeError, ValueError), match="^basket: "):
        store.save(sid, {"basket": value})
    assert store.load(sid).data == {"fine": 1}  # type: ignore[union-attr]


def test_values_are_written_and_read_by_the_callers_own_functions(client: Client) -> None:
    store = SessionStore(
        client,
        idle_seconds=60,
        absolute_seconds=60,
        encode=lambda value: repr(value).encode(),
        decode=lambda raw: complex(raw.decode()),
    )
    sid = str(store.begin({"value": 1j}))
    assert store.load(sid).data == {"value": 1j}  # type: ignore[union-attr]
    client.hset(session_id.place(sid).session, "d:value", b"no number")  # type: ignore[union-attr]
    assert store.load(sid) is None


@pytest.mark.parametrize("wrong", [5, None, b"x"])
def test_ids_and_users_that_are_no_texts_are_refused_by_name(client: Client, wrong: Any) -> None:
    store = SessionStore(client, idle_seconds=60, absolute_seconds=60)
    for call in (store.load, store.rotate, store.delete, store.revoke_others):
        with pytest.raises(TypeError, match="^sid: must be a text"):
            call(wrong)
    for call in (store.epoch, store.revoke_all, store.list_for):
        with pytest.raises(TypeError, match="^user: must be a text"):
            call(wrong)
