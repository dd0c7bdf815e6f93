"""The catalog: its lists, each from one cache entry, its pictures, and how it is put together."""

import math
from functools import partial
from typing import Any

import click
from flask import (
    Flask,
    Response,
    redirect,
    render_template,
    request,
    url_for,
)
from redis.exceptions import RedisClusterException, RedisError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import NotFound, ServiceUnavailable

from demo import limits
from demo.catalog import (
    api_views,
    encryption_views,
    hashes_views,
    lesson_invalidation,
    lesson_pros,
    lesson_recipe,
    lesson_sensitive,
    lesson_serialization,
    lesson_stale_set,
    lesson_stampede,
    lesson_strategies,
    lesson_structures,
    lesson_ttl,
    pictures,
    product_views,
    products,
    seed,
    serializers_views,
    show_me,
    strategies_views,
    trials_views,
    whole_answers,
)
from demo.catalog.answering import (
    bp,
    catalog,
    checked_id,
    corner,
    is_integer,
    known_category,
    page,
)
from demo.catalog.api_views import read_words
from demo.catalog.cache_aside import Busy
from demo.catalog.cached_catalog import NEAR_PREFIX, CachedCatalog, Words, list_groups
from demo.catalog.near_cache import NearCache
from demo.catalog.products import CATEGORIES, PAGE_SIZE, Listing
from demo.config import ConfigError
from demo.observe import metrics
from demo.teach import home, sketches
from demo.teach.busy_runner import Errand
from demo.web import errors, flash_cookie
from demo.web.dictionaries import Dictionaries
from demo.web.freshness import no_vary_search
from demo.web.public import closed, refuse_shared_change
from demo.web.services import Services, get_database

STEPS = show_me.STEPS
LESSONS = {
    "recipe": lesson_recipe.EXPERIMENT,
    "pros": lesson_pros.EXPERIMENT,
    "ttl": lesson_ttl.EXPERIMENT,
    "invalidation": lesson_invalidation.EXPERIMENT,
    "stale-set": lesson_stale_set.EXPERIMENT,
    "stampede": lesson_stampede.EXPERIMENT,
    "strategies": lesson_strategies.EXPERIMENT,
    "structures": lesson_structures.EXPERIMENT,
    "serialization": lesson_serialization.EXPERIMENT,
    "sensitive": lesson_sensitive.EXPERIMENT,
}
TITLE = "Catalog"
LABS = (
    (
        "catalog.lab.index",
        "Five strategies",
        "One workload with a failure in the middle: what each strategy costs, serves stale and loses.",
    ),
    (
        "catalog.serializers.index",
        "Serialization",
        "Bytes, time and types of JSON, MessagePack and pickle, and what a hostile pickle can do.",
    ),
    (
        "catalog.hashes.index",
        "Strings and hashes",
        "One product as a string and as a hash: time to read and change it, and memory.",
    ),
    (
        "catalog.encryption.index",
        "Encrypted cache",
        "A profile encrypted field by field, with key rotation, where each ciphertext fits only its own place.",
    ),
)
# What this use case sends itself; what its scripts run is read from them.
NEEDS = """
DEL EXPIRE GET HDEL HGET HGETALL HINCRBY HSET MGET PEXPIRE PTTL SET UNLINK XADD XAUTOCLAIM
XGROUP|CREATE XLEN XPENDING XREADGROUP
"""
PAGES = no_vary_search("category", "q", "page", "xray")
bp.register_blueprint(api_views.bp)
bp.register_blueprint(trials_views.bp)
bp.register_blueprint(strategies_views.bp)
bp.register_blueprint(serializers_views.bp)
bp.register_blueprint(hashes_views.bp)
bp.register_blueprint(encryption_views.bp)


