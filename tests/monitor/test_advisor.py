"""Each finding on a real server that has what it is about, and none of them on one that is well."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from demo.client.breaker import BreakerOpen
from demo.client.leader import Leader
from demo.client.wire import Client
from demo.monitor import advisor, checks_server, columns
from demo.monitor.advisor import advise
from demo.monitor.facts import Facts, Finding, Limits
from demo.monitor.overview import Known, Overview, overview
from demo.monitor.reports import Reporter
from demo.monitor.sampler import Sampler
from tests.clients import connect
from tests.servers import free_port, private_engine


@pytest.fixture
def client(wired: Client) -> Client:
    """The app's kind, whose wire these tests look at."""
    return wired


WELL = ("--maxmemory", "64mb", "--appendonly", "yes")
KNOWN = Known(("catalog", "sessions", "leaderboard", "monitor"), 8, 2, False)


@contextmanager
def asked(*arguments: str, known: Known = KNOWN, **options: Any) -> Iterator[tuple[Client, Any]]:
    """A server of its own, and a function that looks around and tells what the advisor says, by
    code."""
    with private_engine(*WELL, *arguments) as engine:
        client = connect(engine.url, pool_size=8, timeout_seconds=5, open_seconds=0.5)
        leader = Leader(client, "sampler", "of the test", ttl_seconds=60)

        def look(survey: bool = True) -> dict[str, Finding]:
            if survey:
                leader.campaign()
                Sampler(client, lambda: "of the test", pause=lambda _: None).step(leader.token)
            return by_code(overview(client, known, **options))

        yield client, look
        client.close()


def by_code(seen: Overview) -> dict[str, Finding]:
    assert len(seen.findings) + len(seen.well) + len(seen.not_known) == len(advisor.CHECKS)
    assert all(finding.title and finding.reason and finding.command for finding in seen.findings)
    return {finding.code: finding for finding in seen.findings}


def test_nothing_is_found_on_a_server_that_is_well() -> None:
    with asked() as (client, look):
        client.set("demo:catalog:{a}", "x", ex=99)
        assert look() == {}
        assert look(survey=False) == {}


def test_no_maxmemory() -> None:
    with asked("--maxmemory", "0") as (_, look):
        assert list(look()) == ["no-maxmemory"]


@pytest.mark.parametrize(
    "policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-ttl", "volatile-lru"]
)
def test_a_policy_that_can_evict_a_session(policy: str) -> None:
    with asked("--maxmemory-policy", policy) as (_, look):
        found = look()
        assert list(found) == ["evicts-sessions"]
        assert found["evicts-sessions"].weight == "act" and policy in found["evicts-sessions"].title


def test_a_policy_that_evicts_is_right_where_no_session_lies() -> None:
    with asked(
        "--maxmemory-policy", "allkeys-lfu", known=replace(KNOWN, use_cases=("catalog",))
    ) as (_, look):
        assert look() == {}


def test_noeviction_with_nothing_but_a_cache() -> None:
    with asked(known=replace(KNOWN, use_cases=("catalog", "monitor"))) as (_, look):
        assert list(look()) == ["noeviction-cache"]


def test_noeviction_beside_sessions_is_a_matter_of_room() -> None:
    with asked("--maxmemory", "8mb", "--appendonly", "no", "--save", "900 1") as (client, look):
        assert look() == {}
        for number in range(7):
            client.set(f"demo:catalog:{{{number}}}", "x" * 700_000, ex=99)
        assert list(look(survey=False)) == ["noeviction-cache"]
        assert "full" in look(survey=False)["noeviction-cache"].title


def test_pools_that_ask_for_more_than_there_is() -> None:
    with asked("--maxclients", "20", known=replace(KNOWN, pool_size=8, workers=3)) as (_, look):
        found = look()
        assert list(found) == ["pool-above-maxclients"]
        assert (
            "24" in found["pool-above-maxclients"].reason
            and "20" in found["pool-above-maxclients"].reason
        )
    with asked("--maxclients", "24", known=replace(KNOWN, pool_size=8, workers=3)) as (_, look):
        assert look() == {}


def test_sessions_on_a_server_that_writes_nothing_down() -> None:
    with asked("--appendonly", "no") as (client, look):
        assert look()["no-persistence"].weight == "heed"
        assert (
            by_code(overview(client, replace(KNOWN, embedded=True)))["no-persistence"].weight
            == "note"
        )
        assert by_code(overview(client, replace(KNOWN, use_cases=("leaderboard",)))) == {}
        client.config_set("save", "900 1")
        assert look() == {}


def test_a_default_user_without_a_password_on_a_port() -> None:
    port = str(free_port())
    with asked("--port", port, "--bind", "0.0.0.0", "--protected-mode", "no") as (client, look):
        assert look()["no-password"].weight == "act"
        client.config_set("protected-mode", "yes")
        assert look()["no-password"].weight == "note"
    with asked("--port", port, "--bind", "127.0.0.1", "--protected-mode", "no") as (client, look):
        assert look()["no-password"].weight == "note"
        client.execute_command("ACL", "SETUSER", "default", "resetpass", ">a-long-secret")
        assert look() == {}


