"""The minute and the picture in Chromium: by keyboard, without scripts, on any screen."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import enter, violations
from tests.serving import Server

WIDTHS = (320, 390, 1280, 2560)


def fits(page: Any) -> None:
    """Nothing is wider than the screen, whatever screen it is."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_minute_is_walked_by_keyboard_without_scripts(
    chromium: Any, server: Server, scheme: str
) -> None:
    context = chromium.new_context(
        base_url=server.url, color_scheme=scheme, java_script_enabled=False
    )
    page = context.new_page()
    page.goto("/show-me/")
    page.get_by_role("button", name="Go step by step").focus()
    enter(page)
    for number in range(2, 7):
        page.get_by_role("button", name="Next:").focus()
        enter(page)
        expect(page.get_by_text(f"Step {number} of 6")).to_be_visible()
    expect(page.get_by_text("This was the last step.")).to_be_visible()
    address = page.url
    context.close()
    shared = chromium.new_context(base_url=server.url, color_scheme=scheme, reduced_motion="reduce")
    page = shared.new_page()
    page.goto(address)
    expect(page.get_by_role("heading", name="Post a score")).to_be_visible()
    assert not violations(page)
    fits(page)
    assert not violations(page)
    shared.close()


def test_played_it_goes_on_by_itself_until_it_is_paused(page: Any) -> None:
    page.goto("/")
    page.get_by_role("button", name="Show me in a minute").focus()
    enter(page)
    page.get_by_role("link", name="Pause").wait_for()
    page.wait_for_url("**/show-me/*", wait_until="load")
    expect(page.get_by_text("Step 2 of 6")).to_be_visible(timeout=25_000)
    page.get_by_role("link", name="Pause").focus()
    enter(page)
    expect(page.get_by_role("link", name="Continue playing")).to_be_visible()
    assert not page.faults


def test_the_house_fits_any_screen_and_is_asked_for_without_a_round_trip(page: Any) -> None:
    for path in ("/", "/house"):
        page.goto(path)
        fits(page)
    page.goto("/")
    page.get_by_role("button", name="Resume").click()  # who wants calm is not shown what moves
    with page.expect_response("**/house") as asked:
        pass
    told = asked.value.headers["server-timing"]
    assert 'desc="0 round trips"' in told
    expect(page.get_by_role("img", name="Live architecture:")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_it_is_made_busy_by_keyboard_seen_and_stopped(page: Any) -> None:
    page.goto("/busy/")
    field = page.get_by_role("textbox", name="Visitors")
    field.fill("2")
    enter(page)
    page.get_by_role("button", name="Stop visitors").wait_for(timeout=60_000)  # when its turn comes
    expect(page.get_by_role("heading", name="2 visitors are here")).to_be_visible()
    page.get_by_text("Simulated visitors are included in the figures").wait_for(timeout=30_000)

    def stay(route: Any) -> None:
        """As it is answered, but without being asked for again."""
        answer = route.fetch()
        kept = {name: told for name, told in answer.headers.items() if name != "refresh"}
        route.fulfill(response=answer, headers=kept)

    page.route("**/busy/", stay)
    page.goto("/busy/")
    assert not violations(page)
    page.unroute_all(behavior="wait")
    page.get_by_role("button", name="Stop visitors").focus()
    enter(page)
    expect(page.get_by_text("The simulated visitors are leaving.")).to_be_visible()
    fits(page)
    assert not page.faults
