"""Sign-in, the cart, and what Redis holds of this visitor."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from flask import Blueprint, Flask, Response, current_app, redirect, render_template, request, session, url_for
from flask.blueprints import BlueprintSetupState
from sqlalchemy import text
from werkzeug.exceptions import Conflict

from demo import oneshot, source
from demo.database import get_database
from demo.errors import RedisAway
from demo.sessions import accounts, session_store
from demo.sessions.interface import LazySession, RedisSessionInterface
from demo.sessions.session_store import SessionStore, SessionTooLarge
from demo.validation import Invalid, convert

TITLE = "Sessions"
HERE = Path(__file__).parent
MAX_CART_LINES = 40
MAX_QUANTITY = 99
bp = Blueprint("sessions", __name__, url_prefix="/sessions", cli_group=None)


class CartChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change of the cart: by how many pieces of which product."""

    product: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    change: Annotated[int, msgspec.Meta(ge=-MAX_QUANTITY, le=MAX_QUANTITY)] = 1


@bp.record_once
def prepare(state: BlueprintSetupState) -> None:
    """Puts our interface behind `flask.session`."""
    config = state.app.config
    idle, absolute = config["SESSION_IDLE_SECONDS"], config["SESSION_ABSOLUTE_SECONDS"]
    store = SessionStore(state.app.extensions["redis"], idle_seconds=idle, absolute_seconds=absolute)
    app = cast(Flask, state.app)
    app.session_interface = RedisSessionInterface(app, store)


def card() -> tuple[str, str]:
    """The home page's figure."""
    return "You are", str(session.get("user", "not signed in"))


@bp.app_context_processor
def visitor() -> dict[str, Any]:
    """What every page's header shows of the visitor: looked up only where a template asks for it."""
    return {
        "visitor": {"user": lambda: session.get("user"), "cart_count": lambda: sum(line["quantity"] for line in _cart())}
    }


@bp.get("/")
def index() -> str:
    """Who the visitor is, and the session as Redis holds it."""
    return _index({})


@bp.post("/login")
def login() -> Any:
    """Signs in: a new id, the values carried over. Without Redis nobody can be signed in, which is a 503."""
    name, password = request.form.get("name", "")[:64], request.form.get("password", "")[:256]
    if not accounts.check_password(name, password):
        return _index({"name": "Name or password is wrong."}, name), 422
    old = _session().sid
    _interface().regenerate(_session())
    session["user"] = name
    session["signed_in_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    _commit()
    before = session_store.handle(old) if old else "none"
    return _back(f"Signed in as {name}. Session id: {before} before, {session_store.handle(_session().sid or '')} now.")


@bp.post("/logout")
def logout() -> Any:
    """Signs out: the session ends in Redis, not only in the browser."""
    session.clear()
    _commit(must_exist=False)
    return _back("Signed out. The session is gone from Redis.")


@bp.post("/cart")
def cart() -> Any:
    """Puts pieces of a product into the cart, or takes them out."""
    wanted = convert(request.form, CartChange)
    field = f"cart:{wanted.product}"
    line = session.get(field)
    if line is None:
        if len(_cart()) >= MAX_CART_LINES:
            raise Invalid({"product": f"a cart holds {MAX_CART_LINES} products at most"})
        line = {"id": wanted.product, "quantity": 0, **_look_up(wanted.product)}
    quantity = min(line["quantity"] + wanted.change, MAX_QUANTITY)
    if quantity > 0:
        session[field] = {**line, "quantity": quantity}
    else:
        session.pop(field, None)
    _commit()
    return _back(f"{line['name']}: {max(quantity, 0)} in your cart.")


@bp.get("/api/me")
def me() -> Response:
    """The visitor as JSON; `user` is null for somebody who is not signed in. Times are seconds since the epoch."""
    data = {
        "user": session.get("user"),
        "cart": _cart(),
        "signed_in_at": session.get("signed_in_at"),
        "idle_expires_at": None,
        "absolute_expires_at": None,
    }
    loaded = _session().loaded
    if loaded is not None:
        data["idle_expires_at"] = round(datetime.now(UTC).timestamp() + loaded.idle_seconds_left)
        data["absolute_expires_at"] = round(loaded.absolute_expires_at)
    response = Response(msgspec.json.encode(data), mimetype="application/json")
    response.cache_control.no_store = True
    return response


def _index(errors: dict[str, str], name: str = "") -> str:
    lines = _cart()
    loaded = _session().loaded
    sid = _session().sid
    listings = [source.of_function(LazySession.changes), source.of_file(HERE / "session_store.lua")]
    return render_template(
        "sessions/index.html",
        errors=errors,
        name=name,
        names=list(accounts.HASHES),
        password=accounts.DEMO_PASSWORD,
        user=session.get("user"),
        cart=lines,
        total=sum(line["price_cents"] * line["quantity"] for line in lines),
        loaded=loaded,
        handle=session_store.handle(sid) if sid and loaded else None,
        max_bytes=session_store.MAX_BYTES,
        away=_session().away,
        idle_seconds=current_app.config["SESSION_IDLE_SECONDS"],
        listings=listings,
    )


def _session() -> LazySession:
    proxied: LazySession = session._get_current_object()  # type: ignore[attr-defined]
    return proxied


def _interface() -> RedisSessionInterface:
    interface = current_app.session_interface
    assert isinstance(interface, RedisSessionInterface)
    return interface


def _commit(*, must_exist: bool = True) -> None:
    """Saves now, so that the answer is true."""
    try:
        kept = _interface().commit(_session())
    except SessionTooLarge as error:
        raise Invalid({"product": str(error)}) from None
    if _session().away:
        raise RedisAway()
    if must_exist and not kept:
        raise Conflict("This session was ended from elsewhere. Nothing was changed; please reload.")


def _cart() -> list[dict[str, Any]]:
    return sorted((value for name, value in session.items() if name.startswith("cart:")), key=lambda line: line["id"])


def _look_up(product_id: int) -> dict[str, Any]:
    with get_database().read() as connection:
        statement = text("SELECT name, price_cents FROM products WHERE id = :id")
        row = connection.execute(statement, {"id": product_id}).one_or_none()
    if row is None:
        raise Invalid({"product": "there is no such product"})
    return {"name": row.name, "price_cents": row.price_cents}


def _back(message: str) -> Any:
    response = redirect(url_for("sessions.index"), 303)
    oneshot.put(response, "message", message)
    return response
