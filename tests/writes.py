"""Every command that writes a key, as the app or a pattern sends it, and how long each key that is
there then has to live: what docs/keys.md sets apart `like this`.

A write is a generator. At each `yield` Redis holds exactly these keys; what has a name instead of a
time has its seconds behind it. Between two of them `aged` takes half of its time from every key, so
that it is seen what the next command renews and what it does not.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from typing import Any

import msgspec
import pytest
from flask import Flask

from demo.analytics.active_days import ActiveDays
from demo.analytics.collector import Collector
from demo.analytics.counters import RESOLUTIONS, Counters
from demo.analytics.presence import Presence
from demo.analytics.salts import Salts
from demo.analytics.shared_answer import SharedAnswer
from demo.analytics.trending import SPANS, Trending
from demo.analytics.unique_visitors import UniqueVisitors
from demo.catalog import encryption_views, hashes_views, strategies_views
from demo.catalog.answering import catalog
from demo.catalog.cache_aside import Cache
from demo.catalog.encryption_views import CUSTOMERS
from demo.catalog.lease import LeasedCache
from demo.catalog.product_hash import HashStore, StringStore
from demo.catalog.products import Product
from demo.catalog.strategies import Rows, build
from demo.client import changes, children, folders, told_again
from demo.client.leader import Leader, lead_key, token_key
from demo.client.told_again import ToldAgain
from demo.leaderboard import board_access, boards
from demo.leaderboard.answers import Mode, Post, Ranking
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.signatures import Signatures, sign
from demo.learn.counters import Counter
from demo.learn.fenced_lock import FencedLock
from demo.monitor import eviction_views, history, latest, reports
from demo.monitor.eviction import Options, Outcome
from demo.monitor.history import History, Point
from demo.monitor.reports import Report
from demo.rate_limit.algorithms import ALGORITHMS
from demo.rate_limit.limiter import Quota
from demo.rate_limit.playground import Playground
from demo.sessions import lab_views, session_id
from demo.sessions.cart import About, Cart
from demo.sessions.second_device import SecondDevice
from demo.sessions.session_id import Place
from demo.sessions.session_store import SessionStore
from demo.teach import busy, labs
from demo.teach.busy_runner import Told
from demo.teach.labs import Run
from demo.teach.turns import Who
from demo.web.services import get_database, part
from tests.clock import Clock

Life = str | tuple[str, float] | tuple[str, float, float]
Lives = dict[str, Life]
DAY = 86_400
IDLE, ABSOLUTE, LONGER = 1000.0, 5000.0, 3000.0
BOARD_LIVES: dict[str, Life] = {"all": "400 days", "week": "35 days", "day": "8 days"}
LAMP = About("Lamp", 4200)
PRODUCT = Product(1, "a", "Lamp", "", "lamps", 4200, 5, 1, "")


class Room:
    """Where writes happen: a client of the app's kind and, where it is asked for, an app on it."""

    def __init__(self, client: Any, make_app: Callable[[], Flask]) -> None:
        self.client, self._make_app = client, make_app
        self._app: Flask | None = None

    @property
    def app(self) -> Flask:
        """The app, made when it is first asked for; its thread that counts views writes nothing."""
        if self._app is None:
            self._app = self._make_app()
            part(Collector, self._app).note = lambda *_, **__: None  # type: ignore[method-assign]
        return self._app

    def empty(self) -> None:
        """Removes all keys of the app."""
        for key in list(self.client.scan_iter("demo:*")):
            self.client.delete(key)

    def aged(self) -> dict[str, float]:
        """Takes half of its time from every key; what is left of each, in seconds."""
        left = {}
        for key in list(self.client.scan_iter("demo:*")):
            left[key.decode()] = self.client.pttl(key) // 2
            self.client.pexpire(key, left[key.decode()])
        return {key: half / 1000 for key, half in left.items()}


WRITES: dict[str, Callable[[Room], Iterator[Lives]]] = {}


def write(function: Callable[[Room], Iterator[Lives]]) -> Callable[[Room], Iterator[Lives]]:
    """One of the WRITES."""
    WRITES[function.__name__] = function
    return function


# The catalog


@write
def an_entry(room: Room) -> Iterator[Lives]:
    cache = Cache(room.client, "page", int, ttl_seconds=50, stale_seconds=30, jitter=0)
    entry, group = cache.redis_key("a"), cache.version_key("g")
    whole: Life = ("fresh and stale time", 80)
    cache.get_or_load("a", lambda: 1, groups=["g"])
    yield {entry: whole, group: "1 day"}
    left = room.aged()
    cache.get_or_load("a", lambda: 1, groups=["g"])  # a hit
    yield {entry: ("fresh and stale time", left[entry]), group: ("1 day", left[group])}
    cache.invalidate("a", groups=["g"])
    yield {group: "1 day"}
    lease = cache.begin_write("a")
    yield {entry: "5 s", group: "1 day"}
    cache.finish_write("a", lease, 2)
    yield {entry: whole, group: "1 day"}


