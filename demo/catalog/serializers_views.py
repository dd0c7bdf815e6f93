"""The lab of serialization: bytes, time and types, and what a hostile pickle would have done."""

import subprocess
from typing import Any

import msgspec
from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.exceptions import ServiceUnavailable

from demo.catalog import hostile_pickle, products, serializers
from demo.catalog.answering import is_integer
from demo.catalog.entry import Codec
from demo.catalog.products import PAGE_SIZE, Product
from demo.teach import labs, listing, waiting
from demo.teach.labs import TRIES, Lab, Run
from demo.web import flash_cookie
from demo.web.services import get_database

bp = Blueprint("serializers", __name__, url_prefix="/lab/serializers", cli_group=None)


@bp.get("/")
def index() -> Response:
    """Measures in this very request: the product that is asked for, else the list's first, and the
    list."""
    given = request.args.get("product")
    number = int(given) if given and is_integer(given) and 1 <= int(given) <= products.MAX_ID else 0
    with get_database().read() as connection:
        found = products.load_listing(connection, None, "", 0, PAGE_SIZE)
        if given is None and found.products:
            product: Product | None = found.products[0]
        else:
            product = products.load_products(connection, [number]).get(number)
    values: dict[str, Any] = {"One product": product} if product else {}
    values[f"A list of {len(found.products)}"] = found
    kept = serializers.what_is_kept()
    body = render_template(
        "catalog/serializers.html",
        product=product,
        given=given,
        tables={
            name: serializers.measure(msgspec.to_builtins(value)) for name, value in values.items()
        },
        formats=list(serializers.FORMATS),
        types={
            type_name: [each for each in kept if each.type == type_name]
            for type_name in serializers.SAMPLES
        },
        deed=flash_cookie.take("pickle"),
        disassembly=hostile_pickle.disassemble(),
        refused=_refused_by_ours(),
        listings=[
            listing.of_function(serializers.measure),
            listing.of_function(Codec.decode),
            listing.of_function(hostile_pickle.let_it_run),
        ],
    )
    return Response(body, 200 if product else 422)


@bp.post("/pickle")
def run_pickle() -> Any:
    """Lets the payload do its deed in a child with nothing to harm."""
    return waiting.enter(PICKLE)


def _let_it_run(_: str, __: Run) -> Any:
    try:
        deed = hostile_pickle.let_it_run()
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceUnavailable("The child process could not be started.") from error
    response = redirect(url_for("catalog.serializers.index", _anchor="pickle"), 303)
    flash_cookie.put(
        response, "pickle", {"file": deed.file, "content": deed.content, "error": deed.error}
    )
    return response


PICKLE = labs.add(
    Lab(
        "pickle",
        "Serialization",
        TRIES,
        _let_it_run,
        page=lambda *_: url_for("catalog.serializers.index"),
        kept=False,
        without_redis=True,
    )
)


def _refused_by_ours() -> str:
    """What this app's own decoder says to the same bytes."""
    try:
        msgspec.msgpack.decode(hostile_pickle.PAYLOAD, type=Product)
    except msgspec.MsgspecError as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("the decoder took a pickle for a product")
