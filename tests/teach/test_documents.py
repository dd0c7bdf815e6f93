"""The documentation as pages: every file, every link and every anchor, served without a network."""

import re
from collections.abc import Callable
from html import unescape
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.teach import documents
from demo.teach.documents import Section, excerpt
from tests.servers import REPOSITORY

FILES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
NAMES = [file.stem.lower() for file in FILES]
LINK = re.compile(r'(?:href|src)="([^"]+)"')


def article(web: FlaskClient, name: str) -> str:
    page = web.get(f"/docs/{name}")
    assert page.status_code == 200
    return page.text.partition("<article")[2].partition("</article>")[0]


def test_every_file_is_a_page_and_the_list_says_who_it_is_for(web: FlaskClient) -> None:
    page = web.get("/docs/")
    assert page.status_code == 200
    assert re.findall(r'<h3><a href="/docs/([^"]+)">', page.text) == NAMES
    readers = re.findall(r'<li class="trap">.*?<p>(.*?)</p>', page.text, re.DOTALL)
    assert all(reader.startswith("For ") and reader.endswith(".") for reader in readers[1:])
    assert not any("](" in reader or "`" in reader for reader in readers)


@pytest.mark.parametrize("name", NAMES)
def test_every_link_of_a_page_is_answered_and_every_anchor_is_there(
    web: FlaskClient, name: str
) -> None:
    own = web.get(f"/docs/{name}").text
    for href in set(LINK.findall(own)):
        to = urlsplit(urljoin(f"http://localhost/docs/{name}", unescape(href)))
        if to.netloc != "localhost":
            continue
        with web.get(to.path) as page:
            assert page.status_code == 200, href
            assert not to.fragment or f'id="{to.fragment}"' in page.text, href


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_page_has_all_that_stands_in_its_file(web: FlaskClient, file: object) -> None:
    """Every row of every table, every line of every example, every heading."""
    text = (REPOSITORY / str(file)).read_text()
    page = article(web, (REPOSITORY / str(file)).stem.lower())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    tables = sum(set(row) <= set("|- :") for row in rows)
    assert page.count("<tr>") == len(rows) - tables and page.count("<table>") == tables
    shown = unescape(re.sub("<[^>]+>", "", page))
    for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL):
        assert block in shown
    headings = re.findall(r"(?m)^##+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    assert len(re.findall(r"<h[2-6] ", page)) == len(headings)


def test_below_a_path_every_link_stays_below_it(make_app: Callable[..., Flask]) -> None:
    web = make_app(TRUSTED_PROXIES=1).test_client()
    page = web.get("/docs/readme", headers={"X-Forwarded-Prefix": "/demo"}).text
    found = [urljoin("/demo/docs/readme", href) for href in LINK.findall(page)]
    assert len(found) > 40
    assert not [to for to in found if to.startswith("/") and not to.startswith("/demo/")]


def test_what_is_searched_is_found_by_section_titles_first(web: FlaskClient) -> None:
    page = web.get("/docs/", query_string={"q": "  Proxy   HOST "}).text
    hits = re.findall(r'<a href="/docs/([\w-]+)#([\w-]+)">', page)
    assert hits and f"{len(hits)} sections with “Proxy HOST”" in page
    for name, anchor in hits:
        (section,) = (
            section for section in documents.documents()[name].sections if section.anchor == anchor
        )
        assert {"proxy", "host"} <= set(
            re.findall("proxy|host", f"{section.title} {section.words}".lower())
        )
    glossary = web.get("/docs/?q=glossary").text
    assert re.findall(r'<a href="/docs/([\w-]+)#', glossary)[0] == "glossary"


@pytest.mark.parametrize("asked", ["<script>", "x" * 5000, "no-such-word", "'&quot;", "%00", "\0"])
def test_what_is_not_found_says_so_and_is_only_text(web: FlaskClient, asked: str) -> None:
    page = web.get("/docs/", query_string={"q": asked})
    assert page.status_code == 200 and "<script>" not in page.text.partition("<main")[2]
    assert "No sections with" in page.text and len(page.text) < 20_000


def test_an_excerpt_marks_the_word_and_nothing_else() -> None:
    section = Section("a", "A", f"{'before ' * 40}a <b> & Lease{' after' * 40}")
    found = excerpt(section, "lease")
    assert "<mark>Lease</mark>" in found and "&lt;b&gt; &amp; " in found
    assert found.startswith("… ") and found.endswith(" …") and len(found) < 300
    assert excerpt(Section("a", "A", "short"), "a") == "short"


@pytest.mark.parametrize(
    "path", ["wsgi.py.bak", "../wsgi.py", "demo/__init__.py", "etc/passwd", ".env", "tests/"]
)
def test_only_files_to_which_a_page_leads_are_shown(web: FlaskClient, path: str) -> None:
    assert web.get(f"/docs/source/{path}").status_code == 404


def test_there_is_no_other_page(web: FlaskClient) -> None:
    for name in ("Keys", "keys.md", "nope", "source"):
        assert web.get(f"/docs/{name}").status_code == 404


def test_pictures_are_shown_in_both_themes_and_are_there(web: FlaskClient) -> None:
    page = web.get("/docs/readme").text
    pictures = re.findall(
        r'<picture><source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)">'
        r'<img src="([^"]+)" alt="([^"]+)" /></picture>',
        page,
    )
    assert len(pictures) == page.count("<img") == page.count("<picture") >= 1
    assert "&lt;picture" not in page
    for dark, light, told in pictures:
        assert told and dark == light.replace("-light.png", "-dark.png")
        for path in (dark, light):
            answer = web.get(urljoin("/docs/readme", path))
            assert answer.data[:4] == b"\x89PNG" and "immutable" in answer.headers["Cache-Control"]
            answer.close()
