"""Each trap leads to the test that forces it."""

import re
from html import unescape

import pytest
from flask.testing import FlaskClient

from tests.browser.chromium import PAGES

SECTION = re.compile(r'<section class="flow" aria-labelledby="wrong">.*?</section>', re.DOTALL)
USE_CASES = (
    "/catalog/",
    "/catalog/products/42",
    "/sessions/",
    "/rate-limit/",
    "/leaderboard/",
    "/analytics/",
    "/monitor/",
)


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_each_trap_of_a_page_leads_to_a_test_that_is_there(web: FlaskClient, path: str) -> None:
    section = SECTION.search(web.get(path).text)
    traps = section[0].split('<li class="trap">')[1:] if section else []
    for trap in traps:
        href = re.search(r'<a class="label" href="(/tests/[^"]+)">Test: ', trap)
        assert href, trap
        page = web.get(href[1])
        assert page.status_code == 200
        assert f"def {href[1].rpartition('/')[2]}" in re.sub("<[^>]+>", "", unescape(page.text))


@pytest.mark.parametrize("path", USE_CASES)
def test_each_use_case_has_all_parts_in_the_same_order(web: FlaskClient, path: str) -> None:
    page = web.get(path).text
    assert re.findall(r'<h2 id="(for|code|wrong|away)">', page) == ["for", "code", "wrong", "away"]


@pytest.mark.parametrize(
    "path",
    [
        "/tests/conftest.py/app",
        "/tests/test_proofs.py/SECTION",
        "/tests/test_proofs.py/test_none",
        "/tests/../wsgi.py/app",
        "/tests/%2e%2e/demo/app.py/create_app",
        "/tests//etc/passwd/test_a",
        "/tests/test_proofs.py",
    ],
)
def test_nothing_but_a_test_is_shown(web: FlaskClient, path: str) -> None:
    assert web.get(path, follow_redirects=True).status_code == 404
