"""`make screenshots`: every page in both themes, on a phone and on a desktop, into screenshots/."""

import sys
from pathlib import Path

from tests.browser.chromium import PAGES, browser, prepare
from tests.serving import serve

FOLDER = Path(__file__).resolve().parent.parent.parent / "screenshots"
README_PICTURE = FOLDER.parent / "static" / "screenshot.png"
WIDTHS = {"phone": 390, "desktop": 1280}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with serve() as server, browser() as chromium:
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
        context = chromium.new_context(viewport={"width": 1280, "height": 720}, base_url=server.url)
        page = context.new_page()
        page.goto(PAGES["product"])
        page.goto(PAGES["product"])
        page.screenshot(path=README_PICTURE)
        context.close()
    print(f"{len(list(FOLDER.glob('*.png')))} pictures in {FOLDER}", file=sys.stderr)


if __name__ == "__main__":
    main()
