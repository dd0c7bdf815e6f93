"""Every page in Chromium: no error, no report of the content security policy, no other host, axe
clean in both themes, no sideways scroll on a phone, and each page's main action by keyboard.
Without a browser these skip, but not where TEST_BROWSER=required promised one."""

import os
from typing import Any

import pytest

from demo.web.cookies import SESSION
from tests.browser.chromium import PAGES, WIDTHS, enter, too_wide, violations

FAULTS = [
    *(f"redis {fault}" for fault in ("refused", "slow", "readonly", "full", "paused")),
    *(f"database {fault}" for fault in ("slow", "down")),
]
# What is written smaller than 14 px, folded parts included.
SMALLEST = """() => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = new Set();
  while (texts.nextNode()) {
    const text = texts.currentNode, size = parseFloat(getComputedStyle(text.parentElement).fontSize);
    if (size < 14 && text.data.trim()) found.add(`${size}: ${text.data.trim().slice(0, 40)}`);
  }
  return [...found];
}"""


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_a_page_is_clean(page: Any, path: str) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(path)
    assert not violations(page)
    page.emulate_media(color_scheme="dark")  # the same document, in other colours
    assert not violations(page, "color-contrast")
    page.set_viewport_size({"width": 360, "height": 780})
    assert not violations(page, "scrollable-region-focusable", "target-size")
    assert not too_wide(page)
    page.set_viewport_size({"width": 1600, "height": 900})
    assert page.evaluate(SMALLEST) == [], "text below 14 px"
    expected = 404 if path in (PAGES["error"], PAGES["product-missing"]) else 200
    faults = [fault for fault in page.faults if not (expected == 404 and "404" in fault)]
    assert not faults


def test_a_long_listing_scrolls_by_itself_and_by_keyboard(page: Any) -> None:
    from playwright.sync_api import expect

    page.goto("/leaderboard/boards/main")
    listing = page.locator(".code pre").first
    below = listing.evaluate("one => one.scrollHeight - one.clientHeight")
    assert below > 0 and listing.evaluate("one => one.clientHeight") < 400
    lines = listing.locator("code > span").count()
    assert page.locator(".code figcaption").first.inner_text().split()[1:] == [
        "lines",
        "1",
        "to",
        f"{lines}",
    ]
    listing.focus()
    page.keyboard.press("End")
    expect(listing).to_have_js_property("scrollTop", below)


def test_on_a_page_without_a_card_the_xray_stands_beside_the_words(page: Any) -> None:
    page.goto("/no-such-page")
    head, rail = (page.locator(part).bounding_box() for part in (".head", ".rail"))
    assert rail["y"] == head["y"] and rail["x"] >= head["x"] + head["width"]


def test_the_theme_switch_is_remembered(page: Any) -> None:
    page.goto("/")
    page.get_by_role("button", name="Switch between light and dark").click()
    chosen = page.evaluate("document.documentElement.dataset.theme")
    page.goto("/catalog/")
    assert page.evaluate("document.documentElement.dataset.theme") == chosen


def test_a_price_is_changed_by_keyboard_and_seen_at_once(page: Any) -> None:
    for _ in range(3):  # an entry that another test has made may end its time between two visits
        page.goto("/catalog/products/42")
    assert page.locator(".try .badge").first.inner_text() == "HIT"
    page.get_by_label("New price in €").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("12.34")
    enter(page)
    assert "€ 12.34" in page.locator(".figures").first.inner_text()
    assert "The price is now € 12.34" in page.get_by_role("status").inner_text()
    did, total = page.locator(".xray > .body p").all()[:2]
    assert did.inner_text() == "What you did: POST /catalog/products/42/price"
    assert total.inner_text().startswith("1 round trip")
    first, after = page.locator(".xray .req > summary").all()
    assert "what you did" in first.inner_text() and "the page after" in after.inner_text()
    page.reload()
    assert page.get_by_role("status").count() == 0


def test_a_wrong_price_is_told_beside_the_field(page: Any) -> None:
    page.goto("/catalog/products/42")
    page.get_by_label("New price in €").fill("abc")
    enter(page)
    field = page.get_by_label("New price in €")
    assert field.input_value() == "abc"
    assert field.get_attribute("aria-invalid") == "true"
    assert (
        page.locator(f"#{field.get_attribute('aria-describedby')}")
        .inner_text()
        .startswith("Price: enter an amount")
    )


def test_signing_in_filling_the_cart_and_signing_out_by_keyboard(page: Any) -> None:
    page.goto("/sessions/")
    page.get_by_label("Password", exact=True).focus()
    enter(page)
    assert page.get_by_role("heading", name="Signed in as mara").count() == 1
    page.goto("/catalog/products/42")
    page.get_by_role("button", name="Add to cart").focus()
    enter(page)
    assert "cart 1" in page.locator(".tools").inner_text()
    assert page.url.endswith("/catalog/products/42")
    page.goto("/sessions/")
    page.get_by_role("button", name="Sign out").focus()
    enter(page)
    assert page.get_by_role("heading", name="You are not signed in").count() == 1
    assert page.context.cookies() == [] or SESSION not in {
        cookie["name"] for cookie in page.context.cookies()
    }
    assert not page.faults


