"""Who a visitor is: the same in one period for all processes, another in the next, and never the
address."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from demo.analytics import salts
from demo.analytics.salts import Salts, hashed, identity
from tests.servers import Client, lives


def test_all_who_ask_at_once_get_one_salt_and_it_expires(client: Client) -> None:
    name = salts.day(date(2026, 11, 23))
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: Salts(client).of(name), range(8)))
    assert len(found) == 1
    key = "demo:analytics:{salt}:day:2026-11-23"
    assert client.get(key) in found
    assert lives(client, key, 2 * 86_400)


def test_a_process_asks_once_and_forgets_old_ones(client: Client) -> None:
    made = Salts(client)
    periods = [salts.day(date(2026, 11, day)) for day in range(1, 11)]
    found = [made.of(period) for period in periods]
    client.unlink(f"demo:analytics:{{salt}}:{periods[-1]}")
    assert made.of(periods[-1]) == found[-1]
    assert len(set(found)) == 10
    assert len(made._known) <= 4


def test_a_month_outlives_its_last_day(client: Client) -> None:
    Salts(client).of(salts.month(date(2026, 11, 1)))
    assert client.ttl("demo:analytics:{salt}:month:2026-11") > 31 * 86_400


def test_a_visitor_is_another_one_under_another_salt() -> None:
    who = identity("203.0.113.7", "Browser")
    assert hashed(who, b"a") == hashed(who, b"a") != hashed(who, b"b")
    assert len(hashed(who, b"a")) == 16
    assert hashed("\udcff", b"a")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("203.0.113.7", "a"), ("203.0.113.8", "a"), False),
        (("203.0.113.7", "a"), ("203.0.113.7", "b"), False),
        (("203.0.113.7", "a"), ("::ffff:203.0.113.7", "a"), True),
        (("2001:db8::1", "a"), ("2001:db8::2", "a"), True),
        (("2001:db8::1", "a"), ("2001:db8:0:1::1", "a"), False),
        (("nonsense", "a"), ("", "a"), True),
        (("203.0.113.7", "a" * 200 + "b"), ("203.0.113.7", "a" * 200 + "c"), True),
    ],
)
def test_what_makes_a_visitor_the_same(
    one: tuple[str, str], other: tuple[str, str], same: bool
) -> None:
    assert (identity(*one) == identity(*other)) == same
