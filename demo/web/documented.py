"""What a view of the JSON API tells of itself: what it takes, what it answers with, which headers and
errors it knows. Of this /openapi.json is made."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from flask import Flask
from werkzeug.routing import Rule

View = TypeVar("View", bound=Callable[..., Any])


class Header(NamedTuple):
    """A request header that an operation knows; with a setting it is needed where that is set, and
    not known elsewhere."""

    name: str
    about: str
    pattern: str
    example: str
    setting: str = ""


class Operation(NamedTuple):
    """What an address takes and answers."""

    about: str
    on: str
    answer: Any
    status: int
    body: Any
    query: Any
    path: Mapping[str, Any]
    example: Any
    errors: tuple[int, ...]
    headers: tuple[Header, ...]
    answer_headers: Mapping[str, str]
    also: Mapping[int, Any]
    media: str


def documented(
    about: str = "",
    on: str = "",
    *,
    answer: Any,
    status: int = 200,
    body: Any = None,
    query: Any = None,
    path: Mapping[str, Any] | None = None,
    example: Any = None,
    errors: tuple[int, ...] = (),
    headers: tuple[Header, ...] = (),
    answer_headers: Mapping[str, str] | None = None,
    also: Mapping[int, Any] | None = None,
    media: str = "application/json",
) -> Callable[[View], View]:
    """Describes a view for OpenAPI. Takes the types of its body, query and answer, and examples of
    body and path. Takes the status codes of its problems, the headers that it reads, those of its
    answer with a word on each, and other answers that are no problems. `on` is how the address ends
    where a view has several."""

    def keep(view: View) -> View:
        told = Operation(
            about or " ".join((view.__doc__ or "").split()),
            on,
            answer,
            status,
            body,
            query,
            path or {},
            example,
            errors,
            headers,
            answer_headers or {},
            also or {},
            media,
        )
        view.__dict__.setdefault("operations", []).append(told)
        return view

    return keep


def operations(app: Flask) -> Iterator[tuple[Rule, str, Operation]]:
    """Every address that tells of itself: its rule, method and operation, in the order of the
    addresses."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        told = [
            one
            for one in getattr(app.view_functions[rule.endpoint], "operations", [])
            if rule.rule.endswith(one.on)
        ]
        if told:
            best = max(told, key=lambda one: len(one.on))
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method, best
