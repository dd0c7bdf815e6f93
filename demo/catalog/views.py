"""Catalog pages, each from one cache entry, and the forms that change what they show."""

import math
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import click
from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    g,
    redirect,
    render_template,
    request,
    url_for,
)
from redis.exceptions import RedisClusterException, RedisError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import Conflict, NotFound, ServiceUnavailable

from demo import limits
from demo.catalog import (
    api_views,
    encryption_views,
    hashes_views,
    pictures,
    products,
    seed,
    serializers_views,
    strategies_views,
    trials_views,
    whole_answers,
)
from demo.catalog.answering import (
    catalog,
    checked_id,
    corner,
    is_integer,
    known_category,
    looked_for,
    page,
    with_status,
)
from demo.catalog.api_views import change_product, read_words
from demo.catalog.cache_aside import Busy
from demo.catalog.cached_catalog import NEAR_PREFIX, CachedCatalog, Words
from demo.catalog.near_cache import NearCache
from demo.catalog.products import CATEGORIES, PAGE_SIZE, Change, Listing, ProductPage
from demo.config import ConfigError
from demo.observe import metrics
from demo.teach import pull_the_plug, sketches
from demo.web import errors, flash_cookie
from demo.web.services import Services, get_database
from demo.web.validation import Invalid

TITLE = "Catalog"
PRICE = re.compile(r"(?P<euros>[0-9]{1,7})(?:[.,](?P<cents>[0-9]{1,2}))?")
bp = Blueprint("catalog", __name__, url_prefix="/catalog", cli_group=None)
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
        schema=services.look,
        near=near,
        late=lambda: services.background.wake("outbox"),
        counted=lambda outcome: metrics.count(metrics.CACHE_OUTCOMES, "catalog", outcome),
    )
    services.keep(made)
    services.background.elect("outbox", made.deliverer.step)

    def look_up() -> None:
        try:
            metrics.OUTBOX_PENDING.set(made.untold())
        except SQLAlchemyError:
            metrics.OUTBOX_PENDING.set(math.nan)

    services.before_scrape.append(look_up)
    services.sums.ask["catalog"] = made.lookups
    if near:
        services.closing.callback(near.close)
    if not any(
        limits.covering(config["RATE_LIMITS"], name)[1]
        for name in ("catalog.product", "catalog.api.get_product")
    ):
        services.before_flask.windows.append(whole_answers.window(app, made, _draw_product))
    app.register_blueprint(bp)


@bp.app_errorhandler(Busy)
def busy(_: Busy) -> Response:
    """A reader has waited long enough: better to come back than to add to what makes the database
    slow."""
    return errors.answer(
        ServiceUnavailable("The database is too slow just now. Nothing was changed.")
    )


def card() -> tuple[str, str, str]:
    """The home page's figure and picture."""
    served, loaded = catalog().lookups()
    if not served + loaded:
        return "Hit ratio, this worker", "no visit yet", ""
    share = served / (served + loaded)
    return "Hit ratio, this worker", f"{100 * share:.0f} %", sketches.meter(share)


