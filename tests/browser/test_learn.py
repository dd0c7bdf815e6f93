"""A lesson in Chromium: by keyboard without scripts, and on a projector by arrow keys."""

from typing import Any

from playwright.sync_api import expect

from tests.browser.chromium import enter, too_wide, violations
from tests.serving import Server


def test_a_lesson_is_taken_by_keyboard_without_scripts(chromium: Any, server: Server) -> None:
    context = chromium.new_context(base_url=server.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/learn/recipe/")
    page.get_by_role("button", name="All 20").focus()
    enter(page)
    page.get_by_role("button", name="Run the experiment").focus()
    enter(page)
    expect(page.get_by_text("Surprised")).to_be_visible()
    expect(page.get_by_text("Of 20 reads 1 reached the database.")).to_be_visible()
    address = page.url
    page.goto("/learn/summary")
    expect(page.get_by_text("0 predictions held, 1 surprised you")).to_be_visible()
    context.close()
    for scheme in ("light", "dark"):
        shared = chromium.new_context(base_url=server.url, color_scheme=scheme)
        page = shared.new_page()
        page.goto(address)
        assert not violations(page) and not too_wide(page)
        shared.close()


def test_on_a_projector_arrow_keys_lead_on_and_the_page_stays(page: Any) -> None:
    page.goto("/learn/sensitive/?present=1")
    page.evaluate("window.still = true")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", level=1)).to_have_text("Is it atomic?")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", level=1)).to_have_text("How do you cache sensitive data?")
    page.get_by_role("button", name="Run the experiment").click()
    expect(page.get_by_text("did not decrypt there")).to_be_visible()
    assert page.evaluate("window.still") and "/learn/sensitive/" in page.url
    assert not violations(page)


def test_printed_a_lesson_is_what_can_be_read(page: Any) -> None:
    page.goto("/learn/sensitive/")
    page.emulate_media(media="print")
    expect(page.get_by_role("navigation", name="Use cases")).to_be_hidden()
    expect(page.get_by_role("button", name="Run the experiment")).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
