import pytest

from demo.rate_limit.algorithms import ALGORITHMS
from demo.rate_limit.limiter import Quota
from demo.rate_limit.playground import MOST_HITS, SKEWED, Hit, Playground, fullest_window
from demo.rate_limit.timeline import Timeline
from tests.servers import Client, trips

LANES = list(ALGORITHMS)
FIXED = LANES.index("fixed_window")


def admitted(playground: Playground) -> list[int]:
    hits, lanes, _ = playground.look("me")
    return [sum(hit.admitted[place] for hit in hits) for place in range(len(lanes))]


def test_a_burst_around_an_edge_cheats_the_fixed_window_alone(client: Client) -> None:
    playground = Playground(client, Quota(5, 10))
    playground.play("me", "edge")
    assert admitted(playground) == [10 if name == "fixed_window" else 5 for name in LANES]
    _, lanes, now = playground.look("me")
    assert [lane.worst for lane in lanes] == [10 if name == "fixed_window" else 5 for name in LANES]
    assert (lanes[FIXED].extra, lanes[FIXED].missing) == (5, 0)
    assert {(lane.extra, lane.missing) for lane in lanes if lane.name != "fixed_window"} == {(0, 0)}
    hits = playground.look("me")[0]
    before, after = sorted({(hit.at_us + 100_000) % 10_000_000 for hit in hits})
    assert before == 0 and 100_000 <= after <= 200_000
    assert all(hit.at_us <= now for hit in hits)


@pytest.mark.parametrize("limit", [1, 4, 50])
def test_a_steady_stream_lies_in_the_two_windows_just_past(client: Client, limit: int) -> None:
    playground = Playground(client, Quota(limit, 10))
    seconds, microseconds = client.time()
    playground.play("me", "steady")
    hits, lanes, now = playground.look("me")
    assert len(hits) == 3 * limit
    assert [hit.at_us for hit in hits] == sorted({hit.at_us for hit in hits})
    assert seconds * 1_000_000 + microseconds - 20_000_000 <= hits[0].at_us and hits[-1].at_us < now
    assert lanes[0].worst == limit


def test_a_burst_goes_on_where_the_pattern_before_it_ended(client: Client) -> None:
    playground = Playground(client, Quota(5, 60))
    playground.play("me", "steady")
    playground.play("me", "burst", 3)
    hits, lanes, _ = playground.look("me")
    assert len(hits) == 18
    assert sum(hit.admitted[0] for hit in hits[15:]) <= 1  # a place may have come free just now
    assert lanes[0].state.remaining == 0 and lanes[0].state.retry_after_seconds > 0
    playground.play("me", "edge")
    assert len(playground.look("me")[0]) == 10


def test_the_applications_clock_doubles_the_limit(client: Client) -> None:
    playground = Playground(client, Quota(5, 10), skew_seconds=11)
    playground.play("me", "burst", 10)
    _, lanes, _ = playground.look("me")
    assert lanes[-1].name == SKEWED
    assert (lanes[0].worst, lanes[-1].worst, lanes[-1].extra) == (5, 10, 5)


def test_refused_hits_count_where_that_is_switched_on(client: Client) -> None:
    for count_refused, most in ((False, 8), (True, 5)):
        playground = Playground(client, Quota(4, 10), count_refused=count_refused)
        playground.play("me", "steady")
        assert (admitted(playground)[0] >= most) is not count_refused


def test_two_visitors_and_two_quotas_have_lanes_of_their_own(client: Client) -> None:
    playground, other = Playground(client, Quota(5, 10)), Playground(client, Quota(6, 10))
    playground.play("me", "burst", 5)
    assert [
        len(hits) for hits, *_ in (playground.look("me"), playground.look("you"), other.look("me"))
    ] == [5, 0, 0]
    playground.reset("me")
    hits, lanes, _ = playground.look("me")
    assert hits == []
    assert {lane.state.remaining for lane in lanes} == {5}


def test_every_key_expires_and_what_is_kept_is_bounded(client: Client) -> None:
    playground = Playground(client, Quota(5, 10), count_refused=True, skew_seconds=11)
    for _ in range(2):
        playground.play("me", "burst", 100)
    keys = list(client.scan_iter("demo:*"))
    assert len(keys) == 7
    assert all(0 < client.pttl(key) <= 90_000 for key in keys)
    assert len(playground.look("me")[0]) == MOST_HITS


def test_looking_costs_a_trip_a_lane_and_two_more(client: Client) -> None:
    playground = Playground(client, Quota(5, 10))
    playground.look("me")
    with trips() as seen:
        playground.look("me")
    assert len(seen) == 7


@pytest.mark.parametrize(
    ("times", "most"),
    [
        ([], 0),
        ([5], 1),
        ([0, 9, 10, 11], 3),
        ([0, 10, 20], 1),
        ([1, 1, 1], 3),
        ([0, 5, 9, 30, 31], 3),
    ],
)
def test_the_fullest_window_is_found_wherever_it_begins(times: list[int], most: int) -> None:
    assert fullest_window(times, 10) == most


def test_hits_of_one_moment_are_drawn_side_by_side_away_from_others(client: Client) -> None:
    playground = Playground(client, Quota(3, 10))
    playground.play("me", "edge")
    hits, _, now = playground.look("me")
    now = hits[-1].at_us + 6_000_000
    dots = Timeline(hits, now, 10).dots(0)
    assert [dot.shift for dot in dots] == [-12, -6, 0, 0, 6, 12]
    at_the_right_edge = Timeline(hits, hits[-1].at_us, 10).dots(0)
    assert [dot.shift for dot in at_the_right_edge] == [-30, -24, -18, -12, -6, 0]
    assert [dot.at_us for dot in dots] == [hit.at_us for hit in hits]
    assert all(0 <= dot.x <= 100 for dot in dots)
    edge = hits[0].at_us + 100_000
    assert (round(Timeline(hits, now, 10).x(edge), 2), edge) in Timeline(hits, now, 10).edges()
    assert Timeline(hits, now + 40_000_000, 10).dots(0) == []


@pytest.mark.parametrize("width", [330, 560])
@pytest.mark.parametrize(
    "hits",
    [
        [(0, 30)],
        [(0, 30), (4_000_000, 30)],
        [(9_900_000, 50), (10_100_000, 50)],
        [(number * 133_333, 1) for number in range(150)],
        [(number * 1_333_333, 1) for number in range(15)],
        [(number * 650_000, 1) for number in range(20)],
    ],
    ids=["burst", "two bursts", "edge", "steady 50", "steady 5", "stream"],
)
def test_no_dot_lies_upon_another(hits: list[tuple[int, int]], width: int) -> None:
    """On a phone and on a desktop, in pixels."""
    base = 1_795_000_000_000_000
    sent = [Hit(base + at, (bool(count % 2),)) for at, count in hits for _ in range(count)]
    for later in (0, 3_000_000):
        dots = Timeline(sent, sent[-1].at_us + later, 10).dots(0)
        assert len(dots) == len([hit for hit in sent if hit.at_us > sent[-1].at_us + later - 25e6])
        placed = [(dot.x * width / 100 + dot.shift, dot.y, dot.radius) for dot in dots]
        for number, (x, y, radius) in enumerate(placed):
            assert 0 <= y - radius and y + radius <= 26
            for other_x, other_y, other_radius in placed[:number]:
                apart = ((x - other_x) ** 2 + (y - other_y) ** 2) ** 0.5
                assert apart >= radius + other_radius - 0.3
