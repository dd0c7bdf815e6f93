"""Every pattern, made on a client and a prefix and driven through what its docstring promises: for
tests that hold for all of them, on whatever client."""

import time
from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec

from demo.analytics.active_days import ActiveDays
from demo.analytics.collector import Collector
from demo.analytics.counters import RESOLUTIONS, Counters
from demo.analytics.presence import Presence
from demo.analytics.salts import Salts
from demo.analytics.shared_answer import SharedAnswer
from demo.analytics.trending import SPANS, Trending
from demo.analytics.unique_visitors import UniqueVisitors
from demo.catalog.cache_aside import Cache
from demo.catalog.encrypted import Encrypted
from demo.catalog.lease import LeasedCache
from demo.catalog.product_hash import HashStore, StringStore
from demo.catalog.strategies import CommonRecipe
from demo.catalog.write_behind import Versioned, WriteBehind
from demo.catalog.write_through import WriteThrough
from demo.client.leader import Leader
from demo.leaderboard import boards
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.signatures import Signatures, sign
from demo.leaderboard.watched import Watched
from demo.monitor import reports
from demo.monitor.sampler import Sampler
from demo.rate_limit.algorithms import ALGORITHMS
from demo.rate_limit.limiter import Quota
from demo.rate_limit.playground import Playground
from demo.rate_limit.rules import Rule
from demo.sessions.cart import About, Cart
from demo.sessions.second_device import SecondDevice
from demo.sessions.session_store import SessionStore
from demo.teach.turns import Turns, Who

# after all that the collector may note by the clock, which would count as here and today
TODAY, AT = date(2100, 1, 1), 4_102_488_000.0
QUOTA = Quota(2, 60)


class Item(msgspec.Struct, frozen=True):
    name: str
    stock: int


def leased(client: Any, prefix: str) -> None:
    cache = LeasedCache(client, "own", int, ttl_seconds=60, prefix=prefix)
    assert cache.get_or_load("a", lambda: 1) == cache.get_or_load("a", lambda: 2) == 1
    assert cache.invalidate("a") and cache.get_or_load("a", lambda: 3) == 3


def cached(client: Any, prefix: str) -> None:
    cache = Cache(client, "many", int, ttl_seconds=60, stale_seconds=60, prefix=prefix)
    assert cache.get_or_load("a", lambda: 1, groups=["g"]).value == 1
    assert cache.get_or_load("a", lambda: 2, groups=["g"]).value == 1
    cache.invalidate(groups=["g"])
    assert cache.get_or_load("a", lambda: 2, groups=["g"]).value == 2
    found = cache.get_many({"a": ("g",), "b": ()}, lambda keys: dict.fromkeys(keys, 3))
    assert [found["a"].value, found["b"].value] == [2, 3]


def written_through(client: Any, prefix: str) -> None:
    rows = {"a": 1}

    def change(key: str, by: Callable[[int], int]) -> int:
        rows[key] = by(rows[key])
        return rows[key]

    cache = Cache(client, "through", int, ttl_seconds=60, prefix=prefix)
    through = WriteThrough(cache, rows.get, change)
    assert through.read("a") == 1
    assert through.update("a", lambda value: value + 1) == 2
    assert cache.peek("a").value == 2  # type: ignore[union-attr]


def written_behind(client: Any, prefix: str) -> None:
    saved: list[Any] = []
    queue = WriteBehind(
        client, "q", int, lambda key: Versioned(key, 1, 1), saved.extend, prefix=prefix
    )
    assert queue.unacknowledged() == 0
    assert queue.update("a", lambda value: value + 1) == 2 and queue.read("a") == 2
    assert queue.flush("one").saved == 1 and saved == [Versioned("a", 2, 2)]
    assert queue.pending() == 0


def recipe(client: Any, prefix: str) -> None:
    class Rows:
        def load(self, key: str) -> None:
            return None

    common = CommonRecipe(client, "recipe", Rows(), prefix)  # type: ignore[arg-type]
    common.read("1")
    assert client.exists(f"{prefix}:catalog:{{recipe:1}}")


def stores(client: Any, prefix: str) -> None:
    lamp = Item("lamp", 3)
    for number, store in enumerate(
        (StringStore(client, Item, ttl_seconds=60), HashStore(client, Item, ttl_seconds=60))
    ):
        key = f"{prefix}:catalog:{{object:{number}}}"
        store.put(key, lamp)
        assert store.get(key) == lamp and store.field(key, "stock") == 3
        assert store.add(key, "stock", 2) == 5


def encrypted(client: Any, prefix: str) -> None:
    store = Encrypted(client, Item, ["name"], [b"k" * 32], ttl_seconds=60)
    key = f"{prefix}:catalog:{{profile:1}}"
    assert store.get_or_load(key, lambda: Item("lamp", 3)) == (Item("lamp", 3), False)
    assert store.get(key) == Item("lamp", 3) and store.rotate(key)
    assert [held.key_id is not None for held in store.held(key)] == [True, False]