@write
def a_lease_while_its_holder_loads(room: Room) -> Iterator[Lives]:
    cache = Cache(room.client, "page", int, ttl_seconds=50, jitter=0)
    entry, group = cache.redis_key("a"), cache.version_key("g")
    claims = cache._claims
    claims.begin({"a": ("g",)}, cache._lookup.read({"a": ("g",)}, cache._fetch), {})
    yield {entry: "5 s", group: "1 day"}
    left = room.aged()
    cache._leases.take_over(entry, room.client.get(entry))
    yield {entry: "5 s", group: ("1 day", left[group])}
    assert claims.take_late(["a"]) == ["a"]
    yield {entry: "5 s", group: ("1 day", left[group]), f"{entry}:late": "5 s"}


@write
def a_claim_on_what_is_stale(room: Room) -> Iterator[Lives]:
    """Its time runs on: a claim makes nothing live longer."""
    clock = Clock()
    cache = Cache(
        room.client, "page", int, ttl_seconds=0.001, stale_seconds=80, jitter=0, clock=clock
    )
    entry = cache.redis_key("a")

    def fails() -> int:
        raise OSError

    cache.get_or_load("a", lambda: 1)
    left, clock.now = room.aged(), clock.now + 1
    assert cache.get_or_load("a", fails).value == 1
    yield {entry: ("fresh and stale time", left[entry])}


@write
def what_is_not_there(room: Room) -> Iterator[Lives]:
    cache = Cache(room.client, "page", int, ttl_seconds=50, stale_seconds=30)
    cache.get_or_load("a", lambda: None)
    yield {cache.redis_key("a"): "10 s"}


@write
def an_entry_of_the_lease_alone(room: Room) -> Iterator[Lives]:
    cache, name = LeasedCache(room.client, "page", int, ttl_seconds=50), "demo:catalog:{page:a}"
    cache._leases.take(name)
    yield {name: "5 s"}
    cache.invalidate("a")
    cache.get_or_load("a", lambda: 1)
    yield {name: ("fresh and stale time", 50)}


@write
def pages_of_the_app(room: Room) -> Iterator[Lives]:
    """A product, a list and what is not there, by the app's settings; a trial's entry."""
    web, config = room.app.test_client(), room.app.config
    fresh, stale = config["CATALOG_TTL_SECONDS"], config["CATALOG_STALE_SECONDS"]
    assert web.get("/catalog/products/42").status_code == 200
    assert web.get("/catalog/products/999999").status_code == 404
    assert web.get("/catalog/?category=lamps").status_code == 200
    with room.app.app_context():
        for number in (42, 999_999):
            load = partial(catalog().load_page, number)
            catalog().trials.get_or_load(str(number), load)
    lives: Lives = {}
    for key in room.client.scan_iter("demo:catalog:*"):
        name, raw = key.decode(), room.client.get(key)
        lives[name] = ("fresh and stale time", 0.9 * fresh + stale, fresh + stale)
        if name.endswith(":version"):
            lives[name] = "1 day"
        elif raw.startswith(b"N|"):
            lives[name] = "10 s"
        elif ":{trial:" in name:
            lives[name] = ("2 min", 114, 120)
    assert [*lives.values()].count("10 s") == 2
    yield lives


@write
def a_counter_in_each_way(room: Room) -> Iterator[Lives]:
    key = "demo:learn:{learn-1}:counter"
    made = Counter(room.client, key)
    for way in (made.get_and_set, made.incr, made.watch, made.script):
        way()
        yield {key: "1 min"}
        room.aged()


@write
def a_lock_with_a_token(room: Room) -> Iterator[Lives]:
    lock = FencedLock(room.client, "learn-1", hold_ms=60_000)
    token = lock.acquire()
    yield {lock.lock_key: "1 min", lock.token_key: "1 min"}
    left = room.aged()
    assert token and lock.store(token, b"x")
    held: Lives = {key: ("1 min", left[key]) for key in (lock.lock_key, lock.token_key)}
    yield {**held, lock.value_key: "1 min"}


@write
def a_profile(room: Room) -> Iterator[Lives]:
    with room.app.app_context():
        key, store = encryption_views._key("mara"), encryption_views._store(1)
        for put in (lambda: store.put(key, CUSTOMERS["mara"]), lambda: store.rotate(key)):
            put()
            yield {key: "5 min"}
            room.aged()


@write
def objects_of_a_lab(room: Room) -> Iterator[Lives]:
    tag = "demo:catalog:{object:1}"
    string: StringStore[Product] = StringStore(
        room.client, Product, ttl_seconds=hashes_views.TTL_SECONDS
    )
    table: HashStore[Product] = HashStore(
        room.client, Product, ttl_seconds=hashes_views.TTL_SECONDS
    )
    string.put(f"{tag}:string", PRODUCT)
    table.put(f"{tag}:hash", PRODUCT)
    yield {f"{tag}:string": "1 min", f"{tag}:hash": "1 min"}
    left = room.aged()
    string.add(f"{tag}:string", "stock", 1)  # a string that was changed is none that is fresh
    table.add(f"{tag}:hash", "stock", 1)
    yield {f"{tag}:string": ("1 min", left[f"{tag}:string"]), f"{tag}:hash": "1 min"}


