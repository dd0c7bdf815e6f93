import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.pool import Client
from demo.rate_limit import guard
from demo.rate_limit.sliding_window import Decision, Quota
from tests.conftest import round_trips

MakeApp = Callable[..., Flask]
PRODUCT = "/catalog/api/products/42"


def limits(number: int = 1, endpoint: str = "catalog.api.get_product", **more: Any) -> dict[str, Any]:
    return {endpoint: {"limit": number, "window_seconds": 60, **more}}


@pytest.mark.parametrize(
    ("decision", "limit", "wait"),
    [
        (Decision(True, 5, 4, 0.0, 10.0, 1), '"n";r=4;t=10', None),
        (Decision(True, 5, 0, 0.0, 9.000001, 5), '"n";r=0;t=10', None),
        (Decision(True, 5, 5, 0.0, 0.0, 0), '"n";r=5;t=0', None),
        (Decision(False, 5, 0, 3.0, 10.0, 5), '"n";r=0;t=3', "3"),
        (Decision(False, 5, 0, 3.000001, 10.0, 5), '"n";r=0;t=4', "4"),
        (Decision(False, 5, 2, 0.0001, 10.0, 3), '"n";r=2;t=1', "1"),
    ],
)
def test_the_fields_are_whole_seconds_rounded_up(decision: Decision, limit: str, wait: str | None) -> None:
    fields = guard.headers("n", Quota(5, 9.5), decision)
    assert fields["RateLimit-Policy"] == '"n";q=5;w=10'
    assert fields["RateLimit"] == limit
    assert fields.get("Retry-After") == wait


@pytest.mark.parametrize("policy", ["allow", "deny"])
def test_without_a_decision_only_the_policy_is_told(policy: str) -> None:
    assert guard.headers("n", Quota(5, 1), None, policy) == {"RateLimit-Policy": f'"n";q=5;w=1;fallback="{policy}"'}


def test_every_answer_of_a_limited_endpoint_bears_the_fields_whatever_it_is(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(3, "sessions.login")).test_client()
    good = {"name": "mara", "password": "correct horse"}
    answers = [web.post("/sessions/login", data=data) for data in ({"name": "x"}, good, {"name": "x"}, good)]
    assert [answer.status_code for answer in answers] == [422, 303, 422, 429]
    for left, answer in zip((2, 1, 0, 0), answers, strict=True):
        assert answer.headers.getlist("RateLimit-Policy") == ['"sessions.login";q=3;w=60']
        assert re.fullmatch(rf'"sessions\.login";r={left};t=\d{{1,2}}', answer.headers["RateLimit"])
        assert len(answer.headers.getlist("RateLimit")) == 1
        assert ("Retry-After" in answer.headers) is (answer.status_code == 429)


def test_a_refusal_as_problem_says_all_that_a_program_needs(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(1)).test_client()
    web.get(PRODUCT)
    refused = web.get(PRODUCT)
    wait = refused.headers["Retry-After"]
    assert refused.json == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Quota exceeded",
        "status": 429,
        "detail": f"At most 1 in this window. Try again in {wait} s.",
        "violated-policies": ["catalog.api.get_product"],
    }
    assert refused.headers["RateLimit"] == f'"catalog.api.get_product";r=0;t={wait}'


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [("text/html", "text/html"), ("*/*", "text/html"), ("application/json", "application/problem+json")],
)
def test_a_refusal_of_a_page_is_a_page_or_a_problem_by_accept(make_app: MakeApp, accept: str, mimetype: str) -> None:
    web = make_app(RATE_LIMITS=limits(1, "catalog.product")).test_client()
    web.get("/catalog/products/42")
    refused = web.get("/catalog/products/42", headers={"Accept": accept})
    assert (refused.status_code, refused.mimetype) == (429, mimetype)
    assert f"Try again in {refused.headers['Retry-After']} s." in refused.text


