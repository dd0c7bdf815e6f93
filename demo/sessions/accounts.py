"""Accounts: names and scrypt hashes in the database.

- Passwords are hashed by werkzeug.security (scrypt, RFC 7914: N 2^15, r 8, p 1, 32 MB), a few at a
  time (`hashing`) and with no transaction open; they stand nowhere else.
- An unknown name costs the same visit and the same hash as a known one.
- Everybody shares the demo accounts, so their password stays. Visitors can make an account of their
  own and change its password.
- An account of one's own that nobody uses is dropped (`account_use`).
"""

import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    DateTime,
    MetaData,
    String,
    Table,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from demo.sessions import hashing

NAME = re.compile(r"[a-z][a-z0-9_-]{2,23}")
NAME_RULE = "3 to 24 lower-case letters, digits, - and _, starting with a letter."
LEAST_CHARACTERS, MOST_CHARACTERS = 10, 256
PASSWORD_RULE = f"{LEAST_CHARACTERS} to {MOST_CHARACTERS} characters."
MOST_ACCOUNTS = 100_000
TAKEN = "This name is already taken."
ADVISORY_LOCK = 7_233_915
DEMO_NAMES = ("mara", "noor", "sven", "yuki")
DEMO_PASSWORD = "correct horse"
HASHING = "scrypt:32768:8:1"  # RFC 7914: N 2^15, r 8, p 1
DEMO_HASH = (
    "scrypt:32768:8:1$aeEfX6PpX510Gb5J$d9f3f3448fb0774a0ca3d57afc651844bd2fd71d24277133c7be0098ae761f3b"
    "19b132e8527d819b7ad967fde4b710a5e388da08476665167e8ab66eaa413555"
)
NOBODY = (
    "scrypt:32768:8:1$aeEfX6PpX510Gb5J$" + "0" * 128
)  # the hash of no password that anybody knows
metadata = MetaData()
accounts = Table(
    "accounts",
    metadata,
    Column("name", String(24), primary_key=True),
    Column("password_hash", String(256), nullable=False),
    Column("is_shared", Boolean, nullable=False),
    Column("signed_in_at", DateTime(timezone=True), nullable=False),
    # When it was made, until it is used another day; of an older build's accounts nobody knows.
    Column("new_since", DateTime(timezone=True)),
)


class Refused(ValueError):
    """What an account cannot be: `field` is name or password."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True)
class Account:
    """An account as the database has it."""

    name: str
    password_hash: str
    is_shared: bool


def is_prepared(connection: Connection) -> bool:
    """Whether the tables and the demo accounts are there."""
    there = set(inspect(connection).get_table_names())
    complete = set(metadata.tables) <= there and not _missing(connection)
    return complete and _shared(connection) >= set(DEMO_NAMES)


def prepare(connection: Connection) -> None:
    """Makes what is not there yet, columns that an older build did not have too. Any number of
    processes may start at once: on SQLite the caller's transaction is one that writes from the
    beginning, on Postgres the lock is taken here."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
    metadata.create_all(connection)
    for column in _missing(connection):
        kind = column.type.compile(connection.dialect)
        connection.execute(text(f"ALTER TABLE {accounts.name} ADD COLUMN {column.name} {kind}"))
    for name in set(DEMO_NAMES) - _shared(connection):
        row = {
            "name": name,
            "password_hash": DEMO_HASH,
            "is_shared": True,
            "signed_in_at": datetime.now(UTC),
        }
        connection.execute(insert(accounts), row)


def _missing(connection: Connection) -> list[Column[Any]]:
    """Columns of accounts that an older build's table lacks."""
    there = {column["name"] for column in inspect(connection).get_columns(accounts.name)}
    return [column for column in accounts.columns if column.name not in there]


def _shared(connection: Connection) -> set[str]:
    return set(connection.scalars(select(accounts.c.name).where(accounts.c.is_shared)))


def find(connection: Connection, name: str) -> Account | None:
    """The account of that name."""
    columns = (accounts.c.name, accounts.c.password_hash, accounts.c.is_shared)
    row = connection.execute(select(*columns).where(accounts.c.name == name[:24])).one_or_none()
    return (
        Account(*row)
        if row is not None and hmac.compare_digest(row.name.encode(), name.encode())
        else None
    )


def is_right(account: Account | None, password: str) -> bool:
    """Whether the password is the account's; the same work for no account, and for a password that
    is too long. Raises Busy."""
    known = account.password_hash if account else NOBODY
    right = hashing.is_right(known, password[:MOST_CHARACTERS].encode("utf-8", "replace").decode())
    return right and account is not None and len(password) <= MOST_CHARACTERS


def check_name(name: str) -> None:
    """Raises Refused for what no account can be called."""
    if not NAME.fullmatch(name):
        raise Refused("name", NAME_RULE)


def check_free(connection: Connection, name: str) -> None:
    """Raises Refused where somebody has the name."""
    if find(connection, name) is not None:
        raise Refused("name", TAKEN)


def add(connection: Connection, name: str, hashed: str) -> None:
    """Makes an account of a name that was checked. Raises Refused."""
    if (connection.scalar(select(func.count()).select_from(accounts)) or 0) >= MOST_ACCOUNTS:
        raise Refused(
            "name", "No more accounts can be created on this server. Use one of the demo accounts."
        )
    now = datetime.now(UTC)
    row = {
        "name": name,
        "password_hash": hashed,
        "is_shared": False,
        "signed_in_at": now,
        "new_since": now,
    }
    try:
        connection.execute(insert(accounts), row)
    except IntegrityError:
        raise Refused("name", TAKEN) from None


def hash_password(name: str, password: str) -> str:
    """The hash of a new password. Raises Refused for one that is too easily guessed, by NIST SP
    800-63B: length counts. Raises Busy."""
    if not LEAST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        raise Refused("password", PASSWORD_RULE)
    if name in password.casefold() or len(set(password)) < 4 or password == DEMO_PASSWORD:
        raise Refused("password", "This password is too easy to guess.")
    try:
        password.encode()
    except UnicodeEncodeError:
        raise Refused("password", "The password contains an invalid character.") from None
    return hashing.make(password, HASHING)


def change_password(connection: Connection, account: Account, hashed: str) -> bool:
    """Writes a new hash where the one that was checked still stands; whether it did. Never for a
    shared account."""
    same = (
        accounts.c.name == account.name,
        accounts.c.password_hash == account.password_hash,
        ~accounts.c.is_shared,
    )
    return (
        connection.execute(update(accounts).where(*same).values(password_hash=hashed)).rowcount == 1
    )
