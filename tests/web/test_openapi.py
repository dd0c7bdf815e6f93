"""The document of the API: complete, true of what is answered, and its examples run."""

import html
import json
import os
import re
import shlex
from typing import Any

import jsonschema_rs
import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.app import USE_CASES
from demo.web import api_examples
from demo.web.documented import operations

NO_STREAM = "text/event-stream"


@pytest.fixture
def document(web: FlaskClient) -> dict[str, Any]:
    return web.get("/openapi.json").json


def test_every_address_of_the_api_tells_of_itself(app: Flask) -> None:
    told = {rule.rule for rule, *_ in operations(app)}
    there = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if "/api/" in rule.rule and rule.rule != "/api/"
    }
    assert there | {"/livez", "/readyz"} == told


def test_every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own(
    document: dict[str, Any],
) -> None:
    assert document["openapi"] == "3.1.0"
    names = {
        one.rpartition("/")[2]
        for one in re.findall(r"'\$ref': '(#/components/schemas/[^']+)'", str(document))
    }
    assert names == names & set(document["components"]["schemas"])
    operations = [said for methods in document["paths"].values() for said in methods.values()]
    assert len({said["operationId"] for said in operations}) == len(operations)
    assert all(said["summary"] for said in operations)


def fits(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> bool:
    """Whether an answer has the shape that the document tells."""
    return jsonschema_rs.is_valid({**schema, "components": document["components"]}, value)


def test_every_example_runs_and_is_answered_as_the_document_says(
    web: FlaskClient, document: dict[str, Any]
) -> None:
    web.post(
        "/leaderboard/api/boards/main/scores",
        json={"player": "mara", "score": 1, "metadata": {"level": 3}},
    )
    ran = 0
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            parameters = said.get("parameters", [])
            address = path
            for one in parameters:
                if one["in"] == "path":
                    address = address.replace("{" + one["name"] + "}", one["example"])
            query = {
                one["name"]: one["example"]
                for one in parameters
                if one["in"] == "query" and "example" in one
            }
            good = next(iter(said["responses"].items()))
            if NO_STREAM in good[1]["content"]:
                method = "head"
            body = (
                said.get("requestBody", {})
                .get("content", {})
                .get("application/json", {})
                .get("example")
            )
            keys = {
                one["name"]: f"{one['example']}-{ran}"
                for one in parameters
                if one["in"] == "header"
            }
            answer = web.open(
                address, method=method.upper(), json=body, query_string=query, headers=keys
            )
            assert str(answer.status_code) == good[0], (path, method, answer.text)
            if "application/json" in good[1]["content"]:
                assert fits(
                    answer.json, good[1]["content"]["application/json"]["schema"], document
                ), (path, answer.json)
            ran += 1
    assert ran >= 15


def test_the_page_tells_every_address_with_its_example(
    web: FlaskClient, document: dict[str, Any]
) -> None:
    page = web.get("/api/")
    assert page.status_code == 200
    assert len(page.data) <= 44_000 and "`" not in page.text
    assert re.findall(r'<h2 id="(\w+)"', page.text) == list(USE_CASES)
    for path, methods in document["paths"].items():
        assert path in page.text
        assert all(said["operationId"] in page.text for said in methods.values())


def test_each_operation_has_a_line_for_a_shell_that_runs(make_app: Any) -> None:
    web = make_app(RATE_LIMITS={}).test_client()
    web.post("/leaderboard/api/boards/main/scores", json={"player": "mara", "score": 1})
    lines = [
        html.unescape(line)
        for line in re.findall(
            r'aria-label="Shell: [^>]+ data-copy>(.*?)</pre>', web.get("/api/").text
        )
    ]
    assert len(lines) == len(list(operations(web.application)))
    for line in lines:
        words = shlex.split(line)
        assert words.pop(0) == "curl"
        options = dict(zip(words, words[1:], strict=False))
        (address,) = [word for word in words if word.startswith("http://localhost/")]
        body = options.get("-d")
        method = options.get("-X", "POST" if body else "GET")
        answer = web.open(
            address.removeprefix("http://localhost"),
            method="HEAD" if "-N" in words else method,
            data=body,
            content_type="application/x-www-form-urlencoded" if body else None,
        )
        assert answer.status_code in (200, 201), (line, answer.text)


def test_each_operation_has_an_answer_of_the_shape_that_the_document_tells(
    document: dict[str, Any],
) -> None:
    """Where this fails, `python -m tests.make_samples` takes them anew."""
    kept = json.loads(api_examples.SAMPLES.read_text())
    for methods in document["paths"].values():
        for said in methods.values():
            sample = kept.pop(said["operationId"])
            content = next(iter(said["responses"].values()))["content"]
            if "application/json" in content:
                assert fits(sample, content["application/json"]["schema"], document), said
            else:
                assert isinstance(sample, str) and sample
    assert not kept


def test_with_a_key_a_line_says_where_it_stands(make_app: Any) -> None:
    page = html.unescape(make_app(API_KEY="a key").test_client().get("/api/").text)
    assert "-H 'Authorization: Bearer <key>'" in page and "a key'" not in page


def test_with_a_key_the_document_says_so(make_app: Any) -> None:
    document = make_app(API_KEY="a key").test_client().get("/openapi.json").json
    post = document["paths"]["/leaderboard/api/boards/{board}/scores"]["post"]
    assert (post["security"], "401" in post["responses"]) == ([{"key": []}], True)


def parameters(document: dict[str, Any], method: str, path: str) -> dict[str, bool]:
    said = document["paths"]["/leaderboard/api/boards/{board}" + path][method]
    return {one["name"]: one["required"] for one in said["parameters"] if one["in"] != "path"}


def test_each_address_tells_the_parameters_and_headers_that_have_an_effect(make_app: Any) -> None:
    document = make_app().test_client().get("/openapi.json").json
    assert set(parameters(document, "get", "")) == {"period", "cursor", "offset", "limit"}
    assert set(parameters(document, "get", "/players/{player}")) == {"period", "around"}
    assert parameters(document, "get", "/stream")["Last-Event-ID"] is False
    assert parameters(document, "post", "/scores") == {"Idempotency-Key": False}
    signed = make_app(SIGNING_SECRET="a secret").test_client().get("/openapi.json").json
    needed = {f"Demo-{name}": True for name in ("Timestamp", "Nonce", "Signature")}
    for path in ("/scores", "/scores:batch"):
        assert parameters(signed, "post", path) == {"Idempotency-Key": False, **needed}


def test_the_headers_of_answers_are_told(make_app: Any) -> None:
    def headers(document: dict[str, Any]) -> dict[str, set[str]]:
        answers = document["paths"]["/leaderboard/api/boards/{board}/scores"]["post"]["responses"]
        return {status: set(answer.get("headers", ())) for status, answer in answers.items()}

    limited, free = (
        headers(make_app(**more).test_client().get("/openapi.json").json)
        for more in ({}, {"RATE_LIMITS": {}})
    )
    assert (
        free["201"] == {"Idempotency-Replayed"}
        and free["503"] == {"Retry-After"}
        and not free["422"]
    )
    assert limited["201"] == {"Idempotency-Replayed", "RateLimit", "RateLimit-Policy"}
    assert limited["429"] == {"Retry-After", "RateLimit", "RateLimit-Policy"}


def test_the_document_is_of_what_there_is(make_app: Any) -> None:
    assert set(
        make_app(("leaderboard",), RATE_LIMITS={}).test_client().get("/openapi.json").json["paths"]
    ) == {
        "/leaderboard/api/boards/{board}",
        "/leaderboard/api/boards/{board}/players/{player}",
        "/leaderboard/api/boards/{board}/scores",
        "/leaderboard/api/boards/{board}/scores:batch",
        "/leaderboard/api/boards/{board}/stream",
    }


@pytest.mark.long
def test_whatever_is_asked_nothing_fails_and_nothing_untold_is_answered(make_app: Any) -> None:
    pytest.importorskip("schemathesis")
    from tests import fuzz

    cases = 5000 if os.environ.get("TEST_MANY") else 150
    seen = fuzz.run(make_app(RATE_LIMITS={}), cases)
    assert seen.total() >= cases
    assert not [name for name in seen if name.rpartition(" ")[2].startswith("5")]
