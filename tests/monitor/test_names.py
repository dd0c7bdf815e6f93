import pytest

from demo.monitor.names import shown_client, shown_command, shown_key


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (b"demo:catalog:{page:html-42}", "demo:catalog:{page:html-42}"),
        (b"demo:catalog:{" + b"x" * 500 + b"}", "demo:catalog:{" + "x" * 50 + "…"),
        (b"demo:catalog:{\x1b[31m\xff\n}", "demo:catalog:{\\x1b[31m\\xff\\n}"),
        (b"demo:catalog:{\xe2\x80\xae}", "demo:catalog:{\\u202e}"),
    ],
)
def test_what_is_nobodys_secret_is_shown_bounded_and_printable(key: bytes, shown: str) -> None:
    assert shown_key(key) == shown


@pytest.mark.parametrize(
    "key",
    [
        b"demo:sessions:{mara}:0f3c9a77",
        b"demo:sessions:{mara}:epoch",
        b"demo:rate_limit:{sessions.login:mara}",
        b"demo:rate_limit:{login:203.0.113.7}:2",
        b"mara",
        b"user:mara@example.org",
        b"a-very-long-word-about-mara:1",
    ],
)
def test_what_tells_of_somebody_is_hidden_and_still_told_apart(key: bytes) -> None:
    shown = shown_key(key)
    assert not any(secret in shown for secret in ("mara", "0f3c", "203.0", "example.org"))
    assert shown != shown_key(key + b"x")
    assert shown == shown_key(key.decode())


def test_a_limit_is_named_and_a_prefix_of_somebody_else_too() -> None:
    assert shown_key(b"demo:rate_limit:{sessions.login:mara}").startswith(
        "demo:rate_limit:{sessions.login…"
    )
    assert shown_key(b"user:mara").startswith("user…")


def test_commands_are_shown_without_their_words() -> None:
    assert shown_command(b"set demo:catalog:{page:1} secret EX 5") == "SET demo:catalog:{page:1}"
    assert shown_command(b"AUTH hunter2") == "AUTH …"
    assert shown_command(b"EVALSHA abc 1 demo:sessions:{mara}:x secret").startswith(
        "EVALSHA demo:sessions:{…"
    )
    assert shown_command("PING") == "PING"
    assert "<" not in shown_command(b"") and len(shown_command(b"x" * 9000)) < 40


def test_connections_of_others_bear_no_name() -> None:
    assert shown_client("demo:web-1:42") == "demo:web-1:42"
    assert shown_client("admin@10.0.0.1") == "not of this app"
    assert len(shown_client("demo:" + "x" * 500)) < 60
