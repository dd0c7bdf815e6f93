"""/openapi.json: the JSON API as it is, made of the views and of the msgspec types that they read
and answer with.

A view says by `documented` what it takes; its docstring is the summary, its address comes from the
routes. So there is nothing to keep in step: `tests/web/test_openapi.py` fails for an address of the API
that says nothing of itself.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from flask import Blueprint, Flask, Response, current_app, render_template
from werkzeug.routing import Rule

from demo.limits import covering
from demo.web.errors import SENTENCES
from demo.web.services import services

View = TypeVar("View", bound=Callable[..., Any])
PROBLEM = {
    "type": "object",
    "description": "An error, as of RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "with 422: which fields are wrong",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
STRING = {"type": "string"}
LIMITED = {
    "RateLimit": "what is left of each quota, as of draft-ietf-httpapi-ratelimit-headers-11",
    "RateLimit-Policy": "the quotas, as of the same",
}
RETRY = {"Retry-After": "when to come back, in seconds"}
bp = Blueprint("openapi", __name__, cli_group=None)


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
    """Tells of a view: the types of its body, query and answer, examples of body and path, the
    status codes of its problems, the headers that it knows, those that its answer may have with
    a word on each, and other answers that are no problems. `on` is how the address ends where a
    view has several."""

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


def document(app: Flask) -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    told = list(operations(app))
    types = [
        kind
        for *_, one in told
        for kind in (one.answer, one.body, one.query, *one.also.values())
        if kind is not None
    ]
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    schema_of = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, Any] = {}
    for rule, method, one in told:
        address = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
        paths.setdefault(address, {})[method.lower()] = _operation(
            app, rule, method, one, schema_of, components
        )
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Redis in practice",
            "version": "1",
            "description": "The JSON API. Errors are application/problem+json; a body is 64 kB at most, a batch 1 MB.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": PROBLEM},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "where the server has a key",
                }
            },
        },
    }
    return _portable(found)  # type: ignore[no-any-return]


def _operation(
    app: Flask,
    rule: Rule,
    method: str,
    one: Operation,
    schema_of: Mapping[int, Any],
    components: Mapping[str, Any],
) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
            "example": one.path[name],
        }
        for name in sorted(rule.arguments - set(rule.defaults or {}))
    ]
    if one.query is not None:
        reference = schema_of[id(one.query)]["$ref"].rpartition("/")[2]
        query = components[reference]
        parameters += [
            {
                "name": name,
                "in": "query",
                "required": name in query.get("required", []),
                "schema": _said(schema),
            }
            for name, schema in query["properties"].items()
        ]
        for parameter in parameters:
            if parameter["required"] and parameter["in"] == "query":
                parameter["example"] = (one.example or {})[parameter["name"]]
    parameters += [
        {
            "name": header.name,
            "in": "header",
            "required": bool(header.setting),
            "description": header.about,
            "schema": {"type": "string", "pattern": header.pattern},
            "example": header.example,
        }
        for header in one.headers
        if not header.setting or app.config[header.setting]
    ]
    limited = bool(covering(app.config["RATE_LIMITS"], rule.endpoint)[1])
    answers: dict[str, Any] = {}
    for status, kind in {one.status: one.answer, **one.also}.items():
        content = {one.media: {"schema": schema_of[id(kind)]}}
        answers[str(status)] = {
            "description": "The answer." if status < 400 else "Not ready.",
            "content": content,
        }
    problems = set(one.errors) | (
        {422} if one.body is not None or one.query is not None or one.path else set()
    )
    if method not in ("GET", "HEAD"):
        problems |= {403} | ({401} if app.config["API_KEY"] else set())
    problems |= {429} if limited else set()
    for status in sorted(problems - {int(known) for known in answers}):
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        answers[str(status)] = {
            "description": SENTENCES.get(status, "An error."),
            "content": content,
        }
    for code, described in answers.items():
        named = (dict(one.answer_headers) if code == str(one.status) else {}) | (
            LIMITED if limited else {}
        )
        named |= RETRY if code in ("429", "503") else {}
        if named:
            described["headers"] = {
                name: {"description": about, "schema": STRING} for name, about in named.items()
            }
    summary, _, more = one.about.partition(". ")
    said: dict[str, Any] = {
        "operationId": rule.endpoint.replace(".", "_") + one.on.replace(":", "_"),
        "summary": summary.rstrip("."),
        "tags": [rule.endpoint.split(".")[0]],
        "responses": answers,
    }
    if more:
        said["description"] = more
    if parameters:
        said["parameters"] = parameters
    if one.body is not None:
        content = {
            "application/json": {
                "schema": schema_of[id(one.body)],
                "example": msgspec.to_builtins(one.example),
            }
        }
        said["requestBody"] = {"required": True, "content": content}
    if method not in ("GET", "HEAD") and app.config["API_KEY"]:
        said["security"] = [{"key": []}]
    return said


def _said(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A query's field: an absent one is no null."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1:
        return dict(choices[0])
    return dict(schema)


def _portable(part: Any) -> Any:
    """The document in the regular expressions of JSON Schema, which have no \\Z."""
    if isinstance(part, dict):
        return {
            key: value.replace(r"\Z", "$")
            if key == "pattern" and isinstance(value, str)
            else _portable(value)
            for key, value in part.items()
        }
    return [_portable(one) for one in part] if isinstance(part, list | tuple) else part


@bp.get("/openapi.json")
def openapi() -> Response:
    """The document."""
    return Response(msgspec.json.encode(document(current_app)), mimetype="application/json")


@bp.get("/api/")
def page() -> str:
    """The same to read."""
    return render_template("openapi.html", document=document(current_app), titles=services().titles)
