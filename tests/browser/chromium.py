"""The browser of the tests: Debian's Chromium, driven by playwright."""

import contextlib
import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from typing import Any

PAGES = {
    "home": "/",
    "house": "/house",
    "show-me": "/show-me/",
    "busy": "/busy/",
    "learn": "/learn/",
    "lesson": "/learn/recipe/",
    "lesson-presented": "/learn/stale-set/?present=1",
    "learn-summary": "/learn/summary",
    "catalog": "/catalog/?category=lamps",
    "catalog-empty": "/catalog/?q=nothing+has+this",
    "product": "/catalog/products/42",
    "product-whole": "/catalog/products/42?xray=0",
    "lab": "/catalog/lab/",
    "lab-serializers": "/catalog/lab/serializers/",
    "lab-hashes": "/catalog/lab/hashes/",
    "lab-encryption": "/catalog/lab/encryption/",
    "product-missing": "/catalog/products/999999",
    "sessions": "/sessions/",
    "devices": "/sessions/devices",
    "second-device": "/sessions/second-device",
    "race-lab": "/sessions/lab",
    "rate-limit": "/rate-limit/",
    "leaderboard": "/leaderboard/",
    "board": "/leaderboard/boards/main?player=mara",
    "board-empty": "/leaderboard/boards/nobody-yet",
    "board-long": f"/leaderboard/boards/{'w' * 40}",
    "game-long": f"/leaderboard/boards/{'w' * 40}/game?player={'W' * 64}",
    "board-game": "/leaderboard/boards/main/game?player=mara",
    "analytics": "/analytics/",
    "monitor": "/monitor/",
    "eviction": "/monitor/eviction",
    "api": "/api/",
    "docs": "/docs/?q=proxy",
    "docs-page": "/docs/http-api",
    "style": "/style",
    "test": "/tests/catalog/test_cache_aside.py/test_twenty_readers_at_once_load_once",
    "keys": "/rate-limit/?xray=keys",
    "ask": "/leaderboard/?xray=ZCARD+demo:leaderboard:{main}:all",
    "error": "/no-such-page",
}


LONGEST = "W" * 64  # as long as a player's name may be, of the widest letters
WIDTHS = (320, 390, 834, 1152, 1600, 2560)
STICKS_OUT = """() => [...document.querySelectorAll("main *, header *, footer *")].filter((one) => {
  if (!one.getClientRects().length || one.closest("svg *, .sr, .skip")) return false;
  for (let box = one.parentElement; box && box !== document.body; box = box.parentElement) {
    if (getComputedStyle(box).overflowX !== "visible") return false;
    const isBox = box.matches(".card, .trap, td, th, .chip, .badge, .btn, .figure");
    if (isBox) return one.getBoundingClientRect().right > box.getBoundingClientRect().right + 1.5;
  }
  return false;
}).map((one) => one.outerHTML.slice(0, 160))"""
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")


def find() -> str | None:
    """Where Chromium is, or None. The one without windows takes half of the other's time."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A running Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=find(),
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-background-networking",
            ],
        )
        try:
            yield chromium
        finally:
            chromium.close()


def watch(page: Any, url: str) -> Any:
    """The page, with a list `faults` of what its console reports and of requests to other hosts."""
    page.faults = []
    page.on(
        "console",
        lambda message: (
            page.faults.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on(
        "request",
        lambda request: (
            page.faults.append(request.url) if not request.url.startswith(url) else None
        ),
    )
    return page


def violations(page: Any, *rules: str) -> list[tuple[str, list[str]]]:
    """What axe finds wrong on a page: each rule with the elements that break it. Of WCAG 2.2 AA and
    best practices, or of these rules alone. Only what is wrong is told, which takes half the time,
    and a page that has axe already is not given it again."""
    from axe_playwright_python.sync_playwright import Axe

    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    only = {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": TAGS}
    found = page.evaluate(
        "options => axe.run(document, options).then(found => found.violations)",
        {"runOnly": only, "resultTypes": ["violations"], "selectors": False},
    )
    return [(rule["id"], [node["html"][:160] for node in rule["nodes"]]) for rule in found]


def too_wide(page: Any) -> list[tuple[int, int, list[str]]]:
    """The WIDTHS at which a page scrolls sideways or something sticks out of its box: each with the
    page's own width and what it is."""
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        own = page.evaluate("document.documentElement.scrollWidth")
        out = page.evaluate(STICKS_OUT)
        if own > width or out:
            found.append((width, own, out))
    return found


def enter(page: Any) -> None:
    """Presses Enter, and waits for the page that follows."""
    with page.expect_navigation():
        page.keyboard.press("Enter")


def prepare(url: str) -> None:
    """Scores, with a tie, so that the board has something to show: its leader has the longest
    name that there can be."""
    for board, player, score in (
        ("main", LONGEST, 9007199254740991),
        ("w" * 40, LONGEST, 9007199254740991),
        ("main", "mara", 1200),
        ("main", "noor", 3400),
        ("main", "sven", 1200),
        ("main", "yuki", 250),
        ("main", "<b>bo</b>", 9007199254740991),
    ):
        body = json.dumps({"player": player, "score": score}).encode()
        request = urllib.request.Request(
            f"{url}/leaderboard/api/boards/{board}/scores", body, method="POST"
        )
        urllib.request.urlopen(request, timeout=10).close()
