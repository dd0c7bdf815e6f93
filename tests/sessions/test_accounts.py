from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from demo.database import Database
from demo.sessions import account_use, accounts
from demo.sessions.accounts import Account, Refused

GOOD = "a long enough phrase"


@pytest.fixture
def hashing() -> None:
    """As dear as it is."""


@pytest.fixture
def database(make_database: Callable[..., Database]) -> Database:
    made = make_database()
    with made.write() as connection:
        accounts.prepare(connection)
    return made


def find(database: Database, name: str) -> Account | None:
    with database.read() as connection:
        return accounts.find(connection, name)


def add(database: Database, name: str, password: str = GOOD) -> None:
    accounts.check_name(name)
    hashed = accounts.hash_password(name, password)
    with database.write() as connection:
        accounts.add(connection, name, hashed)


def test_preparing_twice_changes_nothing(
    make_database: Callable[..., Database], database: Database
) -> None:
    with make_database().write() as connection:
        accounts.prepare(connection)
        assert accounts.is_prepared(connection)


def test_an_empty_database_is_not_prepared(make_database: Callable[..., Database]) -> None:
    with make_database().read() as connection:
        assert not accounts.is_prepared(connection)


@pytest.mark.parametrize("name", accounts.DEMO_NAMES)
def test_each_demo_account_lets_in_with_the_password_of_the_page_only(
    database: Database, name: str
) -> None:
    found = find(database, name)
    assert found and found.is_shared
    assert accounts.is_right(found, accounts.DEMO_PASSWORD)
    assert not accounts.is_right(found, accounts.DEMO_PASSWORD + " ")


def test_a_password_that_only_begins_with_the_right_one_is_wrong(database: Database) -> None:
    """Also one of the greatest length, of which no more than that is looked at."""
    longest = "a long phrase" + "x" * (accounts.MOST_CHARACTERS - 13)
    with database.write() as connection:
        accounts.add(connection, "ida", accounts.hash_password("ida", longest))
    ida = find(database, "ida")
    assert accounts.is_right(ida, longest)
    assert not accounts.is_right(ida, longest + "x")


def test_a_hash_is_scrypt_salted_and_never_the_password(database: Database) -> None:
    add(database, "ida")
    add(database, "ole")
    ida, ole = find(database, "ida"), find(database, "ole")
    assert ida and ole and not ida.is_shared
    assert (
        ida.password_hash.startswith("scrypt:32768:8:1$") and ida.password_hash != ole.password_hash
    )
    assert GOOD not in ida.password_hash and accounts.is_right(ida, GOOD)


def test_an_unknown_name_costs_the_same_work(
    monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    from werkzeug import security

    calls = []
    original = security.hashlib.scrypt
    monkeypatch.setattr(
        security.hashlib,
        "scrypt",
        lambda *a, **k: calls.append((k["n"], k["r"], k["p"])) or original(*a, **k),
    )
    assert accounts.is_right(find(database, "mara"), "correct horse")
    assert not accounts.is_right(find(database, "nobody"), "correct horse")
    assert not accounts.is_right(find(database, "mara"), "wrong")
    assert not accounts.is_right(None, "x" * 10_000)
    assert calls == [(32768, 8, 1)] * 4


@pytest.mark.parametrize(
    "name", ["", "ab", "Ida", "1da", "i" * 25, "ida!", "ida\n", "i d a", "ïda", "mara' OR '1'='1"]
)
def test_a_name_has_a_form(database: Database, name: str) -> None:
    with pytest.raises(Refused) as refused:
        add(database, name)
    assert refused.value.field == "name" and find(database, name) is None


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short",
        "x" * 257,
        "aaaaaaaaaaaaa",
        "ida ida ida ida",
        "correct horse",
        "\ud83d" * 10 + "abc",
    ],
)
def test_a_password_that_is_easily_guessed_is_refused(database: Database, password: str) -> None:
    with pytest.raises(Refused) as refused:
        add(database, "ida", password)
    assert refused.value.field == "password" and find(database, "ida") is None


def test_a_name_is_given_once(database: Database) -> None:
    add(database, "ida")
    for name in ("ida", "mara"):
        with pytest.raises(Refused, match="This name is already taken"):
            add(database, name, GOOD + "!")
    assert accounts.is_right(find(database, "ida"), GOOD)


def test_a_password_is_changed_only_where_the_one_that_was_checked_still_stands(
    database: Database,
) -> None:
    add(database, "ida")
    ida = find(database, "ida")
    assert ida
    with database.write() as connection:
        assert accounts.change_password(
            connection, ida, accounts.hash_password("ida", "another long phrase")
        )
        assert not accounts.change_password(
            connection, ida, accounts.hash_password("ida", "a third long phrase")
        )
    assert accounts.is_right(find(database, "ida"), "another long phrase")


def test_the_password_of_a_shared_account_stays(database: Database) -> None:
    mara = find(database, "mara")
    assert mara
    with database.write() as connection:
        assert not accounts.change_password(connection, mara, accounts.hash_password("mara", GOOD))


def test_the_number_of_accounts_is_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MOST_ACCOUNTS", 5)
    add(database, "ida")
    with pytest.raises(Refused, match="No more accounts"):
        add(database, "ole")


def test_the_table_of_an_older_build_gets_its_column_and_loses_nobody(
    make_database: Callable[..., Database],
) -> None:
    database, lately = make_database(), f"{datetime.now(UTC) - timedelta(days=100):%F %T}.000000"
    with database.write() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE accounts (name VARCHAR(24) NOT NULL PRIMARY KEY, password_hash"
            " VARCHAR(256) NOT NULL, is_shared BOOLEAN NOT NULL, signed_in_at DATETIME NOT NULL)"
        )
        connection.exec_driver_sql(f"INSERT INTO accounts VALUES ('ole', 'x', 0, '{lately}')")
        assert not accounts.is_prepared(connection)
    with database.write() as connection:
        accounts.prepare(connection)
        accounts.prepare(connection)
        assert accounts.is_prepared(connection)
        # What the older build still writes beside this one is taken.
        connection.exec_driver_sql(
            "INSERT INTO accounts (name, password_hash, is_shared, signed_in_at)"
            f" VALUES ('eva', 'x', 0, '{lately}')"
        )
    assert find(database, "ole") and find(database, "eva") and find(database, "mara")
    with database.read() as connection:
        assert not account_use.due(connection, 100)


def test_the_column_has_its_type_on_postgres_too() -> None:
    kind = accounts.accounts.c.new_since.type.compile(postgresql.dialect())
    assert kind == "TIMESTAMP WITH TIME ZONE"


def test_the_table_itself_refuses_a_second_of_a_name(database: Database) -> None:
    row = {
        "name": "mara",
        "password_hash": "x",
        "is_shared": False,
        "signed_in_at": accounts.datetime.now(accounts.UTC),
    }
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(accounts.accounts.insert(), row)
