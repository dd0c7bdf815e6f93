"""Catalog pages and their JSON twins, each from one cache entry."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import click
import msgspec
from flask import Blueprint, Response, current_app, redirect, render_template, request, url_for
from flask.blueprints import BlueprintSetupState
from redis.exceptions import RedisError
from werkzeug.exceptions import Conflict, NotFound

from demo import oneshot, source
from demo.catalog import pictures, products, seed
from demo.catalog.cache_aside import Cache, Cached, CacheStatus
from demo.catalog.products import CATEGORIES, PAGE_SIZE, Change, Product
from demo.catalog.shelf import Shelf, Words
from demo.database import get_database
from demo.validation import Invalid, read_json, read_query

TITLE = "Catalog"
HERE = Path(__file__).parent
PRICE = re.compile(r"(?P<euros>[0-9]{1,7})(?:[.,](?P<cents>[0-9]{1,2}))?")
bp = Blueprint("catalog", __name__, url_prefix="/catalog", cli_group=None)


class Invalidation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be dropped by hand: one product's page, or every list that shows a category."""

    product: Annotated[int, msgspec.Meta(ge=1, le=products.MAX_ID)] | None = None
    category: str | None = None


@bp.record_once
def prepare(state: BlueprintSetupState) -> None:
    """Makes the catalog where there is none, and the caches."""
    config = state.app.config
    seed.seed(state.app.extensions["database"].engine, config["PRODUCTS"])
    shelf = Shelf(state.app.extensions["redis"], state.app.extensions["database"], ttl_seconds=config["CATALOG_TTL_SECONDS"])
    state.app.extensions["shelf"] = shelf
    state.app.extensions["closers"].append(shelf.deliverer.close)
    shelf.deliverer.kick()  # what a process that was killed has left


def card() -> tuple[str, str]:
    """The home page's figure."""
    outcomes = _shelf().outcomes
    asked = sum(outcomes.values()) - outcomes["BYPASS"]
    served = outcomes["HIT"] + outcomes["NEGATIVE"]
    return "Hit ratio, this worker", f"{100 * served / asked:.0f} %" if asked else "no visit yet"


