"""`make screenshots`: every page in both themes, on a phone and on a desktop, into screenshots/."""

import sys
from pathlib import Path
from typing import Any

from tests.browser.chromium import PAGES, browser, prepare
from tests.serving import serve

FOLDER = Path(__file__).resolve().parent.parent.parent / "screenshots"
PICTURES = FOLDER.parent / "static" / "pictures"  # those of README and docs
WIDTHS = {"phone": 390, "desktop": 1280}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with serve() as server, browser() as chromium:
        _take_shown(chromium, server.url)  # before a test's longest names are on the boards
        prepare(server.url)
        for theme in ("light", "dark"):
            for device, width in WIDTHS.items():
                context = chromium.new_context(
                    viewport={"width": width, "height": 900},
                    color_scheme=theme,
                    base_url=server.url,
                )
                page = context.new_page()
                for name, path in PAGES.items():
                    page.goto(path)
                    page.screenshot(path=FOLDER / f"{name}-{theme}-{device}.png", full_page=True)
                context.close()
    print(f"{len(list(FOLDER.glob('*.png')))} pictures in {FOLDER}", file=sys.stderr)


def _take_shown(chromium: Any, url: str) -> None:
    """The pictures of README and docs: a cached page, a race that was run, a board that is live, and
    the monitor, which has something to show then."""
    PICTURES.mkdir(exist_ok=True)
    for theme in ("light", "dark"):
        context = chromium.new_context(
            viewport={"width": 1280, "height": 720}, color_scheme=theme, base_url=url
        )
        page = context.new_page()

        def take(name: str, page: Any = page, theme: str = theme) -> None:
            page.screenshot(path=PICTURES / f"{name}-{theme}.png")

        for number in (40, 41, 42, 40, 41, 42):
            page.goto(f"/catalog/products/{number}")
        take("product")
        page.goto(PAGES["race-lab"])
        page.get_by_role("button", name="Run race").first.click()
        page.wait_for_load_state("networkidle")
        take("race-lab")
        page.goto("/leaderboard/boards/main?player=mara")
        page.get_by_role("button", name="made-up players").click()
        page.locator("#on:not([hidden])").wait_for()
        page.locator("#on").evaluate("badge => badge.closest('.body').scrollIntoView()")
        page.mouse.wheel(0, -72)  # the header stands above
        take("board")
        page.goto(PAGES["monitor"])
        take("monitor")
        context.close()


if __name__ == "__main__":
    main()
