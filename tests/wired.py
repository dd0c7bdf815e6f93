"""What one writes to wire in a pattern of ours, or a library that one would pick in its place: the bodies are
whole, and `tests.beside` measures what they return. `lines` counts them for docs/taking.md.

Each is given what a service has already: the URL of its Redis, its function that loads, its app.
"""

import inspect
from collections.abc import Callable
from typing import Any

Wiring = Callable[..., Any]


def lines(wiring: Wiring) -> int:
    """How many lines a body has, the last aside, which hands over what it made."""
    body = inspect.getsource(wiring).split('"""\n')[-1].splitlines()
    return len([line for line in body if line.strip()]) - 1


# Caches: a function that reads by a key, and one that invalidates a key.


def cache_aside(url: str, load: Callable[[str], int]) -> Any:
    """Ours."""
    import redis

    from demo.catalog.cache_aside import Cache

    cache = Cache(redis.Redis.from_url(url), "number", int, ttl_seconds=60)

    @cache.cached(key=str)
    def number(key: str) -> int | None:
        return load(key)

    return number, number.invalidate


def flask_caching(app: Any, url: str, load: Callable[[str], int]) -> Any:
    """Flask-Caching, a memoized function."""
    from flask_caching import Cache

    cache = Cache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url})

    @cache.memoize(60)
    def number(key: str) -> int:
        return load(key)

    def invalidate(key: str) -> None:
        cache.delete_memoized(number, key)

    return number, invalidate


def dogpile(url: str, load: Callable[[str], int]) -> Any:
    """dogpile.cache, with its lock in Redis."""
    from dogpile.cache import make_region

    arguments = {"url": url, "distributed_lock": True, "thread_local_lock": False}
    region = make_region().configure("dogpile.cache.redis", 60, arguments)

    @region.cache_on_arguments()
    def number(key: str) -> int:
        return load(key)

    return number, number.invalidate


def cashews(url: str, load: Callable[[str], Any]) -> Any:
    """cashews, with its lock."""
    from cashews import cache

    cache.setup(url, client_side=False)

    @cache(ttl="1m", key="number:{key}", lock=True)
    async def number(key: str) -> int:
        return int(await load(key))

    async def invalidate(key: str) -> None:
        await cache.delete(f"number:{key}")

    return number, invalidate


def fastapi_redis_sdk(app: Any, url: str, load: Callable[[str], Any]) -> Any:
    """fastapi-redis-sdk: an endpoint's answers."""
    from fastapi import Depends
    from redis_fastapi import FastAPIRedis, cache, cache_evict, get_settings

    get_settings().url = url
    FastAPIRedis(app).lifespan().caching()

    @app.get("/{key}", dependencies=[Depends(cache(ttl=60, eviction_group="numbers"))])
    async def number(key: str) -> int:
        return int(await load(key))

    @app.delete("/{key}", dependencies=[Depends(cache_evict(eviction_group="numbers"))])
    async def invalidate(key: str) -> None:
        pass

    return number, invalidate


# Sessions: a function that changes the caller's session.


def session_store(url: str) -> Any:
    """Ours."""
    import redis

    from demo.sessions.session_store import SessionStore

    store = SessionStore(redis.Redis.from_url(url), idle_seconds=60, absolute_seconds=600)
    sid = str(store.begin({}))

    def change(name: str) -> bool:
        return store.save(sid, {name: 1})

    return store, sid, change


def django_sessions(url: str) -> Any:
    """django-redis under Django's cache sessions."""
    settings = {
        "CACHES": {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}},
        "SESSION_ENGINE": "django.contrib.sessions.backends.cache",
    }

    def change(request: Any, name: str) -> None:
        request.session[name] = 1

    return settings, change


def sdk_sessions(app: Any, url: str) -> Any:
    """fastapi-redis-sdk."""
    from redis_fastapi import FastAPIRedis, SessionDep, get_settings

    get_settings().url = url
    FastAPIRedis(app).lifespan().sessions()

    @app.post("/{name}")
    async def change(session: SessionDep, name: str) -> None:  # type: ignore[valid-type]
        session[name] = 1  # type: ignore[index]

    return change


# Limiters: a function that tells whether a caller passes, what remains, and when to come back.


def sliding_window(url: str) -> Any:
    """Ours."""
    import redis

    from demo.rate_limit.limiter import Quota
    from demo.rate_limit.sliding_window import SlidingWindowLog

    limiter = SlidingWindowLog(redis.Redis.from_url(url), "api", Quota(100_000, 60))

    def hit(caller: str) -> tuple[bool, int, float]:
        decision = limiter.hit(caller)
        return decision.allowed, decision.remaining, decision.reset_after_seconds

    return hit


def limits(url: str) -> Any:
    """limits, its moving window."""
    from limits import parse, storage, strategies

    limiter = strategies.MovingWindowRateLimiter(storage.RedisStorage(url))
    limit = parse("100000 per minute")

    def hit(caller: str) -> tuple[bool, int, float]:
        allowed = limiter.hit(limit, caller)
        told = limiter.get_window_stats(limit, caller)
        return allowed, told.remaining, told.reset_time

    return hit


def limits_alone(url: str) -> Any:
    """limits, its moving window: allowed or not alone."""
    from limits import parse, storage, strategies

    limiter = strategies.MovingWindowRateLimiter(storage.RedisStorage(url))
    limit = parse("100000 per minute")

    def hit(caller: str) -> bool:
        return limiter.hit(limit, caller)

    return hit


def throttled(url: str) -> Any:
    """throttled-py, GCRA."""
    from throttled import RateLimiterType, RedisStore, Throttled, per_min

    kind, quota = RateLimiterType.GCRA.value, per_min(100_000)
    limiter = Throttled(using=kind, quota=quota, store=RedisStore(server=url))

    def hit(caller: str) -> tuple[bool, int, float]:
        told = limiter.limit(caller)
        return not told.limited, told.state.remaining, told.state.reset_after

    return hit


def sdk_limiter(url: str) -> Any:
    """fastapi-redis-sdk, its fixed window."""
    from redis.asyncio import Redis
    from redis_fastapi import RateLimitBackend

    limiter = RateLimitBackend(Redis.from_url(url), scope="api")

    async def hit(caller: str) -> tuple[bool, int, float]:
        told = await limiter.hit(caller, limit=100_000, window=60)
        return told.allowed, told.remaining, told.reset_after

    return hit


# Leaderboards: a function that counts a score, and one that tells the ranks.


def ranking(url: str) -> Any:
    """Ours."""
    import redis

    from demo.leaderboard.ranking import Leaderboard

    board = Leaderboard(redis.Redis.from_url(url), "main")

    def ranks() -> list[int]:
        return [entry.rank for entry in board.top(3).entries]

    return board.submit, ranks


def leaderboard(url: str) -> Any:
    """leaderboard."""
    import redis
    from leaderboard.leaderboard import Leaderboard

    board = Leaderboard("main", connection=redis.Redis.from_url(url))

    def ranks() -> list[int]:
        return [row["rank"] for row in board.leaders(1)]

    return board.rank_member, ranks