@bp.get("/")
def index() -> Response:
    """A list of products by category, words and page."""
    page_text = request.args.get("page", "1")
    page = min(max(int(page_text), 1), products.MAX_ID // PAGE_SIZE) if _is_integer(page_text) else 1
    words = _words({"limit": PAGE_SIZE, "offset": (page - 1) * PAGE_SIZE})
    cached = _shelf().listing(words)
    listing = cached.value
    assert listing is not None
    if page > 1 and not listing.products:
        raise NotFound("This list has no such page.")
    body = render_template(
        "catalog/index.html",
        cached=cached,
        listing=listing,
        words=words,
        page=page,
        page_size=PAGE_SIZE,
        categories=CATEGORIES,
    )
    return _with_status(Response(body), cached)


@bp.get("/products/<product_id>")
def product(product_id: str) -> Response:
    """One product's page."""
    return _product_page(_product_id(product_id), 200)


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
    number = _product_id(product_id)
    given = request.form.get("price", "")
    try:
        change = Change(price_cents=_cents(given))
    except Invalid as error:
        return _product_page(number, 422, errors=error.errors, given=given)
    changed, told = _changed(number, change)
    return _back(number, f"Price changed to {_shown(changed.price_cents)}; this is version {changed.version}.", told)


@bp.post("/products/<product_id>/buy")
def buy(product_id: str) -> Any:
    """Takes one from the stock: a write, so the cached page goes."""
    number = _product_id(product_id)
    bought, told = _shelf().take_one(number)
    if bought is None:
        raise Conflict("It is sold out, or there is no such product.")
    return _back(number, f"Bought. {bought.stock} left.", told)


@bp.post("/products/<product_id>/drop")
def drop(product_id: str) -> Any:
    """Invalidates one product's page by hand."""
    number = _product_id(product_id)
    dropped = _shelf().drop_page(number)
    return _back(number, "Dropped from the cache." if dropped else "It was not in the cache.", True)


@bp.post("/drop")
def drop_lists() -> Any:
    """Invalidates by hand every list that shows a category."""
    category = request.form.get("category", "")
    _shelf().drop_lists(*filter(None, [_known_category(category)]))
    response = redirect(url_for("catalog.index", category=category or None), 303)
    oneshot.put(response, "message", "Every cached list of this category is out of date now.")
    return response


@bp.get("/api/products")
def list_products() -> Response:
    """A list as JSON."""
    words = _words({})
    cached = _shelf().listing(words)
    assert cached.value is not None
    body = {"products": cached.value.products, "total": cached.value.total, "limit": words.limit, "offset": words.offset}
    return _json(body, cached)


@bp.get("/api/products/<product_id>")
def get_product(product_id: str) -> Response:
    """One product as JSON."""
    cached = _shelf().page(_product_id(product_id))
    if cached.value is None:
        raise NotFound("There is no such product.")
    return _json(cached.value.product, cached)


@bp.patch("/api/products/<product_id>")
def patch_product(product_id: str) -> Response:
    """Changes a product; the answer is sent when no reader can get the old one from the cache any more."""
    number = _product_id(product_id)
    change = read_json(Change)
    if all(value is msgspec.UNSET for value in msgspec.structs.asdict(change).values()):
        raise Invalid({"body": "name, description, price_cents or stock: at least one of them"})
    for field in ("name", "description"):
        text = getattr(change, field)
        if isinstance(text, str) and ("\x00" in text or not text.strip()):
            raise Invalid({field: "has to hold a visible character and no NUL"})
    changed, told = _changed(number, change)
    response = Response(msgspec.json.encode(changed), mimetype="application/json")
    if not told:
        response.headers["Cache-Status"] = 'catalog; detail="invalidation pending"'
    return response


@bp.post("/api/invalidations")
def invalidate() -> dict[str, int]:
    """Drops by hand: `{"product": id}` or `{"category": slug}`."""
    what = read_json(Invalidation)
    if (what.product is None) == (what.category is None):
        raise Invalid({"body": "either product or category"})
    if what.product is not None:
        return {"invalidated": _shelf().drop_page(what.product)}
    _shelf().drop_lists(_known_category(what.category or "?"))
    return {"invalidated": 1}


@bp.cli.command("seed", help="Make products until there are N.")
@click.option("--products", "wanted", type=click.IntRange(1, 5_000_000), default=10_000, show_default=True)
def seed_command(wanted: int) -> None:
    """Makes more products; those that are there stay as they are."""
    with click.progressbar(length=wanted, label="Products") as bar:
        made = seed.seed(get_database().engine, wanted, bar.update)
        bar.update(wanted - made)
    try:
        _shelf().drop_all_lists()
    except RedisError:
        click.echo("Redis is away: cached lists show the new products when they expire.")
    click.echo(f"{made} made, {wanted} or more are there.")


def _shelf() -> Shelf:
    shelf: Shelf = current_app.extensions["shelf"]
    return shelf


def _words(fixed: Mapping[str, int]) -> Words:
    words = read_query(Words)
    words = msgspec.structs.replace(words, q=" ".join(words.q.split()), category=_known_category(words.category), **fixed)
    if not words.q.isprintable():
        raise Invalid({"q": "no control characters"})
    return words


def _known_category(slug: str) -> str:
    if slug and slug not in CATEGORIES:
        raise Invalid({"category": "one of " + ", ".join(CATEGORIES)})
    return slug


def _product_id(text: str) -> int:
    if not _is_integer(text) or not 1 <= int(text) <= products.MAX_ID:
        raise NotFound("There is no such product.")
    return int(text)


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii() and len(text) <= 12


def _cents(text: str) -> int:
    price = PRICE.fullmatch(text.strip())
    cents = int(price["euros"]) * 100 + int((price["cents"] or "0").ljust(2, "0")) if price else -1
    if not 0 <= cents <= products.MAX_PRICE_CENTS:
        most = f"{products.MAX_PRICE_CENTS // 100:,}".replace(",", "\u202f")
        raise Invalid({"price": f"Price: an amount from 0 to {most} with at most two decimals, such as 38.50."})
    return cents


def _changed(product_id: int, change: Change) -> tuple[Product, bool]:
    changed, told = _shelf().change(product_id, change)
    if changed is None:
        raise NotFound("There is no such product.")
    return changed, told


def _product_page(product_id: int, status: int, errors: Mapping[str, str] | None = None, given: str = "") -> Response:
    cached = _shelf().page(product_id)
    if cached.value is None:
        body = render_template("catalog/missing.html", cached=cached, product_id=product_id)
        return _with_status(Response(body, 404), cached)
    listings = [source.of_function(Cache.get_or_load), source.of_file(HERE / "cache_aside.lua")]
    body = render_template(
        "catalog/product.html",
        cached=cached,
        product=cached.value.product,
        related=cached.value.related,
        category=CATEGORIES[cached.value.product.category],
        errors=errors or {},
        given=given,
        latency_ms=current_app.config["DB_LATENCY_MS"],
        ttl_seconds=current_app.config["CATALOG_TTL_SECONDS"],
        key=_shelf().pages.redis_key(str(product_id)),
        listings=listings,
    )
    return _with_status(Response(body, status), cached)


def _json(body: Any, cached: Cached[Any]) -> Response:
    response = Response(msgspec.json.encode(body), mimetype="application/json")
    response.add_etag()
    _with_status(response, cached).make_conditional(request)
    return response


def _with_status(response: Response, cached: Cached[Any]) -> Response:
    """Adds Cache-Status (RFC 9211)."""
    words = {
        CacheStatus.HIT: f"hit; ttl={cached.ttl_seconds:.0f}",
        CacheStatus.NEGATIVE: f"hit; ttl={cached.ttl_seconds:.0f}; detail=negative",
        CacheStatus.MISS: "fwd=miss; stored" if cached.ttl_seconds else "fwd=miss",
        CacheStatus.BYPASS: "fwd=bypass",
    }[cached.status]
    response.headers["Cache-Status"] = f"catalog; {words}{'; collapsed' if cached.collapsed else ''}"
    return response


def _back(product_id: int, message: str, told: bool) -> Any:
    if not told:
        message += " Redis is away: cached pages may show the old one until it is back."
    response = redirect(url_for("catalog.product", product_id=product_id), 303)
    oneshot.put(response, "message", message)
    return response


def _shown(cents: int) -> str:
    return f"€ {cents / 100:.2f}"
