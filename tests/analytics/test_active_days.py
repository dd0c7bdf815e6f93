"""Who came back, against sets."""

from datetime import date, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.analytics.active_days import OFFSETS, POSITIONS, ActiveDays
from demo.analytics.salts import hashed
from tests.servers import Client, clean

TODAY = date(2026, 11, 20)


def put(client: Client, days: ActiveDays, visitors: set[str], on: date) -> None:
    pipeline = client.pipeline(transaction=False)
    days.add(pipeline, visitors, on)
    pipeline.execute()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(came=st.lists(st.sets(st.integers(0, 40), max_size=20), min_size=10, max_size=10))
def test_cohorts_are_what_sets_say(client: Client, came: list[set[int]]) -> None:
    clean(client)
    days = ActiveDays(client)
    # Positions of their own, so that the model is exact.
    sets = [{f"{number:016x}" for number in one} for one in came]
    for ago, visitors in enumerate(sets):
        put(client, days, visitors, TODAY - timedelta(days=ago))
    cohorts = days.cohorts(TODAY, days=10)
    assert [cohort.day for cohort in cohorts] == [
        TODAY - timedelta(days=ago) for ago in range(9, -1, -1)
    ]
    for ago, cohort in zip(range(9, -1, -1), cohorts, strict=True):
        assert cohort.visitors == len(sets[ago])
        expected = tuple(
            len(sets[ago] & sets[ago - offset]) if offset <= ago else None for offset in OFFSETS
        )
        assert cohort.returned == expected
    assert not client.exists("demo:analytics:{active}:both")


def test_shared_places_are_corrected_for(client: Client) -> None:
    days = ActiveDays(client)
    people = [hashed(str(number), b"of the month") for number in range(8000)]
    put(client, days, set(people[:5000]), TODAY - timedelta(days=1))
    put(client, days, set(people[3000:]), TODAY)
    yesterday, today = days.cohorts(TODAY, days=2)
    assert len({int(one, 16) % POSITIONS for one in people[:5000]}) < 5000
    assert abs(yesterday.visitors - 5000) <= 25 and abs(today.visitors - 5000) <= 25
    assert yesterday.returned[0] is not None and abs(yesterday.returned[0] - 2000) <= 40


def test_another_month_is_not_compared(client: Client) -> None:
    days = ActiveDays(client)
    for on in (date(2026, 11, 30), date(2026, 12, 1)):
        put(client, days, {"0" * 16}, on)
    assert [cohort.returned[0] for cohort in days.cohorts(date(2026, 12, 1), days=2)] == [
        None,
        None,
    ]


def test_a_day_takes_no_more_than_its_bitmap_and_expires(client: Client) -> None:
    put(client, ActiveDays(client), {"f" * 16}, TODAY)
    key = "demo:analytics:{active}:2026-11-20"
    assert client.strlen(key) == POSITIONS // 8
    assert client.ttl(key) > 8 * 86_400
