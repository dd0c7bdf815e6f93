"""One product: its page, from one cache entry, and the forms on it."""

import re
from collections.abc import Mapping
from typing import Any

from flask import Response, current_app, g, redirect, render_template, request, url_for
from werkzeug.exceptions import Conflict, NotFound

from demo.catalog import products, trials_views
from demo.catalog.answering import (
    ONE_PAGE,
    bp,
    catalog,
    checked_id,
    corner,
    looked_for,
    page,
    with_status,
)
from demo.catalog.api_views import change_product
from demo.catalog.cache_aside import Cached, CacheStatus
from demo.catalog.cached_catalog import cache_groups, changed_groups
from demo.catalog.products import CATEGORIES, Change, Product, ProductPage, Related
from demo.teach import pull_the_plug
from demo.web import flash_cookie
from demo.web.formats import ms
from demo.web.public import closed, refuse_shared_change
from demo.web.validation import Invalid

PRICE = re.compile(r"(?P<euros>[0-9]{1,7})(?:[.,](?P<cents>[0-9]{1,2}))?")


@bp.get("/products/<product_id>")
def product(product_id: str) -> Response:
    """One product's page."""
    number = checked_id(product_id)
    cached = looked_for() or _read(number)
    if cached.value is None:
        body = render_template("catalog/missing.html", cached=cached, product_id=number)
        return with_status(Response(body, 404), cached)
    if done := flash_cookie.take("dropped"):
        g.effect = _effect(str(done), cached)
    trial = trials_views.shown()
    if trial:
        g.setdefault("parts", {})["trial"] = trial
    return page(cached, "catalog/_product_lessons.html", cache_groups(number), ONE_PAGE)


@bp.post("/products/<product_id>/price")
def set_price(product_id: str) -> Any:
    """The form that edits a price: writes, then invalidates."""
    refuse_shared_change()
    number = checked_id(product_id)
    given = request.form.get("price", "")
    try:
        change = Change(price_cents=_cents(given))
    except Invalid as error:
        found = catalog().load_page(number)
        if found is None:
            raise NotFound("This product does not exist.") from None
        return Response(draw_product(found, errors=error.errors, given=given), 422)
    changed, told = change_product(number, change)
    euros = current_app.jinja_env.filters["euros"]
    return _written(
        number,
        f"The price is now {euros(changed.price_cents)}, in version {changed.version}.",
        told,
    )


@bp.post("/products/<product_id>/buy")
def buy(product_id: str) -> Any:
    """Takes one from the stock: a write, so the cached page goes."""
    refuse_shared_change()
    number = checked_id(product_id)
    bought, told = catalog().take_one(number)
    if bought is None:
        if catalog().load_page(number) is None:
            raise NotFound("This product does not exist.")
        raise Conflict("This product is sold out. Nothing was bought.")
    return _written(number, f"You bought one. {bought.stock} left.", told)


@bp.post("/products/<product_id>/drop")
def drop(product_id: str) -> Any:
    """Invalidates one product's answers by hand."""
    refuse_shared_change()
    number = checked_id(product_id)
    dropped = catalog().drop_product(number, corner(), request.script_root)
    if not dropped:
        return back(number, "The page was not in the cache.")
    return back(number, "The cached page is invalidated.", "You invalidated the cached page")


def _read(number: int) -> Any:
    cached = pull_the_plug.current().strategy != "none"
    below = request.script_root
    return catalog().product(number, draw_product, corner=corner(), below=below, cached=cached)


def draw_product(
    found: ProductPage, errors: Mapping[str, str] | None = None, given: str = ""
) -> str:
    """The page, with what is wrong with a price that was `given`."""
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
        closed=closed(),
    )


def draw_frame() -> str:
    """The page of a product that is none: what the pages of all have in common."""
    related = tuple(Related(n, "", 0, products.image_url(n)) for n in products.block_of(1))
    product = Product(1, "", "", "", next(iter(CATEGORIES)), 0, 1, 1, products.image_url(1))
    return draw_product(ProductPage(product, related[1:]))


def _cents(text: str) -> int:
    price = PRICE.fullmatch(text.strip())
    cents = int(price["euros"]) * 100 + int((price["cents"] or "0").ljust(2, "0")) if price else -1
    if not 0 <= cents <= products.MAX_PRICE_CENTS:
        most = f"{products.MAX_PRICE_CENTS // 100:,}".replace(",", "\u202f")
        raise Invalid(
            {
                "price": f"Price: enter an amount from 0 to {most} with at most two decimals, such as 38.50."
            }
        )
    return cents


def _written(number: int, message: str, told: bool) -> Any:
    """After a write. With write-through chosen, puts the new page into the cache at once."""
    done = ""
    if not told:
        message += " Redis is away, so cached pages may show the old version until it is back."
    elif pull_the_plug.current().strategy == "write-through":
        _read(number)
        message += " The new page is already in the cache."
    else:
        done = "The write invalidated the cached page"
    response = back(number, message, done)
    response.headers["Cache-Group-Invalidation"] = changed_groups(number)
    return response


def _effect(done: str, cached: Cached[Any]) -> str:
    """What a drop has led to, by what the next reader met."""
    took = f"{ms(cached.load_ms)} ms"
    if cached.status in (CacheStatus.MISS, CacheStatus.EXPIRED):
        return f"{done}. You were the next reader and loaded it again in {took}."
    if cached.status == CacheStatus.HIT:
        return f"{done}. Another reader loaded it again before you, in {took}."
    return f"{done}. This page was read from the database in {took}."


def back(number: int, message: str, done: str = "") -> Any:
    """To the product's page, with a message that is shown once; of what was `done` to its entry the
    page tells the effect."""
    response = redirect(url_for("catalog.product", product_id=number), 303)
    flash_cookie.put(response, "message", message)
    if done:
        flash_cookie.put(response, "dropped", done)
    return response
