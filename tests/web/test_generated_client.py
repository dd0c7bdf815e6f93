"""The document is enough to write a client from: one that a generator makes of it calls every
operation, and understands every answer."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

NAME = "client_of_the_document"


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    return dict(app.test_client().get("/openapi.json").json)


@pytest.fixture
def generated(document: dict[str, Any], tmp_path: Path) -> Iterator[ModuleType]:
    """The package that the generator makes."""
    pytest.importorskip("openapi_python_client")
    (tmp_path / "document.json").write_text(json.dumps(document))
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    told = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"),
            *("--path", "document.json", "--config", "config.yaml", "--output-path", NAME),
            "--fail-on-warning",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    sys.path.insert(0, str(tmp_path))
    try:
        yield importlib.import_module(NAME)
    finally:
        sys.path.remove(str(tmp_path))
        for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
            del sys.modules[name]


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All but streams."""
    for methods in document["paths"].values():
        for said in methods.values():
            if (
                "text/event-stream"
                not in said["responses"]["200" if "200" in said["responses"] else "201"]["content"]
            ):
                yield said


def call(module: ModuleType, said: dict[str, Any], client: Any) -> Any:
    """One operation, with the examples of the document, and its defaults as the client sends them."""
    given: dict[str, Any] = {}
    for one in said.get("parameters", []):
        if "example" in one and one["in"] != "header":
            given[one["name"]] = one["example"]
    if "requestBody" in said:
        example = said["requestBody"]["content"]["application/json"]["example"]
        given["body"] = module.__dict__["sync_detailed"].__annotations__["body"].from_dict(example)
    return module.__dict__["sync_detailed"](client=client, **given)


def test_a_generated_client_calls_every_operation(
    app: Flask, document: dict[str, Any], generated: ModuleType
) -> None:
    import httpx

    client = generated.Client(
        base_url="http://localhost",
        raise_on_unexpected_status=True,
        httpx_args={"transport": httpx.WSGITransport(app=app)},
    )
    app.test_client().post(
        "/leaderboard/api/boards/main/scores",
        json={"player": "mara", "score": 1, "metadata": {"level": 3}},
    )
    called = 0
    with client:
        for said in operations(document):
            name = f"{NAME}.api.{said['tags'][0]}.{said['operationId']}"
            answer = call(importlib.import_module(name), said, client)
            assert 200 <= answer.status_code < 300, (name, answer.content)
            assert type(answer.parsed).__name__ != "Problem", name
            assert answer.parsed is not None or "text/csv" in str(said["responses"]["200"]), name
            called += 1
    assert called >= 16


def test_every_type_has_a_plain_name_of_its_own(document: dict[str, Any]) -> None:
    names = list(document["components"]["schemas"])
    assert all(name.isidentifier() and name[0].isupper() for name in names), names
    assert len({name.lower() for name in names}) == len(names)
    titles = [
        schema.get("title", name) for name, schema in document["components"]["schemas"].items()
    ]
    assert len(set(titles)) == len(titles)


def test_every_default_that_is_stated_is_taken(web: FlaskClient, document: dict[str, Any]) -> None:
    web.post("/leaderboard/api/boards/main/scores", json={"player": "mara", "score": 1})
    for path, methods in document["paths"].items():
        if "get" not in methods:
            continue
        query, address = {}, path
        for one in methods["get"].get("parameters", []):
            if one["in"] == "path":
                address = address.replace("{" + one["name"] + "}", one["example"])
            elif one["in"] == "query":
                known = one["schema"].get("default", one.get("example"))
                query |= {one["name"]: known} if known is not None else {}
        answer = web.open(address, method="HEAD", query_string=query)
        assert answer.status_code == 200, (address, query)
    bodies = document["components"]["schemas"]
    defaults = {
        name: value["default"]
        for name, value in bodies["Posted"]["properties"].items()
        if "default" in value
    }
    score = {"player": "mara", "score": 2, **defaults}
    assert web.post("/leaderboard/api/boards/main/scores", json=score).status_code == 201


@pytest.mark.parametrize("score", ["1200.0", "1200", "1.2e3", "-0.0"])
def test_a_number_without_a_fraction_is_an_integer(web: FlaskClient, score: str) -> None:
    for path in ("scores", "scores:batch"):
        one = f'{{"player": "p{score}", "score": {score}}}'
        body = one if path == "scores" else f'{{"scores": [{one}]}}'
        answer = web.post(f"/leaderboard/api/boards/main/{path}", data=body)
        told = answer.json if path == "scores" else answer.json["results"][0]
        assert told["score"] == int(float(score)), answer.text
    patched = web.patch("/catalog/api/products/42", data='{"price_cents": 1200.0, "stock": 3.0}')
    assert (patched.status_code, patched.json["price_cents"]) == (200, 1200)
    assert web.get("/leaderboard/api/boards/main?limit=5.0&offset=0.00").status_code == 200


@pytest.mark.parametrize("score", ["1200.5", "1e300", "1e19", '"1200"', "true", "NaN", "1e999"])
def test_what_is_no_integer_is_refused(web: FlaskClient, score: str) -> None:
    answer = web.post(
        "/leaderboard/api/boards/main/scores", data=f'{{"player": "p", "score": {score}}}'
    )
    assert answer.status_code in (400, 422), answer.text
    assert web.get("/leaderboard/api/boards/main?limit=5.5").status_code == 422
    assert web.get("/leaderboard/api/boards/main?limit=5.").status_code == 422


def test_unknown_fields_are_taken_or_refused_as_the_document_says(
    web: FlaskClient, document: dict[str, Any]
) -> None:
    tried = 0
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            if "requestBody" not in said:
                continue
            content = said["requestBody"]["content"]["application/json"]
            schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
            for one in said.get("parameters", []):
                path = path.replace("{" + one["name"] + "}", str(one["example"]))
            answer = web.open(path, method=method.upper(), json={**content["example"], "zz": 1})
            refused = schema.get("additionalProperties") is False
            assert (answer.status_code == 422) == refused, path
            tried += 1
    assert tried == 5


def test_the_document_tells_every_status_of_preconditions_and_bodies(
    make_app: Callable[..., Flask],
) -> None:
    web = make_app(ORIGIN="http://localhost").test_client()
    for methods in web.get("/openapi.json").json["paths"].values():
        for method, said in methods.items():
            told = set(said["responses"])
            assert {"412", "421"} <= told
            assert ("304" in told) == (method == "get")
            assert ({"400", "408", "413", "415"} <= told) == ("requestBody" in said)
