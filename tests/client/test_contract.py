"""What every pattern asks of the client and the prefix that it is given: refused where it is made,
and its own package's errors caught, whatever the client."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio
import valkey.cluster
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from demo.catalog.near_cache import NearCache
from demo.catalog.write_through import NotTold
from demo.client.background import Background
from demo.client.contract import any_errors, beginning, checked, errors_of
from demo.leaderboard.places import Origin, Places
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.rooms import Rooms
from demo.leaderboard.stream import Streams
from demo.leaderboard.subscription import Subscription
from demo.monitor.reports import Reporter
from demo.monitor.survey import survey
from demo.rate_limit.limiter import Quota
from demo.rate_limit.sliding_window import SlidingWindowLog
from demo.sessions.session_store import SessionStore
from tests import async_runs
from tests.every_pattern import EVERY
from tests.servers import REPOSITORY, Client, private_engine
from tests.topologies import topology

CLIENTS = ("redis-py", "valkey-py", "redis-py, cluster", "valkey-py, cluster")
OTHERS: dict[str, Callable[[Any, str], Any]] = {
    "near_cache": lambda client, prefix: NearCache(client, f"{prefix}:catalog:"),
    "background": lambda client, prefix: Background(client, elects=True, prefix=prefix),
    "streams": lambda client, prefix: Streams(client),
    "subscription": lambda client, prefix: Subscription(client),
    "survey": lambda client, prefix: survey(client, prefix=prefix),
    "reporter": lambda client, prefix: Reporter(
        client, None, str, lambda: (0, 0), RuntimeError, prefix=prefix
    ),
}
MADE = EVERY | OTHERS
# what takes whole keys, or another pattern, has no prefix of its own
WITHOUT_PREFIX = {"stores", "encrypted", "near_cache", "streams", "subscription", "survey"}


@pytest.fixture(scope="module")
def cluster_port() -> Iterator[int]:
    with topology("cluster", nodes=2) as given:
        yield given.ports[0]


@pytest.fixture(params=CLIENTS)
def any_client(request: pytest.FixtureRequest, client: Client) -> Iterator[Any]:
    """Each package's client of bytes, on a server or a cluster without keys of ours."""
    package = valkey if request.param.startswith("valkey") else redis
    if "cluster" in request.param:
        port = request.getfixturevalue("cluster_port")
        kind: Any = valkey.cluster.ValkeyCluster if package is valkey else redis.RedisCluster
        made = kind(host="127.0.0.1", port=port)
        for node in made.get_primaries():
            keys = made.keys("demo:*", target_nodes=node)
            for key in keys:
                made.unlink(key)
    else:
        made = (valkey.Valkey if package is valkey else redis.Redis)(**async_runs.where(client))
    yield made
    made.close()


@pytest.mark.parametrize("name", EVERY)
def test_every_pattern_works_on_each_packages_client_and_on_a_cluster(
    any_client: Any, name: str
) -> None:
    EVERY[name](any_client, "demo")


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("package", ["redis-py", "valkey-py"])
def test_a_server_that_forgot_the_scripts_is_told_them_again(
    client: Client, name: str, package: str
) -> None:
    made = (redis.Redis if package == "redis-py" else valkey.Valkey)(**async_runs.where(client))
    made.script_flush()
    with made:
        EVERY[name](made, "forgotten")
    for key in client.scan_iter("forgotten:*"):
        client.unlink(key)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("package", [redis, valkey], ids=["redis-py", "valkey-py"])
def test_what_is_raised_without_redis_is_the_clients_own_error(name: str, package: Any) -> None:
    made = getattr(package, package.__name__.capitalize())(
        port=1, retry=package.retry.Retry(package.backoff.NoBackoff(), 0)
    )
    try:
        EVERY[name](made, "demo")
    except errors_of(made).all as error:
        assert type(error).__module__.startswith(package.__name__)
    except NotTold as error:
        assert isinstance(error.__cause__, errors_of(made).all)
    except AssertionError:
        pass  # answered without Redis: a cache reads around it, a rule has its policy


