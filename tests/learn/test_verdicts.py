"""What each lesson shows on this engine, and that its verdict turns where the pattern behind it is
replaced by a naive one: it is measured, not written down."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from flask import Flask

from demo.catalog import (
    hostile_pickle,
    lesson_pros,
    lesson_stale_set,
    lesson_stampede,
    lesson_strategies,
    lesson_ttl,
    plain_recipe,
    product_hash,
)
from demo.catalog.cache_aside import CacheStatus
from demo.catalog.encrypted import Encrypted
from demo.catalog.outbox import Deliverer
from demo.leaderboard import lesson_scores
from demo.learn import lesson_pools
from demo.learn.counters import Counter
from demo.learn.fenced_lock import FencedLock
from demo.learn.reader import lessons
from demo.learn.views import experiments_there
from demo.monitor import lesson_memory_full, lesson_monitoring, own_engine
from demo.monitor.eviction import Outcome
from demo.rate_limit import lesson_windows
from demo.rate_limit.fixed_window import FixedWindow
from demo.sessions import races
from demo.teach import experiments
from demo.teach.experiments import Bench, Experiment, Found
from demo.web.services import services
from tests.servers import Client, tcp_server
from tests.topologies import topology

MOST_COMMANDS = 2000
MOST_TRIES = 5  # of a comparison of times, which a busy machine may disturb
Patch = pytest.MonkeyPatch
RIGHT = {
    "recipe": "one",
    "pros-and-cons": "right",
    "ttl": "event",
    "invalidation": "outbox",
    "stale-set": "plain",
    "stampede": "one",
    "strategies": "behind",
    "structures": "hash",
    "serialization": "runs",
    "memory-full": "ttl",
    "sensitive": "miss",
    "atomic": "one",
    "pools": "more",
    "sessions": "stock",
    "windows": "fixed",
    "scores": "plain",
    "monitoring": "lower",
}


def measured(app: Flask, name: str) -> tuple[Experiment, Found]:
    """What a lesson's experiment comes to."""
    with app.app_context():
        experiment = experiments_there()[lessons()[name].experiment]
        return experiment, experiments.run(experiment, services().redis)[0]


def never_stores(patch: Patch) -> None:
    patch.setattr(plain_recipe, "get_or_load", lambda _, __, load, **___: load())


@dataclass(frozen=True)
class Got:
    value: Any
    status: CacheStatus = CacheStatus.HIT


class WithoutFallback:
    """A cache that hands every error of Redis on."""

    def __init__(self, bench: Bench) -> None:
        self.client = bench.client

    def redis_key(self, key: str) -> str:
        return f"demo:catalog:{{no-fallback}}:{key}"

    def get_or_load(self, key: str, load: Callable[[], Any]) -> Got:
        self.client.get(self.redis_key(key))
        return Got(load())


def no_fallback(patch: Patch) -> None:
    patch.setattr(lesson_pros, "leased", lambda bench, *_: WithoutFallback(bench))


def no_delete(patch: Patch) -> None:
    patch.setattr(lesson_ttl, "drop", lambda *_: None)


def no_delivery(patch: Patch) -> None:
    patch.setattr(Deliverer, "deliver", lambda _: True)


def no_lease(patch: Patch) -> None:
    patch.setattr(
        lesson_stale_set, "SIDES", dict.fromkeys(("plain", "lease"), lesson_stale_set.Plain)
    )


def no_single_flight(patch: Patch) -> None:
    patch.setattr(lesson_stampede, "lease", lambda *_, **__: None)


def through_the_cache_alone(patch: Patch) -> None:
    def make(bench: Bench, rows: Any) -> Any:
        made = lesson_strategies.Around(lesson_strategies._cache(bench, "through"), rows)
        patch.setattr(made, "update", lambda key, change: change(rows.load(key)), raising=False)
        return made

    patch.setitem(lesson_strategies.STRATEGIES, "Write-through", make)


def hash_like_a_string(patch: Patch) -> None:
    def add(self: Any, key: str, name: str, amount: int) -> int:
        value = self.get(key)
        self._client.hset(key, name, getattr(value, name) + amount)
        return 0

    patch.setattr(product_hash.HashStore, "add", add)


