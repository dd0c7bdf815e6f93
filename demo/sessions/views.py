"""Who the visitor is, what Redis holds of this session, and the cart."""

import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import msgspec
from flask import Flask, Response, current_app, has_request_context, request, session, url_for
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from demo.client.connections import is_cluster
from demo.database import Database
from demo.sessions import (
    account_use,
    accounts,
    cart,
    device_views,
    interface,
    lab_views,
    lesson_races,
    sign_in_views,
)
from demo.sessions.account_use import Unused
from demo.sessions.cart import MAX_LINES, MAX_PIECES, About, Cart
from demo.sessions.endings import Endings
from demo.sessions.interface import RedisSessionInterface
from demo.sessions.own_page import page
from demo.sessions.second_device import SecondDevice
from demo.sessions.session_store import SessionStore
from demo.sessions.visitor import Parts, bp, cart_lines, forth, glance, gone, parts, user
from demo.teach import home, page_visitor, sketches
from demo.teach.busy_runner import Errand
from demo.web import known_devices
from demo.web.budgets import Budgets, network
from demo.web.documented import documented
from demo.web.errors import RedisAway
from demo.web.security import came_from
from demo.web.services import Services, get_database, part
from demo.web.validation import Invalid, convert

LESSONS = {"sessions": lesson_races.EXPERIMENT}
TITLE = "Sessions"
LABS = (
    (
        "sessions.lab",
        "Races",
        "Two overlapping requests, on stock Flask-Session and on this app’s sessions.",
    ),
)
# What Redis keeps for a session with its place on the user's list, and for a line of a cart.
SESSION_BYTES, LINE_BYTES = 1200, 250
DAY_SECONDS = 86_400
# What the browser of a session that a request of this endpoint has ended is told.
ELSEWHERE = "it was signed out from another device"
REASONS = {
    "sessions.revoke": ELSEWHERE,
    "sessions.revoke_others": ELSEWHERE,
    "sessions.revoke_all": ELSEWHERE,
    "sessions.change_password": "the password of its account was changed",
}
# What this use case sends itself; what its scripts run is read from them.
NEEDS = "DEL GET SET UNLINK"
ROOMS = (device_views, lab_views, sign_in_views)  # they add their views to the blueprint
log = logging.getLogger(__name__)
__all__ = ["ROOMS", "TITLE", "bp", "card"]


class CartChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change of the cart: by how many pieces of which product."""

    product: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    change: Annotated[int, msgspec.Meta(ge=-MAX_PIECES, le=MAX_PIECES)] = 1


def init(app: Flask, services: Services) -> None:
    """Puts our interface behind `flask.session`, and makes the accounts where there are none."""
    # Who is signed in is nobody's choice; what he puts into his cart may fail as he has chosen.
    client, database = services.protected_redis, services.database
    idle, absolute = app.config["SESSION_IDLE_SECONDS"], app.config["SESSION_ABSOLUTE_SECONDS"]
    endings = Endings(database)
    store = SessionStore(
        client,
        idle_seconds=idle,
        absolute_seconds=absolute,
        along=(cart.PART,),
        ended=lambda ending: endings.keep(ending, _reason()),
    )
    services.told_again.again.append(lambda: endings.again(store))
    services.sums.ask["sessions"] = lambda: (store.outcomes[True], store.outcomes[False])
    unused = Unused(database, store.forget)
    # what every page's header shows of the visitor
    services.keep(
        page_visitor.Visitor(
            user,
            lambda: sum(line.pieces for line in cart_lines()),
            f"{bp.url_prefix}/",
            (lambda sid: None) if is_cluster(client) else store.load_command,
            partial(glance, store),
        )
    )
    services.keep(known_devices.Accounts(_secret_of(database), accounts.DEMO_NAMES))
    services.background.elect("accounts", unused.step, lead="sampler")
    services.keep(
        Parts(
            store,
            Cart(services.redis, keep_seconds=absolute),
            Cart(client, keep_seconds=absolute),
            SecondDevice(client),
            unused,
        )
    )
    kept_for = part(Budgets, app).sessions

    def room() -> None:
        kept_for.take(network(), secrets.token_hex(8), SESSION_BYTES, min(idle, absolute))

    app.session_interface = RedisSessionInterface(app, store, room, _visited(database), endings.why)
    with database.read(wait=False) as connection:
        prepared = accounts.is_prepared(connection)
    if not prepared:
        with database.write(wait=False) as connection:
            accounts.prepare(connection)
    app.register_blueprint(bp)


def _reason() -> str:
    """Why the running request ends somebody's session, for the browser whose session it is."""
    return REASONS.get(request.endpoint or "", "") if has_request_context() else ""


