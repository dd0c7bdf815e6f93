"""What a browser keeps for us is good on every host of the app, whose clocks do not quite agree."""

import time
from collections.abc import Callable

import pytest
from flask import Flask
from itsdangerous import BadData

from demo.web import signed

NOW = 1_800_000_000


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock by which values are dated."""

    def set_clock(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: NOW + seconds)

    return set_clock


@pytest.mark.parametrize(
    ("signed_at", "good"), [(0, True), (-59, True), (-61, False), (30, True), (61, False)]
)
def test_a_value_is_good_for_its_time_also_from_a_host_whose_clock_is_ahead(
    app: Flask, at: Callable[[float], None], signed_at: float, good: bool
) -> None:
    with app.app_context():
        at(signed_at)
        text = signed.serializer("a purpose").dumps({"a": 1})
        at(0)
        if good:
            assert signed.serializer("a purpose").loads(text, max_age=60) == {"a": 1}
        else:
            with pytest.raises(BadData):
                signed.serializer("a purpose").loads(text, max_age=60)
        for forged in (text + "x", f"x{text}", "", "a.b.c"):
            with pytest.raises(BadData):
                signed.serializer("a purpose").loads(forged, max_age=60)
        with pytest.raises(BadData):
            signed.serializer("another").loads(text, max_age=60)


def test_a_choice_made_on_a_host_whose_clock_is_ahead_is_heeded_on_the_next(
    app: Flask, at: Callable[[float], None]
) -> None:
    web = app.test_client()
    at(120)
    web.post("/choices", data={"redis": "refused"})
    at(0)
    assert "redis-away" in web.get("/catalog/products/42").text