@write
def strategies_of_a_lab(room: Room) -> Iterator[Lives]:
    with room.app.app_context():
        rows = Rows(get_database(), lambda: None)
        for kind in ("recipe", "aside", "through"):
            made, key = build(kind, room.client, f"lab-1-{kind}", rows), str(42)
            assert made.read(key)
            name = f"demo:catalog:{{lab-1-{kind}:{key}}}"
            life: Life = ("1 min", 60) if kind == "recipe" else ("1 min", 54, 60)
            yield {name: life}
            room.client.delete(name)


@write
def a_write_behind(room: Room) -> Iterator[Lives]:
    with room.app.app_context():
        rows = Rows(get_database(), lambda: None)
        store: Any = build("behind", room.client, "lab-1-behind", rows)
        entry = store.entry_key("42")
        assert store.read("42")
        yield {entry: "1 min"}
        room.client.delete(entry)
        during = []
        store._load = lambda key: during.append(room.client.pttl(entry)) or rows.load_versioned(key)
        assert store.read("42") and 0 < during[0] <= 1000  # its lease, of a second
        store.update("42", lambda found: found)
        yield {entry: "10 min", store.stream: "10 min"}
        room.aged()
        room.client.delete(entry)
        assert store.read("42")  # and found among the changes that wait
        yield {entry: "10 min", store.stream: ("10 min", 300)}
        store.update("42", lambda found: found)
        yield {entry: "10 min", store.stream: "10 min"}
        room.aged()
        assert store.flush("one").saved == 2  # which makes the group
        yield {entry: "1 min", store.stream: "10 min"}
        store.update("42", lambda found: found)
        left = room.aged()
        assert store.flush("one").saved == 1
        yield {entry: "1 min", store.stream: ("10 min", left[store.stream])}
        room.client.delete(entry)
        room.client.xadd(store.stream, {"key": "42"})
        store.flush("one")
        yield {store.stream: ("10 min", 300), store.dead: "10 min"}


@write
def runs_of_labs(room: Room) -> Iterator[Lives]:
    """What they have come to, kept for who looks at it again."""
    with pytest.MonkeyPatch.context() as patch, room.app.test_request_context():
        patch.setattr(strategies_views, "_run", lambda *_: [])
        patch.setattr(strategies_views.threading, "Thread", lambda **_: _Process(lambda: None))
        patch.setattr(_Process, "start", lambda _: None, raising=False)
        strategies_views._begin("{}", Run(None, "a"))
        yield {strategies_views._key("a"): "30 s"}
        room.aged()
        strategies_views._go_on(room.app, strategies_views.Options(), Run(None, "a"))
        patch.setattr(lab_views.races, "run", lambda *_: [])
        lab_views._race("revived", Run(None, "b"))
        yield {strategies_views._key("a"): "10 min", lab_views._key("b"): "10 min"}


class _Process:
    """A child that says two lines; when it has said the first, `between` is called."""

    def __init__(self, between: Callable[[], None]) -> None:
        self.stdin, self.stdout, self._between = io.BytesIO(), self, between

    def __iter__(self) -> Iterator[bytes]:
        yield msgspec.json.encode(Outcome(0.5, [])) + b"\n"
        self._between()
        yield msgspec.json.encode(Outcome(1.0, [], over=True)) + b"\n"

    def wait(self, _: float = 0) -> int:
        return 0

    def kill(self) -> None: ...

    def close(self) -> None: ...


@write
def a_run_of_the_eviction_lab(room: Room) -> Iterator[Lives]:
    key, watched = eviction_views._key("a" * 16), eviction_views._watched("a" * 16)
    during: list[float] = []
    with pytest.MonkeyPatch.context() as patch, room.app.test_request_context():
        process = _Process(lambda: during.append(room.client.pttl(key)))
        patch.setattr(children, "start", lambda _: process)
        patch.setattr(eviction_views.threading, "Thread", lambda **_: _Process(lambda: None))
        patch.setattr(_Process, "start", lambda _: None, raising=False)
        eviction_views._begin(Options(), "", Run(None, "a" * 16))
        yield {key: "10 s", watched: "10 s"}
        room.aged()
    room.app.test_client().get(f"/monitor/eviction?run={'a' * 16}")  # somebody looks
    yield {key: ("10 s", 5), watched: "10 s"}
    room.aged()
    folder = folders.temporary("eviction")
    eviction_views._follow(process, b"", room.client, Run(None, "a" * 16), Options(), folder)
    assert 8000 < during[0] <= 10_000  # each step keeps it
    yield {key: "10 min"}


# The sessions