def _visited(database: Database) -> Callable[[str], None]:
    """Returns what notes that a user who signed in days ago still uses the account."""

    def note(name: str) -> None:
        if name in accounts.DEMO_NAMES:
            return
        try:
            with database.write(wait=False) as connection:
                account_use.note(connection, name)
        except SQLAlchemyError as error:
            log.warning("a visit was not noted: %s", type(error).__name__)

    return note


def _secret_of(database: Database) -> Callable[[str], str | None]:
    """What changes with an account's password: its hash."""

    def secret_of(name: str) -> str | None:
        with database.read(wait=False) as connection:
            account = accounts.find(connection, name)
        return account.password_hash if account else None

    return secret_of


def errands() -> list[Errand]:
    """What simulated visitors do: fill carts, where forms go over http, and leave nothing."""
    look = [Errand("/sessions/", 3)]
    if current_app.config["PUBLIC"]:
        return look
    cart = Errand("/sessions/cart", 6, form={"product": "{product}", "change": "1"})
    return [*look, cart, Errand("/sessions/logout", last=True)]


def card(told: tuple[int, int] | None) -> tuple[str, str, str]:
    """The home page's figure and picture: of all visitors, since the page is kept for all."""
    outcomes = parts().store.outcomes
    known, unknown, scope = home.scoped(told, (outcomes[True], outcomes[False]))
    if not known + unknown:
        return f"Sessions resumed, {scope}", "none yet", ""
    share = known / (known + unknown)
    return f"Sessions resumed, {scope}", f"{100 * share:.0f} %", sketches.meter(share)


@bp.get("/")
def index() -> str:
    """Who the visitor is, and the session as Redis holds it."""
    return page({})


@bp.post("/cart", endpoint="cart")
def change_cart() -> Any:
    """Puts pieces of a product into the cart, or takes them out; back to the page that asked."""
    wanted = convert(request.form, CartChange)
    held = next((line.about for line in cart_lines() if line.product == wanted.product), None)
    visitor = interface.current()
    if visitor.away:
        raise RedisAway(visitor.away)
    about = held or _look_up(wanted.product)
    if visitor.sid is None:
        if wanted.change <= 0:
            return _in_cart(about.name, 0)
        interface.current_interface().begin(visitor)
    if wanted.change > 0 and not held:
        line = f"{(visitor.sid or '').partition('.')[0]} {wanted.product}"
        part(Budgets).sessions.take(network(), line, LINE_BYTES, DAY_SECONDS)
    change = parts().cart.change(
        visitor.sid or "", wanted.product, wanted.change, None if held else about
    )
    if change.outcome == "unknown":  # another tab has just taken it out
        about = _look_up(wanted.product)
        change = parts().cart.change(visitor.sid or "", wanted.product, wanted.change, about)
    if change.outcome == "gone":
        gone()
    if change.outcome == "full":
        raise Invalid({"product": f"a cart holds at most {MAX_LINES} products"})
    return _in_cart(about.name, change.pieces)


def _in_cart(name: str, pieces: int) -> Any:
    return forth(came_from(url_for("sessions.index")), f"{name}: {pieces} in your cart.")


class InCart(msgspec.Struct, frozen=True):
    """A product in the cart."""

    id: int
    name: str
    price_cents: int
    quantity: int


class Me(msgspec.Struct, frozen=True):
    """A visitor; times in seconds since the epoch, except for the moment of signing in, which is
    ISO 8601."""

    user: str | None
    cart: list[InCart]
    signed_in_at: str | None
    idle_expires_at: int | None
    absolute_expires_at: int | None


@bp.get("/api/me")
@documented(answer=Me, errors=(503,))
def me() -> Response:
    """The visitor as JSON. `user` is null if the visitor is not signed in. 503 means that this is
    unknown. Times are seconds since the epoch."""
    name, away = user(), interface.current().away
    if away:
        raise RedisAway(
            away, "Whether you are signed in is unknown. Nothing was changed. Try again."
        )
    data = {
        "user": name,
        "cart": [
            {
                "id": line.product,
                "name": line.about.name,
                "price_cents": line.about.price_cents,
                "quantity": line.pieces,
            }
            for line in cart_lines()
        ],
        "signed_in_at": session.get("signed_in_at"),
        "idle_expires_at": None,
        "absolute_expires_at": None,
    }
    loaded = interface.current().loaded
    if loaded is not None:
        data["idle_expires_at"] = round(datetime.now(UTC).timestamp() + loaded.idle_seconds_left)
        data["absolute_expires_at"] = round(loaded.absolute_expires_at)
    response = Response(msgspec.json.encode(data), mimetype="application/json")
    response.cache_control.no_store = True
    return response


def _look_up(product_id: int) -> About:
    with get_database().read() as connection:
        statement = text("SELECT name, price_cents FROM products WHERE id = :id")
        row = connection.execute(statement, {"id": product_id}).one_or_none()
    if row is None:
        raise Invalid({"product": "this product does not exist"})
    return About(row.name, row.price_cents)
