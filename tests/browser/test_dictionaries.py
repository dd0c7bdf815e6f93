"""Chromium takes a page as its difference from the site's frame, over loopback, and reads it right."""

from typing import Any

from tests.browser.chromium import watch
from tests.serving import serve

MOST_PAGES = 100


def test_a_browser_fetches_the_frame_and_gets_differences_from_then_on(chromium: Any) -> None:
    with serve(
        DEMO_PRODUCTS="200",
        DEMO_DB_LATENCY_MS="0",
        DEMO_XRAY="false",
        DEMO_SHARED_DICTIONARIES="true",
        DEMO_REDIS_TIMEOUT_SECONDS="2",
    ) as server:
        context = chromium.new_context(base_url=server.url, reduced_motion="reduce")
        try:
            page = watch(context.new_page(), server.url)
            fetched: list[Any] = []
            page.on("request", lambda one: "/frames/" in one.url and fetched.append(one))
            codings = []
            for number in range(1, MOST_PAGES):  # it fetches the frame once it has nothing to do
                sent = page.goto(f"/catalog/products/{number}", wait_until="networkidle")
                codings.append(sent.headers.get("content-encoding"))
                name = server.request(f"/catalog/api/products/{number}").json()["name"]
                assert page.locator("h1").inner_text() == name
                if codings[-1] == "dcz":
                    break
            assert codings[0] == "gzip" and codings[-1] == "dcz", codings
            assert len(fetched) == 1
            asked = sent.request.all_headers()
            assert "dcz" in asked["accept-encoding"] and asked["available-dictionary"]
            assert sent.request.sizes()["responseBodySize"] < 800
            plain = server.request(f"/catalog/products/{number}").text
            assert sent.text() == plain
            page.get_by_role("link", name="Catalog").first.click()  # the list is one too
            page.wait_for_url("**/catalog/")
            assert page.locator("h1").inner_text() and not page.faults
        finally:
            context.close()
