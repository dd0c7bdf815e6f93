"""The catalog as JSON."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import NotFound

from demo.catalog import products
from demo.catalog.answering import (
    JSON,
    ONE_JSON,
    catalog,
    checked_id,
    corner,
    deliver,
    is_integer,
    known_category,
    looked_for,
    with_status,
)
from demo.catalog.cache_aside import CacheStatus
from demo.catalog.cached_catalog import (
    Words,
    cache_groups,
    changed_groups,
    list_groups,
    placed,
    represent,
)
from demo.catalog.products import Change, Listing, Product, Stored
from demo.catalog.rendered import render
from demo.web import preconditions
from demo.web.documented import documented
from demo.web.freshness import no_vary_search
from demo.web.public import refuse_without_key
from demo.web.validation import Invalid, read_json, read_query

MOST_IDS = 24
PRODUCT = {"product_id": "42"}
GROUPS = "Cache-Group-Invalidation"  # RFC 9875
LISTS = no_vary_search("category", "ids", "limit", "offset", "q")
bp = Blueprint("api", __name__, url_prefix="/api", cli_group=None)


class Query(Words, frozen=True):
    """What a list can be asked for, or else its `ids`."""

    ids: (
        Annotated[str, msgspec.Meta(description=f"1 to {MOST_IDS} ids, with commas between them")]
        | None
    ) = None


class ProductList(msgspec.Struct, frozen=True):
    """Products; by `ids` those alone, without the other fields."""

    products: list[Product]
    total: int | msgspec.UnsetType = msgspec.UNSET
    limit: int | msgspec.UnsetType = msgspec.UNSET
    offset: int | msgspec.UnsetType = msgspec.UNSET


class Dropped(msgspec.Struct, frozen=True):
    """How many answers were dropped."""

    invalidated: int


class Invalidation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be dropped by hand: one product's answers, or everything that shows a category."""

    product: Annotated[int, msgspec.Meta(ge=1, le=products.MAX_ID)] | None = None
    category: str | None = None


@bp.get("/products")
@documented(query=Query, answer=ProductList, errors=(503,))
def list_products() -> Response:
    """A list of products by category and words, or the existing products of `ids`."""
    if "ids" in request.args:
        return _by_ids(request.args["ids"])
    words = read_words({})

    def draw(listing: Listing) -> bytes:
        total, limit, offset = listing.total, words.limit, words.offset
        shown = [placed(product, below) for product in listing.products]
        return msgspec.json.encode(
            {"products": shown, "total": total, "limit": limit, "offset": offset}
        )

    below = request.script_root
    cached = catalog().listing(words, "json", draw, corner=corner(), below=below)
    return deliver(cached, JSON, list_groups(words.category), LISTS)


@bp.get("/products/<product_id>")
@documented(answer=Product, path=PRODUCT, errors=(404, 503))
def get_product(product_id: str) -> Response:
    """One product."""
    number = checked_id(product_id)
    below = request.script_root
    cached = looked_for() or catalog().products_json([number], corner=corner(), below=below)[number]
    if cached.value is None:
        raise NotFound("This product does not exist.")
    return deliver(cached, JSON, cache_groups(number), ONE_JSON)


@bp.patch("/products/<product_id>")
@preconditions.checked_by_view
@documented(
    body=Change,
    answer=Product,
    path=PRODUCT,
    example=Change(price_cents=3850),
    errors=(400, 404, 413, 503),
)
def patch_product(product_id: str) -> Response:
    """Changes a product. The answer is sent when the cache can no longer return the old
    product."""
    refuse_without_key()
    number = checked_id(product_id)
    change = read_json(Change)
    if all(value is msgspec.UNSET for value in msgspec.structs.asdict(change).values()):
        raise Invalid(
            {"body": "at least one of name, description, price_cents and stock is required"}
        )
    for field in ("name", "description"):
        given = getattr(change, field)
        if isinstance(given, str) and ("\x00" in given or not given.strip()):
            raise Invalid({field: "must contain a visible character and no NUL"})
    changed, told = change_product(number, change, _as_the_client_says())
    shown = render(msgspec.json.encode(placed(changed, request.script_root)))
    response = Response(shown.plain, mimetype="application/json")
    response.headers["ETag"] = shown.etag(gzipped=False)
    response.headers[GROUPS] = changed_groups(number)
    response.headers["Content-Location"] = request.script_root + request.path
    if not told:
        response.headers["Cache-Status"] = 'catalog; detail="invalidation pending"'
    return response


@bp.post("/invalidations")
@documented(body=Invalidation, answer=Dropped, example={"product": 42}, errors=(400, 413, 503))
def invalidate() -> tuple[dict[str, int], dict[str, str]]:
    """Invalidates cached pages: `{"product": id}` or `{"category": slug}`."""
    refuse_without_key()
    what = read_json(Invalidation)
    if (what.product is None) == (what.category is None):
        raise Invalid({"body": "either product or category"})
    if what.product is not None:
        dropped = catalog().drop_product(what.product, below=request.script_root)
        return {"invalidated": dropped}, {GROUPS: f'"product-{what.product}"'}
    category = known_category(what.category or "?")
    catalog().drop_category(category)
    return {"invalidated": 1}, {GROUPS: f'"category-{category}", "list-all"'}


def change_product(
    number: int, change: Change, allowed: Callable[[Stored], None] | None = None
) -> tuple[Product, bool]:
    """Writes a change, if it is allowed; whether the caches could be told. Raises NotFound."""
    changed, told = catalog().change(number, change, allowed)
    if changed is None:
        raise NotFound("This product does not exist.")
    return changed, told


def _as_the_client_says() -> Callable[[Stored], None] | None:
    """What refuses a change of another state of the product than the one that it is meant for."""
    required = current_app.config["PRECONDITION_REQUIRED"]
    if not (required or preconditions.are_given()):
        return None

    def check(before: Stored) -> None:
        if required:
            preconditions.demand()
        shown = represent(before, request.script_root)
        etags = [shown.etag(gzipped=gzipped) for gzipped in (False, True)]
        preconditions.check_change(etags, before.written_at)

    return check


def read_words(fixed: dict[str, int]) -> Words:
    """What a list is asked for, from the query. Raises Invalid."""
    words = read_query(Words)
    changes: dict[str, Any] = {
        "q": " ".join(words.q.split()),
        "category": known_category(words.category),
        **fixed,
    }
    words = msgspec.structs.replace(words, **changes)
    for character in words.q:  # a joiner is a part of words
        if not (character.isprintable() or character in "\u200c\u200d"):
            raise Invalid({"q": f"U+{ord(character):04X} cannot be searched for"})
    return words


def _by_ids(text: str) -> Response:
    numbers = text.split(",")
    if (
        not all(is_integer(number) and 1 <= int(number) <= products.MAX_ID for number in numbers)
        or len(numbers) > MOST_IDS
    ):
        raise Invalid({"ids": f"1 to {MOST_IDS} ids, with commas between them"})
    wanted = list(dict.fromkeys(map(int, numbers)))
    answers = catalog().products_json(wanted, corner=corner(), below=request.script_root)
    found = [
        msgspec.Raw(cached.value.plain) for cached in answers.values() if cached.value is not None
    ]
    response = Response(msgspec.json.encode({"products": found}), mimetype="application/json")
    response.headers["Cache-Groups"] = ", ".join(f'"product-{number}"' for number in wanted)
    worst = max(answers.values(), key=lambda cached: list(CacheStatus).index(cached.status))
    return with_status(response, worst)
