"""The page of this use case, which a sign-in that went wrong shows again with what is wrong beside
its field."""

from datetime import UTC, datetime
from pathlib import Path

from flask import current_app, render_template, request, session

from demo.client import refusals
from demo.sessions import account_use, accounts, interface, session_store
from demo.sessions.interface import LazySession
from demo.sessions.visitor import cart_lines, user
from demo.teach import listing

HERE = Path(__file__).parent


def page(errors: dict[str, str], given: str = "") -> str:
    """The page of this use case; `given` is the name that was typed, `errors` what is wrong, by
    field."""
    lines, name = cart_lines(), user()
    loaded = interface.current().loaded
    return render_template(
        "sessions/index.html",
        errors=errors,
        given=given,
        names=() if current_app.config["PUBLIC"] else accounts.DEMO_NAMES,
        password="" if current_app.config["PUBLIC"] else accounts.DEMO_PASSWORD,
        least=accounts.LEAST_CHARACTERS,
        rules={"name": accounts.NAME_RULE, "password": accounts.PASSWORD_RULE},
        new_days=account_use.NEW_DAYS,
        goal=request.values.get("next", "")[:512],
        user=name,
        shared=name in accounts.DEMO_NAMES,
        cart=lines,
        total=sum(line.about.price_cents * line.pieces for line in lines),
        loaded=loaded,
        before=session.get("id_before"),
        absolute_seconds_left=loaded.absolute_expires_at - datetime.now(UTC).timestamp()
        if loaded
        else 0,
        max_bytes=session_store.MAX_BYTES,
        away=refusals.of(away).sentence if (away := interface.current().away) else "",
        idle_seconds=current_app.config["SESSION_IDLE_SECONDS"],
        absolute_seconds=current_app.config["SESSION_ABSOLUTE_SECONDS"],
        listings=[
            listing.of_function(LazySession.changes),
            listing.of_file(HERE / "session_store.lua"),
        ],
    )
