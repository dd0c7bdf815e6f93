"""The documentation as pages of the app: the files of `docs/` and the README as they stand, with
their headings to link to, and searched by section. Made once, so a page costs no work."""

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from flask import Blueprint, render_template, request
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from werkzeug.exceptions import NotFound

from demo.config import REPOSITORY
from demo.teach import listing
from demo.web import static_files

DOCS = REPOSITORY / "docs"
MOST_FOUND, MOST_ASKED = 20, 100
LISTED = (".py", ".lua")
THEMED = re.compile(r'<img src="([^"]+-light\.png)"[^>]*>')
SCROLLS = re.compile(r"<(table|pre)>")
# A picture in both themes, as GitHub draws it: the only HTML in the files.
PICTURE = re.compile(
    r'<picture><source media="\(prefers-color-scheme: dark\)" srcset="[^"]+-dark\.png">'
    r'<img alt="([^"]+)" src="([^"]+-light\.png)"></picture>'
)
SENTENCE = re.compile(r"(?<=[.])\s")
bp = Blueprint("documents", __name__, url_prefix="/docs", cli_group=None)


@dataclass(frozen=True)
class Section:
    """What stands under one heading: its anchor, its title, its words, and where in the file."""

    anchor: str
    title: str
    words: str


@dataclass(frozen=True)
class Document:
    """One page: its title, for whom it is, and its sections."""

    name: str
    title: str
    reader: str
    body: Markup
    sections: tuple[Section, ...]


@bp.get("/")
def index() -> str:
    """All pages with their readers, or the sections that hold every word of `q`."""
    asked = " ".join(request.args.get("q", "")[:MOST_ASKED].split())
    found = search(asked) if asked else []
    return render_template(
        "documents/index.html",
        documents=documents().values(),
        asked=asked,
        found=[(document, section, excerpt(section, asked)) for document, section in found],
    )


@bp.get("/<name>")
def page(name: str) -> str:
    """One page."""
    document = documents().get(name)
    if document is None:
        raise NotFound("This page does not exist.")
    return render_template("documents/page.html", document=document)


@bp.get("/source/<path:path>")
def source(path: str) -> str:
    """A file of the code to which a page leads."""
    if path not in linked():
        raise NotFound("No page links to this file.")
    file = REPOSITORY / path
    return render_template(
        "documents/source.html",
        path=path,
        listing=listing.of_file(file) if file.suffix in LISTED else None,
        text=file.read_text() if file.suffix not in LISTED else "",
    )


def search(asked: str) -> list[tuple[Document, Section]]:
    """The sections that hold every word that was asked for, those with a word in their title
    first; MOST_FOUND at most."""
    words = asked.lower().split()
    found = [
        (document, section)
        for document in documents().values()
        for section in document.sections
        if all(word in f"{section.title} {section.words}".lower() for word in words)
    ]
    found.sort(key=lambda hit: -sum(word in hit[1].title.lower() for word in words))
    return found[:MOST_FOUND]


@cache
def documents() -> dict[str, Document]:
    """Every page by its name, in the order of their titles, the README first."""
    return {_name(file): _document(file) for file in _files()}


@cache
def linked() -> frozenset[str]:
    """The files of the code to which a page leads."""
    return frozenset(
        target
        for document in documents().values()
        for target in re.findall(r'href="source/([^"]+)"', document.body)
    )


@cache
def _files() -> tuple[Path, ...]:
    return REPOSITORY / "README.md", *sorted(DOCS.glob("*.md"))


def _name(file: Path) -> str:
    return file.stem.lower()


def _document(file: Path) -> Document:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(PICTURE.sub(r"![\1](\2)", file.read_text()))
    sections = tuple(_sections(tokens))
    for token in tokens:
        for inner in token.children or ():
            _lead(inner, file)
    body = markdown.renderer.render(tokens[3:], markdown.options, {})
    body = THEMED.sub(_in_both_themes, body)
    body = SCROLLS.sub(_scrolling(itertools.count(1)), body)
    body = body.replace("</table>", "</table></div>").replace("<th>", '<th scope="col">')
    reader = SENTENCE.split(_plain(tokens[4]))[0]
    return Document(_name(file), sections[0].title, reader, Markup(body), sections)  # noqa: S704 - our own files, HTML in them escaped


def _in_both_themes(found: re.Match[str]) -> str:
    dark = found[1].replace("-light.png", "-dark.png")
    return f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">{found[0]}</picture>'


def _scrolling(numbers: Iterator[int]) -> Callable[[re.Match[str]], str]:
    """What may be wider than the window scrolls by itself, by keyboard too, under a name of its own."""

    def drawn(found: re.Match[str]) -> str:
        of = f'tabindex="0" role="region" aria-label="%s {next(numbers)}"'
        table = f'<div class="table" {of % "Table"}><table>'
        return table if found[1] == "table" else f'<pre class="http" {of % "Example"}>'

    return drawn


def _sections(tokens: list[Token]) -> Iterator[Section]:
    """Parts the file at its headings, and gives each its anchor."""
    anchor, title, words = "", "", list[str]()
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            if title:
                yield Section(anchor, title, " ".join(words))
            title, words = _plain(tokens[at + 1]), []
            anchor = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
            token.attrSet("id", anchor)
        elif token.type in ("inline", "fence") and tokens[at - 1].type != "heading_open":
            words.append(_plain(token) if token.type == "inline" else token.content)
    yield Section(anchor, title, " ".join(words))


def _plain(token: Token) -> str:
    return "".join(inner.content or " " for inner in token.children or ())


def _lead(token: Token, file: Path) -> None:
    """Makes links between files links between pages, and pictures those that are served: relative, as the
    app may be served below a path."""
    if token.type == "image":
        name = str(token.attrs["src"]).rpartition("static/")[2]
        token.attrSet("src", f"../static/{static_files.version()}/{name}")
    href = str(token.attrs.get("href", "")) if token.type == "link_open" else ""
    if not href or "://" in href or href.startswith("#"):
        return
    path, hash_sign, anchor = href.partition("#")
    target = (file.parent / path).resolve()
    if target in _files():
        token.attrSet("href", _name(target) + hash_sign + anchor)
    elif target.is_file():
        token.attrSet("href", f"source/{target.relative_to(REPOSITORY).as_posix()}")
    else:
        token.attrSet("href", "./")


def excerpt(section: Section, asked: str, most: int = 160) -> Markup:
    """The words of a section around the first that was asked for, which is marked."""
    first = asked.split()[0] if asked else ""
    at = max(section.words.lower().find(first.lower()), 0)
    begin = max(at - most // 3, 0)
    text = section.words[begin : begin + most]
    marked = re.sub(f"(?i)({re.escape(escape(first))})", r"<mark>\1</mark>", escape(text), count=1)
    before, after = "… " * (begin > 0), " …" * (begin + most < len(section.words))
    return Markup(before + marked + after)  # noqa: S704 - escaped above
