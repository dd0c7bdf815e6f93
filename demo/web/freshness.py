"""How long an answer is fresh, and whether the client has it already: every answer says so.

A proxy that is told nothing decides by itself, Varnish for two minutes. So what changes something,
fails or leads elsewhere is kept by nobody, and what anybody may read is kept and asked about each
time, by its ETag. A view that knows better says so itself.
"""

import hashlib
from datetime import datetime
from typing import Any

import msgspec
from flask import Flask, Response
from werkzeug.exceptions import PreconditionFailed

from demo.web import errors, preconditions

KEPT_BY_NOBODY, ASKED_EACH_TIME = "no-store", "no-cache"
PERSONAL = "private, no-store"
READS = ("GET", "HEAD")


def no_vary_search(*names: str) -> str:
    """The value of No-Vary-Search of what depends on these parameters alone, in whatever order."""
    except_ = " ".join(f'"{name}"' for name in names)
    return f"key-order, params, except=({except_})" if names else "params"


def complete(app: Flask, response: Response, environ: dict[str, Any], endpoint: str | None) -> None:
    """Says what the view has not, and answers the preconditions of a read."""
    headers = response.headers
    given = dict(iter(headers))  # one look: each for what is not there raises within
    status = response.status_code
    readable = status == 200 and environ["REQUEST_METHOD"] in READS
    said = given.get("Cache-Control")
    if status >= 400:  # whatever the view has said of what it meant to send
        headers["Cache-Control"] = said = KEPT_BY_NOBODY
    elif said is None:
        keeps = readable and "Set-Cookie" not in given
        said = ASKED_EACH_TIME if keeps else KEPT_BY_NOBODY
        headers.add("Cache-Control", said)
    if not readable:
        return
    etag = given.get("ETag")
    if "no-store" not in said:
        if etag is None and not response.is_streamed:
            etag = f'"{hashlib.sha256(response.get_data()).hexdigest()[:24]}"'
            headers.add("ETag", etag)
        search = _search(app, endpoint)
        if search and "No-Vary-Search" not in given:
            headers.add("No-Vary-Search", search)
    if not preconditions.FIELDS.isdisjoint(environ):
        _answer(response, environ, etag, response.last_modified)


def _search(app: Flask, endpoint: str | None) -> str:
    """What a view that tells of itself says of its parameters; nothing for one that refuses those
    that it does not know."""
    known: dict[str | None, str] = app.extensions.setdefault("no_vary_search", {})
    if endpoint not in known:
        view = app.view_functions.get(endpoint or "")
        told = getattr(view, "operations", ())
        query = told[0].query if told else None
        names = msgspec.structs.fields(query) if query else ()
        refuses = query is not None and query.__struct_config__.forbid_unknown_fields
        search = no_vary_search(*(name.encode_name for name in names))
        known[endpoint] = search if told and not refuses else ""
    return known[endpoint]


def _answer(
    response: Response, environ: dict[str, Any], etag: str | None, modified: datetime | None
) -> None:
    status = preconditions.status_of_read(environ, etag, modified)
    if status == 200:
        return
    if hasattr(response.response, "close"):
        response.response.close()  # of a file or a stream, which is not sent
    response.direct_passthrough = False
    if status == 304:
        response.set_data(b"")
        for name in ("Content-Type", "Content-Length", "Content-Encoding"):
            response.headers.pop(name, None)
    else:
        failed = errors.answer(PreconditionFailed(preconditions.CHANGED))
        response.set_data(failed.get_data())
        for name in ("Content-Encoding", "ETag", "Last-Modified", "Cache-Groups", "No-Vary-Search"):
            response.headers.pop(name, None)
        response.content_type = failed.content_type
        response.headers["Cache-Control"] = KEPT_BY_NOBODY
        errors.vary_by_accept(response)
    response.status_code = status
