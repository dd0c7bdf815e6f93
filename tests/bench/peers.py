"""The same product page the usual ways, in a stock Flask app: a constant, no cache, the common
recipe, Flask-Caching and dogpile.cache. All render the same template with the same data from the
same database."""

import json
import os
import time
from typing import Any

import jinja2
import msgspec
import redis
from dogpile.cache import make_region
from flask import Flask
from flask_caching import Cache
from sqlalchemy import create_engine

from demo.catalog import products
from demo.catalog.products import CATEGORIES
from demo.web.formats import size
from demo.web.templating import Unindented
from tests.servers import REPOSITORY

PRODUCT = 42


class Page:
    """Loads and renders product 42; each load waits `latency_ms` and is counted in Redis."""

    def __init__(self, database_url: str, client: redis.Redis, latency_ms: int) -> None:
        self.engine = create_engine(database_url)
        self.client, self.latency_ms = client, latency_ms
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(REPOSITORY / "templates"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[Unindented],
        )
        environment.filters.update(
            euros=lambda cents: f"€ {cents // 100}.{cents % 100:02}",
            ms=lambda value: f"{value:.1f}",
            number=str,
            bytes=size,
        )
        environment.globals.update(
            url_for=lambda endpoint, **values: "/".join(
                ["", endpoint.replace(".", "/"), *map(str, values.values())]
            ),
            nav=[("catalog.index", "Catalog"), ("sessions.index", "Sessions")],
            use_cases=("catalog", "sessions"),
            request={"endpoint": "catalog.product", "blueprint": "catalog"},
        )
        self.template = environment.get_template("catalog/product.html")

    def load(self) -> products.ProductPage:
        if self.latency_ms:
            self.client.incr("bench:loads")
            time.sleep(self.latency_ms / 1000)
        with self.engine.connect() as connection:
            found = products.load_page(connection, PRODUCT)
        assert found
        return found

    def render(self, found: products.ProductPage) -> str:
        return self.template.render(
            product=found.product,
            related=found.related,
            category=CATEGORIES[found.product.category],
            errors={},
            given="",
            latency_ms=0,
            ttl_seconds=60,
            readers=50,
        )


def make(url: str = "", database_url: str = "", latency_ms: int = 0, constant: str = "") -> Flask:
    """The app; without arguments it takes them from the environment, for gunicorn."""
    url, database_url = (
        url or os.environ["BENCH_REDIS_URL"],
        database_url or os.environ["BENCH_DATABASE_URL"],
    )
    latency_ms = latency_ms or int(os.environ.get("BENCH_LATENCY_MS", "0"))
    client = redis.Redis.from_url(url)
    page = Page(database_url, client, latency_ms)
    app = Flask("peers")
    app.secret_key = "bench"
    caching = Cache(
        app,
        config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url, "CACHE_DEFAULT_TIMEOUT": 60},
    )
    arguments = {
        "url": url,
        "redis_expiration_time": 60,
        "distributed_lock": True,
        "thread_local_lock": False,
    }
    region = make_region().configure("dogpile.cache.redis", expiration_time=60, arguments=arguments)
    local = make_region().configure(
        "dogpile.cache.redis", expiration_time=60, arguments={"url": url}
    )
    body = constant or os.environ.get("BENCH_CONSTANT") or page.render(page.load())

    @app.get("/constant")
    def constant_view() -> str:
        return body

    @app.get("/slow")
    def slow() -> str:
        time.sleep(latency_ms / 1000)
        return body

    @app.get("/none")
    def none() -> str:
        return page.render(page.load())

    @app.get("/recipe")
    def recipe() -> str:
        raw = client.get("bench:recipe")
        if raw is None:
            raw = msgspec.json.encode(page.load())
            client.set("bench:recipe", raw, ex=60)
        return page.render(msgspec.convert(json.loads(raw), products.ProductPage))

    @app.get("/flask-caching")
    @caching.cached()
    def flask_caching() -> str:
        return page.render(page.load())

    @app.get("/dogpile")
    def dogpile() -> str:
        found: Any = region.get_or_create("page", lambda: page.render(page.load()))
        return str(found)

    @app.get("/dogpile-local")
    def dogpile_local() -> str:
        found: Any = local.get_or_create("page-local", lambda: page.render(page.load()))
        return str(found)

    inner, data = app.wsgi_app, body.encode()

    def bytes_alone(environ: Any, start: Any) -> Any:
        if environ["PATH_INFO"] != "/bytes":
            return inner(environ, start)
        start("200 OK", [("Content-Length", str(len(data)))])
        return [data]

    app.wsgi_app = bytes_alone  # type: ignore[method-assign]
    return app
