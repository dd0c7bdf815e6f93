"""Estimates are within the error that the page states, and the exact set is exact until it is full."""

from datetime import date, timedelta

import pytest

from demo.analytics import unique_visitors
from demo.analytics.salts import hashed
from demo.analytics.unique_visitors import MAX_EXACT, STANDARD_ERROR, UniqueVisitors
from tests.servers import Client, lives

WEDNESDAY = date(2026, 11, 25)


def names(first: int, last: int) -> list[str]:
    return [hashed(str(number), b"of the month") for number in range(first, last)]


def add(uniques: UniqueVisitors, client: Client, first: int, last: int, on: date) -> None:
    pipeline = client.pipeline(transaction=False)
    uniques.add(pipeline, names(first, last), names(first, last), on)
    uniques.learn(pipeline.execute()[-1], on)


def near(estimate: int, exact: int) -> bool:
    return abs(estimate - exact) <= 4 * STANDARD_ERROR * exact


def test_days_unite_to_weeks_and_months(client: Client) -> None:
    uniques = UniqueVisitors(client)
    add(uniques, client, 0, 1000, WEDNESDAY)
    add(uniques, client, 0, 1000, WEDNESDAY)
    add(uniques, client, 500, 1500, WEDNESDAY - timedelta(days=1))
    add(uniques, client, 1500, 1800, WEDNESDAY - timedelta(days=3))  # Sunday, of the week before
    add(uniques, client, 9000, 9900, WEDNESDAY - timedelta(days=30))  # of the month before
    found = uniques.count(WEDNESDAY)
    assert found.exact_day == 1000
    assert near(found.day, 1000) and near(found.yesterday, 1000)
    assert near(found.week, 1500) and near(found.month, 1800)


def test_a_day_without_visitors(client: Client) -> None:
    uniques = UniqueVisitors(client)
    add(uniques, client, 0, 0, WEDNESDAY)
    found = uniques.count(WEDNESDAY)
    assert (found.day, found.week, found.month, found.exact_day) == (0, 0, 0, 0)


def test_the_exact_set_ends_and_the_estimate_goes_on(client: Client) -> None:
    uniques = UniqueVisitors(client)
    add(uniques, client, 0, MAX_EXACT + 1, WEDNESDAY)
    size = client.scard("demo:analytics:{visitors}:exact:2026-11-25")
    add(uniques, client, MAX_EXACT, 10_000, WEDNESDAY)
    assert client.scard("demo:analytics:{visitors}:exact:2026-11-25") == size
    found = uniques.count(WEDNESDAY)
    assert found.exact_day is None and near(found.day, 10_000)
    add(uniques, client, 0, 10, WEDNESDAY + timedelta(days=1))
    assert uniques.count(WEDNESDAY + timedelta(days=1)).exact_day == 10


def test_the_set_is_exact_to_its_last_place(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unique_visitors, "MAX_EXACT", 3)
    uniques = UniqueVisitors(client)
    for number, exact in enumerate((1, 2, 3, None, None)):
        add(uniques, client, number, number + 1, WEDNESDAY)
        assert uniques.count(WEDNESDAY).exact_day == exact
    assert client.scard("demo:analytics:{visitors}:exact:2026-11-25") == 4


def test_a_month_holds_its_days_when_they_are_gone(client: Client) -> None:
    uniques = UniqueVisitors(client)
    for day in (1, 2, 2):
        add(uniques, client, day * 100, day * 100 + 150, date(2026, 11, day))
        uniques.roll_up(date(2026, 11, day))
    month = "demo:analytics:{visitors}:month:2026-11"
    assert near(client.pfcount(month), 250)
    add(uniques, client, 1000, 1100, date(2026, 11, 30))
    uniques.roll_up(date(2026, 12, 1))  # who came last on the last day is in it too
    assert near(client.pfcount(month), 350)
    december = uniques.count(date(2026, 12, 31))
    assert near(december.last_month, 350) and december.month == 0
    assert client.ttl(month) > client.ttl("demo:analytics:{visitors}:day:2026-11-02") > 31 * 86_400


def test_who_visited_by_name_is_known_no_longer_than_the_days_salt(client: Client) -> None:
    """The estimates outlive it: nobody can be found in them."""
    uniques = UniqueVisitors(client)
    add(uniques, client, 0, 3, WEDNESDAY)
    exact, day = uniques._exact(WEDNESDAY), uniques._day(WEDNESDAY)
    assert lives(client, exact, 2 * 86_400) and lives(client, day, 40 * 86_400)
