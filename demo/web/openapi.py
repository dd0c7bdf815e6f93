"""/openapi.json: the JSON API as it is, made of the views and of the msgspec types that they read
and answer with.

A view says by `documented` what it takes; its docstring is the summary, its address comes from the
routes. So there is nothing to keep in step: `tests/web/test_openapi.py` fails for an address of the API
that says nothing of itself.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import msgspec
from flask import Blueprint, Flask, Response, current_app, render_template, request
from werkzeug.routing import Rule

from demo.limits import covering
from demo.web import api_examples, origin, preconditions
from demo.web.documented import Operation, operations
from demo.web.errors import SENTENCES
from demo.web.services import services

PROBLEM = {
    "type": "object",
    "description": "An error in the format of RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "the invalid fields, with status 422",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
STRING = {"type": "string"}
READS = ("GET", "HEAD")
LIMITED = {
    "RateLimit": "the rest of each quota, in the format of draft-ietf-httpapi-ratelimit-headers-11",
    "RateLimit-Policy": "the quotas, in the format of the same draft",
}
RETRY = {"Retry-After": "seconds to wait before the next try"}
bp = Blueprint("openapi", __name__, cli_group=None)


def document(app: Flask, below: str = "") -> dict[str, Any]:
    """The document, OpenAPI 3.1, of an app that begins `below` its host."""
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
    of_queries = {
        schema_of[id(one.query)]["$ref"].rpartition("/")[2]
        for *_, one in told
        if one.query is not None
    }
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
            "description": "The JSON API. Errors are application/problem+json. A body may have 64 kB, a batch 1 MB.",
        },
        "servers": [{"url": app.config["ORIGIN"] + below or "/"}],
        "paths": paths,
        "components": {
            "schemas": {**_named(components, paths, of_queries), "Problem": PROBLEM},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "required if the server has an API key",
                }
            },
        },
    }
    return _portable(found)  # type: ignore[no-any-return]


def _named(
    components: Mapping[str, Any], paths: Mapping[str, Any], of_queries: set[str]
) -> dict[str, Any]:
    """The types that something refers to: a query's fields stand with each address. Of two types of
    one name msgspec names the modules too, which no client can call a class."""
    used = {*re.findall(r"#/components/schemas/([\w.]+)", str((components, paths)))}
    found = {name: said for name, said in components.items() if {name} & used - of_queries}
    assert all(name.isidentifier() for name in found), list(found)
    return found


def _operation(
    app: Flask,
    rule: Rule,
    method: str,
    one: Operation,
    schema_of: Mapping[int, Any],
    components: Mapping[str, Any],
) -> dict[str, Any]:
    summary, _, more = one.about.partition(". ")
    said: dict[str, Any] = {
        "operationId": rule.endpoint.replace(".", "_") + one.on.replace(":", "_"),
        "summary": summary.rstrip("."),
        "tags": [rule.endpoint.split(".")[0]],
        "responses": _answers(app, rule, method, one, schema_of),
    }
    if more:
        said["description"] = more
    query = None
    if one.query is not None:
        query = components[schema_of[id(one.query)]["$ref"].rpartition("/")[2]]
    parameters = [*_of_path(rule, one), *_of_query(query, one), *_of_headers(app, one)]
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
    if method not in READS and app.config["API_KEY"]:
        said["security"] = [{"key": []}]
    return said


def _of_path(rule: Rule, one: Operation) -> Iterator[dict[str, Any]]:
    for name in sorted(rule.arguments - set(rule.defaults or {})):
        schema = {"type": "string", "minLength": 1}
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": schema,
            "example": one.path[name],
        }


def _of_query(query: Mapping[str, Any] | None, one: Operation) -> Iterator[dict[str, Any]]:
    for name, schema in query["properties"].items() if query else ():
        required = name in query.get("required", []) if query else False
        said = {"name": name, "in": "query", "required": required, "schema": _said(schema)}
        if required:
            said["example"] = (one.example or {})[name]
        yield said


def _of_headers(app: Flask, one: Operation) -> Iterator[dict[str, Any]]:
    for header in one.headers:
        if not header.setting or app.config[header.setting]:
            yield {
                "name": header.name,
                "in": "header",
                "required": bool(header.setting),
                "description": header.about,
                "schema": {"type": "string", "pattern": header.pattern},
                "example": header.example,
            }


def _answers(
    app: Flask, rule: Rule, method: str, one: Operation, schema_of: Mapping[int, Any]
) -> dict[str, Any]:
    limited = bool(covering(app.config["RATE_LIMITS"], rule.endpoint)[1])
    answers: dict[str, Any] = {}
    for status, kind in {one.status: one.answer, **one.also}.items():
        content = {one.media: {"schema": schema_of[id(kind)]}}
        answers[str(status)] = {
            "description": "The answer." if status < 400 else "Not ready.",
            "content": content,
        }
    if method in READS:
        answers["304"] = {"description": "The client's copy is current."}
    known = {int(status) for status in answers}
    for status in sorted(_problems(app, rule, method, one, limited) - known):
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        answers[str(status)] = {
            "description": SENTENCES.get(status, "An error."),
            "content": content,
        }
    for code, described in answers.items():
        named = dict(one.answer_headers) if code == str(one.status) else {}
        named |= LIMITED if limited else {}
        named |= RETRY if code in ("429", "503") else {}
        if named:
            described["headers"] = {
                name: {"description": about, "schema": STRING} for name, about in named.items()
            }
    return answers


def _problems(app: Flask, rule: Rule, method: str, one: Operation, limited: bool) -> set[int]:
    """The status codes of all that can go wrong."""
    view = app.view_functions[rule.endpoint]
    problems = {*one.errors, 412}
    if one.body is not None:
        problems |= {408, 415}
    if app.config["ORIGIN"]:
        problems.add(421)
    if one.body is not None or one.query is not None or one.path:
        problems.add(422)
    if method not in READS:
        problems.add(403)
        if app.config["PRECONDITION_REQUIRED"] and preconditions.are_checked_by(view):
            problems.add(428)
        if app.config["API_KEY"]:
            problems.add(401)
    if limited:
        problems.add(429)
    return problems


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
    return Response(
        msgspec.json.encode(document(current_app, request.script_root)), mimetype="application/json"
    )


@bp.get("/api/")
def page() -> str:
    """The same to read."""
    return render_template(
        "openapi.html",
        document=document(current_app),
        titles=services().titles,
        curl=partial(api_examples.curl, origin.own() or "https://…"),
        samples=api_examples.samples(),
    )
