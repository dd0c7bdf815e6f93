"""The home page, and the page of every component."""

import time

from flask import Blueprint, current_app, render_template, request

from demo import choices, sketches, source, take, xray
from demo.pool import get_breaker

HOME_SECONDS = 1.0
bp = Blueprint("home", __name__, cli_group=None)


@bp.get("/")
def index() -> str:
    """The map of the use cases, with a live figure each. A process keeps it for HOME_SECONDS, with nothing of a visitor in
    it; not for one who has pulled the plug, nor while Redis is away."""
    kept: dict[str, tuple[float, str]] = current_app.extensions["home"]
    if choices.current().any or get_breaker().is_open:
        return _index()
    until, page = kept.get(request.script_root, (0.0, ""))
    if until < time.monotonic():
        page = _index()
        kept.clear()
        kept[request.script_root] = time.monotonic() + HOME_SECONDS, page
    return page


def _index() -> str:
    modules = current_app.extensions["use_cases"]
    cards = [(module.bp.name, module.TITLE, module.card()) for module in modules]
    engine = next((module.engine() for module in modules if hasattr(module, "engine")), "")
    return render_template("home.html", cards=cards, engine=engine, files=take.with_scripts())


@bp.get("/style")
def style() -> str:
    """Every component in every state."""
    return render_template("style.html", listing=source.of_function(xray.record), sketches=sketches)
