"""Live boards on a real engine, without a server: the hub, its viewers and what they are told."""

import contextvars
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demo.leaderboard import subscription
from demo.leaderboard.places import Crowded, Full, Origin, Places
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.stream import Streams
from demo.leaderboard.viewers import AWAY, HEARTBEAT, Viewer
from demo.leaderboard.watched import PLAYERS_AT_ONCE, Watched
from demo.teach import pull_the_plug
from tests.servers import Client, connect, private_engine, until


@pytest.fixture
def make(client: Client) -> Iterator[Callable[..., Streams]]:
    made: list[Streams] = []

    def streams(of: Any = client, **more: Any) -> Streams:
        made.append(Streams(of, **{"heartbeat_seconds": 0.02, **more}))
        return made[-1]

    yield streams
    for hub in made:
        hub.close()


def told(viewer: Viewer, wanted: Callable[[Any], object], seconds: float = 10.0) -> Any:
    """The first state that is as wanted."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        event = next(viewer)
        if b"event: board" in event and wanted(state := parse(event)):
            return state
    raise AssertionError("not told in time")


def parse(event: bytes) -> Any:
    lines = event.decode().removesuffix("\n\n").split("\n")
    assert [line.partition(":")[0] for line in lines] == ["id", "event", "data"]
    return {**json.loads(lines[2].removeprefix("data: ")), "id": lines[0].removeprefix("id: ")}


def subscribers(client: Client) -> int:
    """Those of this test's database: on a shared server others have their own."""
    own = str(client.connection_pool.connection_kwargs.get("db") or 0)
    return sum(one["db"] == own for one in client.client_list(_type="pubsub"))


def test_everybody_is_told_of_a_change_each_with_his_own_row_and_neighbours(
    client: Client, make: Callable[..., Streams]
) -> None:
    hub, board = make(), Leaderboard(client, "fan")
    for number in range(20):
        board.submit(f"p{number}", 100 - number, metadata='{"n":1}' if number == 0 else None)
    viewers = [hub.open(board, "all", player) for player in ("", "p15", "p15", "nobody")]
    assert [next(viewer) for viewer in viewers] == [viewer.retry for viewer in viewers]
    first = [told(viewer, lambda _: True) for viewer in viewers]
    assert first[0]["entries"][0] == {"rank": 1, "player": "p0", "score": 100, "metadata": {"n": 1}}
    assert [row["player"] for row in first[0]["entries"]] == [f"p{number}" for number in range(10)]
    assert (first[0]["total"], first[0]["me"], first[3]["me"], first[3]["around"]) == (
        20,
        None,
        None,
        [],
    )
    assert (first[1]["me"]["rank"], [row["rank"] for row in first[1]["around"]]) == (
        16,
        list(range(13, 20)),
    )
    assert first[1] == first[2]
    board.submit("p15", 100)
    after = [
        told(viewer, lambda state: state["entries"][1]["player"] == "p15") for viewer in viewers
    ]
    assert [(row["rank"], row["player"]) for row in after[0]["entries"][:3]] == [
        (1, "p0"),
        (1, "p15"),
        (3, "p1"),
    ]
    assert after[1]["me"]["rank"] == 1
    assert after[1]["around"] == after[0]["entries"][:5]