WRONG = {
    "redis.asyncio": (redis.asyncio.Redis, "asynchronous"),
    "valkey.asyncio": (valkey.asyncio.Valkey, "asynchronous"),
    "redis-py that decodes": (lambda: redis.Redis(decode_responses=True), "decode_responses"),
    "valkey-py that decodes": (lambda: valkey.Valkey(decode_responses=True), "decode_responses"),
    "a number": (lambda: 42, "not int"),
    "nothing": (lambda: None, "not NoneType"),
    "a URL": (lambda: "redis://localhost", "not str"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", MADE)
def test_a_client_that_no_pattern_can_use_is_refused_as_it_is_made(name: str, wrong: str) -> None:
    make, words = WRONG[wrong]
    with pytest.raises(TypeError, match=f"^client: .*{words}") as told:
        MADE[name](make(), "demo")
    assert "\n" not in str(told.value) and len(str(told.value)) < 120


@pytest.mark.parametrize("prefix", ["", "a b", "{x}", ":a", "a:", "a\n", "ä", 5, None, b"demo"])
@pytest.mark.parametrize("name", sorted(MADE.keys() - WITHOUT_PREFIX))
def test_a_prefix_that_is_none_is_refused(client: Client, name: str, prefix: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="^prefix: "):
        MADE[name](client, prefix)


def test_a_type_checker_refuses_what_is_refused(tmp_path: Any) -> None:
    lines = [
        "import redis, redis.asyncio, valkey, valkey.asyncio, valkey.cluster",
        "from demo.client.contract import RedisClient",
        "def take(client: RedisClient) -> None: ...",
        "take(redis.Redis())",
        "take(redis.RedisCluster())",
        "take(valkey.Valkey())",
        "take(valkey.cluster.ValkeyCluster())",
        "take(redis.asyncio.Redis())",
        "take(redis.asyncio.RedisCluster())",
        "take(valkey.asyncio.Valkey())",
        "take(42)",
    ]
    file = tmp_path / "taker.py"
    file.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary"]
    options = ["--cache-dir", str(tmp_path / "cache"), "--follow-imports", "silent", str(file)]
    done = subprocess.run(
        [*command, *options], cwd=REPOSITORY, capture_output=True, text=True, timeout=180
    )
    errors = [line for line in done.stdout.splitlines() if " error: " in line]
    assert [int(line.split(":")[1]) for line in errors] == [8, 9, 10, 11], done.stdout


def test_the_errors_are_those_of_the_clients_package() -> None:
    class Ours(valkey.Valkey):
        pass

    assert errors_of(Ours()).no_script is valkey.exceptions.NoScriptError
    assert errors_of(redis.Redis()).all == (redis.RedisError, redis.RedisClusterException)
    assert errors_of(object()).data is redis.DataError
    assert {redis.RedisError, valkey.ValkeyError} <= set(any_errors())
    assert checked(asyncio_client(), asynchronous=True)
    with pytest.raises(TypeError, match="must be asynchronous"):
        checked(redis.Redis(), asynchronous=True)


def asyncio_client() -> Any:
    return async_runs.run(_made())


async def _made() -> Any:
    return redis.asyncio.Redis()


PREFIXES = st.from_regex(r"[a-z0-9._-]{1,8}(:[a-z0-9._-]{1,8}){0,2}", fullmatch=True)
CASES = ("catalog", "sessions", "rate_limit", "leaderboard", "analytics", "monitor", "leader")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PREFIXES, PREFIXES, st.sampled_from(CASES), st.sampled_from(CASES))
def test_what_keys_begin_with_tells_the_prefix(one: str, two: str, here: str, there: str) -> None:
    """Up to the first brace a key is its prefix and its use case, and both can be read from it."""
    same = beginning(one, here) == beginning(two, there)
    assert same == ((one, here) == (two, there))


class TwoServices(RuleBasedStateMachine):
    """Two services with two prefixes on one Redis do whatever they do, in any order. What one of
    them writes bears its own prefix, and leaves the keys of the other as they are."""

    client: Any

    @initialize(prefixes=st.lists(PREFIXES, min_size=2, max_size=2, unique=True))
    def begin(self, prefixes: list[str]) -> None:
        self.client.flushdb()
        self.prefixes, self.done = prefixes, set[tuple[int, str]]()

    def held(self, service: int) -> dict[bytes, bytes]:
        beginning = self.prefixes[service].encode()
        keys = [key for key in self.client.scan_iter(count=1000) if prefix_of(key) == beginning]
        return {key: self.client.dump(key) for key in keys if self.client.pttl(key) > 5000}

    @rule(service=st.integers(0, 1), name=st.sampled_from(sorted(EVERY)))
    def act(self, service: int, name: str) -> None:
        if (service, name) in self.done:
            return
        self.done.add((service, name))
        before = self.held(1 - service)
        EVERY[name](self.client, self.prefixes[service])
        assert {key: self.client.dump(key) for key in before} == before

    @invariant()
    def nobody_has_any_other_key(self) -> None:
        found = {prefix_of(key).decode() for key in self.client.scan_iter(count=1000)}
        assert found <= set(self.prefixes)


def prefix_of(key: bytes) -> bytes:
    return key.partition(b":{")[0].rpartition(b":")[0]


def test_two_services_with_two_prefixes_share_no_key() -> None:
    many = 60 if os.environ.get("CI") else 6
    with private_engine() as engine, redis.Redis.from_url(engine.url) as made:
        machine = type("Machine", (TwoServices,), {"client": made})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=many,
                stateful_step_count=10,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.explicit, Phase.reuse, Phase.generate],
            ),
        )


def test_a_session_of_one_service_signs_nobody_in_at_the_other(client: Client) -> None:
    times = {"idle_seconds": 60, "absolute_seconds": 60}
    here, there = SessionStore(client, **times), SessionStore(client, **times, prefix="demo:other")
    sid = here.begin({}, user="mara", epoch=here.epoch("mara"))
    assert sid and here.load(sid) and there.load(sid) is None
    there.revoke_all("mara")
    assert here.load(sid)


def test_two_services_limit_each_by_itself(client: Client) -> None:
    one, two = (
        SlidingWindowLog(client, "login", Quota(1, 60), prefix=prefix) for prefix in ("one", "two")
    )
    assert [one.hit("me").allowed, two.hit("me").allowed] == [True, True]
    assert [one.hit("me").allowed, two.hit("me").allowed] == [False, False]
    client.unlink(*one.redis_keys("me"), *two.redis_keys("me"))


def test_one_stream_of_boards_of_two_services_keeps_them_apart(client: Client) -> None:
    rooms = Rooms(Places(5), lambda _: None)
    boards = [Leaderboard(client, "main", prefix=prefix) for prefix in ("one", "two")]
    for board in boards:
        rooms.enter(board, "all", "", Origin(), lambda group, leave: object())  # type: ignore[arg-type,return-value]
    assert rooms.channels() == {board.channel for board in boards}
