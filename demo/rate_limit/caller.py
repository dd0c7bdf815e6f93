"""Whom a limit counts a request for: its address, its user, its key, a field of what it sends."""

import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec
from flask import request, session

from demo.observe import addresses


def caller() -> str:
    """The client's address, as `addresses.identity` writes it."""
    return addresses.identity(request.remote_addr)


def whom(by: str) -> str:
    """Whom a limit counts this request for; `by` as in RATE_LIMITS."""
    return caller() if by == "address" else "+".join(_part(part) for part in by.split("+"))


def _part(by: str) -> str:
    if by == "user" and session.get("user"):
        return f"user:{session['user']}"
    if by == "api_key" and request.authorization and request.authorization.token:
        return f"key:{request.authorization.token}"
    if by.startswith("field:"):
        return f"{by}:{_field(by.removeprefix('field:'))}"
    return caller()


def _field(name: str) -> str:
    """A field of the form, or of a JSON body, written one way: how somebody spells a name must not
    give a new quota."""
    request.get_data()  # kept, so that reading it as a form leaves it to the view
    given: Any = None if "/api/" in request.path else request.form.get(name)
    if given is None and ("/api/" in request.path or not request.form):
        given = body().get(name)
    return unicodedata.normalize("NFKC", str(given or "")).strip().casefold()


def body() -> Mapping[str, Any]:
    """The JSON object of the request, an empty one where there is none."""
    try:  # an API takes JSON whatever type the body claims to be: curl -d calls it a form
        found = msgspec.json.decode(request.get_data())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}
