"""A browser, a server, and a page that keeps what went wrong on it."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import browser, find, prepare, watch
from tests.serving import Server, serve


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser its tests skip, but not where TEST_BROWSER=required promised one."""
    if find() is None and os.environ.get("TEST_BROWSER") != "required":
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs Chromium"))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with serve(
        DEMO_PRODUCTS="500", DEMO_DB_LATENCY_MS="5", DEMO_REDIS_TIMEOUT_SECONDS="2"
    ) as running:
        prepare(running.url)
        yield running


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    assert find(), "TEST_BROWSER=required, and there is no Chromium"
    with browser() as running:
        yield running


@pytest.fixture
def page(chromium: Any, server: Server) -> Iterator[Any]:
    # Without motion: an interrupted transition between pages is told on the console, and is no
    # fault of the page.
    context = chromium.new_context(
        base_url=server.url, viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
    )
    yield watch(context.new_page(), server.url)
    context.close()
    # What the browser's greenlets leave behind goes now. Collected while some other test has Python parse a
    # file, it has made CPython 3.11 lose count: "AST constructor recursion depth mismatch".
    gc.collect()