@bp.get("/")
def index() -> Response:
    """A list of products by category, words and page."""
    page_text = request.args.get("page", "1")
    number = (
        min(max(int(page_text), 1), products.MAX_ID // PAGE_SIZE) if is_integer(page_text) else 1
    )
    words = read_words({"limit": PAGE_SIZE, "offset": (number - 1) * PAGE_SIZE})
    cached = catalog().listing(words, "html", partial(_draw_list, words, number), corner=corner())
    if cached.value is None:
        raise NotFound("This list has no such page.")
    return page(cached, "catalog/_list_lessons.html")


@bp.get("/products/<product_id>")
def product(product_id: str) -> Response:
    """One product's page."""
    number = checked_id(product_id)
    cached = looked_for() or _read(number)
    if cached.value is None:
        body = render_template("catalog/missing.html", cached=cached, product_id=number)
        return with_status(Response(body, 404), cached)
    trial = trials_views.shown()
    if trial:
        g.setdefault("parts", {})["trial"] = trial
    return page(cached, "catalog/_product_lessons.html")


@bp.get("/images/<int:product_id>.svg")
def image(product_id: int) -> Response:
    """The product's picture."""
    if not 1 <= product_id <= products.MAX_ID:
        raise NotFound("There is no such picture.")
    response = Response(pictures.draw(product_id), mimetype="image/svg+xml")
    response.cache_control.public = True
    response.cache_control.max_age = 86_400
    return response


@bp.post("/products/<product_id>/price")
def set_price(product_id: str) -> Any:
    """The form that edits a price: writes, then invalidates."""
    number = checked_id(product_id)
    given = request.form.get("price", "")
    try:
        change = Change(price_cents=_cents(given))
    except Invalid as error:
        found = catalog().load_page(number)
        if found is None:
            raise NotFound("There is no such product.") from None
        return Response(_draw_product(found, errors=error.errors, given=given), 422)
    changed, told = change_product(number, change)
    euros = current_app.jinja_env.filters["euros"]
    return _written(
        number,
        f"Price changed to {euros(changed.price_cents)}; this is version {changed.version}.",
        told,
    )


@bp.post("/products/<product_id>/buy")
def buy(product_id: str) -> Any:
    """Takes one from the stock: a write, so the cached page goes."""
    number = checked_id(product_id)
    bought, told = catalog().take_one(number)
    if bought is None:
        if catalog().load_page(number) is None:
            raise NotFound("There is no such product.")
        raise Conflict("It is sold out.")
    return _written(number, f"Bought. {bought.stock} left.", told)


@bp.post("/products/<product_id>/drop")
def drop(product_id: str) -> Any:
    """Invalidates one product's answers by hand."""
    number = checked_id(product_id)
    dropped = catalog().drop_product(number, corner())
    return _back(number, "Dropped from the cache." if dropped else "It was not in the cache.")


@bp.post("/drop")
def drop_category() -> Any:
    """Invalidates by hand everything that shows a category; back to the product that asked, or to
    the list."""
    category = known_category(request.form.get("category", ""))
    catalog().drop_category(category)
    text = request.form.get("product", "")
    if text:
        return _back(
            checked_id(text), "Every cached page and list of this category is out of date now."
        )
    response = redirect(url_for("catalog.index", category=category or None), 303)
    flash_cookie.put(response, "message", "Every cached list of this category is out of date now.")
    return response


@bp.cli.command("seed", help="Make products until there are N.")
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
        click.echo("Redis is away: cached lists show the new products when they expire.")
    click.echo(f"{made} made, {wanted} or more are there.")


def _read(number: int) -> Any:
    cached = pull_the_plug.current().strategy != "none"
    return catalog().product(number, _draw_product, corner=corner(), cached=cached)


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
    ).encode()


def _draw_product(
    found: ProductPage, errors: Mapping[str, str] | None = None, given: str = ""
) -> str:
    return render_template(
        "catalog/product.html",
        product=found.product,
        related=found.related,
        category=CATEGORIES[found.product.category],
        errors=errors or {},
        given=given,
        latency_ms=current_app.config["DB_LATENCY_MS"],
        ttl_seconds=current_app.config["CATALOG_TTL_SECONDS"],
        readers=trials_views.READERS,
    )


def _cents(text: str) -> int:
    price = PRICE.fullmatch(text.strip())
    cents = int(price["euros"]) * 100 + int((price["cents"] or "0").ljust(2, "0")) if price else -1
    if not 0 <= cents <= products.MAX_PRICE_CENTS:
        most = f"{products.MAX_PRICE_CENTS // 100:,}".replace(",", "\u202f")
        raise Invalid(
            {
                "price": f"Price: an amount from 0 to {most} with at most two decimals, such as 38.50."
            }
        )
    return cents


def _written(number: int, message: str, told: bool) -> Any:
    """After a write; who has chosen write-through puts the new page into the cache at once."""
    if not told:
        message += " Redis is away: cached pages may show the old one until it is back."
    elif pull_the_plug.current().strategy == "write-through":
        _read(number)
        message += " The new page is in the cache already."
    return _back(number, message)


def _back(number: int, message: str) -> Any:
    response = redirect(url_for("catalog.product", product_id=number), 303)
    flash_cookie.put(response, "message", message)
    return response