@write
def a_visitors_session(room: Room) -> Iterator[Lives]:
    store, cart, sid = _sessions(room)
    session = session_id.place(sid).session
    along = session_id.place(sid).part("cart")
    yield {session: ("idle or absolute time left", IDLE)}
    cart.change(sid, 1, 2, LAMP)
    yield {session: ("idle or absolute time left", IDLE), along: ("the session", IDLE)}
    left = room.aged()
    halves: Lives = {
        session: ("idle or absolute time left", left[session]),
        along: ("the session", left[along]),
    }
    store.save(sid, {"b": 1}, ["a"])
    cart.change(sid, 1, -1)
    store.load(sid)  # within a minute of its beginning: nothing slides
    yield halves
    store.load(sid, now_ms=_now_ms(room) + 70_000)
    yield {session: ("idle or absolute time left", IDLE), along: ("the session", IDLE)}
    left = room.aged()
    late = _now_ms(room) + int((ABSOLUTE - 50) * 1000)
    store.load(sid, now_ms=late)  # its whole time is nearly over
    yield {
        session: ("idle or absolute time left", 50, 50.5),
        along: ("the session", left[along]),
    }


@write
def a_session_that_ends_before_it_is_idle(room: Room) -> Iterator[Lives]:
    store = SessionStore(room.client, idle_seconds=IDLE, absolute_seconds=100)
    sid = str(store.begin({"a": 1}))
    yield {session_id.place(sid).session: ("idle or absolute time left", 100)}


def _sessions(room: Room) -> tuple[SessionStore, Cart, str]:
    store = SessionStore(room.client, idle_seconds=IDLE, absolute_seconds=ABSOLUTE, along=("cart",))
    return store, Cart(room.client, keep_seconds=ABSOLUTE), str(store.begin({"a": 1}))


def _now_ms(room: Room) -> int:
    seconds, micros = redis_time(room.client)
    return seconds * 1000 + micros // 1000


def redis_time(client: Any) -> tuple[int, int]:
    """By Redis' clock: that of the first server."""
    told = client.time()
    return tuple(told) if isinstance(told, tuple) else tuple(next(iter(told.values())))


@write
def a_users_sessions(room: Room) -> Iterator[Lives]:
    store = SessionStore(room.client, idle_seconds=IDLE, absolute_seconds=ABSOLUTE)
    longer = SessionStore(room.client, idle_seconds=LONGER, absolute_seconds=ABSOLUTE)
    user = Place(session_id.owner_of("mara"), "")
    epoch = store.epoch("mara")
    yield {user.epoch: "2 min"}
    first = str(store.begin({}, user="mara", epoch=epoch))
    lives = {
        user.epoch: ("absolute time", ABSOLUTE),
        user.index: ("the longest session", IDLE),
        user.devices: ("the longest session", IDLE),
        session_id.place(first).session: ("idle or absolute time left", IDLE),
    }
    yield {**lives}
    left = room.aged()
    store.epoch("mara")  # who tries only now makes nothing shorter, and nothing longer
    yield {**_with(lives, left)}
    second = str(longer.begin({}, user="mara", epoch=epoch))
    new = session_id.place(second).session
    both = {**_with(lives, left), user.epoch: ("absolute time", ABSOLUTE)}
    for key in (user.index, user.devices):
        both[key] = ("the longest session", LONGER)
    both[new] = ("idle or absolute time left", LONGER)
    yield {**both}
    third = str(store.begin({}, user="mara", epoch=epoch))
    both[session_id.place(third).session] = ("idle or absolute time left", IDLE)
    yield {**both}
    left = room.aged()
    store.load(first, now_ms=_now_ms(room) + 70_000)  # shorter than what the others have left
    slid = {**_with(both, left), session_id.place(first).session: lives[_of(first)]}
    yield {**slid}
    longer.load(second, now_ms=_now_ms(room) + 70_000)
    for key in (user.index, user.devices):
        slid[key] = ("the longest session", LONGER)
    slid[new] = ("idle or absolute time left", LONGER)
    yield {**slid}


def _of(sid: str) -> str:
    return session_id.place(sid).session


def _with(lives: Lives, left: dict[str, float]) -> Lives:
    """The same names, with what is left of each."""
    return {
        key: (life if isinstance(life, str) else life[0], left[key]) for key, life in lives.items()
    }


@write
def a_session_whose_list_was_evicted(room: Room) -> Iterator[Lives]:
    """It slides as before. It does not come back to the list; what is noted of its device has an
    end like all else."""
    store = SessionStore(room.client, idle_seconds=IDLE, absolute_seconds=ABSOLUTE)
    user = Place(session_id.owner_of("mara"), "")
    sid = str(store.begin({}, user="mara", epoch=store.epoch("mara")))
    room.client.delete(user.index, user.devices)
    room.aged()
    store.load(sid, now_ms=_now_ms(room) + 70_000)
    yield {
        user.epoch: ("absolute time", ABSOLUTE / 2),
        user.devices: ("the longest session", IDLE),
        _of(sid): ("idle or absolute time left", IDLE),
    }


