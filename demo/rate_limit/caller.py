"""Whom a limit counts a request for: its address, its user, its key, its device, a field of what
it sends, or everyone."""

import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec
from flask import request, session

from demo.observe import addresses
from demo.web import known_devices
from demo.web.simulated import MARK


def caller() -> str:
    """The client's address, as `addresses.identity` writes it."""
    return addresses.identity(request.remote_addr)


def whom(by: str, spare: str = "") -> str | None:
    """Whom a limit counts this request for; `by` and `spare` as in RATE_LIMITS. None where it does
    not count it."""
    if spare and _device(spare) is not None:
        return None
    if by == "address":
        return caller()
    parts = [_part(part) for part in by.split("+")]
    named = [part for part in parts if part is not None]
    return "+".join(named) if len(named) == len(parts) else None


def _device(by: str) -> str | None:
    """The device, with the account that knows it; None for a stranger to the account."""
    name = _field(by.removeprefix("device:"))
    found = known_devices.device_of(name)
    return None if found is None else f"device:{name}:{found}"


def _part(by: str) -> str | None:
    if by.startswith("device:"):
        return _device(by)
    if by == "everyone":  # simulated visitors use up nobody's
        return "simulated" if MARK in request.environ else by
    if by == "network":
        return addresses.network(request.remote_addr)
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
