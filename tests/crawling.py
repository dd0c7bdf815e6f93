"""A visitor who follows every link and sends every form of a page."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

from flask.testing import FlaskClient

OF_EACH_ENDPOINT = 2


@dataclass
class Form:
    """A form with its default values, and the ways to send it: each button's own name, value and
    address."""

    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)


class Page(HTMLParser):
    """The links and forms of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[Form] = []
        self._form: Form | None = None
        self._select = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "form":
            self._form = Form(given.get("method", "get").upper(), given.get("action", ""))
            self.forms.append(self._form)
        elif self._form is not None and tag == "input" and "name" in given:
            if given.get("type") not in ("checkbox", "radio") or "checked" in given:
                self._form.fields[given["name"]] = given.get("value", "")
        elif self._form is not None and tag == "select":
            self._select = given.get("name", "")
        elif self._form is not None and tag == "option" and self._select and "selected" in given:
            self._form.fields[self._select] = given.get("value", "")
        elif (
            self._form is not None
            and tag == "button"
            and "disabled" not in given
            and given.get("type") != "button"
        ):
            self._form.buttons.append(
                (given.get("name", ""), given.get("value", ""), given.get("formaction", ""))
            )

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None


def crawl(web: FlaskClient, start: str = "/") -> Iterator[tuple[str, str, Any]]:
    """Method, path and answer of everything that can be reached, but for what ends or changes the
    fault itself; of pages that differ in an id only, the first two."""
    adapter = web.application.url_map.bind("localhost")
    waiting: list[tuple[str, str, dict[str, str]]] = [("GET", start, {})]
    seen: set[str] = set()
    often: Counter[tuple[str, str]] = Counter()
    while waiting:
        method, path, data = waiting.pop(0)
        parts = urlsplit(path)
        if (
            parts.netloc
            or parts.scheme
            or parts.path in ("", "/choices")
            or parts.path.startswith("/static/")
        ):
            continue
        what = f"{method} {path} {sorted(data.items())}"
        if what in seen:
            continue
        seen.add(what)
        endpoint = (
            method,
            adapter.match(parts.path, method)[0]
            if adapter.test(parts.path, method)
            else parts.path,
        )
        often[endpoint] += 1
        if often[endpoint] > OF_EACH_ENDPOINT * (3 if method == "POST" else 1):
            continue
        answer = web.open(path, method=method, data=data if method == "POST" else None)
        yield method, path, answer
        if "Location" in answer.headers:
            waiting.append(("GET", urljoin(path, answer.headers["Location"]), {}))
        if answer.mimetype == "text/html":
            page = Page(answer.text)
            waiting += [("GET", urljoin(path, link).partition("#")[0], {}) for link in page.links]
            for form in page.forms:
                for name, value, action in form.buttons or [("", "", "")]:
                    entries = {**form.fields, **({name: value} if name else {})}
                    waiting.append((form.method, urljoin(path, action or form.action), entries))
        answer.close()