@write
def a_session_moves_and_lends(room: Room) -> Iterator[Lives]:
    """A new id and a code for another device give no time."""
    store = SessionStore(room.client, idle_seconds=IDLE, absolute_seconds=ABSOLUTE)
    user = Place(session_id.owner_of("mara"), "")
    before = str(store.begin({}, user="mara", epoch=store.epoch("mara")))
    left = room.aged()
    after = str(store.rotate(before))
    lives: Lives = {
        user.epoch: ("absolute time", left[user.epoch]),
        user.index: ("the longest session", left[user.index]),
        user.devices: ("the longest session", left[user.devices]),
        _of(after): ("idle or absolute time left", left[_of(before)]),
    }
    yield {**lives}
    devices = SecondDevice(room.client)
    code = devices.lend(after)
    yield {**lives}
    assert code and devices.take(code)
    yield {**lives}
    store.begin({}, user="mara", epoch=store.epoch("mara"))
    room.aged()
    kept = room.client.pttl(_of(after)) / 1000
    assert store.revoke_others(after) == 1
    yield {
        user.epoch: ("absolute time", ABSOLUTE),
        user.index: ("the longest session", kept),
        user.devices: ("the longest session", kept),
        _of(after): ("idle or absolute time left", kept),
    }
    room.client.delete(user.index, user.devices)  # evicted
    assert store.revoke_others(after) == 0
    yield {
        user.epoch: ("absolute time", ABSOLUTE),
        user.index: ("the longest session", kept),
        _of(after): ("idle or absolute time left", kept),
    }
    room.aged()
    store.revoke_all("mara")
    left = {_of(after): room.client.pttl(_of(after)) / 1000}
    lives = {user.epoch: ("absolute time", ABSOLUTE)}
    if left[_of(after)] > 0:
        lives[_of(after)] = ("idle or absolute time left", left[_of(after)])
    yield lives
    store.forget("mara")
    yield {}


@write
def a_users_cart(room: Room) -> Iterator[Lives]:
    store, cart, visitor = _sessions(room)
    user = Place(session_id.owner_of("mara"), "")
    cart.change(visitor, 1, 2, LAMP)
    found = store.load(visitor)
    assert found
    cart.merge(visitor, "mara", found.along["cart"])
    store.delete(visitor)
    merged = user.part(f"merged:{session_id.handle(visitor)}")
    yield {user.part("cart"): ("absolute time", ABSOLUTE), merged: "1 day"}
    room.aged()
    cart.merge(visitor, "mara", found.along["cart"])
    yield {user.part("cart"): ("absolute time", ABSOLUTE), merged: "1 day"}
    room.client.delete(merged)
    sid = str(store.begin({}, user="mara", epoch=store.epoch("mara")))
    room.aged()
    cart.change(sid, 2, 1, LAMP)
    lives = {
        user.epoch: ("absolute time", ABSOLUTE / 2),
        user.index: ("the longest session", IDLE / 2),
        user.devices: ("the longest session", IDLE / 2),
        _of(sid): ("idle or absolute time left", IDLE / 2),
        user.part("cart"): ("absolute time", ABSOLUTE),
    }
    yield {**lives}
    room.aged()
    store.load(sid, now_ms=_now_ms(room) + 70_000)  # a user's cart outlives the session
    yield {
        **lives,
        user.epoch: ("absolute time", ABSOLUTE / 4),
        user.index: ("the longest session", IDLE),
        user.devices: ("the longest session", IDLE),
        _of(sid): ("idle or absolute time left", IDLE),
        user.part("cart"): ("absolute time", ABSOLUTE / 2),
    }


# The rate limits

EDGE = 1_700_000_040_000_000  # where a window of a minute begins
LIMITS: dict[str, tuple[str, float, float]] = {
    # a third of the quota at 20 s into a window, and all of it
    "sliding_window_log": ("window", 60, 60),
    "sliding_window_counter": ("rest and one more window", 100, 100),
    "fixed_window": ("rest of the window", 40, 40),
    "token_bucket": ("until it is full", 20, 60),
    "gcra": ("until it is reached", 20, 60),
}


@write
def hits(room: Room) -> Iterator[Lives]:
    for name, (life, of_one, of_all) in LIMITS.items():
        dotted = "test" if name == "sliding_window_log" else f"test.{name}"
        for counts in (False, True):
            limiter = ALGORITHMS[name](room.client, dotted, Quota(3, 60), count_refused=counts)
            (key,) = limiter.redis_keys("me")
            at = EDGE + 20_000_000
            limiter.hit("me", now_us=at)
            yield {key: (life, of_one)}
            limiter.hit("me", 2, now_us=at)
            yield {key: (life, of_all)}
            left = room.aged()
            assert not limiter.hit("me", now_us=at).allowed
            yield {key: (life, of_all if counts else left[key])}
            left = room.aged()
            limiter.refund("me", 2, now_us=at)
            # Of the log hits are taken, and those that stay live as long as they did.
            gives = name == "sliding_window_log"
            yield {key: (life, left[key] if gives else of_one)}
            limiter.refund("me", now_us=at - 1_000_000)  # the clock was set back
            room.client.delete(key)