def init(app: Flask, services: Services) -> None:
    """Makes the catalog where there is none, and the cache before it."""
    config, client = app.config, services.redis
    if config["NEAR_CACHE"] and hasattr(client, "get_node_from_key"):
        raise ConfigError(
            "DEMO_NEAR_CACHE works with one server or behind Sentinel, not with a cluster."
        )
    seed.seed(services.database.engine, config["PRODUCTS"])
    near = NearCache(client, NEAR_PREFIX) if config["NEAR_CACHE"] else None
    made = CachedCatalog(
        client,
        services.database,
        ttl_seconds=config["CATALOG_TTL_SECONDS"],
        stale_seconds=config["CATALOG_STALE_SECONDS"],
        schema=services.look[:12] + str(int(bool(config["PUBLIC"] or config["API_KEY"]))),
        near=near,
        late=lambda: services.background.wake("outbox"),
        counted=partial(metrics.count, metrics.CACHE_OUTCOMES, "catalog"),
    )
    services.keep(made)
    services.background.elect("outbox", made.deliverer.step, lead="sampler")
    services.told_again.again.append(made.deliverer.again)

    def look_up() -> None:
        try:
            metrics.OUTBOX_PENDING.set(made.untold())
        except SQLAlchemyError:
            metrics.OUTBOX_PENDING.set(math.nan)

    services.before_scrape.append(look_up)
    services.sums.ask["catalog"] = made.lookups
    if near:
        services.closing.callback(near.close)
    if config["SHARED_DICTIONARIES"]:
        covers, page = f"{bp.url_prefix}/", f"{bp.url_prefix}/products/1"
        services.keep(Dictionaries(app, covers, page, product_views.draw_frame))
    if not any(
        limits.covering(config["RATE_LIMITS"], name)[1]
        for name in ("catalog.product", "catalog.api.get_product")
    ):
        services.before_flask.windows.append(
            whole_answers.window(app, made, product_views.draw_product)
        )
    app.register_blueprint(bp)


@bp.app_errorhandler(Busy)
def busy(_: Busy) -> Response:
    """A reader has waited long enough: better to come back than to add to what makes the database
    slow."""
    return errors.answer(
        ServiceUnavailable("The database is too slow now. Nothing was changed. Try again.")
    )


def errands() -> list[Errand]:
    """What simulated visitors look at."""
    return [Errand("/catalog/products/{product}", 40), Errand("/catalog/", 8)]


def card(told: tuple[int, int] | None) -> tuple[str, str, str]:
    """The home page's figure and picture."""
    served, loaded, scope = home.scoped(told, catalog().lookups())
    if not served + loaded:
        return f"Hit ratio, {scope}", "no reads yet", ""
    share = served / (served + loaded)
    return f"Hit ratio, {scope}", f"{100 * share:.0f} %", sketches.meter(share)


@bp.get("/")
def index() -> Response:
    """A list of products by category, words and page."""
    page_text = request.args.get("page", "1")
    number = (
        min(max(int(page_text), 1), products.MAX_ID // PAGE_SIZE) if is_integer(page_text) else 1
    )
    words = read_words({"limit": PAGE_SIZE, "offset": (number - 1) * PAGE_SIZE})
    draw = partial(_draw_list, words, number)
    cached = catalog().listing(words, "html", draw, corner=corner(), below=request.script_root)
    if cached.value is None:
        raise NotFound("This page of the list does not exist.")
    return page(cached, "catalog/_list_lessons.html", list_groups(words.category), PAGES)


@bp.get("/images/<int:product_id>.svg")
def image(product_id: int) -> Response:
    """The product's picture."""
    if not 1 <= product_id <= products.MAX_ID:
        raise NotFound("This picture does not exist.")
    response = Response(pictures.draw(product_id), mimetype="image/svg+xml")
    response.cache_control.public = True
    response.cache_control.max_age = 86_400
    return response


@bp.post("/drop")
def drop_category() -> Any:
    """Invalidates by hand everything that shows a category; back to the product that asked, or to
    the list."""
    refuse_shared_change()
    category = known_category(request.form.get("category", ""))
    catalog().drop_category(category)
    text = request.form.get("product", "")
    if text:
        return product_views.back(
            checked_id(text), "Every cached page and list of this category is invalidated."
        )
    response = redirect(url_for("catalog.index", category=category or None), 303)
    flash_cookie.put(response, "message", "Every cached list of this category is invalidated.")
    return response


@bp.cli.command("seed", help="Create products until the catalog has N.")
@click.option(
    "--products", "wanted", type=click.IntRange(1, 5_000_000), default=10_000, show_default=True
)
def seed_command(wanted: int) -> None:
    """Makes more products; those that are there stay as they are."""
    with click.progressbar(length=wanted, label="Products") as bar:
        made = seed.seed(get_database().engine, wanted, bar.update)
        bar.update(wanted - made)
    try:
        catalog().drop_all_lists()
    except (RedisError, RedisClusterException):
        click.echo("Redis is away. Cached lists show the new products after they expire.")
    click.echo(f"{made} products created. The catalog has at least {wanted}.")


def _draw_list(words: Words, number: int, listing: Listing) -> bytes | None:
    if number > 1 and not listing.products:
        return None
    return render_template(
        "catalog/index.html",
        listing=listing,
        words=words,
        page=number,
        page_size=PAGE_SIZE,
        categories=CATEGORIES,
        closed=closed(),
    ).encode()
