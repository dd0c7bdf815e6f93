"""How long one request waits for Redis in all."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from redis.exceptions import TimeoutError

from demo.client import refusals
from demo.client.wire import LateInAll, Trip, deliver
from demo.observe import trace


def ask(seconds: float, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> Any:
    """A round trip that takes so long."""
    now = trace.time.perf_counter()
    clock = iter([now, now + seconds])
    monkeypatch.setattr(trace.time, "perf_counter", lambda: next(clock, now + seconds))

    def send(_: Trip) -> list[Any]:
        if error:
            raise error
        return [b"x"]

    try:
        return trace.around(Trip("GET", [("GET", "a")], [], deliver), send)
    finally:
        monkeypatch.undo()


@pytest.fixture
def begun() -> Any:
    yield trace.begin_trace(detailed=False)
    trace.end_trace()


def test_a_request_waits_for_two_late_replies_and_no_more(
    begun: trace.Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert ask(0.12, monkeypatch) == [b"x"]
    with pytest.raises(LateInAll) as caught:
        ask(0.0, monkeypatch)
    assert refusals.of(caught.value) is refusals.LATE
    assert not refusals.may_have_counted(caught.value)
    assert begun.round_trips == 2  # what was not sent is no trip
    trace.begin_trace(detailed=False)
    assert ask(0.12, monkeypatch) == [b"x"]  # the next request waits anew


def test_one_that_was_late_past_its_time_counts_too(
    begun: trace.Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TimeoutError):
        ask(0.25, monkeypatch, TimeoutError("late"))
    with pytest.raises(LateInAll):
        ask(0.0, monkeypatch)


def test_many_that_are_a_little_slow_are_no_matter(
    begun: trace.Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(50):
        assert ask(0.06, monkeypatch) == [b"x"]
    begun.timeout_ms = 1000
    for _ in range(6):
        assert ask(0.2, monkeypatch) == [b"x"]


def test_it_goes_by_the_apps_own_timeout(make_app: Callable[..., Flask]) -> None:
    app = make_app(REDIS_TIMEOUT_SECONDS=2.0)
    with app.test_request_context("/livez"):
        app.preprocess_request()
        seen = trace.current_trace()
        assert seen is not None and seen.timeout_ms == 2000
    with app.test_request_context("/livez", method="POST"):
        app.preprocess_request()
        seen = trace.current_trace()
        assert seen is not None and seen.timeout_ms == math.inf
    trace.end_trace()