@write
def hits_of_two_quotas(room: Room) -> Iterator[Lives]:
    for name, (life, of_one, _) in LIMITS.items():
        dotted = "test" if name == "sliding_window_log" else f"test.{name}"
        limiter = ALGORITHMS[name](room.client, dotted, Quota(3, 60), Quota(30, 600))
        one, two = limiter.redis_keys("me")
        limiter.hit("me", now_us=1_700_000_400_000_000 + 20_000_000)
        ten = {"window": 600, "rest of the window": 580, "rest and one more window": 1180}
        yield {one: (life, of_one), two: (life, ten.get(life, 20))}
        limiter.reset("me")


@write
def hits_from_before_the_clock_was_set_back(room: Room) -> Iterator[Lives]:
    """They count as hits of now, and live as long."""
    for name, (life, _, of_all) in LIMITS.items():
        dotted = "test" if name == "sliding_window_log" else f"test.{name}"
        limiter = ALGORITHMS[name](room.client, dotted, Quota(3, 60))
        (key,) = limiter.redis_keys("me")
        limiter.hit("me", 3, now_us=EDGE + 3_600_000_000)
        room.aged()
        assert not limiter.hit("me", now_us=EDGE + 20_000_000).allowed
        yield {key: (life, of_all)}
        limiter.reset("me")


@write
def the_playground(room: Room) -> Iterator[Lives]:
    made = Playground(room.client, Quota(3, 3600))
    made.play("me", "burst", 2)
    history = made._history_key("me")
    lives: Lives = {history: ("three windows and a minute", 3 * 3600 + 60)}
    spans = [life for life, *_ in LIMITS.values()]
    for key, life in zip(made.redis_keys("me"), spans, strict=True):
        lives[key] = (life, 0, 7200)
    yield {**lives}
    room.client.pexpire(history, 1000)
    made.play("me", "burst", 1)
    yield {**lives}


# The leaderboard


@write
def scores(room: Room) -> Iterator[Lives]:
    for ranking in Ranking:
        board = Leaderboard(room.client, "b", ranking=ranking)
        lives = _board(board)
        sequence = board._beginning + "sequence"
        board.submit("mara", 1, now_ms=None)
        yield {**lives}
        board.submit("noor", 1, metadata="{}")
        about = board._beginning + "metadata"
        yield {**lives, about: "400 days"}
        left = room.aged()
        board.submit("noor", 2)  # this process has given lives today
        yield {key: (_name(life), left[key]) for key, life in {**lives, about: "400 days"}.items()}
        again = Leaderboard(room.client, "b", ranking=ranking)
        again.submit("noor", 1)  # another process, or another day: all of them are renewed
        yield {**lives, about: "400 days"}
        for player in ("mara", "noor"):
            board.remove(player)
        yield {sequence: "400 days"}
        room.aged()
        board.submit("mara", 5)  # on a board that was emptied
        yield {**lives}
        board.trim(0)
        for period in ("week", "day"):
            board.trim(0, period)
        room.aged()
        board.submit_many([Post("mara", 5), Post("noor", 6, metadata="{}")])
        yield {**lives, about: "400 days"}
        for number, evicted in enumerate((board.redis_keys("all")[1], sequence, about)):
            room.client.delete(evicted)
            left = room.aged()
            board.submit("mara", 1, mode=Mode.SUM, metadata="{}")
            all_anew = number < 2  # metadata has a life of its own with each post that brings some
            whole = {**lives, about: "400 days"}
            yield whole if all_anew else {**_with(lives, left), about: "400 days"}
        room.empty()


def _board(board: Leaderboard) -> Lives:
    """The keys of a board that somebody has a score on, without metadata."""
    lives: Lives = {board._beginning + "sequence": "400 days"}
    for period in board.periods:
        keys = [*board.redis_keys(period), *board._distinct_keys([period])]
        lives |= dict.fromkeys(keys, BOARD_LIVES[period])
    return lives


def _name(life: Life) -> str:
    return life if isinstance(life, str) else life[0]


@write
def scores_that_count_once(room: Room) -> Iterator[Lives]:
    with room.app.app_context():
        posted = board_access._made(room.client, "b")
        imported = Leaderboard(room.client, "b")
        for board, life in ((posted, "1 h"), (imported, "1 day")):
            board._lives_given_on = -1
            board.submit("mara", 1, idempotency_key="a-key")
            kept = board._once("a-key")
            yield {**_board(board), kept: life}
            left = room.aged()
            board.submit("mara", 1, idempotency_key="a-key")  # answered, and kept no longer
            yield {
                key: (_name(each), left[key]) for key, each in {**_board(board), kept: life}.items()
            }
            room.client.delete(kept)
            board._lives_given_on = -1
            board.submit_many([Post("mara", n) for n in range(101)], idempotency_key="a-key")
            keys = [key.decode() for key in room.client.scan_iter("demo:leaderboard:{b}:once:*")]
            assert len(keys) == 2
            yield {**_board(board), **dict.fromkeys(keys, life)}
            room.empty()