def sessions(client: Any, prefix: str) -> None:
    ids: Any = {
        "idle_seconds": 60,
        "absolute_seconds": 60,
        "along": ("cart",),
        "prefix": prefix,
    }
    store = SessionStore(client, **ids)
    epoch = store.epoch("mara")
    sid = store.begin({"a": 1}, user="mara", epoch=epoch)
    other = store.begin({}, user="mara", epoch=epoch)
    assert sid and other and store.save(sid, {"b": (1, 2)}, ["a"])
    loaded = store.load(sid)
    assert loaded and loaded.data == {"b": (1, 2)}
    carts = Cart(client, keep_seconds=60, prefix=prefix)
    assert carts.change(sid, 42, 2, About("lamp", 100)).pieces == 2
    visitor = str(store.begin({}))
    carts.change(visitor, 42, 1, About("lamp", 100))
    assert carts.merge(visitor, "mara", store.delete(visitor).along["cart"]) == 1
    devices = SecondDevice(client, prefix=prefix)
    code = devices.lend(sid)
    assert code and devices.take(code) and not devices.take(code)
    assert store.list_for("mara")[1] == 2 and store.revoke_others(sid) == 1
    moved = store.rotate(sid)
    assert moved and store.load(sid) is None and store.load(moved)
    assert store.revoke_all("mara") == 1 and store.load(moved) is None
    store.forget("mara")


def limiter(name: str) -> Callable[[Any, str], None]:
    def use(client: Any, prefix: str) -> None:
        made = ALGORITHMS[name](client, name, QUOTA, prefix=prefix)
        assert [made.hit("me").allowed for _ in range(3)] == [True, True, False]
        assert made.refund("me").used == 1 and made.peek("me").allowed
        made.reset("me")
        many = ALGORITHMS[name](client, f"{name}-many", QUOTA, Quota(5, 600), prefix=prefix)
        assert [many.hit("me").allowed for _ in range(3)] == [True, True, False]

    return use


def rule(client: Any, prefix: str) -> None:
    made = Rule(client, "page", QUOTA, prefix=prefix, block_after=1)
    assert [made.check("me").refused for _ in range(3)] == [False, False, True]


def playground(client: Any, prefix: str) -> None:
    lanes = Playground(client, Quota(5, 10), prefix=prefix)
    lanes.play("me", "burst", 3)
    assert len(lanes.look("me")[0]) == 3


def leaderboard(client: Any, prefix: str) -> None:
    board = Leaderboard(client, "main", prefix=prefix)
    assert board.submit("mara", 5, idempotency_key="k").standings["all"].rank == 1  # type: ignore[index]
    assert board.submit("mara", 5, idempotency_key="k").replayed
    board.submit("ida", 7, metadata='{"a": 1}')
    assert [entry.player for entry in board.top(5).entries] == ["ida", "mara"]
    assert [entry.rank for entry in board.for_players(["mara", "ida"])] == [1, 2]
    board.season("one")
    assert board.seasons() == ["one"] and board.size("season:one") == 2
    assert board.remove("mara") and board.trim(0, "day") == 1
    boards.remember(client, "main", prefix=prefix)
    assert boards.names(client, prefix=prefix) == ["main"]
    boards.leads(client, [board])
    assert Watched(client).look(board, "day").top.total == 0


def signatures(client: Any, prefix: str) -> None:
    now, nonce = str(int(time.time())), "n" * 16
    signed = sign("secret", now, nonce, "GET", "/", b"")
    Signatures(client, "secret", prefix=prefix).check(now, nonce, signed, "GET", "/", b"")


def analytics(client: Any, prefix: str) -> None:
    parts: Any = [
        kind(client, prefix=prefix)
        for kind in (Counters, UniqueVisitors, Presence, ActiveDays, Trending, Salts)
    ]
    counters, uniques, presence, active, trending, salts = parts
    at, names = AT, ["0" * 15 + "a"]
    pipeline = client.pipeline(transaction=False)
    counters.incr(pipeline, {"page": 1}, at)
    uniques.add(pipeline, names, names, TODAY)
    presence.add(pipeline, names, at)
    active.add(pipeline, names, TODAY)
    trending.add(pipeline, {"42": 1}, at)
    pipeline.execute()
    assert counters.series(RESOLUTIONS["minute"], at).sum("page") == 1
    uniques.roll_up(TODAY)
    assert uniques.count(TODAY).day == presence.count(at) == active.cohorts(TODAY)[-1].visitors == 1
    assert trending.top(SPANS["hour"], at)[0].member == "42"
    assert salts.of("day:2100-01-01") == salts.of("day:2100-01-01")
    answer = SharedAnswer(client, "of-all", prefix=prefix)
    assert answer.get(lambda: b"x") == (b"x", False) and answer.get(lambda: b"y") == (b"x", True)


def collector(client: Any, prefix: str) -> None:
    made = Collector(client, interval_seconds=3600, prefix=prefix)
    made.note("page", "somebody", "42")
    assert made.flush()
    made.close()


def monitor(client: Any, prefix: str) -> None:
    leader = Leader(client, "sampler", "of the test", prefix=prefix)
    leader.campaign()
    reports.send(client, reports.Report("one", 1, 1, {}, {}), prefix)
    assert Sampler(client, lambda: "test", prefix=prefix).step(leader.token) > 0
    leader.resign()


def turns(client: Any, prefix: str) -> None:
    line = Turns(client, "line", prefix=prefix)
    place = line.join(Who("a", "b", "c"), "what")
    assert place.state == "begins" and line.keep(place.id)
    line.leave(place.id)


EVERY: dict[str, Callable[[Any, str], None]] = {
    use.__name__: use
    for use in (
        *(leased, cached, written_through, written_behind, recipe, stores, encrypted),
        *(sessions, rule, playground, leaderboard, signatures, analytics, collector),
        *(monitor, turns),
    )
} | {name: limiter(name) for name in ALGORITHMS}
