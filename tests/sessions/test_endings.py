"""Sessions that ended stay ended on a server that has not heard of it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update

from demo.database import Database
from demo.sessions import accounts, endings
from demo.sessions.endings import Endings
from demo.sessions.session_store import SessionStore
from tests.servers import Client


@pytest.fixture
def database(make_database: Callable[..., Database]) -> Database:
    made = make_database()
    with made.write(wait=False) as connection:
        accounts.prepare(connection)
    return made


@pytest.fixture
def kept(database: Database) -> Endings:
    return Endings(database)


@pytest.fixture
def store(client: Client, kept: Endings) -> SessionStore:
    return SessionStore(
        client, idle_seconds=3600, absolute_seconds=36_000, along=("cart",), ended=kept.keep
    )


class Replica:
    """What a replica holds that has heard nothing since it was made."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._held = {key: client.dump(key) for key in client.scan_iter("demo:sessions:*")}

    def promote(self) -> None:
        self._client.unlink(*self._client.scan_iter("demo:sessions:*"))
        for key, value in self._held.items():
            self._client.restore(key, 3_600_000, value)


def sign_in(store: SessionStore, user: str = "ada") -> str:
    sid = store.begin({"a": 1}, user=user, epoch=store.epoch(user))
    assert sid
    return sid


def rows(database: Database) -> int:
    with database.read(wait=False) as connection:
        return connection.scalar(select(func.count()).select_from(endings.endings)) or 0


def test_each_way_to_end_a_session_holds_after_a_failover(
    client: Client, store: SessionStore, kept: Endings
) -> None:
    signed_out, moved = sign_in(store, "signed-out"), sign_in(store, "moved")
    by_handle, other = sign_in(store, "by-handle"), sign_in(store, "by-handle")
    here, elsewhere = sign_in(store, "others"), sign_in(store, "others")
    everywhere = [sign_in(store, "all") for _ in range(2)]
    nobody = store.begin({"a": 1})
    assert nobody
    before = Replica(client)
    store.delete(signed_out)
    fresh = store.rotate(moved)
    loaded = store.load(by_handle)
    assert loaded and fresh
    store.revoke("by-handle", loaded.handle)
    assert store.revoke_others(here) == 1
    assert store.revoke_all("all") == 2
    store.delete(nobody)
    before.promote()
    ended = [signed_out, moved, by_handle, elsewhere, *everywhere, nobody]
    assert all(store.load(sid) for sid in ended)  # or there would be nothing to mend
    before.promote()
    for _ in range(2):  # twice does no harm
        assert kept.again(store) == 6
        assert not any(store.load(sid) for sid in ended)
        assert store.load(other)


def test_nothing_is_lost_where_nothing_was_lost(
    client: Client, store: SessionStore, kept: Endings
) -> None:
    here, elsewhere = sign_in(store), sign_in(store)
    assert store.revoke_others(here) == 1
    fresh = store.rotate(here)
    assert fresh
    assert store.revoke_others(fresh) == 0
    later = sign_in(store)
    client.hset(f"demo:sessions:{{{fresh[:32]}}}:cart", "1", 2)
    kept.again(store)
    assert store.load(fresh) and store.load(later) and not store.load(elsewhere)
    loaded = store.load(later)
    assert loaded and loaded.along


def test_an_epoch_that_is_newer_than_what_is_told_again_stays(
    client: Client, store: SessionStore, kept: Endings
) -> None:
    first = sign_in(store)
    lost = Replica(client)
    store.revoke_all("ada")
    second = sign_in(store)
    store.revoke_all("ada")
    lost.promote()
    store.revoke_all("ada")  # on the new server, before it was told
    third = sign_in(store)
    kept.again(store)
    assert [bool(store.load(sid)) for sid in (first, second, third)] == [False, False, True]


def test_a_chain_of_epochs_is_gone_through_to_its_end(
    client: Client, store: SessionStore, kept: Endings
) -> None:
    first = sign_in(store)
    early = Replica(client)
    store.revoke_all("ada")
    second = sign_in(store)
    late = Replica(client)
    store.revoke_all("ada")
    for heard in (early, late):
        heard.promote()
        kept.again(store)
        assert not store.load(first) and not store.load(second)


def test_what_ended_nothing_is_not_kept(database: Database, store: SessionStore) -> None:
    nobody = f"{'0' * 32}.{'A' * 43}"
    assert not store.delete(nobody).found and store.rotate(nobody) is None
    assert not store.revoke("ada", "0" * 32)
    assert store.revoke_others(nobody) is None
    store.revoke_all("ada")  # who was never here
    assert rows(database) == 0


def test_what_is_old_is_not_told_and_goes(
    database: Database, store: SessionStore, kept: Endings
) -> None:
    store.delete(sign_in(store))
    long_ago = datetime.now(UTC) - timedelta(seconds=endings.KEPT_SECONDS + 5)
    with database.write(wait=False) as connection:
        connection.execute(update(endings.endings).values(ended_at=long_ago))
    assert kept.again(store) == 0 and rows(database) == 1
    store.delete(sign_in(store))
    assert kept.again(store) == 1 and rows(database) == 1


def test_a_session_ends_also_where_the_database_is_away(
    database: Database, store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    sid = sign_in(store)
    with database.write(wait=False) as connection:
        connection.execute(text("DROP TABLE session_endings"))
    assert store.delete(sid).found and not store.load(sid)
    assert "not written down: OperationalError" in caplog.text