def test_a_refused_request_does_no_work(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(1, "leaderboard.submit_score")).test_client()
    path = "/leaderboard/api/boards/main/scores"
    assert web.post(path, json={"player": "mara", "score": 1}).status_code == 201
    refused = web.post(path, json={"player": "noor", "score": 2})
    assert (refused.status_code, round_trips(refused)) == (429, 1)
    entries = web.get("/leaderboard/api/boards/main").json["entries"]
    assert [entry["player"] for entry in entries] == ["mara"]


def test_what_another_site_asked_for_uses_up_nobodys_quota(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(1, "sessions.login")).test_client()
    for _ in range(3):
        forged = web.post("/sessions/login", data={"name": "x"}, headers={"Sec-Fetch-Site": "cross-site"})
        assert forged.status_code == 403 and "RateLimit" not in forged.headers
    assert web.post("/sessions/login", data={"name": "x"}).status_code == 422


@pytest.mark.parametrize("other", ["203.0.113.9", "2001:db8::1", "fe80::1%eth0"])
def test_each_address_has_its_own_quota(make_app: MakeApp, client: Client, other: str) -> None:
    web = make_app(RATE_LIMITS=limits(1)).test_client()
    for address in ("203.0.113.1", other):
        codes = [web.get(PRODUCT, environ_overrides={"REMOTE_ADDR": address}).status_code for _ in range(2)]
        assert codes == [200, 429]
    keys = [key.decode() for key in client.scan_iter("demo:rate_limit:*")]
    assert len(keys) == 2
    assert all(re.fullmatch(r"demo:rate_limit:\{[A-Za-z0-9._-]+:[A-Za-z0-9._~-]+\}", key) for key in keys)
    assert all(client.pttl(key) > 0 for key in keys)


def test_two_workers_count_together(make_app: MakeApp) -> None:
    workers = [make_app(RATE_LIMITS=limits(3)).test_client() for _ in range(2)]
    codes = [workers[turn % 2].get(PRODUCT).status_code for turn in range(5)]
    assert codes == [200, 200, 200, 429, 429]


def test_two_limits_do_not_share_a_count(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(1) | limits(1, "catalog.product")).test_client()
    assert web.get(PRODUCT).status_code == web.get("/catalog/products/42").status_code == 200
    assert web.get(PRODUCT).status_code == web.get("/catalog/products/42").status_code == 429


@pytest.mark.parametrize("forwarded", ["", "garbage", ",", "203.0.113.1,"])
def test_an_odd_forwarded_header_behind_a_proxy_is_no_500(make_app: MakeApp, forwarded: str) -> None:
    web = make_app(RATE_LIMITS=limits(1), TRUSTED_PROXIES=1).test_client()
    assert web.get(PRODUCT, headers={"X-Forwarded-For": forwarded}).status_code == 200
    assert web.get(PRODUCT, headers={"X-Forwarded-For": forwarded}).status_code == 429


def test_fewer_hops_than_trusted_are_not_believed(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(1), TRUSTED_PROXIES=2).test_client()
    assert web.get(PRODUCT, headers={"X-Forwarded-For": "203.0.113.1"}).status_code == 200
    assert web.get(PRODUCT, headers={"X-Forwarded-For": "203.0.113.2"}).status_code == 429


def test_a_limit_of_a_use_case_that_is_taken_out_is_no_error(make_app: MakeApp) -> None:
    web: FlaskClient = make_app(("rate_limit",), RATE_LIMITS=limits(1, "sessions.login")).test_client()
    assert web.get("/rate-limit/").status_code == 200


@pytest.mark.parametrize(("policy", "code"), [("allow", 422), ("deny", 503)])
def test_a_page_follows_its_policy_too_without_redis(make_app: MakeApp, policy: str, code: int) -> None:
    rules = limits(1, "sessions.login", when_away=policy)
    web = make_app(REDIS_URL="redis://127.0.0.1:1", RATE_LIMITS=rules).test_client()
    answer = web.post("/sessions/login", data={"name": "x"})
    assert (answer.status_code, answer.mimetype) == (code, "text/html")
    assert answer.headers["RateLimit-Policy"] == f'"sessions.login";q=1;w=60;fallback="{policy}"'
    assert answer.headers.get("Retry-After") == ("1" if code == 503 else None)
