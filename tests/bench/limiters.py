"""The rate limiter: a check beside a GET, a view behind it beside Flask-Limiter, bytes beside
limits and throttled-py."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import redis
from flask import Flask
from flask_limiter import Limiter as FlaskLimiter
from flask_limiter.util import get_remote_address
from limits import parse, storage, strategies
from throttled import RateLimiterType, Throttled, rate_limiter, store
from werkzeug.test import EnvironBuilder

from demo.limits import RateLimit
from demo.rate_limit import guard
from demo.rate_limit.algorithms import ALGORITHMS
from demo.rate_limit.limiter import Quota
from demo.web.services import Services
from tests.bench.measure import faster, on_one_core, ratio, report, say
from tests.clients import connect

HUNDRED_A_SECOND = parse("100 per second")


def limiters() -> None:
    """On one core, in turns."""
    with on_one_core() as (url, folder):
        _checks(url)
        _views(url)
        _bytes(url)


def _checks(url: str) -> None:
    client = redis.Redis.from_url(url)
    client.set("bench:get", "x" * 100)
    get = partial(client.get, "bench:get")
    kept = storage.RedisStorage(url, connection_pool=client.connection_pool)
    shared = store.RedisStore(server=url)
    per_second = rate_limiter.per_sec(100)
    checks: dict[str, Callable[[str], object]] = {
        f"ours, {name}": algorithm(client, f"b{len(name)}", Quota(100, 1)).hit
        for name, algorithm in ALGORITHMS.items()
    }
    both = (Quota(100, 1), Quota(100_000, 60))
    checks["ours, two quotas at once"] = ALGORITHMS["sliding_window_log"](client, "two", *both).hit
    for strategy in (
        strategies.MovingWindowRateLimiter(kept),
        strategies.SlidingWindowCounterRateLimiter(kept),
    ):
        kind = type(strategy).__name__.removesuffix("RateLimiter")
        checks[f"limits, {kind}"] = partial(strategy.hit, HUNDRED_A_SECOND)
        checks[f"limits, {kind}, with what remains"] = partial(_with_stats, strategy)
    for using in (RateLimiterType.SLIDING_WINDOW.value, RateLimiterType.GCRA.value):
        checks[f"throttled-py, {using}"] = Throttled(
            using=using, quota=per_second, store=shared
        ).limit
    for title, people in (
        ("by callers who pass", 300),
        ("by one caller, who is mostly refused", 1),
    ):
        say(
            f"\nA check of 100 hits a second {title}, in times of a GET by the same redis-py client:"
        )
        for name, check in checks.items():
            goal = 1.7 if people == 1 and name.startswith("ours") and "two" not in name else None
            report(
                name,
                ratio(
                    get, partial(_next, check, itertools.cycle(f"id-{n}" for n in range(people)))
                ),
                most=goal,
            )
    client.close()


def _next(check: Callable[[str], object], people: Iterator[str]) -> object:
    return check(next(people))


def _with_stats(strategy: Any, identity: str) -> object:
    return strategy.hit(HUNDRED_A_SECOND, identity), strategy.get_window_stats(
        HUNDRED_A_SECOND, identity
    )


@dataclass
class Kept:
    """What the guard needs of an app's services."""

    protected_redis: Any
    parts: dict[type, Any] = field(default_factory=dict)
    keep = Services.keep


def _views(url: str) -> None:
    client = connect(url, pool_size=4, timeout_seconds=5, open_seconds=1)
    ours, bare = _hello(), _hello()
    ours.config["RATE_LIMITS"] = {"hello": RateLimit(10_000, 1)}
    kept = Kept(client)
    ours.extensions["services"] = kept
    guard.init(ours, cast(Services, kept))
    peers = {}
    for headers in (False, True):
        peers[headers] = _hello()
        limiter = FlaskLimiter(
            get_remote_address,
            app=peers[headers],
            storage_uri=url if url.startswith("redis") else url.replace("unix://", "redis+unix://"),
            strategy="moving-window",
            headers_enabled=headers,
        )
        limiter.limit("10000 per second")(peers[headers].view_functions["hello"])
        peers[headers].view_functions["hello"] = limiter.limit("10000 per second")(
            peers[headers].view_functions["hello"]
        )
    say("\nA hello view behind an exact log of 10 000 hits, as a fraction of the view alone:")
    report("ours, headers included", faster(_call(bare), _call(ours)))
    report("Flask-Limiter, moving window", faster(_call(bare), _call(peers[False])))
    report("Flask-Limiter, with its headers", faster(_call(bare), _call(peers[True])))
    say("In times of Flask-Limiter:")
    report(
        "ours, headers included / Flask-Limiter without",
        faster(_call(peers[False]), _call(ours)),
        1.15,
    )
    report(
        "ours, headers included / Flask-Limiter with its headers",
        faster(_call(peers[True]), _call(ours)),
        1.4,
    )
    client.close()


def _bytes(url: str) -> None:
    client, plain = (
        connect(url, pool_size=4, timeout_seconds=5, open_seconds=1),
        redis.Redis.from_url(url),
    )
    say("\nBytes in Redis for a client at a limit of 100:")
    for name, algorithm in ALGORITHMS.items():
        limiter = algorithm(client, f"b{len(name)}", Quota(100, 60))
        for _ in range(110):
            limiter.hit("client-1")
        say(f"  {'ours, ' + name:<66} {client.memory_usage(limiter.redis_keys('client-1')[0]):6}")
    kept = storage.RedisStorage(url, connection_pool=plain.connection_pool)
    for name, strategy in (
        ("moving window", strategies.MovingWindowRateLimiter(kept)),
        ("sliding window counter", strategies.SlidingWindowCounterRateLimiter(kept)),
    ):
        before = set(plain.scan_iter())
        for _ in range(110):
            strategy.hit(parse("100 per minute"), f"bytes-{name}")
        say(
            f"  {'limits, ' + name:<66} {sum(plain.memory_usage(key) for key in set(plain.scan_iter()) - before):6}"
        )
    shared = store.RedisStore(server=url)
    for kind in (RateLimiterType.SLIDING_WINDOW, RateLimiterType.GCRA):
        before = set(plain.scan_iter())
        throttle = Throttled(
            key=f"bytes-{kind.value}",
            using=kind.value,
            quota=rate_limiter.per_min(100),
            store=shared,
        )
        for _ in range(110):
            throttle.limit()
        size = sum(plain.memory_usage(key) for key in set(plain.scan_iter()) - before)
        say(f"  {'throttled-py, ' + kind.value:<66} {size:6}")
    client.close()
    plain.close()


def _hello() -> Flask:
    app = Flask("hello")

    @app.get("/")
    def hello() -> str:
        return "hello"

    return app


def _call(app: Flask) -> Callable[[], object]:
    environ = EnvironBuilder("/").get_environ() | {"REMOTE_ADDR": "203.0.113.7"}

    def run() -> object:
        status = []
        body = b"".join(app(dict(environ), lambda line, *_: status.append(line)))
        assert status == ["200 OK"], status
        return body

    run()
    return run
