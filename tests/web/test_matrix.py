"""The matrix of docs/http-api.md is what the app answers: method, precondition, representation and
encoding on the left, status and headers on the right. When it differs, this test prints it anew."""

import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask

from tests.servers import REPOSITORY

HEADING = ["| method | precondition | representation | encoding | status | headers |"]
HEADING += ["|---|---|---|---|---|---|"]
BOARD = "/leaderboard/api/boards/main"
READ = {
    "page": "/catalog/products/42",
    "list": "/catalog/api/products?category=lamps",
    "product": "/catalog/api/products/42",
    "board": BOARD,
    "own state": "/rate-limit/api/hits?identity=me",
}
CHANGED = {"product": "/catalog/api/products/42", "score": f"{BOARD}/scores"}
LONG_AGO, LATER = "Mon, 01 Jan 2024 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
PRECONDITIONS: dict[str, dict[str, str]] = {
    "none": {},
    "`If-Match` of what is there": {"If-Match": "{etag}"},
    "`If-Match` of another state": {"If-Match": '"other"'},
    "`If-None-Match` of what is there": {"If-None-Match": "{etag}"},
    "`If-None-Match: *`": {"If-None-Match": "*"},
    "`If-Modified-Since` later": {"If-Modified-Since": LATER},
    "`If-Unmodified-Since` before": {"If-Unmodified-Since": LONG_AGO},
}
SHOWN = ("Cache-Control", "ETag", "Last-Modified", "Content-Encoding", "Accept-Encoding", "Vary")
Row = tuple[tuple[str, ...], ...]


def result(answer: Any) -> tuple[str, str]:
    """Status and headers, as the matrix tells them."""
    told = []
    for name in SHOWN:
        value = answer.headers.get(name)
        if value is None:
            continue
        if name == "ETag":
            value = '"…-gzip"' if value.endswith('-gzip"') else '"…"'
        told.append(f"`{name}`" if name == "Last-Modified" else f"`{name}: {value}`")
    return str(answer.status_code), ", ".join(told)


def asked(app: Flask) -> Iterator[tuple[tuple[str, str, str, str], tuple[str, str]]]:
    """Every cell, and what it was answered."""
    web = app.test_client()
    web.post(f"{BOARD}/scores", json={"player": "mara", "score": 5})
    for method, (condition, headers), (kind, path), encoding in itertools.product(
        ("GET", "HEAD"), PRECONDITIONS.items(), READ.items(), ("identity", "gzip")
    ):
        taken = {"Accept-Encoding": encoding}
        etag = web.get(path, headers=taken).headers.get("ETag", '"none"')
        sent = {name: value.format(etag=etag) for name, value in headers.items()}
        answer = web.open(path, method=method, headers=sent | taken)
        yield (method, condition, kind, f"answer {encoding}"), result(answer)
    bodies = {
        "product": json.dumps({"stock": 3}).encode(),
        "score": json.dumps({"player": "mara", "score": 5}).encode(),
    }
    for (condition, headers), (kind, path), encoding in itertools.product(
        PRECONDITIONS.items(), CHANGED.items(), ("identity", "gzip", "br")
    ):
        etag = web.get(READ["product"]).headers["ETag"]
        sent = {name: value.format(etag=etag) for name, value in headers.items()}
        body = gzip.compress(bodies[kind]) if encoding == "gzip" else bodies[kind]
        method = "PATCH" if kind == "product" else "POST"
        answer = web.open(
            path, method=method, data=body, headers=sent | {"Content-Encoding": encoding}
        )
        yield (method, condition, kind, f"body {encoding}"), result(answer)


def merged(cells: dict[Row, tuple[str, str]], axis: int) -> dict[Row, tuple[str, str]]:
    """Rows that differ along this axis alone and are answered alike are one."""
    rows: dict[tuple[Any, ...], list[str]] = {}
    for row, answer in cells.items():
        rest = (*row[:axis], (), *row[axis + 1 :])
        rows.setdefault((rest, answer), []).extend(row[axis])
    return {
        (*rest[:axis], tuple(dict.fromkeys(values)), *rest[axis + 1 :]): answer
        for (rest, answer), values in rows.items()
    }


def matrix(app: Flask) -> list[str]:
    """The lines of the table."""
    cells: dict[Row, tuple[str, str]] = {
        tuple((part,) for part in key): answer for key, answer in asked(app)
    }
    for axis in (0, 3, 2, 1):
        cells = merged(cells, axis)
    lines = []
    for row, answer in cells.items():
        left = [", ".join(part) for part in row]
        lines.append("| " + " | ".join((*left, *answer)) + " |")
    return HEADING + lines


def test_the_matrix_of_the_page_is_what_is_answered(make_app: Callable[..., Flask]) -> None:
    made = matrix(make_app(XRAY=False, RATE_LIMITS={}))
    text = (REPOSITORY / "docs" / "http-api.md").read_text()
    told = [line for line in text.splitlines() if line.startswith("| ")]
    told = told[told.index(HEADING[0]) if HEADING[0] in told else len(told) :]
    assert [line for line in made if line != HEADING[1]] == told, "\n".join(made)
