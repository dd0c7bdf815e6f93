"""Two requests that overlap, on stock Flask-Session and on ours: two small apps, each with its
interface behind `flask.session`.

The two requests of a race overlap at the same point in every run, so every run has the same result.
The first request has read its session when the second begins and ends, and goes on after it. The
x-ray shows what each of them asked of Redis. All keys of a race are its own, and expire within two
minutes.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, session
from flask.testing import FlaskClient
from flask_session.redis import RedisSessionInterface as StockInterface

from demo.sessions import cart, interface
from demo.sessions.cart import About, Cart
from demo.sessions.interface import RedisSessionInterface
from demo.sessions.observed_race import Outcome, Race, own_trace
from demo.sessions.session_store import SessionStore
from demo.sessions.session_values import read_hash
from demo.teach import scripts

LIFE_SECONDS = 60
LAMP = About("Lamp", 4200)


def lost_update(race: Race) -> tuple[bool, str]:
    """Two tabs add one to the cart."""
    one = race.client()
    one.get("/start")
    two = race.client(_sid(one))
    race.meanwhile = lambda: _then(race, lambda: race.ask(1, two, "/add"))
    race.ask(0, one, "/add")
    held = one.get("/cart").text
    return held == "2", f"Two tabs added one each. The cart holds {held}."


def revived(race: Race) -> tuple[bool, str]:
    """A request is in flight while its visitor signs out."""
    one = race.client()
    one.get("/sign-in")
    sid = _sid(one)
    two = race.client(sid)
    race.meanwhile = lambda: _then(race, lambda: race.ask(1, two, "/sign-out"))
    race.ask(0, one, "/change")
    who = race.client(sid).get("/who").text
    return (
        who == "nobody",
        f"After the sign-out, the old session id is {who}{'' if who == 'nobody' else ' again'}.",
    )


def fixation(race: Race) -> tuple[bool, str]:
    """An attacker plants a known id and waits until its new owner signs in."""
    attacker = race.client()
    race.ask(0, attacker, "/start")
    planted = _sid(attacker)
    race.ask(1, race.client(planted), "/sign-in")
    who = race.ask(0, race.client(planted), "/who")
    return who == "nobody", f"With the planted id, the attacker is {who}."


RACES = {"lost-update": lost_update, "revived": revived, "fixation": fixation}


def run(name: str, client: Any) -> list[Outcome]:
    """Runs a race on both. Raises RedisError."""
    outcomes = []
    for system, make in (("Flask-Session 0.8", _stock), ("This app", _ours)):
        with own_trace():
            tag = f"lab-{secrets.token_hex(8)}"
            app = Flask(tag)
            app.config.update(PROPAGATE_EXCEPTIONS=True, PERMANENT_SESSION_LIFETIME=LIFE_SECONDS)
            race = Race(app, tag)
            make(race, client)
            outcomes.append(race.end(system, *RACES[name](race)))
    return outcomes


def _stock(race: Race, client: Any) -> None:
    """As its documentation has it."""
    made = StockInterface(race.app, client=client, key_prefix=f"demo:sessions:{{{race.user}}}:")
    made.client = client  # a cluster's it would have replaced by one for localhost
    race.app.session_interface = made

    def seen(args: tuple[Any, ...], reply: Any) -> tuple[bool, str]:
        if args[0] in ("DEL", "UNLINK"):
            return True, "no session"
        raw = args[2] if args[0] == "SET" else reply
        values = made.serializer.decode(raw) if isinstance(raw, bytes) else {}
        return args[0] == "SET", _told(values)

    race.seen = seen

    def add() -> str:
        pieces = session.get("cart", 0)
        race.meanwhile()
        session["cart"] = pieces + 1
        return "added"

    def sign_in() -> str:
        session["user"] = "mara"
        return "signed in"

    _routes(race, add, sign_in, lambda: str(session.get("cart", 0)))


def _ours(race: Race, client: Any) -> None:
    store = SessionStore(
        client, idle_seconds=LIFE_SECONDS, absolute_seconds=LIFE_SECONDS, along=(cart.PART,)
    )
    race.app.session_interface = made = RedisSessionInterface(race.app, store)
    carts = Cart(client, keep_seconds=LIFE_SECONDS)
    race.seen = _seen_of_ours

    def add() -> str:
        session.get("user")
        race.meanwhile()
        carts.change(interface.current().sid or "", 42, 1, LAMP)
        return "added"

    def sign_in() -> str:
        made.sign_in(interface.current(), race.user, store.epoch(race.user), {"user": "mara"}, {})
        return "signed in"

    def held() -> str:
        session.get("user")
        loaded = interface.current().loaded
        return (
            str(sum(line.pieces for line in cart.lines(loaded.along[cart.PART]))) if loaded else "0"
        )

    _routes(race, add, sign_in, held)


def _told(values: Mapping[Any, Any]) -> str:
    """A session's values as a visitor would say them; whether it lasts is none of them."""
    shown = [f"{name} {value}" for name, value in values.items() if name != "_permanent"]
    return ", ".join(shown) or "no session"


def _seen_of_ours(args: tuple[Any, ...], reply: Any) -> tuple[bool, str]:
    """What our scripts read and wrote, by their replies. None writes over what it has not read: each
    names what it changes, and the script looks at what is there."""
    match scripts.called(args[0], args[1]).name if args[0] == "EVALSHA" else "":
        case "session_store_load.lua" if not reply:
            return False, "no session"
        case "session_store_load.lua":
            pieces = sum(line.pieces for line in cart.lines(read_hash(reply[7])))
            user = {"user": reply[5].decode()} if reply[5] else {}
            return False, _told({**user, "cart": pieces})
        case "cart.lua":
            return False, f"cart {reply[1]}" if reply[0] == b"ok" else "refused: no session"
        case "session_store.lua":
            return False, "written" if reply == 1 else "refused: no session"
        case "session_store_end.lua":
            return False, "no session"
    return False, ""


def _routes(
    race: Race, add: Callable[[], str], sign_in: Callable[[], str], held: Callable[[], str]
) -> None:
    def start() -> str:
        session["since"] = 1
        return "has an id"

    def change() -> str:
        session.get("user")
        race.meanwhile()
        session["theme"] = "dark"
        return "theme changed"

    def sign_out() -> str:
        session.clear()
        return "signed out"

    views = {
        "start": start,
        "add": add,
        "sign-in": sign_in,
        "change": change,
        "sign-out": sign_out,
        "cart": held,
    }
    for name, view in {**views, "who": lambda: str(session.get("user", "nobody"))}.items():
        race.app.add_url_rule(f"/{name}", name, view)


def _then(race: Race, act: Callable[[], Any]) -> None:
    race.meanwhile = lambda: None  # the second request waits for nobody
    act()


def _sid(client: FlaskClient) -> str:
    cookie = client.get_cookie("session")
    return cookie.value if cookie else ""
