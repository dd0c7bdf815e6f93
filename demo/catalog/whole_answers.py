"""Products before Flask is asked: the page for who has no cookie but a session's, the JSON for
anybody."""

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from flask import Flask

from demo.catalog import products
from demo.catalog.answering import HTML, JSON, ONE_JSON, ONE_PAGE, whole
from demo.catalog.cached_catalog import CachedCatalog, cache_groups
from demo.catalog.filled_answers import Filled, Filling
from demo.catalog.products import ProductPage
from demo.client import shared_trip
from demo.observe.trace import ENDPOINT, current_trace, resume_trace
from demo.teach import pull_the_plug
from demo.web.before_flask import OUTCOME, Whole, Window
from demo.web.dictionaries import Dictionaries
from demo.web.services import services

PATH = re.compile(r"/catalog/(?P<api>api/)?products/(?P<id>[1-9][0-9]{0,9})")


def window(app: Flask, catalog: CachedCatalog, draw: Callable[[ProductPage], str]) -> Window:
    """The window through which these are answered."""
    shown, filled = bool(app.config["XRAY"]), Filled(app)
    dictionaries = services(app).parts.get(Dictionaries)
    timeout_ms = 1000 * app.config["REDIS_TIMEOUT_SECONDS"]

    def look(environ: dict[str, Any]) -> Callable[[], Whole | None] | None:
        number, json = _asked(environ["PATH_INFO"])
        if not number:
            return None
        query, cookies = environ.get("QUERY_STRING"), environ.get("HTTP_COOKIE")
        if json:
            anybodys = not query and f"{pull_the_plug.COOKIE}=" not in (cookies or "")
        else:
            bare = query == "xray=0" or not (query or shown)
            anybodys = bare and cookies is None
            if not anybodys and (bare or not query):
                filling = filled.prepare(environ, xray=not bare)
                return partial(answer, environ, number, False, filling) if filling else None
        return partial(answer, environ, number, json) if anybodys else None

    def answer(
        environ: dict[str, Any], number: int, json: bool, filling: Filling | None = None
    ) -> Whole | None:
        begun = current_trace()
        assert begun
        xray = bool(filling and filling[1])
        begun.detailed, begun.timeout_ms = xray, timeout_ms

        def draw_in_context(page: ProductPage) -> str:
            held = shared_trip.offered.get()
            with app.request_context(environ):
                drawn = draw(page)
            resume_trace(begun, detailed=xray)  # which ended with the context, as what was offered
            shared_trip.offered.set(held)
            return drawn

        below = environ.get("SCRIPT_NAME", "")
        try:
            cached = (
                catalog.products_json([number], below=below)[number]
                if json
                else catalog.product(number, draw_in_context, below=below)
            )
            environ[OUTCOME], environ[ENDPOINT] = (
                cached,
                "catalog.api.get_product" if json else "catalog.product",
            )
            groups = cache_groups(number)
            if filling:
                return filled.answer(environ, filling, cached, begun, groups)
            if cached.value is None:
                return None
            if json:
                return whole(environ, cached, JSON, groups, ONE_JSON)
            return whole(environ, cached, HTML, groups, ONE_PAGE, dictionaries)
        except Exception as error:  # raised again where Flask handles it
            environ[OUTCOME] = error
            return None

    return look


@lru_cache(maxsize=4096)
def _asked(path: str) -> tuple[int, bool]:
    """The product that a path names, 0 for none, and whether as JSON."""
    found = PATH.fullmatch(path)
    if found is None or int(found["id"]) > products.MAX_ID:
        return 0, False
    return int(found["id"]), bool(found["api"])
