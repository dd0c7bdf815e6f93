"""What nobody uses goes, as a whole; what somebody comes back to in that moment stays."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.exceptions import ConnectionError
from sqlalchemy import func, select, update

from demo.database import Database
from demo.sessions import account_use, accounts
from demo.sessions.account_use import Unused
from demo.sessions.accounts import Account
from demo.sessions.cart import PART, About, Cart
from demo.sessions.session_id import Place, owner_of
from demo.sessions.session_store import SessionStore
from tests.servers import Client

DAY = timedelta(days=1)


@pytest.fixture
def database(make_database: Callable[..., Database]) -> Database:
    made = make_database()
    with made.write() as connection:
        accounts.prepare(connection)
    return made


@pytest.fixture
def store(client: Client) -> SessionStore:
    return SessionStore(client, idle_seconds=3600, absolute_seconds=36_000, along=(PART,))


def add(database: Database, *names: str, made: timedelta = 8 * DAY) -> None:
    moment = datetime.now(UTC) - made
    with database.write() as connection:
        for name in names:
            accounts.add(connection, name, "a hash")
            connection.execute(
                update(accounts.accounts)
                .where(accounts.accounts.c.name == name)
                .values(new_since=moment, signed_in_at=moment)
            )


def names(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.scalars(select(accounts.accounts.c.name))) - set(accounts.DEMO_NAMES)


def find(database: Database, name: str) -> Account | None:
    with database.read() as connection:
        return accounts.find(connection, name)


def sign_in(store: SessionStore, name: str) -> str:
    sid = store.begin({"user": name}, user=name, epoch=store.epoch(name))
    assert sid
    return sid


def age(database: Database, **ago: timedelta | None) -> None:
    """Has it happened so long ago; None for never."""
    now = datetime.now(UTC)
    moments = {name: None if back is None else now - back for name, back in ago.items()}
    with database.write() as connection:
        connection.execute(update(accounts.accounts).values(**moments))


def due(database: Database) -> list[str]:
    with database.read() as connection:
        return account_use.due(connection, 100)


def new_since(database: Database, name: str = "ida") -> datetime | None:
    column = accounts.accounts.c.new_since
    with database.read() as connection:
        found: datetime | None = connection.scalar(
            select(column).where(accounts.accounts.c.name == name)
        )
    return found


@pytest.mark.parametrize(
    ("made", "used", "gone"),
    [
        (6.9 * DAY, 6.9 * DAY, False),
        (7.1 * DAY, 7.1 * DAY, True),
        (7.1 * DAY, 6.9 * DAY, True),
        (None, 7.1 * DAY, False),
        (None, 729 * DAY, False),
        (None, 731 * DAY, True),
    ],
)
def test_an_account_that_is_not_used_another_day_goes_in_days_another_after_years(
    database: Database, made: timedelta | None, used: timedelta, gone: bool
) -> None:
    add(database, "ida")
    age(database, new_since=made, signed_in_at=used)
    assert due(database) == (["ida"] if gone else [])
    with database.write() as connection:
        assert account_use.drop(connection, "ida") is gone
        assert not account_use.drop(connection, "mara")
    assert (find(database, "ida") is None) is gone


@pytest.mark.parametrize(("made", "is_new"), [(0.9 * DAY, True), (1.1 * DAY, False)])
def test_what_is_used_a_day_after_it_was_made_is_kept(
    database: Database, made: timedelta, is_new: bool
) -> None:
    add(database, "ida")
    age(database, new_since=made, signed_in_at=made)
    with database.write() as connection:
        assert account_use.note(connection, "ida")
    assert (new_since(database) is not None) is is_new
    age(database, signed_in_at=8 * DAY, **({"new_since": 8 * DAY} if is_new else {}))
    assert due(database) == (["ida"] if is_new else [])


@pytest.mark.parametrize("name", ["nobody", "mara"])
def test_nothing_is_noted_of_what_is_nobodys_own(database: Database, name: str) -> None:
    with database.write() as connection:
        assert not account_use.note(connection, name)


def test_what_is_dropped_leaves_nothing_in_redis_and_others_keep_all(
    client: Client, database: Database, store: SessionStore
) -> None:
    add(database, "ida", "ole")
    add(database, "eva", made=DAY)
    cart = Cart(client, keep_seconds=36_000)
    sids = {name: sign_in(store, name) for name in ("ida", "ole", "eva", "mara")}
    for sid in sids.values():
        cart.change(sid, 7, 1, About("Lamp", 100))
    assert Unused(database, store.forget).drop(50) == 2
    assert names(database) == {"eva"}
    for name, sid in sids.items():
        left = [*client.scan_iter(f"demo:sessions:{{{owner_of(name)}}}:*")]
        assert bool(left) is bool(store.load(sid)) is (name in ("eva", "mara"))


def test_who_comes_back_in_that_moment_keeps_the_account(database: Database) -> None:
    add(database, "ida", "ole")

    def forget(name: str) -> None:
        if name == "ida":
            with database.write() as connection:
                assert account_use.note(connection, "ida")

    assert Unused(database, forget).drop(50) == 2
    assert names(database) == {"ida"}


def test_without_redis_the_account_stays_with_what_redis_holds_of_it(database: Database) -> None:
    add(database, "ida")

    def forget(_: str) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        Unused(database, forget).drop(50)
    assert names(database) == {"ida"}


def test_a_sign_in_that_is_under_way_is_refused(
    client: Client, database: Database, store: SessionStore
) -> None:
    add(database, "ida")
    epoch = store.epoch("ida")
    Unused(database, store.forget).drop(50)
    assert store.begin({}, user="ida", epoch=epoch) is None
    assert not client.exists(Place(owner_of("ida"), "").epoch)


def test_many_go_in_steps(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_use, "BATCH", 2)
    add(database, *(f"nobody-{number}" for number in range(5)))
    dropping = Unused(database, lambda name: None)
    waits = [dropping.step() for _ in range(3)]
    assert waits == [account_use.SOON_SECONDS] * 2 + [account_use.PAUSE_SECONDS]
    assert names(database) == set()


def test_a_full_house_has_room_again_after_a_week(
    make_app: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    database = app.extensions["services"].database
    monkeypatch.setattr(accounts, "MOST_ACCOUNTS", len(accounts.DEMO_NAMES) + 2)
    add(database, "ida", "ole", made=6 * DAY)
    form = {"name": "eva", "password": "a long enough phrase"}
    refused = app.test_client().post("/sessions/sign-up", data=form)
    assert refused.status_code == 422 and "No more accounts" in refused.text
    with database.write() as connection:
        long_ago = datetime.now(UTC) - 8 * DAY
        connection.execute(update(accounts.accounts).values(new_since=long_ago))
    assert app.test_client().post("/sessions/sign-up", data=form).status_code == 303
    assert names(database) == {"eva"}
    with database.read() as connection:
        total = connection.scalar(select(func.count()).select_from(accounts.accounts))
    assert total == len(accounts.DEMO_NAMES) + 1


def test_the_job_is_one_of_those_that_one_process_does_for_all(
    make_app: Callable[..., Any],
) -> None:
    app = make_app()
    database = app.extensions["services"].database
    add(database, "ida")
    job = app.extensions["services"].background.jobs["accounts"]
    assert job.elected and job.step(0) == account_use.PAUSE_SECONDS
    assert names(database) == set()