def test_a_key_that_never_expires() -> None:
    with asked() as (client, look):
        client.set("demo:catalog:{for-ever}", 1)
        client.set("of-somebody-else", 1)
        found = look()
        assert list(found) == ["no-ttl"]
        assert "demo:catalog:{for-ever}" in found["no-ttl"].reason and found[
            "no-ttl"
        ].title.startswith("1 ")


def test_a_big_key() -> None:
    with asked() as (client, look):
        client.set("demo:catalog:{big}", "x" * 11_000_000, ex=99)
        assert list(look()) == ["big-key"]


def test_a_hot_key() -> None:
    with asked() as (client, look):
        for number in range(640):
            client.get("demo:catalog:{hot}" if number % 2 else f"demo:catalog:{{{number}}}")
        Reporter(client, client.sums, lambda: "a", lambda: (1, 8), BreakerOpen).step()
        assert look() == {}  # hot, but idle
        seen = overview(client, KNOWN)
        facts = Facts(seen.server, KNOWN.use_cases, 8, 2, 0.0, save="900 1", gathered=seen.gathered)
        (finding,) = advise(facts, Limits(hot_commands_a_second=1))[0]
        assert finding.code == "hot-key" and "demo:catalog:{hot}" in finding.reason


@pytest.mark.parametrize(
    ("tested", "weight"), [(((0, 1), (0, 2)), "note"), (((900, 0), (901, 0)), "heed")]
)
def test_a_version_that_was_not_tested(
    monkeypatch: pytest.MonkeyPatch, tested: Any, weight: str
) -> None:
    with asked() as (client, look):
        engine = overview(client, KNOWN).server.engine
        monkeypatch.setitem(checks_server.TESTED, engine, tested)
        found = look()
        assert list(found) == ["untested-version"]
        assert found["untested-version"].weight == weight


@pytest.mark.parametrize("seconds", [61, -61])
def test_clocks_apart(seconds: int) -> None:
    with asked(clock=lambda: time.time() + seconds) as (_, look):
        found = look()
        assert list(found) == ["clocks-apart"]
        assert "61.0 s" in found["clocks-apart"].title
        assert ("ahead" if seconds > 0 else "behind") in found["clocks-apart"].reason


def test_a_replica_that_lost_its_master() -> None:
    with asked("--replicaof", "127.0.0.1 1") as (_, look):
        assert list(look(survey=False)) == ["not-replicated"]


def test_a_save_that_failed(tmp_path: Any) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    with asked("--appendonly", "no", "--save", "900 1", "--dir", str(folder)) as (client, look):
        folder.rmdir()
        client.set("demo:catalog:{a}", 1, ex=99)
        client.bgsave()
        deadline = time.monotonic() + 10
        while "save-failed" not in (found := look(survey=False)) and time.monotonic() < deadline:
            pass
        assert list(found) == ["save-failed"]


def test_the_embedded_engine_gives_no_alarm(client: Client) -> None:
    if client.info().get("tcp_port"):
        pytest.skip("about the embedded engine")
    seen = overview(client, replace(KNOWN, embedded=True))
    assert {finding.weight for finding in seen.findings} <= {"note"}


def test_the_gravest_comes_first() -> None:
    with asked("--maxmemory-policy", "allkeys-lru", "--appendonly", "no") as (_, look):
        assert [finding.weight for finding in look().values()] == ["act", "heed"]


def test_a_policy_that_would_evict_is_no_emergency_while_memory_has_no_limit() -> None:
    with asked("--maxmemory-policy", "allkeys-lru", "--maxmemory", "0") as (_, look):
        assert {code: finding.weight for code, finding in look().items()} == {
            "no-maxmemory": "heed",
            "evicts-sessions": "heed",
        }


def test_what_nobody_has_looked_at_is_not_said_to_be_well() -> None:
    with asked("--appendonly", "no", "--save", "900 1") as (client, look):
        seen = overview(client, KNOWN)
        assert (seen.findings, seen.not_known) == (
            [],
            ["all keys have a TTL", "no big key", "no hot key"],
        )
        assert columns.twin(seen)["not_known"] == seen.not_known
        Reporter(client, client.sums, lambda: "a", lambda: (1, 8), BreakerOpen).step()
        look()
        assert overview(client, KNOWN).not_known == []


def test_what_one_may_not_ask_is_not_said_to_be_well() -> None:
    arguments = ("--port", str(free_port()), "--bind", "127.0.0.1", "--maxmemory", "64mb")
    with private_engine(*arguments) as engine:
        admin = connect(engine.url, pool_size=2, timeout_seconds=5, open_seconds=0.5)
        admin.execute_command(
            "ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-config", "-acl", "-time"
        )
        client = connect(
            engine.url.replace("unix://", "unix://app:pw@"),
            pool_size=2,
            timeout_seconds=5,
            open_seconds=0.5,
        )
        seen = overview(client, KNOWN)
        refused = {
            "data is saved to disk",
            "a password is set",
            "the clocks agree",
        }
        assert refused <= set(seen.not_known) and not refused & set(seen.well)
        client.close()
        admin.close()
