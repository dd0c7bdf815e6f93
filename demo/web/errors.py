"""Errors as a page in the site's look or as application/problem+json (RFC 9457), by Accept. Never a
bare 500."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from flask import Flask, Response, render_template, request, url_for
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    InternalServerError,
    RequestTimeout,
    ServiceUnavailable,
)

from demo.client import refusals
from demo.web.security import SAFE_METHODS, page_before
from demo.web.slow_clients import BodyTooSlow
from demo.web.validation import Invalid

RETRY_AFTER_SECONDS = 1
SENTENCES = {
    400: "The request cannot be read.",
    403: "This is not allowed.",
    404: "This page does not exist.",
    405: "This address does not accept this request method.",
    408: "The request body arrived too slowly. Nothing was changed.",
    412: "The resource is not in the state that your request names. Nothing was changed. Read it again.",
    413: "The request body is too large. The limit is 64 kB, or 1 MB for a batch of scores.",
    415: "The request body may be uncompressed or compressed with gzip.",
    422: "The form has an invalid value. Nothing was changed.",
    428: "A change must name the state that it is meant for.",
    429: "You sent too many requests. Try again later.",
    500: "The server failed and logged the error. If you sent a change, check if it was saved before you try again.",
    503: "A service that this page needs is away. Try again.",
}
LOST = "Your change may or may not have been made. Check before you send it again."
log = logging.getLogger(__name__)


class RedisAway(ServiceUnavailable):
    """503: what was asked for cannot be done without Redis. `error` tells what is the matter with
    it, `more` what that means here."""

    def __init__(self, error: RedisError, more: str = "") -> None:
        refusal = refusals.of(error)
        told = "" if more in refusal.sentence else more
        super().__init__(f"{refusal.sentence} {told}".strip())
        self.retry_after_seconds = refusal.retry_after_seconds


class TryLater(HTTPException):
    """429 or 503: there is no room for this now. `seconds` is when to try again."""

    def __init__(self, code: int, description: str, seconds: int) -> None:
        super().__init__(description)
        self.code, self.retry_after_seconds = code, seconds


def wants_json() -> bool:
    """Whether the answer is for a program: by the path of the API, or by Accept."""
    if "/api/" in request.path:
        return True
    accept = request.accept_mimetypes
    json_quality = max(accept["application/json"], accept["application/problem+json"])
    return json_quality > accept["text/html"]


def vary_by_accept(response: Response) -> None:
    """Says that this answer was a page or a problem by Accept, where that was asked."""
    if "/api/" not in request.path:
        response.vary.add("Accept")


def problem(status: int, detail: str, **more: Any) -> Response:
    """An answer of type application/problem+json."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    } | more
    return Response(msgspec.json.encode(body), status, mimetype="application/problem+json")


def answer(error: HTTPException) -> Response:
    """The page or the problem for an HTTP error."""
    status = error.code or 500
    # Of werkzeug's own errors the stock sentence is replaced, ours are kept.
    stock = error.description == type(error).description
    detail = SENTENCES.get(status, HTTPStatus(status).phrase) if stock else str(error.description)
    usual = RETRY_AFTER_SECONDS if status == 503 else None
    wait_seconds = getattr(error, "retry_after_seconds", usual) if status in (429, 503) else None
    if wants_json():
        more: dict[str, Any] = {}
        if isinstance(error, Invalid):
            more["errors"] = [
                {"field": field, "detail": text} for field, text in error.errors.items()
            ]
        response = problem(status, detail, **more)
    else:
        errors = error.errors if isinstance(error, Invalid) else {}
        response = page(status, detail, wait_seconds, errors)
    vary_by_accept(response)
    for name, value in error.get_headers():
        if name != "Content-Type":
            response.headers[name] = value
    if wait_seconds is not None:
        response.headers["Retry-After"] = str(wait_seconds)
    return response


def page(
    status: int,
    detail: str,
    wait_seconds: int | None = None,
    errors: Mapping[str, str] | None = None,
    title: str = "",
) -> Response:
    """An error as a page: it leads back to the form, or, where it may help, to the same address
    again, after `wait_seconds`, which it counts down."""
    again = None
    if request.method != "GET":
        again = page_before() or url_for("home.index")
    elif status in (408, 429, 500, 503):
        again = request.script_root + request.full_path.rstrip("?")
    body = render_template(
        "error.html",
        status=status,
        title=title or HTTPStatus(status).phrase,
        detail=detail,
        errors=errors,
        seconds=wait_seconds,
        again=again,
    )
    return Response(body, status)


def init(app: Flask) -> None:
    """Registers the handlers."""
    app.register_error_handler(HTTPException, answer)

    def too_slow(_: BodyTooSlow) -> Response:
        return answer(RequestTimeout())

    def disconnected(error: ClientDisconnected) -> Response:
        # werkzeug takes every failure of a read for a client that left
        return answer(RequestTimeout() if isinstance(error.__context__, BodyTooSlow) else error)

    def redis_error(error: RedisError) -> Response:
        log.warning("Redis: %s", refusals.of(error).name)
        lost = refusals.may_have_counted(error) and request.method not in SAFE_METHODS
        return answer(RedisAway(error, LOST if lost else ""))

    def database_error(error: SQLAlchemyError) -> Response:
        log.warning("database: %s", type(error).__name__)
        return answer(
            ServiceUnavailable("The database is away, and this needs the database. Try again.")
        )

    def unexpected(error: Exception) -> Response:
        log.exception("unexpected error", exc_info=error)
        return answer(InternalServerError())

    app.register_error_handler(BodyTooSlow, too_slow)
    app.register_error_handler(ClientDisconnected, disconnected)
    app.register_error_handler(RedisError, redis_error)
    app.register_error_handler(SQLAlchemyError, database_error)
    app.register_error_handler(Exception, unexpected)
