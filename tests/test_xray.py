import pytest

from demo import xray
from demo.pool import Client


def test_nothing_is_recorded_outside_a_request(client: Client) -> None:
    xray.end()
    client.get("a")
    assert xray.current() is None


def test_a_pipeline_is_one_round_trip_of_several_commands(client: Client) -> None:
    trace = xray.begin()
    pipeline = client.pipeline(transaction=False)
    pipeline.get("demo:catalog:{a}")
    pipeline.pttl("demo:catalog:{a}")
    pipeline.execute()
    assert (trace.round_trips, trace.commands) == (1, 2)
    assert [command.reply for command in trace.steps[0].commands] == ["nil", "-2"]
    client.pipeline(transaction=False).execute()
    assert trace.round_trips == 1
    xray.end()


@pytest.mark.parametrize(
    ("args", "reply", "shown"),
    [
        (("GET", "k"), b"x" * 6100, ("GET", "k", "", "bytes, 6.1 kB")),
        (("SET", "k", b"\x00\xffx", "PX", 5), True, ("SET", "k", "\\x00\\xffx PX 5", "1")),
        (("MGET", "a", "b"), [None, b"1"], ("MGET", "a b", "", "array of 2")),
        (("SET", "k", "x" * 300), True, ("SET", "k", "x" * 48 + "… 300 characters", "1")),
        (
            ("HSET", "demo:sessions:{abcdef0123456789}", "user", "mara"),
            1,
            ("HSET", "demo:sessions:{abcdef01…}", "••••", "1"),
        ),
        (("PING",), True, ("PING", "", "", "1")),
        (("INFO",), {"a": 1, "b": 2}, ("INFO", "", "", "hash of 2 fields")),
        (("ZADD", "k", *range(20)), 10, ("ZADD", "k", "0 1 2 3 4 5 6 7 … 12 more", "10")),
        (("EVALSHA", "f" * 40, 1, "k", "a"), [1, 2], ("EVALSHA ffffffff 1", "k", "a", "array of 2")),
    ],
)
def test_a_command_is_described(args: tuple[object, ...], reply: object, shown: tuple[str, ...]) -> None:
    command = xray.describe(args, reply)
    assert (command.name, command.key, command.arguments, command.reply) == shown


def test_a_script_is_named_by_its_header() -> None:
    import hashlib

    text = "-- probe.lua: does nothing\nreturn 1"
    xray.name_script(text)
    command = xray.describe(("EVALSHA", hashlib.sha1(text.encode()).hexdigest(), 1, "k"), None)
    assert command.name == "EVALSHA probe.lua 1"


def test_an_error_is_told_apart_from_an_answer(client: Client) -> None:
    trace = xray.begin()
    client.set("demo:test:{a}", "text", ex=5)
    with pytest.raises(Exception, match="not an integer"):
        client.incr("demo:test:{a}")
    assert [command.refused for step in trace.steps for command in step.commands] == [False, True]
    client.unlink("demo:test:{a}")
    xray.end()