@write
def seasons(room: Room) -> Iterator[Lives]:
    for ranking in Ranking:
        board = Leaderboard(room.client, "b", ranking=ranking)
        board.submit("mara", 1, metadata="{}")
        left = room.aged()
        assert board.season("one") == 1
        archive = [*board._read_keys("season:one"), *board._distinct_keys(["season:one"])]
        lives = dict.fromkeys([*archive, f"{board._beginning}seasons"], "400 days")
        lives[f"{board._beginning}metadata"] = "400 days"  # of the running week
        sequence = f"{board._beginning}sequence"
        running: Lives = {}
        for period in ("week", "day"):
            for key in [*board.redis_keys(period), *board._distinct_keys([period])]:
                running[key] = (_name(BOARD_LIVES[period]), left[key])
        yield {**lives, **running, sequence: ("400 days", left[sequence])}
        room.aged()
        board.submit("mara", 2)  # begins the board anew
        old = dict.fromkeys((*archive, f"{board._beginning}seasons"), ("400 days", 200 * DAY))
        about = {f"{board._beginning}metadata": "400 days"}
        yield {**_board(board), **old, **about}
        room.client.delete(*board.redis_keys("week"), *board.redis_keys("day"))
        room.empty()


@write
def a_signed_request(room: Room) -> Iterator[Lives]:
    now = redis_time(room.client)[0]
    for off, life in ((0, 61), (60, 121), (-30, 31)):
        nonce = f"{off:+}".rjust(16, "n").replace("+", "p")
        stamp = str(now + off)
        key = _nonce_key(nonce)
        signature = sign("x", stamp, nonce, "GET", "/", b"")
        taken = Signatures(room.client, "x")
        taken.check(stamp, nonce, signature, "GET", "/", b"", now_ms=now * 1000)
        yield {key: ("a second longer than the signature is accepted", life)}
        room.client.delete(key)


def _nonce_key(nonce: str) -> str:
    return f"demo:leaderboard:{{nonce:{hashlib.sha256(nonce.encode()).hexdigest()}}}"


@write
def the_list_of_boards(room: Room) -> Iterator[Lives]:
    for board in ("a", "b"):
        boards.remember(room.client, board)
        yield {boards.KEY: "400 days"}
        room.aged()


# Analytics


@write
def views(room: Room) -> Iterator[Lives]:
    at, counters = 1_700_000_000, Counters(room.client)
    lives = dict(zip((each.key(at) for each in RESOLUTIONS.values()), VIEWS, strict=True))
    for _ in range(2):
        pipeline = room.client.pipeline(transaction=False)
        counters.incr(pipeline, {"home": 1}, at)
        pipeline.execute()
        yield {**lives}
        room.aged()


VIEWS: tuple[Life, ...] = ("27 h", "36 days", "430 days")


@write
def visitors(room: Room) -> Iterator[Lives]:
    on, uniques = date(2026, 11, 29), UniqueVisitors(room.client)
    day, exact, month = (
        f"demo:analytics:{{visitors}}:{part}"
        for part in ("day:2026-11-29", "exact:2026-11-29", "month:2026-11")
    )
    for number in range(2):
        pipeline = room.client.pipeline(transaction=False)
        uniques.add(pipeline, [f"{number}"], [f"{number}"], on)
        pipeline.execute()
        yield {day: "40 days", exact: "2 days"}
        room.aged()
    for _ in range(2):
        uniques.roll_up(on)
        yield {
            day: ("40 days", 20 * DAY),
            exact: ("2 days", DAY),
            month: "400 days",
        }
        room.client.pexpire(month, 1000)


@write
def who_is_here_and_who_came_back(room: Room) -> Iterator[Lives]:
    presence, active, trending = (
        Presence(room.client),
        ActiveDays(room.client),
        Trending(room.client),
    )
    hour, day = (span.key(1_700_000_000) for span in SPANS.values())
    for number in range(2):
        pipeline = room.client.pipeline(transaction=False)
        presence.add(pipeline, [f"{number}"], 1_700_000_000)
        active.add(pipeline, [f"{number}"], date(2026, 11, 29))
        trending.add(pipeline, {"42": 1}, 1_700_000_000)
        pipeline.execute()
        yield {
            "demo:analytics:{presence}": "10 min",
            "demo:analytics:{active}:2026-11-29": "16 days",
            hour: "65 min",
            day: "26 h",
        }
        room.aged()
    # What reads them works in keys of its own, which are gone.
    active.cohorts(date(2026, 11, 29))
    trending.top(SPANS["hour"], 1_700_000_000)
    yield {
        "demo:analytics:{presence}": ("10 min", 300),
        "demo:analytics:{active}:2026-11-29": ("16 days", 8 * DAY),
        hour: ("65 min", 65 * 30),
        day: ("26 h", 13 * 3600),
    }


