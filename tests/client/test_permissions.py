"""What a restricted user can still do: everything that it is permitted, and what is missing is named."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from flask import Flask
from markupsafe import escape

from demo.app import USE_CASES
from demo.client import permissions, pool
from demo.client.leader import Leader
from demo.web.services import services
from tests import users
from tests.servers import REPOSITORY, tcp_server
from tests.topologies import KINDS, topology
from tests.walking import GOOD, read_everything, walk

NEED = {"one": ("GET", "EVALSHA"), "two": ("SET", "PFADD", "CLIENT SETNAME", "NOSUCH")}
DIAGNOSTICS = [
    "CLIENT", "INFO", "CONFIG", "SLOWLOG", "ACL", "SCRIPT", "MEMORY", "OBJECT", "COMMAND", "SCAN"
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_permitted_is_named_by_part(kind: str) -> None:
    with topology(kind) as given:
        whole = pool.connect(given.url(), pool_size=2, timeout_seconds=2.0)
        parts = {"optional": permissions.OPTIONAL, "base": permissions.BASE}
        assert permissions.missing(whole, parts) == {}
        whole.close()
        rights = ["~demo:*", "+@all", "-pfadd", "-client"]
        given.each("ACL", "SETUSER", "u", "on", ">pw", *rights)
        client = pool.connect(given.url("u:pw"), pool_size=2, timeout_seconds=2.0)
        assert permissions.missing(client, NEED) == {"two": ["CLIENT SETNAME", "NOSUCH", "PFADD"]}
        given.each("ACL", "SETUSER", "u", "-eval", "-script")
        assert permissions.missing(client, {"one": ["GET"]}) == {}
        given.each("SCRIPT", "FLUSH")
        assert permissions.missing(client, NEED) == {"one": ["EVALSHA"]}
        given.each("ACL", "SETUSER", "u", "+eval", "-get")
        assert permissions.missing(client, {"one": ["GET"], "two": ["SET"]}) == {"one": ["GET"]}
        client.close()


@contextmanager
def restricted(
    *rights: str, channels: str = "&demo:*", more: tuple[str, ...] = ()
) -> Iterator[str]:
    """The URL of a user with these rights, on a server of its own."""
    with tcp_server(*more) as port, redis.Redis(port=port) as admin:
        admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", "~demo:*", channels, *rights)
        yield f"redis://u:pw@127.0.0.1:{port}"


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_each_command_that_only_tells_something_may_be_missing(
    make_app: Callable[..., Flask], name: str
) -> None:
    with restricted("+@all", f"-{name.lower()}") as url:
        app = make_app(REDIS_URL=url)
        assert walk(app) == GOOD
        assert app.test_client().get("/readyz").json["degraded"] == []


def test_without_all_of_them_at_once(make_app: Callable[..., Flask]) -> None:
    without = [f"-{name.lower()}" for name in DIAGNOSTICS]
    with restricted("+@all", *without, "-subscribe", channels="resetchannels") as url:
        app = make_app(REDIS_URL=url)
        assert walk(app) == GOOD
        assert app.test_client().get("/readyz").json["degraded"] == []
    renamed = [word for name in DIAGNOSTICS for word in ("--rename-command", name, "")]
    with tcp_server(*renamed) as port:
        assert walk(make_app(REDIS_URL=f"redis://127.0.0.1:{port}")) == GOOD


def test_scripts_that_may_be_loaded_by_nobody_are_sent_as_a_whole(
    make_app: Callable[..., Flask],
) -> None:
    with restricted("+@all", "-script") as url:
        assert walk(make_app(REDIS_URL=url)) == GOOD


def test_where_no_script_may_be_run_the_start_and_the_probe_name_it(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    with restricted("+@all", "-script", "-eval") as url:
        app = make_app(REDIS_URL=url)
        assert "sessions: Redis does not permit EVAL, EVALSHA." in caplog.text
        answered = walk(app)
        assert (answered["page"], answered["score"], answered["sign-in"]) == (200, 503, 503)
        told = app.test_client().get("/readyz").json
        assert told["redis"] == "ok" and set(told["degraded"]) == set(USE_CASES)
        assert told["not_permitted"]["sessions"] == ["EVAL", "EVALSHA"]
        refused = app.test_client().post(
            "/leaderboard/api/boards/main/scores", json={"player": "mara", "score": 5}
        )
        assert "does not permit" in refused.json["detail"]
        assert "Retry-After" not in refused.headers


def test_the_commands_of_scripts_are_read_from_them() -> None:
    found = permissions.of_scripts(REPOSITORY / "demo" / "leaderboard")
    assert {"ZADD", "HSET", "INCR", "ZREM", "UNLINK"} <= found and "PUBLISH" not in found


def test_a_part_needs_what_it_sends_and_what_its_scripts_run(tmp_path: Path) -> None:
    (tmp_path / "a.lua").write_text(
        "-- a.lua: x\nlocal call = redis.call\ncall('HSET', 'a')\nredis.pcall('PUBLISH', 'b')\n"
    )
    assert permissions.needs(tmp_path, "GET") == ("EVAL", "EVALSHA", "GET", "HSET")


def test_the_monitor_names_what_is_missing_and_what_is_lost_by_it(
    make_app: Callable[..., Flask],
) -> None:
    rights = ("+@all", "-slowlog", "-scan", "-client")
    with restricted(*rights, channels="resetchannels") as url:
        app = make_app(REDIS_URL=url)
        leader = Leader(services(app).redis, "sampler", "of the test")
        leader.campaign()
        services(app).background.jobs["sampler"].step(leader.token)
        missing = app.test_client().get("/monitor/api/snapshot").json["without"]
        assert set(missing) >= {"SUBSCRIBE", "SCAN", "SLOWLOG GET", "CLIENT SETNAME"}
        page = app.test_client().get("/monitor/").text
        for name in missing:
            assert f"<code>{name}</code>" in page
            assert str(escape(permissions.OPTIONAL[name])) in page


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("everything", GOOD),
        ("four", GOOD),
        ("scores", {"score": 201, "page": 200, "home": 200, "ready": 200}),
    ],
)
def test_each_of_the_least_users_can_do_what_it_is_for(
    make_app: Callable[..., Flask], app: Flask, which: str, expected: dict[str, int]
) -> None:
    needs = services(app).needs
    rights = {
        "everything": users.everything(needs),
        "four": users.four(needs),
        "scores": users.scores(),
    }[which]
    with tcp_server() as port, redis.Redis(port=port) as admin:
        admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", *rights.split())
        made = make_app(REDIS_URL=f"redis://u:pw@127.0.0.1:{port}")
        told = walk(made)
        assert {name: told[name] for name in expected} == expected
        assert 500 not in read_everything(made).values()
        if which == "four":  # Redis is there, and no page says that it is not
            for path in ("/rate-limit/", "/analytics/", "/catalog/lab/hashes/", "/sessions/"):
                assert "Redis is away, and" not in made.test_client().get(path).text, path
            assert "Requests cannot be counted" not in made.test_client().get("/rate-limit/").text
            assert "does not permit" in made.test_client().get("/analytics/").text
        refused = {entry["object"] for entry in admin.acl_log() if entry["reason"] == "command"}
        assert not refused or which != "everything"
