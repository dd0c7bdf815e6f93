"""What can be said of the look without a browser: contrast of every pair of colours, the size of
what is sent, and whether the templates can be read."""

import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.browser.chromium import PAGES
from tests.servers import REPOSITORY

CSS = (REPOSITORY / "static" / "app.css").read_text()
TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", CSS)
}
TEMPLATES = sorted((REPOSITORY / "templates").rglob("*.html"))
LONGEST_LINE = 120
FIELD_MACRO = "_forms.html"
# Written by hand: what nobody sees, and a checkbox, which stands within its label.
NO_FIELDS = re.compile(r'type="hidden"|type="checkbox"|\shidden>')
WORD = re.compile(r"[\w-]+")
TEXT = [
    *((ink, "bg") for ink in ("ink", "muted", "link", "brand")),
    *(("muted", ground) for ground in ("surface", "sunken", "mute-bg", "info-bg")),
    *((ink, ground) for ink in ("link", "ok", "bad", "warn") for ground in ("sunken", "surface")),
    *((verdict, f"{verdict}-bg") for verdict in ("ok", "bad", "warn", "stale")),
    ("on-ink", "ink"),
]
SHAPES = [
    *((fill, "surface") for fill in ("redis", "db", "app", "ok-fill", "bad-fill", "line-strong")),
    *((fill, "mute-bg") for fill in ("redis", "db", "app")),
    ("focus", "bg"),
    ("line-strong", "bg"),
]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    ("ink", "ground", "least"), [(*pair, 4.5) for pair in TEXT] + [(*pair, 3.0) for pair in SHAPES]
)
def test_contrast(ink: str, ground: str, least: float) -> None:
    for theme in (0, 1):
        assert contrast(TOKENS[ink][theme], TOKENS[ground][theme]) >= least


def test_the_stylesheet_has_no_rule_that_no_page_uses() -> None:
    plain = re.sub(r"/\*.*?\*/", "", CSS, flags=re.DOTALL)
    classes = {
        name
        for rule in re.findall(r"([^{}]+)\{", plain)
        for name in re.findall(r"\.([a-z][\w-]*)", rule)
    }
    files = [
        path
        for folder in ("templates", "demo", "static")
        for path in (REPOSITORY / folder).rglob("*.*")
    ]
    words = {
        word
        for path in files
        if path.suffix in (".html", ".py", ".js")
        for word in WORD.findall(path.read_text())
    }
    charts = {f"p-{word}" for word in words}  # a line of a chart is p-<colour>
    assert not classes - words - charts


def test_stylesheet_and_scripts_keep_their_budget() -> None:
    assert len(CSS.encode()) <= 24_000
    assert sum(path.stat().st_size for path in (REPOSITORY / "static").glob("*.js")) <= 16_800


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_a_page_keeps_its_budget_and_has_nothing_inline(web: FlaskClient, path: str) -> None:
    html = web.get(path).text
    assert len(html.encode()) < 44_000
    assert not re.search(r"<[^>]+\sstyle=|<[^>]+\son\w+=|<style|javascript:", html)
    assert all(" src=" in tag for tag in re.findall(r"<script[^>]*>", html))
    assert html.count("<h1") == 1


@pytest.mark.parametrize("path", ["/catalog/products/42", "/leaderboard/boards/main", "/api/"])
def test_the_indentation_of_a_template_is_not_sent(web: FlaskClient, path: str) -> None:
    assert not re.search(r"\n[ \t]+<", web.get(path).text)


def named(path: Path) -> str:
    return path.relative_to(REPOSITORY / "templates").as_posix()


@pytest.mark.parametrize("path", TEMPLATES, ids=named)
def test_a_line_of_a_template_is_as_long_as_a_screen_is_wide(path: Path) -> None:
    lines = enumerate(path.read_text().splitlines(), 1)
    assert not [f"{number}: {line}" for number, line in lines if len(line) > LONGEST_LINE]


@pytest.mark.parametrize("path", TEMPLATES, ids=named)
def test_a_field_of_a_form_is_drawn_by_the_macro(path: Path) -> None:
    """So that each has its label, and its error stands beside it and is told with it."""
    drawn = re.findall(r"<(?:input|select|textarea)\b[^>]*>", path.read_text())
    by_hand = [tag for tag in drawn if not NO_FIELDS.search(tag)]
    assert not by_hand or path.name == FIELD_MACRO


def test_a_term_of_a_page_leads_to_its_entry_in_the_glossary(web: FlaskClient) -> None:
    """`m.term('leases', 'lease')` of a template leads to a heading of docs/glossary.md, and stands in
    no heading or button."""
    sources = {named(path): path.read_text() for path in TEMPLATES}
    used = {
        (page, entry or text)
        for page, source in sources.items()
        for text, entry in re.findall(r"m\.term\('([^']+)'(?:, '([^']+)')?\)", source)
    }
    anchors = set(re.findall(r'<h\d id="([^"]+)"', web.get("/docs/glossary").text))
    assert len(used) > 15 and not [
        one for one in used if one[1].replace(",", "").replace(" ", "-") not in anchors
    ]
    for source in sources.values():
        for part in re.findall(r"<(?:h\d|button)\b.*?</", source, re.DOTALL):
            assert "m.term(" not in part


@pytest.mark.parametrize("path", ["/monitor/", "/leaderboard/", "/rate-limit/"])
def test_a_term_is_a_link(web: FlaskClient, path: str) -> None:
    assert re.search(r'<a class="term" href="/docs/glossary#[\w-]+">', web.get(path).text)
