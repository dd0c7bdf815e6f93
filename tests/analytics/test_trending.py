"""What leads, against a Counter."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.analytics import trending
from demo.analytics.trending import SPANS, Rising, Trending
from tests.servers import Client, clean

NOW = 1_798_761_599
VIEWS = st.lists(
    st.tuples(st.integers(0, 2 * 86_400), st.sampled_from("abcdef"), st.integers(1, 9)), max_size=25
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(views=VIEWS)
def test_who_leads_is_what_a_counter_says(
    client: Client, views: list[tuple[int, str, int]]
) -> None:
    clean(client)
    board = Trending(client)
    pipeline = client.pipeline(transaction=False)
    for ago, member, count in views:
        board.add(pipeline, {member: count}, NOW - ago)
    pipeline.execute()
    for span in SPANS.values():
        first = NOW - NOW % span.bucket_seconds - (span.buckets - 1) * span.bucket_seconds
        model: Counter[str] = Counter()
        for ago, member, count in views:
            if NOW - ago >= first:
                model[member] += count
        expected = sorted(((count, member) for member, count in model.items()), reverse=True)[:3]
        assert board.top(span, NOW, 3) == tuple(Rising(member, count) for count, member in expected)
    assert not client.exists("demo:analytics:{trending}:united")


def test_a_set_is_bounded_and_expires(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trending, "MOST", 5)
    board = Trending(client)
    pipeline = client.pipeline(transaction=False)
    board.add(pipeline, {str(number): number for number in range(1, 21)}, NOW)
    pipeline.execute()
    for span in SPANS.values():
        assert client.zcard(span.key(NOW)) == 5
        assert (
            span.bucket_seconds * span.buckets
            < client.ttl(span.key(NOW))
            <= span.bucket_seconds * (span.buckets + 1)
        )
    assert board.top(SPANS["hour"], NOW)[0] == Rising("20", 20)


def test_nothing_leads_before_the_first(client: Client) -> None:
    assert Trending(client).top(SPANS["day"], NOW) == ()
