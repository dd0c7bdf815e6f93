"""What the modules of the sessions share: the blueprint, the visitor, how a user is signed in,
where an answer goes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from flask import Blueprint, redirect, request, session, url_for
from werkzeug import Response
from werkzeug.exceptions import Conflict

from demo.client import shared_trip
from demo.observe.addresses import shorten
from demo.sessions import cart, interface, session_id, user_agent
from demo.sessions.account_use import Unused
from demo.sessions.cart import Cart, Line
from demo.sessions.second_device import SecondDevice
from demo.sessions.session_store import SessionStore, SessionTooLarge
from demo.sessions.session_values import Session, is_plain
from demo.web import flash_cookie
from demo.web.errors import RedisAway
from demo.web.public import refuse_http
from demo.web.security import is_own_path
from demo.web.services import part
from demo.web.validation import Invalid

bp = Blueprint("sessions", __name__, url_prefix="/sessions", cli_group=None)


bp.before_request(refuse_http)


@dataclass(frozen=True)
class Parts:
    """The patterns of this use case. A cart that fails by the visitor's own choice must not prevent
    signing in."""

    store: SessionStore
    cart: Cart
    cart_at_sign_in: Cart
    second_device: SecondDevice
    unused: Unused


def parts() -> Parts:
    """Those of the running app."""
    return part(Parts)


def user() -> str | None:
    """The name of the signed-in user, by Redis; not by a value that any view may have put into the
    session."""
    session.get("user")
    loaded = interface.current().loaded
    return loaded.user if loaded else None


def glance(store: SessionStore, sid: str) -> tuple[str | None, int] | None:
    """The user and the pieces in the cart, where this id's session came with a page and is no more
    than read; None where it has to be looked into, or its cookie set again."""
    came = shared_trip.replies()
    loaded = store.load(sid) if came and is_plain(came[0]) else None
    return (loaded.user, pieces(loaded)) if loaded else None


def pieces(loaded: Session) -> int:
    """How many pieces the cart holds that was read together with a session."""
    return sum(line.pieces for line in cart.lines(loaded.along[cart.PART]))


def signed_in() -> str:
    """The name of the signed-in user. Raises RedisAway, and Conflict without one."""
    name = user()
    away = interface.current().away
    if away:
        raise RedisAway(away)
    if name is None:
        raise Conflict("You are not signed in, or your session has ended. Nothing was changed.")
    return name


def cart_lines() -> list[Line]:
    """The visitor's cart, read together with the session."""
    session.get("user")
    loaded = interface.current().loaded
    return cart.lines(loaded.along[cart.PART]) if loaded else []


def sign_in(name: str, epoch: str) -> str:
    """Signs the visitor in: a new id, the one before ended, the visitor's cart added to the
    account's. Returns a sentence that names both ids by their handles. Raises RedisAway,
    RedisError, and Conflict when the user's epoch has moved on."""
    session.get("user")
    visitor = interface.current()
    if visitor.away:
        raise RedisAway(visitor.away)
    before, loaded = visitor.sid, visitor.loaded
    known = loaded.along[cart.PART] if loaded and loaded.user is None else {}
    if before and known:
        parts().cart_at_sign_in.merge(before, name, known)
    was = loaded.handle[:8] if loaded else None
    values = {
        "user": name,
        "signed_in_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "id_before": was,
    }
    noted = {
        "agent": user_agent.describe(request.user_agent.string),
        "address": shorten(request.remote_addr or ""),
    }
    ended = interface.current_interface().sign_in(visitor, name, epoch, values, noted)
    if ended is None:
        raise Conflict(
            "All sessions of this account were ended while you signed in. Sign in again."
        )
    left = ended.along.get(cart.PART, {})
    if before and left != known:
        parts().cart_at_sign_in.merge(before, name, left)  # what another tab put in between
    return f"You are signed in as {name}. Your session id changed from {was or 'none'} to {handle()[:8]}."


def handle() -> str:
    """The public name of the visitor's session; empty when there is none."""
    sid = interface.current().sid
    return session_id.handle(sid) if sid else ""


def commit(*, must_exist: bool = True) -> None:
    """Saves now, so that the answer is true. Raises RedisAway, RedisError, Conflict, Invalid."""
    visitor = interface.current()
    try:
        kept = interface.current_interface().commit(visitor)
    except SessionTooLarge as error:
        raise Invalid({"session": str(error)}) from None
    if visitor.away:
        raise RedisAway(visitor.away)
    if must_exist and not kept:
        gone()


def others(count: int) -> str:
    """So many other sessions, in words."""
    return f"{count} other session{'' if count == 1 else 's'}"


def gone() -> NoReturn:
    """Raises Conflict: the session was ended while the request was under way."""
    raise Conflict(
        "This session was ended from another device. Nothing was changed. Reload the page."
    )


def back(message: str, endpoint: str = "sessions.index") -> Response:
    """To a page of this use case, with a message that is shown once."""
    return forth(url_for(endpoint), message)


def forth(path: str, message: str) -> Response:
    """To a path of this site, with a message that is shown once."""
    response = redirect(path, 303)
    flash_cookie.put(response, "message", message)
    return response


def goal(given: Mapping[str, Any]) -> str:
    """Where the visitor wants to go after signing in: `next`, a page of ours. Raises Invalid."""
    path = str(given.get("next", ""))
    if path and not is_own_path(path):
        raise Invalid({"next": "a path of this site"})
    return path
