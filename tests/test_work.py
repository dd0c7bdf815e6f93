"""How much work one warm request is: Python calls counted exactly, so that no feature raises them
unseen."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder

PATH = "/leaderboard/api/boards/main"
# On Python 3.11, and on 3.13, which makes fewer calls for comprehensions and more elsewhere.
MOST_CALLS = {
    "product page, without x-ray": (183, 177),
    "product page, with x-ray": (1125, 1160),
    "product as JSON": (181, 172),
    "read of a board": (575, 615),
    "post of a score": (630, 672),
    "refused hit": (615, 650),
}


def calls(app: Flask, path: str, method: str = "GET", json: Any = None) -> tuple[int, int]:
    """The status of a request, and the Python calls from its first to its last byte."""
    environ = EnvironBuilder(path=path, method=method, json=json).get_environ()
    status, count = [], 0

    def start(line: str, *_: Any) -> Any:
        status.append(int(line[:3]))
        return lambda _: None

    def profile(_: Any, event: str, __: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        answer = app.wsgi_app(environ, start)
        for _ in answer:
            pass
        if hasattr(answer, "close"):
            answer.close()
    finally:
        sys.setprofile(None)
    return status[0], count


@pytest.mark.parametrize("what", MOST_CALLS)
def test_a_warm_request_is_at_most_so_many_calls(what: str, make_app: Callable[..., Flask]) -> None:
    limits = {"rate_limit.api.hit": {"limit": 1, "window_seconds": 60}}
    app = make_app(RATE_LIMITS=limits if what == "refused hit" else {}, XRAY="with x-ray" in what)
    asked: tuple[Any, ...] = {
        "product page, without x-ray": ("/catalog/products/42",),
        "product page, with x-ray": ("/catalog/products/42",),
        "product as JSON": ("/catalog/api/products/42",),
        "read of a board": (PATH,),
        "post of a score": (f"{PATH}/scores", "POST", {"player": "mara", "score": 5}),
        "refused hit": ("/rate-limit/api/hits", "POST", {"identity": "me"}),
    }[what]
    expected = {"post of a score": 201, "refused hit": 429}.get(what, 200)
    for _ in range(3):
        calls(app, *asked)
    measured = [calls(app, *asked) for _ in range(5)]
    assert {status for status, _ in measured} == {expected}
    least = min(count for _, count in measured)
    print(f"{what}: {least} calls")
    most = MOST_CALLS[what][sys.version_info >= (3, 12)]
    assert least <= most, f"{what}: {least} calls"
