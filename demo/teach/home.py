"""The home page, and the page of every component."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, Flask, render_template, request

from demo.observe.trace import record_step
from demo.teach import house, listing, pattern_zip, pull_the_plug, sketches
from demo.web.services import get_breaker, part, services

HOME_SECONDS = 1.0
bp = Blueprint("home", __name__, cli_group=None)


@dataclass(frozen=True)
class Home:
    """The modules of the use cases, and the page that this process keeps: until when, and its text."""

    modules: Sequence[Any]
    kept: dict[str, tuple[float, str]] = field(default_factory=dict)


def init(app: Flask, modules: Sequence[Any]) -> None:
    """Adds the page, and what every page's navigation shows."""
    services(app).keep(Home(modules))
    nav = [(f"{module.bp.name}.index", module.TITLE) for module in modules]
    names = [module.bp.name for module in modules]
    labs = [lab for module in modules for lab in getattr(module, "LABS", ())]
    shown = {"nav": nav, "use_cases": names, "labs": labs}
    app.context_processor(lambda: shown)
    app.register_blueprint(bp)


@bp.get("/")
def index() -> str:
    """The map of the use cases, with a live figure each. A process keeps it for HOME_SECONDS, with
    nothing of a visitor in it; not for one who has pulled the plug, nor while Redis is away."""
    kept = part(Home).kept
    if pull_the_plug.current().any or get_breaker().is_open:
        return _index()
    until, page = kept.get(request.script_root, (0.0, ""))
    if until < time.monotonic():
        page = _index()
        kept.clear()
        kept[request.script_root] = time.monotonic() + HOME_SECONDS, page
    return page


def _index() -> str:
    modules = part(Home).modules
    told: dict[str, tuple[int, int]] = next(
        (module.outcomes() for module in modules if hasattr(module, "outcomes")), {}
    )
    cards = [
        (name, title, module.card(told[name] if told else None))
        for module in modules
        for name, title in [(module.bp.name, module.TITLE)]
    ]
    engine = next((module.engine() for module in modules if hasattr(module, "engine")), "")
    return render_template(
        "home.html",
        cards=cards,
        engine=engine,
        house=house.look(modules),
        files=pattern_zip.with_scripts(),
    )


@bp.get("/house")
def show_house() -> str:
    """The picture of the architecture by itself, asked for again and again; Redis is not."""
    return render_template("house.html", house=house.look(part(Home).modules))


def scoped(told: tuple[int, int] | None, own: tuple[int, int]) -> tuple[int, int, str]:
    """How often it went well and how often not, and whose figures these are: of all workers where
    somebody has `told`, else of this one."""
    return (*told, "all workers, last 2 min") if told else (*own, "this worker, since its start")


@bp.get("/style")
def style() -> str:
    """Every component in every state."""
    return render_template(
        "style.html", listing=listing.of_function(record_step), sketches=sketches
    )
