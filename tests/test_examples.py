"""The examples, each on the real framework. Where CI is set, a framework that is missing is a failure."""

import importlib
import os
import threading
from typing import Any

import pytest
import redis
import redis.asyncio

from demo.catalog.cache_aside import Cache
from demo.client.leader import Leader
from demo.rate_limit.async_limiter import AsyncLimiter
from demo.rate_limit.limiter import Quota
from demo.sessions.session_store import SessionStore
from demo.teach import packing
from tests import async_runs
from tests.servers import REPOSITORY, Client

EXAMPLES = sorted(path.stem for path in (REPOSITORY / "examples").glob("*.py"))


def framework(name: str) -> Any:
    return importlib.import_module(name) if os.environ.get("CI") else pytest.importorskip(name)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_at_most_80_lines(name: str) -> None:
    assert len((REPOSITORY / "examples" / f"{name}.py").read_text().splitlines()) <= 80


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_taken_with_the_patterns_that_it_is_of(name: str) -> None:
    taken = packing.tree(packing.Wish((("client", "leader"),), "ours", "shop", (name,)))
    text = taken[f"ours/examples/{name}.py"].decode()
    for line in text.splitlines():
        if line.startswith("from ours."):
            assert f"ours/{line.split()[1].replace('.', '/')}.py" in taken, line
    assert "demo" not in text


def test_flask_without_this_app(client: Client) -> None:
    from examples.flask_app import create_app

    web = create_app(client).test_client()
    assert web.get("/squares/7").json == {"square": 49}
    assert web.post("/scores", json={"player": "mara", "score": 5}).json == {"rank": 1}
    assert web.post("/scores", json={"player": 5, "score": 5}).json["error"].startswith("player: ")
    assert web.post("/scores", json={"score": 5}).status_code == 422
    refused = web.post("/scores", json={"player": "mara", "score": 5})
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")


def test_fastapi_has_the_headers_of_the_draft_and_keeps_serving(client: Client) -> None:
    framework("fastapi")
    httpx = framework("httpx")
    from examples.fastapi_limit import create_app

    cache = Cache(client, "of-fastapi", int, ttl_seconds=60)

    async def ask() -> None:
        async with redis.asyncio.Redis(**async_runs.where(client)) as own:
            limiter = AsyncLimiter(own, "of-fastapi", Quota(3, 60))
            app = create_app(limiter, cache, lambda number: number * number)
            where = {"transport": httpx.ASGITransport(app), "base_url": "http://test"}
            async with httpx.AsyncClient(**where) as web:
                first, second = await web.get("/squares/7"), await web.get("/squares/7")
                assert first.json() == {"square": 49, "cache": "MISS"}
                assert second.json() == {"square": 49, "cache": "HIT"}
                assert first.headers["RateLimit-Policy"] == '"squares";q=3;w=60'
                assert second.headers["RateLimit"] == '"squares";r=1;t=60'
                assert (await web.get("/squares/8")).status_code == 200
                refused = await web.get("/squares/9")
                assert refused.status_code == 429
                assert 1 <= int(refused.headers["Retry-After"]) <= 60

    async_runs.run(ask())


def test_django_keeps_both_of_two_overlapping_writes_and_revives_nothing(client: Client) -> None:
    framework("django")
    from django.conf import settings

    if not settings.configured:
        settings.configure(SECRET_KEY="of the test", SESSION_COOKIE_AGE=600, REDIS_CLIENT=client)
    settings.REDIS_CLIENT = client
    from django.contrib.sessions.backends.base import UpdateError

    from examples.django_sessions import SessionStore as Engine

    begun = Engine()
    begun["cart"] = 1
    begun.save()
    key = begun.session_key
    one, two = Engine(key), Engine(key)
    assert one["cart"] == two["cart"] == 1
    one["theme"], two["seen"] = "dark", (1, 2)
    one.save()
    two.save()
    found = Engine(key)
    assert dict(found.items()) == {"cart": 1, "theme": "dark", "seen": (1, 2)}
    found.cycle_key()
    assert found.session_key != key and not Engine().exists(key)
    late = Engine(found.session_key)
    late["late"] = late.get("cart")
    found.delete()
    with pytest.raises(UpdateError):
        late.save()
    assert not Engine().exists(str(late.session_key))


def test_rq_runs_a_job_once_at_a_time(client: Client) -> None:
    rq = framework("rq")
    from examples import rq_leader

    where = async_runs.where(client)
    url = (
        f"unix://{where['unix_socket_path']}"
        if "unix_socket_path" in where
        else f"redis://{where['host']}:{where['port']}/{where.get('db', 0)}"
    )
    with redis.Redis(**where) as plain:
        queue = rq.Queue("of-the-test", connection=plain)
        job = queue.enqueue(rq_leader.nightly, url)
        rq.SimpleWorker([queue], connection=plain).work(burst=True)
        first = int(plain.get("report") or 0)
        assert job.return_value() is True and first > 0
        other = Leader(client, "nightly", "another worker", ttl_seconds=30)
        other.campaign()
        again = queue.enqueue(rq_leader.nightly, url)
        rq.SimpleWorker([queue], connection=plain).work(burst=True)
        assert again.return_value() is False and other.token > first
        plain.unlink("report", *plain.scan_iter("rq:*"))


def test_a_session_store_is_shared_by_threads(client: Client) -> None:
    """As a WSGI server does it."""
    store = SessionStore(client, idle_seconds=60, absolute_seconds=60)
    sid, done = str(store.begin({})), list[bool]()
    threads = [
        threading.Thread(target=lambda n=number: done.append(store.save(sid, {str(n): n})))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(done) and len(store.load(sid).data) == 8  # type: ignore[union-attr]
