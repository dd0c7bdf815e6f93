"""What a visitor can try on a product page: a stampede, and ids that are not there."""

import secrets
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import msgspec
from flask import (
    Blueprint,
    Response,
    after_this_request,
    redirect,
    render_template,
    request,
    url_for,
)
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from demo.catalog import stampede
from demo.catalog.answering import catalog, checked_id
from demo.catalog.products import MAX_ID
from demo.catalog.stampede import Reader
from demo.teach import labs, waiting
from demo.teach.labs import TRIES, Lab, Run
from demo.web import flash_cookie
from demo.web.validation import convert

READERS = 50
MISSES = 10
BEFORE, BEFORE_SECONDS = "trial-before", 600
bp = Blueprint("trials", __name__, url_prefix="/products/<product_id>", cli_group=None)


class Burst(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In what state the readers find the entry: not there, past its time, or with no cache before
    the database."""

    start: Literal["cold", "stale", "bare"] = "cold"


class Result(msgspec.Struct, frozen=True, array_like=True):
    """What a trial has to tell the page that follows."""

    kind: Literal["cold", "stale", "bare", "missing"]
    loads: int
    readers: list[Reader]


@bp.post("/burst")
def burst(product_id: str) -> Any:
    """Fifty readers ask for this product at once, under a key of their own."""
    number = checked_id(product_id)
    return waiting.enter(BURST, f"{number} {convert(request.form, Burst).start}")


def _burst(what: str, _: Run) -> Any:
    given, start = what.split()
    number = int(given)
    key = f"{number}-{secrets.token_hex(6)}"
    load = partial(catalog().load_page, number)
    if start == "stale":
        catalog().overdue.get_or_load(key, load)
    readers, loads = stampede.run(
        None if start == "bare" else catalog().trials, key, load, READERS, (SQLAlchemyError,)
    )
    with suppress(RedisError):
        catalog().trials.invalidate(key)
    return _back(number, msgspec.convert((start, loads, readers), Result))


BURST = labs.add(
    Lab(
        "burst",
        "Stampede",
        TRIES,
        _burst,
        page=lambda what, _: url_for("catalog.product", product_id=int(what.split()[0])),
        kept=False,
        without_redis=True,
    )
)


@bp.post("/missing")
def missing(product_id: str) -> Any:
    """Asks ten times for a product that is not there."""
    number = checked_id(product_id)
    absent = MAX_ID - secrets.randbelow(1_000_000)
    readers: list[Reader] = []
    loads = 0
    for _ in range(MISSES):
        more, loaded = stampede.run(
            catalog().trials,
            str(absent),
            partial(catalog().load_page, absent),
            1,
            (SQLAlchemyError,),
        )
        readers += more
        loads += loaded
    return _back(number, Result("missing", loads, readers))


def shown() -> str:
    """The result of the trial before this page, drawn, with the one before that on the same scale;
    empty when there was none."""
    given = flash_cookie.take("trial")
    if given is None:
        return ""
    earlier = flash_cookie.take(BEFORE, seconds=BEFORE_SECONDS)
    after_this_request(partial(_remember, given))
    runs = [msgspec.convert(each, Result) for each in (given, earlier) if each]
    span = max(reader.began_ms + reader.took_ms for run in runs for reader in run.readers)
    return render_template(
        "catalog/_trial.html",
        runs=[(run, _counts(run), _end(run)) for run in runs],
        span=max(span, 0.1),
    )


def _remember(given: Any, response: Response) -> Response:
    flash_cookie.put(response, BEFORE, given, seconds=BEFORE_SECONDS)
    return response


def _counts(run: Result) -> dict[str, int]:
    return Counter(
        f"{reader.status}, waited" if reader.collapsed else reader.status for reader in run.readers
    )


def _end(run: Result) -> float:
    return max(reader.began_ms + reader.took_ms for reader in run.readers)


def _back(number: int, result: Result) -> Any:
    response = redirect(url_for("catalog.product", product_id=number, _anchor="trial"), 303)
    flash_cookie.put(response, "trial", msgspec.to_builtins(result))
    return response