@write
def salts(room: Room) -> Iterator[Lives]:
    Salts(room.client).of("day:2026-11-29")
    Salts(room.client).of("month:2026-11")
    day, month = (f"demo:analytics:{{salt}}:{of}" for of in ("day:2026-11-29", "month:2026-11"))
    yield {day: "2 days", month: "33 days"}
    room.aged()
    Salts(room.client).of("day:2026-11-29")  # whoever asks later makes no salt live longer
    Salts(room.client).of("month:2026-11")
    yield {day: ("2 days", DAY), month: ("33 days", 16.5 * DAY)}


@write
def a_shared_answer(room: Room) -> Iterator[Lives]:
    shared = SharedAnswer(room.client, "minute")
    lease = f"{shared.key}:lease"
    during: list[float] = []
    shared.get(lambda: (during.append(room.client.pttl(lease)), b"1")[1])
    assert 2500 < during[0] <= 5000
    yield {shared.key: "1 min"}
    room.aged()
    shared.get(lambda: b"2")
    yield {shared.key: "1 min"}
    left = room.aged()
    with pytest.raises(OSError):
        shared.get(_raises)
    yield {shared.key: ("1 min", left[shared.key]), lease: "5 s"}


def _raises() -> bytes:
    raise OSError


# The monitor, the leader, the turns


@write
def a_leader(room: Room) -> Iterator[Lives]:
    one = Leader(room.client, "sampler", "one")
    lives: Lives = {lead_key("sampler"): "3 s", token_key("sampler"): "30 days"}
    for _ in range(2):
        one.campaign()
        yield {**lives}
        room.aged()
    room.client.delete(token_key("sampler"))  # evicted
    one.campaign()
    yield {**lives}
    one.resign()
    Leader(room.client, "sampler", "three", ttl_seconds=60).campaign()
    room.aged()
    Leader(room.client, "sampler", "two").campaign()  # who does not get it renews nothing
    yield {lead_key("sampler"): ("3 s", 30), token_key("sampler"): ("30 days", 15 * DAY)}


@write
def points_of_history(room: Room) -> Iterator[Lives]:
    """The lead is a longer one, so that it does not end before the points are there."""
    leader = Leader(room.client, "sampler", "one", ttl_seconds=60)
    made = History(room.client)
    leader.campaign()
    token = token_key("sampler")
    lead: Lives = {lead_key("sampler"): ("3 s", 60)}
    for at in (1, 2):
        assert made.add(leader.token, _point(at), b"state")
        yield {
            **lead,
            token: ("30 days", 0, 30.0 * DAY),
            history.STREAM: "2 days",
            history.STATE: "5 min",
        }
        room.client.pexpire(history.STREAM, 1000)
        room.client.pexpire(history.STATE, 1000)


def _point(at: int) -> Point:
    return Point(at, *[0] * 9, {})


@write
def reports_of_processes(room: Room) -> Iterator[Lives]:
    for _ in range(2):
        reports.send(room.client, Report("one", 0, 0, {}, {}))
        yield {reports.STREAM: "2 min"}
        room.aged()


@write
def what_was_sampled_last(room: Room) -> Iterator[Lives]:
    told = latest.Latest(1, 1, 0, 8, 0, {}, latest.Flow(), latest.Flow(), [])
    for _ in range(2):
        pipeline = room.client.pipeline(transaction=False)
        latest.store(pipeline, told)
        pipeline.execute()
        yield {latest.KEY: "1 min"}
        room.aged()


@write
def simulated_visitors(room: Room) -> Iterator[Lives]:
    for over, life in ((False, "10 s"), (False, "10 s"), (True, "10 min")):
        told = Told(1.0, 0, 0, 0, None, over)
        assert busy.keep(room.client, busy.Busy("a" * 16, 1, 0.0, told))
        yield {busy.KEY: life}
        room.aged()


@write
def places_in_a_line(room: Room) -> Iterator[Lives]:
    with room.app.app_context():
        for line, life in ((labs.RUNS, "20 s"), (labs.TRIES, "1 min")):
            turns = line.turns()
            turn = turns.join(Who("a", "b", "c"), "")
            yield {turns.key: life}
            room.aged()
            waits = turns.join(Who("d", "e", "f"), "")
            yield {turns.key: life}
            room.aged()
            turns.look(waits.id)
            yield {turns.key: life}
            room.aged()
            assert turns.keep(turn.id)
            yield {turns.key: life}
            room.client.delete(turns.key)


@write
def what_is_known_of_primaries(room: Room) -> Iterator[Lives]:
    seconds = iter(range(100))
    watch = ToldAgain(room.client, lambda: float(next(seconds)))
    while not room.client.exists(told_again.KNOWN):
        watch.step()
    yield {told_again.KNOWN: "30 days"}
    left = room.aged()
    for _ in range(2):
        changes.note(room.client, "one", told=0)
        yield {told_again.KNOWN: ("30 days", left[told_again.KNOWN]), changes.KEY: "7 days"}
        room.client.pexpire(changes.KEY, 1000)