def a_loader_that_refuses(patch: Patch) -> None:
    refused = hostile_pickle.Deed("", "", "UnpicklingError: refused")
    patch.setattr(hostile_pickle, "let_it_run", lambda: refused)


def one_key_for_all_places(patch: Patch) -> None:
    place = Encrypted._fernets
    patch.setattr(Encrypted, "_fernets", lambda self, _, __: place(self, "", ""))


def script_like_get_and_set(patch: Patch) -> None:
    patch.setattr(Counter, "script", lambda self: self.write(0) or 0)


def a_pool_that_connects_anew(patch: Patch) -> None:
    patch.setattr(lesson_pools, "shared", lesson_pools.each_its_own)


def stock_sessions(patch: Patch) -> None:
    patch.setattr(races, "_ours", races._stock)


def fixed_windows_everywhere(patch: Patch) -> None:
    patch.setitem(lesson_windows.ALGORITHMS, "gcra", FixedWindow)


def plain_boards(patch: Patch) -> None:
    patch.setitem(lesson_scores.SIDES, "script", lesson_scores.Plain)


def sessions_that_go_first(patch: Patch) -> None:
    """A policy that evicts sessions as any other key."""
    original = lesson_memory_full.outcome

    def outcome() -> Outcome:
        done = original()
        by_policy = {result.policy: result for result in done.results}
        lru, ttl = by_policy["allkeys-lru"], by_policy["volatile-ttl"]
        swapped = {"volatile-ttl": lru, "allkeys-lru": ttl}
        results = [
            result
            if result.policy not in swapped
            else _named(swapped[result.policy], result.policy)
            for result in done.results
        ]
        return type(done)(done.share, results, done.engine, done.complete, done.over)

    patch.setattr(lesson_memory_full, "outcome", outcome)


def _named(result: Any, policy: str) -> Any:
    import msgspec

    return msgspec.structs.replace(result, policy=policy)


def nobody_else_on_the_server(patch: Patch) -> None:
    patch.setattr(lesson_monitoring, "touched", 0)


# The naive one in its place, and what is shown then.
BROKEN: dict[str, tuple[Callable[[Patch], None], str]] = {
    "recipe": (never_stores, "all"),
    "pros-and-cons": (no_fallback, "errors"),
    "ttl": (no_delete, "none"),
    "invalidation": (no_delivery, "none"),
    "stale-set": (no_lease, "both"),
    "stampede": (no_single_flight, "all"),
    "strategies": (through_the_cache_alone, "more"),
    "structures": (hash_like_a_string, "same"),
    "serialization": (a_loader_that_refuses, "refused"),
    "memory-full": (sessions_that_go_first, "lru"),
    "sensitive": (one_key_for_all_places, "accepted"),
    "atomic": (script_like_get_and_set, "more"),
    "pools": (a_pool_that_connects_anew, "same"),
    "sessions": (stock_sessions, "both"),
    "windows": (fixed_windows_everywhere, "more"),
    "scores": (plain_boards, "both"),
    "monitoring": (nobody_else_on_the_server, "same"),
}


def test_every_lesson_is_tried_both_ways() -> None:
    assert set(RIGHT) == set(BROKEN) == set(lessons())
    for name, lesson in lessons().items():
        assert {RIGHT[name], BROKEN[name][1]} <= set(lesson.options), name
        assert RIGHT[name] != BROKEN[name][1]


@pytest.mark.parametrize("name", RIGHT)
def test_a_lesson_shows_what_it_says_and_leaves_nothing(
    app: Flask, client: Client, name: str
) -> None:
    before = client.info("stats")["total_commands_processed"]
    experiment, found = measured(app, name)
    sent = client.info("stats")["total_commands_processed"] - before
    print(f"{name}: {sent} commands on the server; {experiment.tell(found)}")
    assert experiment.verdict(found) == RIGHT[name], (found, experiment.tell(found))
    assert found.rows and not found.cannot
    assert all(len(row.values) == len(experiment.heads) for row in found.rows)
    told = experiment.tell(found)
    assert told and all(len(part.split()) <= 40 for part in told.split(". "))
    assert sent <= MOST_COMMANDS
    left = {key for key in client.scan_iter("*") if b"learn" in key or b"lab-" in key}
    assert not {key for key in left if not 0 < client.pttl(key) <= 120_000}
    assert not {key for key in left if b"learn" in key}