def test_a_score_is_posted_by_keyboard(page: Any) -> None:
    page.goto("/leaderboard/boards/keyboard")
    page.get_by_label("Player", exact=True).focus()
    page.keyboard.type("mara")
    page.keyboard.press("Tab")
    page.keyboard.type("1200")
    enter(page)
    assert (
        "mara is new on this board: rank 1 of 1." in page.get_by_role("status").first.inner_text()
    )
    assert page.locator("tr.me").count() == 2


def test_the_plug_is_pulled_by_keyboard_and_each_state_is_clean(page: Any) -> None:
    page.goto("/rate-limit/")
    for part, fault in (("redis", "paused"), ("redis", "readonly"), ("database", "down")):
        page.locator(".menu > summary").focus()
        page.keyboard.press("Enter")
        page.locator(f".menu [name={part}][value={fault}]").focus()
        enter(page)
        assert "/rate-limit/" in page.url
        for theme in ("light", "dark") if fault == "paused" else ("light",):
            page.emulate_media(color_scheme=theme)
            assert not violations(page)
        page.set_viewport_size({"width": 360, "height": 780})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.set_viewport_size({"width": 1280, "height": 900})
        page.locator(".plugged").focus()
        enter(page)
        assert page.locator(".plugged").count() == 0
    assert not page.faults


@pytest.mark.parametrize("fault", FAULTS)
def test_pages_are_clean_in_each_fault(page: Any, fault: str) -> None:
    """Three pages in light; with TEST_MANY=1 every page in both themes."""
    many = os.environ.get("TEST_MANY") == "1"
    part, _, value = fault.partition(" ")
    page.request.post("/choices", form={part: value, "back": "/"})
    for name in PAGES if many else ("product", "sessions", "analytics"):
        page.goto(PAGES[name])
        assert page.locator("header .plugged").count() == 1
        for theme in ("light", "dark") if many else ("light",):
            page.emulate_media(color_scheme=theme)
            assert not violations(page), name
    assert not [
        told for told in page.faults if "status of 503" not in told and "status of 404" not in told
    ]


def test_a_script_s_own_requests_appear_in_the_xray(page: Any) -> None:
    page.goto("/rate-limit/")
    page.evaluate("fetch('/catalog/api/products/42')")
    page.locator(".req.own").wait_for()
    assert "GET /catalog/api/products/42" in page.locator(".req.own").inner_text()


def test_the_xray_is_folded_on_a_phone_and_that_is_remembered(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto("/rate-limit/")
    page.wait_for_function("!document.querySelector('.xray .req').open")
    page.locator(".xray .req > summary").click()
    page.reload()
    page.wait_for_load_state("load")
    assert page.evaluate("document.querySelector('.xray .req').open")


def test_the_skip_link_comes_first(page: Any) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"


def test_the_bar_of_a_phone_says_what_its_figures_are(page: Any) -> None:
    for width in (320, 390):
        page.set_viewport_size({"width": width, "height": 700})
        page.goto("/catalog/products/42")
        bar = page.locator(".xbar")
        told = bar.inner_text().split("\n")
        assert told[::2] == ["Answer", "Round trips", "Redis", "Total"]
        assert told[1].isdecimal() and told[3].isdecimal()
        assert told[5].endswith(" ms") and told[7].endswith(" ms")
        box = bar.bounding_box()
        assert box["width"] == width and box["y"] + box["height"] == 700
        assert bar.evaluate("one => one.scrollWidth") <= width
        page.wait_for_function("!document.querySelector('.xray .req').open")


def test_every_column_of_the_keys_is_in_sight(page: Any) -> None:
    page.goto("/catalog/products/42")
    for path in ("/catalog/products/42?xray=keys", "/rate-limit/?xray=keys"):
        page.goto(path)
        assert page.locator("#keys th[scope=col]").all_inner_texts() == ["Type", "Bytes", "TTL"]
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            table = page.locator("#keys .table")
            assert table.evaluate("one => one.scrollWidth - one.clientWidth") <= 0, (path, width)


def test_a_page_asks_again_no_more_often_with_the_focus_in_a_part_of_it(page: Any) -> None:
    page.clock.install()
    page.goto("/monitor/")
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if one.url.endswith("/monitor/") else None)
    page.get_by_role("button", name="Resume").click()  # who wants calm is not shown what changes
    page.locator('.figures a[href="#worth"]').focus()
    for _ in range(3):
        with page.expect_response("**/monitor/"):
            page.clock.run_for(6100)
    page.clock.run_for(3000)
    assert len(asked) == 3
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#worth"
