"""What is closed on a public host, and what an API key closes."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from demo.client.leader import Leader
from demo.config import ConfigError, load
from demo.sessions.accounts import DEMO_PASSWORD
from demo.web.public import BY_API, NOT_HERE, unsafe
from demo.web.services import services

MakeApp = Callable[..., Flask]
PUBLIC = {"PUBLIC": True, "SECURE_COOKIES": True, "ORIGIN": "https://localhost"}
FORMS = [
    ("/catalog/products/42/price", {"price": "1"}),
    ("/catalog/products/42/buy", {}),
    ("/catalog/products/42/drop", {}),
    ("/catalog/drop", {"category": "books"}),
]
CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("PATCH", "/catalog/api/products/42", {"price_cents": 1}),
    ("POST", "/catalog/api/invalidations", {"product": 42}),
]


@pytest.mark.parametrize(("settings", "told"), [(PUBLIC, NOT_HERE), ({"API_KEY": "k"}, BY_API)])
def test_forms_change_nothing_of_everybodys(
    make_app: MakeApp, settings: dict[str, Any], told: str
) -> None:
    web = make_app(**settings).test_client()
    before = web.get("/catalog/api/products/42").json
    for path, form in FORMS:
        answer = web.post(path, data=form)
        assert answer.status_code == 403 and told in answer.text
    assert web.get("/catalog/api/products/42").json == before
    for page in ("/catalog/products/42", "/catalog/"):
        shown = web.get(page).text
        assert not re.search(r'action="/catalog/(products/42/(price|buy|drop)|drop)"', shown)
    assert told in web.get("/catalog/products/42").text


def test_on_a_public_host_the_api_changes_them_with_its_key_alone(make_app: MakeApp) -> None:
    web = make_app(**PUBLIC).test_client()
    for method, path, body in CHANGES:
        assert web.open(path, method=method, json=body).status_code == 403
    web = make_app(**PUBLIC, API_KEY="k").test_client()
    for method, path, body in CHANGES:
        assert web.open(path, method=method, json=body).status_code == 401
        key = {"Authorization": "Bearer k"}
        assert web.open(path, method=method, json=body, headers=key).status_code == 200


def test_otherwise_they_are_open(make_app: MakeApp) -> None:
    web = make_app().test_client()
    for path, form in FORMS:
        assert web.post(path, data=form).status_code == 303
    assert 'action="/catalog/products/42/price"' in web.get("/catalog/products/42").text


def test_nobody_signs_in_to_what_is_everybodys_nor_over_http(make_app: MakeApp) -> None:
    web = make_app(**PUBLIC, RATE_LIMITS={}).test_client()
    https = {"base_url": "https://localhost"}
    page = web.get("/sessions/", **https).text
    assert DEMO_PASSWORD not in page and "mara" not in page
    form = {"name": "mara", "password": DEMO_PASSWORD}
    assert web.post("/sessions/login", data=form, **https).status_code == 422
    own = {"name": "ida", "password": "a long enough phrase"}
    assert web.post("/sessions/sign-up", data=own).status_code == 403
    assert web.post("/sessions/sign-up", data=own, **https).status_code == 303
    assert web.post("/sessions/login", data=own).status_code == 403
    assert web.post("/sessions/login", data=own, **https).status_code == 303
    assert web.get("/sessions/api/me", **https).json["user"] == "ida"


def test_a_public_host_needs_https() -> None:
    with pytest.raises(ConfigError, match="DEMO_PUBLIC needs DEMO_SECURE_COOKIES"):
        load({"PUBLIC": True}, {})
    for origin in ("", "http://localhost"):
        with pytest.raises(ConfigError, match="DEMO_PUBLIC needs DEMO_ORIGIN"):
            load({"PUBLIC": True, "SECURE_COOKIES": True, "ORIGIN": origin}, {})


def test_names_of_the_monitor_need_a_token(make_app: MakeApp) -> None:
    app = make_app(**PUBLIC, METRICS_TOKEN="t")
    client = services(app).redis
    client.set("demo:test:{endless}", "x")
    client.set("demo:test:{big}", "x" * 100_000, ex=60)
    background = services(app).background
    leader = Leader(client, "sampler", "me", ttl_seconds=60)
    leader.campaign()
    background.jobs["sampler"].step(leader.token)
    background.jobs["reports"].step(0)
    try:
        web = app.test_client()
        told = {
            who: web.get("/monitor/api/snapshot", headers=headers).json
            for who, headers in (("stranger", {}), ("operator", {"Authorization": "Bearer t"}))
        }
        names = {
            who: [
                *(worker["process"] for worker in seen["workers"]),
                *(each["key"] for each in seen["memory"]["biggest"]),
            ]
            for who, seen in told.items()
        }
        assert names["stranger"] == ["process 1"]
        assert "demo:test:{big}" in str(names["operator"]) and len(names["operator"]) > 2
        page = web.get("/monitor/").text
        for name in names["operator"]:
            assert name not in page
        assert "send the operators’ token" in page
        whole = web.get("/monitor/", headers={"Authorization": "Bearer t"}).text
        assert "demo:test:{big}" in whole and "send the operators’ token" not in whole
        assert "demo:test:{endless}" in whole and "demo:test:{endless}" not in page
    finally:
        client.unlink("demo:test:{endless}", "demo:test:{big}")


def test_what_is_unsafe_is_named_by_its_setting() -> None:
    told = list(unsafe(load({}, {})))
    named = {re.match(r"[A-Z_]+", sentence)[0] for sentence in told}  # type: ignore[index]
    assert {"DEMO_PUBLIC", "DEMO_SECURE_COOKIES", "REDIS_URL", "SECRET_KEY"} <= named
    assert not list(
        unsafe(
            load(
                {
                    **PUBLIC,
                    "REDIS_URL": "redis://r",
                    "SECRET_KEY": "s" * 32,
                    "METRICS_TOKEN": "t",
                    "TRUSTED_PROXIES": 1,
                },
                {},
            )
        )
    )


def test_the_check_of_a_public_host_names_them(make_app: MakeApp) -> None:
    run = make_app().test_cli_runner().invoke
    told = run(args=["check", "--public"])
    assert told.exit_code == 1 and "no   DEMO_PUBLIC is not set" in told.output
    assert run(args=["check"]).exit_code == 0


def test_a_check_that_is_asked_both_answers_both(make_app: MakeApp) -> None:
    run = make_app().test_cli_runner().invoke
    explained = run(args=["check", "--explain"]).output.splitlines()[:-1]
    both = run(args=["check", "--explain", "--public"]).output.splitlines()
    assert explained and both[: len(explained)] == explained
    assert "no   DEMO_PUBLIC is not set" in both[len(explained)]
