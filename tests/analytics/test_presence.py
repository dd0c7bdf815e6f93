"""Who is here now is who was seen within the window, by a model."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.analytics import presence
from demo.analytics.presence import KEY, Presence
from tests.servers import Client, clean, lives

NOW = 1_798_761_600
SEEN = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-400, 0)), max_size=30)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seen=SEEN, later=st.integers(0, 400))
def test_who_was_seen_within_five_minutes_is_here(
    client: Client, seen: list[tuple[str, int]], later: int
) -> None:
    clean(client)
    here = Presence(client)
    for visitor, ago in seen:
        pipeline = client.pipeline(transaction=False)
        here.add(pipeline, [visitor], NOW + ago)
        pipeline.execute()
    last = {visitor: max(ago for who, ago in seen if who == visitor) for visitor, _ in seen}
    assert here.count(NOW + later) == sum(
        ago >= later - here.window_seconds for ago in last.values()
    )


def test_those_of_long_ago_are_removed_as_others_come(client: Client) -> None:
    """Exactly those who would not be counted any more, so that nobody is kept for longer."""
    here = Presence(client)
    for visitor, at in (("a", 0), ("b", 1), ("c", 300), ("d", 301)):
        pipeline = client.pipeline(transaction=False)
        here.add(pipeline, [visitor], NOW + at)
        pipeline.execute()
    assert client.zrange(KEY, 0, -1) == [b"b", b"c", b"d"]
    assert here.count(NOW + 301) == 3


def test_nobody_is_here_before_the_first(client: Client) -> None:
    here = Presence(client)
    pipeline = client.pipeline(transaction=False)
    here.add(pipeline, [], NOW)
    assert not pipeline.command_stack
    assert here.count(NOW) == 0


def test_a_crowd_has_a_bound_and_all_of_it_expires(client: Client, monkeypatch: object) -> None:
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presence, "MOST", 10)
        pipeline = client.pipeline(transaction=False)
        Presence(client).add(pipeline, [str(number) for number in range(20)], NOW)
        pipeline.execute()
    assert client.zcard(KEY) == 10
    assert lives(client, KEY, 600)
