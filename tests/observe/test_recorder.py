"""What a script runs is noted by the very call: same answer, same round trip, nothing more."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from redis.exceptions import ResponseError

from demo.client.wire import Client
from demo.leaderboard.ranking import Leaderboard, Mode
from demo.observe import recorder, trace
from demo.observe.recorder import Inside
from demo.observe.trace import Trace, begin_trace, end_trace
from demo.rate_limit.gcra import Gcra
from demo.rate_limit.limiter import Quota
from demo.rate_limit.sliding_window import SlidingWindowLog
from demo.teach import scripts
from tests.every_script import run_every_script
from tests.servers import tcp_server
from tests.test_house import SCRIPTS

NOW_MS = 1_795_000_000_000


@pytest.fixture
def recording() -> Iterator[Trace]:
    seen = begin_trace()
    seen.recording = True
    yield seen
    end_trace()


def run(client: Client, text: str, *keys: str) -> Any:
    return client.execute_command("EVAL", text, len(keys), *keys)


def noted(seen: Trace) -> list[list[Any]]:
    """The words of each command, of all scripts."""
    return [
        [word[1].decode() for word in ran.words]
        for inside in seen.inside.values()
        for ran in inside.commands
    ]


def twice(client: Any, name: str) -> list[Any]:
    """The same calls on patterns of this name: posts, hits, refusals."""
    board, quota = Leaderboard(client, name), Quota(2, 10)
    found: list[Any] = []
    for player, score, more in (
        ("mara", 5, {}),
        ("noor", 5, {"metadata": "é\n"}),
        ("mara", 3, {"mode": Mode.SUM}),
        ("mara", 9, {"idempotency_key": "k"}),
        ("mara", 9, {"idempotency_key": "k"}),
    ):
        found.append(board.submit(player, score, now_ms=NOW_MS, **more).standings)
    found.append([entry.player for entry in board.top(5).entries])
    found.append(board.remove("noor"))
    for kind in (SlidingWindowLog, Gcra):
        limiter = kind(client, f"{name}-{kind.__name__}", quota)
        found += [limiter.hit("me", now_us=1000 * NOW_MS + at) for at in (0, 0, 5, 9_999_999)]
        found.append(limiter.peek("me", now_us=1000 * NOW_MS))
    return found


def test_a_noted_script_answers_and_leaves_what_it_does_without(wired: Client) -> None:
    plain = twice(wired, "plain")
    seen = begin_trace()
    seen.recording = True
    try:
        assert twice(wired, "noted") == plain
        assert seen.round_trips == seen.commands == len(seen.inside) > 15
    finally:
        end_trace()
    left = {key.decode() for key in wired.scan_iter("demo:*")}
    assert {key.replace("noted", "plain") for key in left if "noted" in key} <= left
    board = "demo:leaderboard:{%s}:all"
    assert wired.zrange(board % "noted", 0, -1, withscores=True) == wired.zrange(
        board % "plain", 0, -1, withscores=True
    )


def test_every_script_of_the_app_can_be_noted(
    wired: Client, make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is noted of it are commands of its text, in the number in which they ran."""
    found: dict[str, Inside] = {}
    original, made = recorder.run, Trace.__init__

    def spy(trip: Any, send: Any) -> tuple[list[Any], Inside | None]:
        replies, inside = original(trip, send)
        if inside is not None:
            found[scripts.called(*map(str, map(_plain, trip.commands[0][:2]))).name] = inside
        else:
            assert trip.commands[0][0] not in ("EVAL", "EVALSHA") or isinstance(
                replies[0], ResponseError
            )
        return replies, inside

    def begin(self: Trace, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        self.recording = True

    monkeypatch.setattr(recorder, "run", spy)
    monkeypatch.setattr(trace.Trace, "__init__", begin)
    run_every_script(make_app().test_client(), wired)
    assert set(found) >= {path.name for path in SCRIPTS}
    for path in SCRIPTS:
        if path.name in found:
            inside, known = found[path.name], scripts.of_text(path.read_text()).commands
            assert inside.count >= len(inside.commands)
            assert {ran.words[0][1].decode() for ran in inside.commands} <= set(known), path.name


def _plain(word: Any) -> Any:
    return word.decode() if isinstance(word, bytes) else word


def test_commands_stand_there_as_they_were_sent_with_their_replies(
    wired: Client, recording: Trace
) -> None:
    text = """-- probe.lua: tries
    redis.call('SET', KEYS[1], 'two words', 'PX', 5000)
    redis.call('GET', KEYS[1] .. 'x')
    redis.pcall('INCR', KEYS[1])
    redis.call('ZADD', KEYS[1] .. 'z', 2 ^ 53, 'm')
    return {redis.call('ZRANGE', KEYS[1] .. 'z', 0, -1, 'WITHSCORES'), false, 'end'}"""
    key = "demo:test:{probe}"
    assert run(wired, text, key) == [[b"m", b"9007199254740992"], None, b"end"]
    assert noted(recording) == [
        ["SET", key, "two words", "PX", "5000"],
        ["GET", key + "x"],
        ["INCR", key],
        ["ZADD", key + "z", "9007199254740992", "m"],
        ["ZRANGE", key + "z", "0", "-1", "WITHSCORES"],
    ]
    (inside,) = recording.inside.values()
    replies = [ran.reply for ran in inside.commands]
    assert replies[0] == [b"o", b"OK"] and replies[1] == [b"n"] and replies[3] == [b"i", b"1"]
    assert replies[2][0] == b"e" and b"not an integer" in replies[2][1]
    assert replies[4] == [b"a", 2, [b"s", b"m", 1], [b"s", b"9007199254740992", 16]]
    wired.unlink(key, key + "z")


@pytest.mark.parametrize("answer", ["nil", "false", "1", "'x'", "{}", "redis.status_reply('PONG')"])
def test_an_answer_of_any_kind_comes_back(wired: Client, recording: Trace, answer: str) -> None:
    end_trace()
    plain = run(wired, f"-- a.lua: x\nreturn {answer}", "demo:test:{a}")
    trace.resume_trace(recording, detailed=True)
    assert run(wired, f"-- b.lua: x\nreturn {answer}", "demo:test:{a}") == plain
    assert len(recording.inside) == 1


def test_an_error_of_the_script_is_raised_as_ever(wired: Client, recording: Trace) -> None:
    for text in ("return redis.call('INCR')", "return redis.error_reply('MINE no')"):
        with pytest.raises(ResponseError, match="rong number|MINE no"):
            run(wired, f"-- c.lua: x\n{text}", "demo:test:{a}")
    assert recording.round_trips == 2


def test_what_is_noted_is_bounded(wired: Client, recording: Trace) -> None:
    """However much a script does, and however long its words are."""
    text = """-- long.lua: x
    local many = {}
    for n = 1, 3000 do many[n] = string.rep('v', 300) end
    for n = 1, 500 do redis.call('PING', string.rep('x', 3000)) end
    redis.call('RPUSH', KEYS[1], unpack(many))
    redis.call('LRANGE', KEYS[1], 0, -1)
    return #many"""
    assert run(wired, text, "demo:test:{long}") == 3000
    (inside,) = recording.inside.values()
    assert inside.count == 502 and len(inside.commands) <= recorder.MOST_COMMANDS
    assert len(repr(inside)) < 4 * recorder.MOST_BYTES
    many = "-- many.lua: x\nredis.call('RPUSH', KEYS[1], unpack({" + "1," * 200 + "}))"
    run(wired, many, "demo:test:{long}")
    ran = list(recording.inside.values())[1].commands[0]
    assert (ran.length, len(ran.words)) == (202, recorder.MOST_WORDS)
    wired.unlink("demo:test:{long}")


def test_where_eval_is_not_permitted_a_script_goes_out_as_it_is(recording: Trace) -> None:
    from tests.clients import connect
    from tests.servers import connect as admin

    with tcp_server() as port:
        root = admin(f"redis://127.0.0.1:{port}")
        text = "-- d.lua: x\nreturn redis.call('INCR', KEYS[1])"
        sha = root.script_load(text)
        root.execute_command("ACL", "SETUSER", "u", "on", ">pw", "~demo:*", "&*", "+@all", "-eval")
        root.close()
        client = connect(
            f"redis://u:pw@127.0.0.1:{port}", pool_size=1, timeout_seconds=5, open_seconds=1
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recorder, "texts", lambda: {sha: text})
            assert client.execute_command("EVALSHA", sha, 1, "demo:test:{d}") == 1
        assert list(recording.inside.values()) == [recorder.Inside(0, (), permitted=False)]
        client.close()


def test_a_noted_script_is_a_text_of_its_own_and_no_more_than_one() -> None:
    """Redis keeps each text that it was told: as many as there are scripts, however often it is asked."""
    text = SCRIPTS[0].read_text()
    assert recorder.noting(text) is recorder.noting(text)
    assert recorder.noting(text).startswith(text.partition("\n")[0])
    assert hashlib.sha1(text.encode()).hexdigest() in recorder.texts()
