"""Two separate browser contexts as two devices of one account."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demo.web.cookies import SESSION
from tests.browser.chromium import too_wide, violations, watch
from tests.serving import Server, serve

PASSWORD = "a long enough phrase"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    settings = {"DEMO_PRODUCTS": "100", "DEMO_DB_LATENCY_MS": "0", "DEMO_RATE_LIMITS": "{}"}
    with serve(workers=1, DEMO_REDIS_TIMEOUT_SECONDS="2", **settings) as running:
        yield running


@pytest.fixture
def device(chromium: Any, server: Server) -> Iterator[Callable[..., Any]]:
    """Makes a page in a context of its own; at the end nothing may have been told on a console."""
    made = []

    def make(**options: Any) -> Any:
        context = chromium.new_context(
            base_url=server.url,
            viewport={"width": 1280, "height": 900},
            reduced_motion="reduce",
            **options,
        )
        page = watch(context.new_page(), server.url)
        made.append(page)
        return page

    yield make
    for page in made:
        assert not page.faults
        page.context.close()


def sign_up(page: Any, name: str) -> None:
    page.goto("/sessions/")
    page.get_by_text("Create your own account").click()
    page.get_by_label("New name").fill(name)
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    page.get_by_role("heading", name=f"Signed in as {name}").wait_for()


def sign_in(page: Any, name: str) -> None:
    page.goto("/sessions/")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name=f"Signed in as {name}").wait_for()


def test_one_device_ends_the_other_and_it_is_seen_at_its_next_click(
    device: Callable[..., Any],
) -> None:
    laptop, phone = (
        device(),
        device(user_agent="Mozilla/5.0 (Linux; Android 14; rv:131.0) Gecko/131.0 Firefox/131.0"),
    )
    sign_up(laptop, "two-devices")
    sign_in(phone, "two-devices")
    phone.goto("/catalog/products/42")
    laptop.goto("/sessions/devices")
    row = laptop.get_by_role("row").filter(has_text="Firefox 131 on Android")
    assert laptop.get_by_role("row").filter(has_text="this device").count() == 1
    row.get_by_role("button").click()
    laptop.get_by_role("heading", name="two-devices: 1 session", exact=True).wait_for()
    assert (
        "two-devices" in phone.locator(".tools").inner_text()
    )  # what is on the screen was true when it was sent
    phone.get_by_role("link", name="Sessions", exact=True).click()
    phone.get_by_role("heading", name="You are not signed in").wait_for()
    assert SESSION not in {cookie["name"] for cookie in phone.context.cookies()}
    laptop.reload()
    assert "two-devices" in laptop.locator(".tools").inner_text()


def test_a_link_signs_in_a_second_browser_once(device: Callable[..., Any]) -> None:
    laptop, phone, late = device(), device(), device()
    sign_up(laptop, "by-link")
    laptop.goto("/sessions/devices")
    laptop.get_by_role("button", name="Create sign-in link").click()
    link = laptop.get_by_label("Sign-in link", exact=True).input_value()
    left = laptop.locator("[data-left]")
    laptop.wait_for_function("() => document.querySelector('[data-left]').textContent < 59")
    assert 0 < int(left.inner_text()) < 60
    laptop.context.grant_permissions(["clipboard-read", "clipboard-write"])
    laptop.locator(".field", has=laptop.get_by_label("Sign-in link", exact=True)).get_by_role(
        "button"
    ).click()
    laptop.get_by_role("button", name="Copied").wait_for()
    assert laptop.evaluate("navigator.clipboard.readText()") == link
    for page in (phone, late):
        page.goto(link)
    phone.get_by_role("button", name="Sign in this browser").click()
    phone.get_by_role("heading", name="by-link: 2 sessions").wait_for()
    late.get_by_role("button", name="Sign in this browser").click()
    late.get_by_text("link was already used").wait_for()
    assert late.faults and late.faults.pop()  # the browser tells of the 422


def test_a_new_password_ends_the_others(device: Callable[..., Any]) -> None:
    laptop, phone = device(), device()
    sign_up(laptop, "new-password")
    sign_in(phone, "new-password")
    laptop.get_by_text("Change password", exact=True).click()
    laptop.get_by_label("Current password").fill(PASSWORD)
    laptop.get_by_label("New password").fill("another long phrase")
    laptop.get_by_role("button", name="Change password and end other sessions").click()
    laptop.get_by_text("The password is changed. 1 other session ended").wait_for()
    phone.reload()
    phone.get_by_role("heading", name="You are not signed in").wait_for()


def test_the_list_is_fetched_anew_when_its_tab_is_looked_at_again(
    device: Callable[..., Any],
) -> None:
    laptop, phone = device(), device()
    sign_up(laptop, "fresh-list")
    laptop.goto("/sessions/devices")
    sign_in(phone, "fresh-list")
    laptop.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    laptop.get_by_role("heading", name="fresh-list: 2 sessions").wait_for()


def test_what_is_left_runs_down(device: Callable[..., Any]) -> None:
    page = device()
    sign_up(page, "runs-down")
    figure = page.locator("[data-seconds-left]").first
    before = figure.inner_text()
    page.wait_for_function(
        "(before) => document.querySelector('[data-seconds-left]').textContent !== before",
        arg=before,
    )
    assert figure.inner_text() < before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_of_who_is_signed_in_are_clean(device: Callable[..., Any], scheme: str) -> None:
    page = device(color_scheme=scheme)
    page.goto("/catalog/products/42")
    page.get_by_role("button", name="Add to cart").click()
    sign_up(page, f"{scheme:w<24}")
    page.goto("/sessions/devices")
    page.get_by_role("button", name="Create sign-in link").click()
    page.get_by_label("Sign-in link", exact=True).wait_for()
    for path in (None, "/sessions/", "/sessions/lab"):
        if path:
            page.goto(path)
        if path == "/sessions/lab":
            page.get_by_role("button", name="Run race").last.click()
            page.get_by_role("heading", name="This app: session fixation").wait_for()
            heads = [
                page.get_by_role("heading", name=name) for name in ("Flask-Session", "This app:")
            ]
            left, right = (head.bounding_box() for head in heads)
            assert left["y"] == right["y"] and left["x"] < right["x"]  # side by side
        if path == "/sessions/":
            page.get_by_text("Change password", exact=True).click()
        assert not violations(page)
        assert not too_wide(page)


def test_without_scripts_everything_is_a_form(device: Callable[..., Any]) -> None:
    laptop, phone = device(java_script_enabled=False), device(java_script_enabled=False)
    sign_up(laptop, "no-script")
    sign_in(phone, "no-script")
    laptop.goto("/sessions/devices")
    laptop.get_by_role("button", name="End all other sessions").click()
    laptop.get_by_role("heading", name="no-script: 1 session", exact=True).wait_for()
    phone.reload()
    phone.get_by_role("heading", name="You are not signed in").wait_for()