@pytest.mark.parametrize("name", BROKEN)
def test_a_naive_pattern_in_its_place_turns_the_verdict(
    app: Flask, monkeypatch: Patch, name: str
) -> None:
    break_it, shown = BROKEN[name]
    break_it(monkeypatch)
    also = {"ttl": "short"}.get(name)  # where this machine is so slow that it expires at once
    for _ in range(MOST_TRIES):
        experiment, found = measured(app, name)
        if experiment.verdict(found) in (shown, also):
            break
    assert experiment.verdict(found) in (shown, also), experiment.tell(found)
    assert experiment.tell(found)


@pytest.mark.parametrize("name", RIGHT)
def test_without_redis_each_says_what_it_cannot_show(away: Flask, name: str) -> None:
    experiment, found = measured(away, name)
    alone = ("serialization", "memory-full", "monitoring")  # on no Redis, or on one of their own
    if name in alone:
        assert experiment.verdict(found) == RIGHT[name]
    else:
        assert any("Redis" in sentence for sentence in found.cannot), found
    assert experiment.tell(found) or found.cannot


QUICK = ("recipe", "stale-set", "structures", "sensitive", "atomic", "scores", "windows")


def test_on_a_cluster_lessons_show_the_same(make_app: Callable[..., Flask]) -> None:
    with topology("cluster", nodes=3) as cluster:
        app = make_app(REDIS_URL=cluster.url())
        for name in QUICK:
            experiment, found = measured(app, name)
            assert experiment.verdict(found) == RIGHT[name], (name, found)
            assert not found.cannot, (name, found.cannot)
        pools = measured(app, "pools")[1]
        assert "A fork: The process that forks could not be run" in str(pools.cannot)


def test_a_user_without_rights_to_look_is_shown_the_rest(make_app: Callable[..., Flask]) -> None:
    without = ("config", "info", "memory", "object", "slowlog", "client")
    with tcp_server() as port, redis.Redis(port=port) as admin:
        rights = ["~demo:*", "&demo:*", "+@all", *(f"-{name}" for name in without)]
        admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", *rights)
        app = make_app(REDIS_URL=f"redis://u:pw@127.0.0.1:{port}")
        for name in QUICK:
            experiment, found = measured(app, name)
            assert experiment.verdict(found) == RIGHT[name], (name, found)
        _, found = measured(app, "structures")
        assert "Bytes of the string: Redis does not permit" in str(found.cannot)
        with app.app_context():
            assert experiments.engine_of(services().redis) == ""


@pytest.mark.parametrize("fault", ["readonly", "full"])
def test_a_server_that_takes_no_writes_is_told_by_each(app: Flask, fault: str) -> None:
    web = app.test_client()
    web.post("/choices", data={"redis": fault})
    for name in QUICK:
        page = web.get(web.post(f"/learn/{name}/run").location.partition("#")[0])
        assert page.status_code == 200 and "Not shown here." in page.text, name


def test_without_an_engine_of_its_own_a_lesson_says_so(app: Flask, monkeypatch: Patch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise own_engine.engine.EngineError("none here")

    monkeypatch.setattr(own_engine.engine, "find_engine", refuse)
    for name in ("memory-full", "monitoring"):
        experiment, found = measured(app, name)
        assert experiment.verdict(found) == "" and "No engine is installed here" in str(
            found.cannot
        )


def test_a_late_holder_without_a_token_is_told_too(app: Flask, monkeypatch: Patch) -> None:
    def store(self: FencedLock, _: int, value: bytes) -> bool:
        return bool(self._client.set(self.value_key, value, px=60_000))

    monkeypatch.setattr(FencedLock, "store", store)
    experiment, found = measured(app, "atomic")
    assert "its write overwrote it too" in experiment.tell(found)


def test_a_run_whose_time_is_up_says_so(app: Flask, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Bench, "over", property(lambda _: True))
    experiment, found = measured(app, "stampede")
    assert "the time of this run is up" in str(found.cannot) and experiment.verdict(found) == ""