def test_rows_are_those_of_the_other_reads(client: Client) -> None:
    board = Leaderboard(client, "same")
    for number in range(30):
        board.submit(f"p{number}", number // 3, metadata=f'{{"n":{number}}}')
    names = [f"p{number}" for number in range(30)]
    for name, event in Watched(client).read(board, "week", dict.fromkeys(names)).items():
        state, around = parse(event.text), board.around(name, 3, "week")
        assert around is not None
        assert [
            (r["rank"], r["player"], r["score"], json.dumps(r["metadata"])) for r in state["around"]
        ] == [
            (e.rank, e.player, e.score, json.dumps(json.loads(e.metadata or "")))
            for e in around.entries
        ]
    assert json.loads(event.head + event.tail)["entries"][0]["rank"] == 1


def test_who_is_slow_holds_nobody_up_and_gets_the_newest_state_alone(
    client: Client, make: Callable[..., Streams]
) -> None:
    hub, board = make(interval_seconds=0.001), Leaderboard(client, "slow")
    slow, quick = hub.open(board, "all"), hub.open(board, "all")
    told(slow, lambda state: state["total"] == 0)
    for number in range(1, 20):
        board.submit("mara", number)
        told(
            quick,
            lambda state, number=number: (
                state["entries"] and state["entries"][0]["score"] == number
            ),
        )
    assert parse(next(slow))["entries"][0]["score"] == 19
    assert [next(slow) for _ in range(3)] == [HEARTBEAT] * 3


def test_however_many_viewers_and_posts_a_board_is_read_once_in_an_interval(
    client: Client, make: Callable[..., Streams], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[float] = []
    original = Watched.read

    def read(self: Watched, *arguments: Any) -> Any:
        reads.append(time.monotonic())
        return original(self, *arguments)

    monkeypatch.setattr(Watched, "read", read)
    hub, board = make(interval_seconds=0.1), Leaderboard(client, "busy")
    viewers = [hub.open(board, "all", f"p{number % 5}") for number in range(50)]
    for viewer in viewers:
        told(viewer, lambda _: True)
    reads.clear()  # of those that opening asked for, each may be followed by the next at once
    for number in range(1, 300):
        board.submit(f"p{number % 7}", number)
    for viewer in viewers:
        told(viewer, lambda state: state["entries"] and state["entries"][0]["score"] == 299)
    assert all(later - earlier > 0.09 for earlier, later in zip(reads, reads[1:], strict=False))


def test_many_players_are_read_in_parts(client: Client) -> None:
    board = Leaderboard(client, "parts")
    board.submit("mara", 5)
    names = ["", *(f"p{number}" for number in range(2 * PLAYERS_AT_ONCE)), "mara"]
    events = Watched(client).read(board, "all", dict.fromkeys(names))
    assert set(events) == set(names)
    assert parse(events["mara"].text)["me"]["score"] == 5
    assert parse(events[""].text)["entries"] == parse(events["p7"].text)["entries"]


def test_who_comes_back_with_the_last_id_is_not_told_what_he_knows(
    client: Client, make: Callable[..., Streams]
) -> None:
    hub, board = make(), Leaderboard(client, "back")
    board.submit("mara", 5)
    first = hub.open(board, "all", "mara")
    last = told(first, lambda _: True)["id"]
    first.close()
    again = hub.open(board, "all", "mara", last_event_id=last)
    other = hub.open(board, "all", "mara", last_event_id="of another time")
    assert told(other, lambda _: True)["id"] == last
    assert [next(again) for _ in range(4)] == [again.retry, HEARTBEAT, HEARTBEAT, HEARTBEAT]
    board.submit("mara", 6)
    assert told(again, lambda _: True)["me"]["score"] == 6


def test_a_killed_redis_ends_no_stream_and_all_catch_up(make: Callable[..., Streams]) -> None:
    with (
        private_engine() as engine,
        connect(engine.url, pool_size=4, timeout_seconds=0.25) as own,
    ):
        board, hub = Leaderboard(own, "killed"), make(own)
        board.submit("mara", 5)
        viewers = [hub.open(board, "all"), hub.open(board, "day", "mara")]
        for viewer in viewers:
            told(viewer, lambda state: state["total"] == 1)
        engine.kill()
        for viewer in viewers:
            until(lambda viewer=viewer: next(viewer) == AWAY)
            assert [next(viewer) for _ in range(5)] == [HEARTBEAT] * 5
        late = hub.open(board, "all")
        until(lambda: next(late) == AWAY)
        engine.start()  # it has forgotten everything
        for viewer in (*viewers, late):
            told(viewer, lambda state: state["total"] == 0)
        board.submit("noor", 7)
        for viewer in (*viewers, late):
            told(viewer, lambda state: state["entries"][0]["player"] == "noor")
        assert subscribers(own) == 1


def test_a_redis_that_is_silent_counts_as_away(
    make: Callable[..., Streams], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.leaderboard.subscription.PING_SECONDS", 0.1)
    with (
        private_engine() as engine,
        connect(engine.url, pool_size=4, timeout_seconds=0.25) as own,
    ):
        board, hub = Leaderboard(own, "silent"), make(own)
        viewer = hub.open(board, "all")
        last = told(viewer, lambda _: True)["id"]
        engine.pause()
        until(lambda: next(viewer) == AWAY)
        engine.resume()
        assert (
            told(viewer, lambda _: True)["id"] == last
        )  # the same again, so that a page can take its mark off


def test_a_board_that_is_removed_trimmed_closed_or_deleted_is_told(
    client: Client, make: Callable[..., Streams]
) -> None:
    hub, board = make(again_seconds=0.1), Leaderboard(client, "gone")
    for player in "abcd":
        board.submit(player, ord(player))
    viewer = hub.open(board, "all", "d")
    assert told(viewer, lambda _: True)["me"]["rank"] == 1
    board.remove("d")
    assert told(viewer, lambda state: state["total"] == 3)["me"] is None
    board.trim(2)
    told(viewer, lambda state: state["total"] == 2)
    board.season("spring")
    told(viewer, lambda state: state["total"] == 0)
    board.submit("d", 1)
    told(viewer, lambda state: state["total"] == 1)
    client.unlink(*client.scan_iter("demo:leaderboard:{gone}:*"))  # nobody publishes that
    assert told(viewer, lambda state: state["total"] == 0)["entries"] == []


def test_places_are_bounded_counted_and_given_back(
    client: Client, make: Callable[..., Streams]
) -> None:
    counts: list[int] = []
    hub, board = make(places=Places(2), counted=counts.append), Leaderboard(client, "places")
    first, second = hub.open(board, "all"), hub.open(board, "week", "mara")
    with pytest.raises(Full):
        hub.open(board, "all")
    second.close()
    second.close()
    third = hub.open(board, "all")
    told(third, lambda _: True)
    first.close()
    third.close()
    assert counts == [1, 2, 1, 2, 1, 0]
    with pytest.raises(ValueError, match="period"):
        hub.open(board, "year")
    assert hub.viewers == 0


def test_a_viewer_that_leaves_gives_back_the_place_of_its_address(
    client: Client, make: Callable[..., Streams]
) -> None:
    hub, board = make(places=Places(9, of_address=1)), Leaderboard(client, "address")
    one, other = Origin("a", "n"), Origin("b", "n")
    viewer = hub.open(board, "all", origin=one)
    with pytest.raises(Crowded):
        hub.open(board, "all", origin=one)
    with pytest.raises(ValueError, match="period"):
        hub.open(board, "year", origin=other)
    hub.open(board, "all", origin=other).close()
    viewer.close()
    viewer.close()
    hub.open(board, "all", origin=one).close()
    assert hub.viewers == 0


def test_a_stream_ends_after_its_time_and_is_not_missed_by_who_comes_again(
    client: Client, make: Callable[..., Streams]
) -> None:
    """A client that is dead and does not show it, as behind a proxy, holds no place for ever."""
    hub, board = make(heartbeat_seconds=60), Leaderboard(client, "old")
    viewer = hub.open(board, "all")
    last = told(viewer, lambda _: True)["id"]
    assert 600 < viewer.until - time.monotonic() <= 900
    viewer.until = time.monotonic()
    watching = threading.Thread(target=lambda: (list(viewer), viewer.close()))
    watching.start()
    watching.join(10)
    assert not watching.is_alive() and hub.viewers == 0
    again = make().open(board, "all", last_event_id=last)
    board.submit("mara", 5)
    assert told(again, lambda _: True)["total"] == 1


def test_who_has_taken_nothing_yet_is_not_in_the_middle_of_a_write(
    client: Client, make: Callable[..., Streams]
) -> None:
    viewer = make().open(Leaderboard(client, "begins"), "all")
    now = time.monotonic()
    assert viewer.writes_for(now + 60) == 0.0
    assert next(viewer) == viewer.retry
    assert 59 < viewer.writes_for(now + 60) <= 60
    viewer.close()


def test_before_somebody_is_refused_the_places_of_those_who_left_are_taken_back(
    client: Client, make: Callable[..., Streams]
) -> None:
    hub, board = make(places=Places(2, of_address=1)), Leaderboard(client, "reload")
    one, left = Origin("a", "n"), threading.Event()
    before = hub.open(board, "all", origin=one, gone=left.is_set)
    with pytest.raises(Crowded):
        hub.open(board, "all", origin=one)
    left.set()
    after = hub.open(board, "day", "mara", origin=one)
    assert hub.viewers == 1 and list(before) == [before.retry]
    board.submit("mara", 5)
    state = told(after, lambda state: state["entries"])
    assert (state["period"], state["around"][0]["player"]) == ("day", "mara")
    before.close()  # as its server does at the end
    assert hub.viewers == 1
    after.close()
    assert hub.viewers == 0


def test_one_connection_for_all_boards_that_is_none_of_the_pools_and_ends_with_the_last(
    client: Client, make: Callable[..., Streams]
) -> None:
    hub = make()
    boards = [Leaderboard(client, f"only-{number % 9}") for number in range(20)]
    viewers = [hub.open(board, period) for board in boards for period in ("all", "day")]
    for viewer in viewers:
        told(viewer, lambda _: True)
    assert subscribers(client) == 1
    assert len(client.pubsub_channels("demo:leaderboard:{only-*")) == 9
    for viewer in viewers[2:]:
        viewer.close()
    until(lambda: len(client.pubsub_channels("demo:leaderboard:{only-*")) == 1)
    for viewer in viewers[:2]:
        viewer.close()
    until(lambda: subscribers(client) == 0)
    again = hub.open(Leaderboard(client, "b1"), "all")
    told(again, lambda _: True)
    assert subscribers(client) == 1


def test_a_board_that_cannot_be_read_does_not_keep_the_others_from_it(
    client: Client, make: Callable[..., Streams]
) -> None:
    hub, bad, good = make(), Leaderboard(client, "bad"), Leaderboard(client, "good")
    client.set(bad.redis_keys("all")[0], "of another kind", px=60_000)
    lost, viewer = hub.open(bad, "all"), hub.open(good, "all")
    until(lambda: next(lost) == AWAY)
    good.submit("mara", 5)
    told(viewer, lambda state: state["total"] == 1)
    client.unlink(bad.redis_keys("all")[0])
    told(lost, lambda state: state["total"] == 0)


def test_streams_end_when_the_server_stops_and_when_the_client_has_left(
    client: Client, make: Callable[..., Streams]
) -> None:
    stop, left = threading.Event(), threading.Event()
    hub, board = make(heartbeat_seconds=60, stopping=stop.is_set), Leaderboard(client, "stop")
    waiting = hub.open(board, "all", gone=left.is_set)
    told(waiting, lambda _: True)
    left.set()
    board.submit("mara", 5)
    assert list(waiting) == []
    waiting = hub.open(board, "all")
    told(waiting, lambda _: True)
    ended = threading.Thread(target=lambda: list(waiting))
    ended.start()
    stop.set()
    ended.join(5)
    assert not ended.is_alive()
    late = hub.open(board, "all")
    assert list(late) == [late.retry]


def test_a_stream_is_not_begun_in_the_context_of_a_visitor(
    client: Client, make: Callable[..., Streams]
) -> None:
    """Who has taken Redis away for himself must not take it from everybody's live boards."""
    hub, board = make(), Leaderboard(client, "context")
    visitor = contextvars.copy_context()
    visitor.run(pull_the_plug.take, pull_the_plug.Choices(redis="refused"))
    viewer = visitor.run(hub.open, board, "all")
    assert told(viewer, lambda _: True)["total"] == 0


def test_what_an_event_holds_cannot_break_out_of_its_line(
    client: Client, make: Callable[..., Streams]
) -> None:
    board = Leaderboard(client, "lines")
    board.submit("<b>\u200d</b>é:{x}", 5, metadata='{"a":\n\r\n 1}')
    text = Watched(client).read(board, "all", {"": None})[""].text
    state = parse(text)
    assert (state["entries"][0]["player"], state["entries"][0]["metadata"]) == (
        "<b>\u200d</b>é:{x}",
        {"a": 1},
    )


def test_a_subscriber_that_is_still_ending_does_not_go_on_beside_the_next(
    client: Client, make: Callable[..., Streams], monkeypatch: pytest.MonkeyPatch
) -> None:
    ending, may_end = threading.Event(), threading.Event()
    original = subscription.own_connection

    def slow_to_end(of: Any) -> Any:
        pool, connection = original(of)
        disconnect = connection.disconnect

        def wait() -> None:
            if not ending.is_set():
                ending.set()
                may_end.wait(10)
            disconnect()

        connection.disconnect = wait
        return pool, connection

    monkeypatch.setattr(subscription, "own_connection", slow_to_end)
    hub, board, earlier = make(), Leaderboard(client, "ending"), set(threading.enumerate())
    first = hub.open(board, "all")
    told(first, lambda _: True)
    mine = (thread for thread in threading.enumerate() if thread not in earlier)
    (before,) = (thread for thread in mine if thread.name == "live-boards")
    first.close()
    assert ending.wait(10)
    second = hub.open(board, "all")
    told(second, lambda _: True)
    may_end.set()
    before.join(10)
    assert not before.is_alive()
    assert subscribers(client) == 1
    board.submit("mara", 5)
    told(second, lambda state: state["total"] == 1)


def test_a_board_that_others_have_written_into_is_told_as_away(
    client: Client, make: Callable[..., Streams]
) -> None:
    hub, board, good = make(), Leaderboard(client, "foreign"), Leaderboard(client, "own")
    client.zadd(board.redis_keys("all")[0], {b"000000000001:\xff\xfe": 1})
    client.pexpire(board.redis_keys("all")[0], 60_000)
    viewer, other = hub.open(board, "all"), hub.open(good, "all")
    until(lambda: next(viewer) == AWAY)
    told(other, lambda _: True)


def test_who_leaves_a_quiet_board_gives_his_place_back_within_about_a_second(
    client: Client, make: Callable[..., Streams]
) -> None:
    hub, gone = make(heartbeat_seconds=60), threading.Event()
    viewer = hub.open(Leaderboard(client, "quiet"), "all", gone=gone.is_set)
    told(viewer, lambda _: True)

    def watch() -> None:
        for _ in viewer:
            pass
        viewer.close()

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.monotonic()
    gone.set()
    thread.join(10)
    assert time.monotonic() - began < 2 and hub.viewers == 0


def test_who_takes_nothing_for_too_long_is_cut_off_and_who_waits_is_not(
    client: Client, make: Callable[..., Streams]
) -> None:
    hub, board, cut = (
        make(write_seconds=0.5, heartbeat_seconds=60),
        Leaderboard(client, "stalled"),
        [],
    )
    stalled = hub.open(board, "all", cut=lambda: cut.append("stalled"))
    waiting = hub.open(board, "all", cut=lambda: cut.append("waiting"))
    next(stalled)
    told(waiting, lambda _: True)
    thread = threading.Thread(target=next, args=(waiting,))
    thread.start()
    until(lambda: cut)
    stalled.close()
    assert cut[0] == "stalled" and "waiting" not in cut
    board.submit("mara", 5)
    thread.join(10)


def test_when_streams_end_who_is_still_writing_is_cut_off(client: Client) -> None:
    hub, cut = Streams(client), []
    viewer = hub.open(Leaderboard(client, "ends"), "all", cut=lambda: cut.append(True))
    told(viewer, lambda _: True)
    assert not cut
    hub.close()
    assert cut == [True]
    viewer.close()
