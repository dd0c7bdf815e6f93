"""Counters are what a dictionary would be, in each resolution, as far back as it is kept."""

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.analytics.counters import RESOLUTIONS, Counters
from tests.servers import Client, clean

NOW = 1_798_761_599  # a second before 2027
WRITES = st.lists(
    st.tuples(st.integers(0, 3 * 86_400), st.sampled_from(["a", "b:c", "(d)"]), st.integers(1, 5)),
    min_size=1,
    max_size=30,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(writes=WRITES, after=st.integers(0, 7200))
def test_a_series_is_what_a_dictionary_would_be(
    client: Client, writes: list[tuple[int, str, int]], after: int
) -> None:
    clean(client)
    counters, now = Counters(client), NOW + after
    pipeline = client.pipeline(transaction=False)
    for ago, name, count in writes:
        counters.incr(pipeline, {name: count}, NOW - ago + 0.9)
    pipeline.execute()
    for resolution in RESOLUTIONS.values():
        series = counters.series(resolution, now)
        size = resolution.bucket_seconds
        assert series.starts[-1] <= now < series.starts[-1] + size
        assert len(series.starts) == resolution.shown
        model: Counter[tuple[str, int]] = Counter()
        for ago, name, count in writes:
            model[name, (NOW - ago) // size * size] += count
        told = {
            (name, start): value
            for name, values in series.counts.items()
            for start, value in zip(series.starts, values, strict=True)
            if value
        }
        assert told == {
            (name, start): value
            for (name, start), value in model.items()
            if start >= series.starts[0]
        }


def test_each_hash_expires_and_coarse_ones_last_longer(client: Client) -> None:
    pipeline = client.pipeline(transaction=False)
    Counters(client).incr(pipeline, {"a": 1}, NOW)
    pipeline.execute()
    left = [client.ttl(resolution.key(NOW)) for resolution in RESOLUTIONS.values()]
    assert left == sorted(left) and left[0] > 26 * 3600
    for resolution in RESOLUTIONS.values():
        assert resolution.kept_seconds >= resolution.shown * resolution.bucket_seconds


def test_a_sum_of_what_was_never_counted_is_nothing(client: Client) -> None:
    series = Counters(client).series(RESOLUTIONS["hour"], NOW)
    assert series.sum("a") == 0 and series.counts == {}
