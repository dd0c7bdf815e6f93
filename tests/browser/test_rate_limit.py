"""The playground and the page of a refusal in Chromium, with and without JavaScript."""

import json
import re
from typing import Any

from tests.browser.chromium import enter, violations, watch
from tests.serving import Server, serve

OTHERS = ("Sliding log", "Sliding counter", "Token bucket", "GCRA")


def lane(page: Any, title: str) -> Any:
    return page.locator(".lane").filter(has_text=re.compile(rf"^\s*{title}"))


def forget(page: Any) -> None:
    page.get_by_role("button", name="Reset my requests").click()
    page.get_by_text("Send 1 request to begin").wait_for()
    page.wait_for_load_state()  # the script is there: a form would load the page


def test_a_burst_is_sent_by_keyboard_and_drawn_without_a_page_load(page: Any) -> None:
    page.goto("/rate-limit/")
    forget(page)
    page.evaluate("window.same = true")
    page.get_by_role("button", name="Send 10 requests").focus()
    page.keyboard.press("Enter")
    for title in OTHERS:  # a window of the clock may end while they are sent
        page.get_by_role("img", name=f"{title}: 5 allowed, 5 refused").wait_for()
    assert (
        page.evaluate("window.same")
        and page.evaluate("document.activeElement.textContent") == "Send 10 requests"
    )
    assert "Sliding log refused it" in page.locator("#said").inner_text()
    assert "POST /rate-limit/" in page.locator("#xray").inner_text()
    assert page.locator(".figures b").first.inner_text() == "0 of 5"
    assert "429" in page.locator(".figures").inner_text()
    assert not page.faults


def test_after_a_refusal_the_figures_go_on_to_what_is_true_then(page: Any) -> None:
    """The countdown ends at a figure that was read again, in every lane, and then nothing asks."""
    page.goto("/rate-limit/?limit=4&window_seconds=2")
    forget(page)
    page.evaluate("window.same = true")
    page.get_by_role("button", name="Send 10 requests").click()
    page.get_by_role("img", name="GCRA: 4 allowed, 6 refused").wait_for()
    page.wait_for_function("() => document.querySelector('.figures').innerText.includes('429')")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.lane .sum')].every((one) => one.innerText.includes('4 left'))"
    )
    assert page.locator(".figures b").all_inner_texts() == ["4 of 4", "0.0 s", "200 allowed"]
    assert page.locator("#live[data-every]").count() == 0
    assert page.evaluate("window.same") and not page.faults


def test_a_burst_at_the_edge_gets_twice_the_limit_through_the_fixed_window_alone(page: Any) -> None:
    page.goto("/rate-limit/")
    forget(page)
    page.get_by_role("button", name="Send burst at window edge").click()
    page.get_by_role("img", name="Fixed window: 10 allowed, 0 refused").wait_for()
    assert "most in 10 s: 10" in lane(page, "Fixed window").inner_text()
    for title in OTHERS:
        page.get_by_role("img", name=f"{title}: 5 allowed, 5 refused").wait_for()
        assert "most in 10 s: 5" in lane(page, title).inner_text()


def test_the_time_line_runs_on(page: Any) -> None:
    page.goto("/rate-limit/")
    forget(page)
    page.get_by_role("button", name="Send 1 request", exact=True).click()
    page.get_by_role("img", name="GCRA: 1 allowed, 0 refused").wait_for()
    dot = lane(page, "GCRA").locator("svg[data-at]")
    first = float(dot.get_attribute("x").rstrip("%"))
    page.wait_for_function(
        "from => Number.parseFloat(document.querySelector('.lane.you svg[data-at]').getAttribute('x')) < from - 2",
        arg=first,
    )


def test_a_stream_is_sent_until_it_is_stopped(page: Any) -> None:
    page.goto("/rate-limit/?limit=10&window_seconds=1")
    forget(page)
    page.get_by_role("button", name="Keep sending").click()
    page.wait_for_function("() => document.querySelectorAll('.lane.you circle').length >= 4")
    page.get_by_role("button", name="Stop sending").click()
    assert page.get_by_role("button", name="Keep sending").get_attribute("aria-pressed") == "false"
    assert not page.faults


def test_a_wrong_limit_is_told_beside_its_field(page: Any) -> None:
    page.goto("/rate-limit/")
    page.evaluate("document.querySelector('#play').noValidate = true")
    page.get_by_label("Limit", exact=True).fill("0")
    page.get_by_role("button", name="Send 1 request", exact=True).click()
    page.locator("#limit-error").wait_for()
    assert page.get_by_label("Limit", exact=True).get_attribute("aria-invalid") == "true"


def test_without_javascript_every_button_does_the_same(chromium: Any, server: Server) -> None:
    context = chromium.new_context(base_url=server.url, java_script_enabled=False)
    page = watch(context.new_page(), server.url)
    page.goto("/rate-limit/?limit=4&window_seconds=20")
    page.get_by_role("button", name="Send steady stream").click()
    assert "most in 20 s: 4" in lane(page, "Sliding log").inner_text()
    page.get_by_role("button", name="Send burst at window edge").focus()
    enter(page)
    assert page.get_by_role("img", name="Fixed window: 8 allowed, 0 refused").count() == 1
    page.get_by_text("Show as a table").click()
    assert page.locator("details td", has_text="allowed").count() == 4 * 4 + 8
    assert not page.get_by_role("button", name="Keep sending").is_visible()
    page.get_by_role("button", name="Reset my requests").click()
    assert page.get_by_text("Send 1 request to begin").count() == 1
    context.close()


def test_redis_is_taken_away_and_given_back(page: Any) -> None:
    page.goto("/rate-limit/")
    page.get_by_role("button", name="Disconnect Redis for me").click()
    assert "Redis is away." in page.locator("#redis-away").inner_text()
    page.get_by_role("button", name="Send 10 requests").click()
    page.get_by_role("img", name="allow: 10 allowed, 0 refused").wait_for()
    page.get_by_role("img", name="deny: 0 allowed, 10 refused").wait_for()
    assert (
        page.get_by_role("img", name=re.compile("local: 2 allowed")).count() == 1
    )  # half of five: two workers
    page.get_by_role("button", name="End now", exact=True).click()
    page.get_by_role("heading", name="The same traffic through five algorithms").wait_for()


def test_the_page_of_a_refusal_lets_in_when_it_says(chromium: Any) -> None:
    limits = {"monitor.index": {"limit": 1, "window_seconds": 8}}
    with serve(
        workers=1, DEMO_RATE_LIMITS=json.dumps(limits), DEMO_PRODUCTS="50", DEMO_DB_LATENCY_MS="0"
    ) as server:
        context = chromium.new_context(base_url=server.url, viewport={"width": 390, "height": 800})
        page = context.new_page()
        page.goto("/monitor/")
        refused = page.goto("/monitor/")
        assert refused.status == 429
        go = page.get_by_role("link", name="Try again")
        assert go.get_attribute("aria-disabled") == "true"
        assert (
            1
            <= int(page.locator("[data-left]").inner_text())
            <= int(refused.headers["retry-after"])
        )
        assert not violations(page)
        page.locator("[data-go]:not([aria-disabled])").wait_for()
        assert page.locator("[data-left]").inner_text() == "0"
        with page.expect_response(lambda answer: answer.url.endswith("/monitor/")) as met:
            go.click()
        assert met.value.status == 200
        context.close()
