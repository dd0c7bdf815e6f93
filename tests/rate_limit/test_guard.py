import json
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask, Response
from flask.testing import FlaskClient

from demo.client.wire import Client
from demo.rate_limit import headers
from demo.rate_limit.algorithms import ALGORITHMS
from demo.rate_limit.limiter import Decision, Quota, tightest
from tests.conftest import round_trips
from tests.seen import seen
from tests.servers import private_engine
from tests.serving import serve

MakeApp = Callable[..., Flask]
PRODUCT = "/catalog/api/products/42"


def limits(
    number: int = 1, endpoint: str = "catalog.api.get_product", **more: Any
) -> dict[str, Any]:
    return {endpoint: {"limit": number, "window_seconds": 60} | more}


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
def test_the_fields_are_whole_seconds_rounded_up(
    decision: Decision, limit: str, wait: str | None
) -> None:
    quota = Quota(5, 9.5)
    assert headers.policy("n", [quota]) == '"n";q=5;w=10'
    assert headers.state("n", [quota], decision) == limit
    assert wait is None or headers.retry_after(decision) == int(wait)


def test_several_quotas_are_items_of_their_own() -> None:
    quotas = [Quota(10, 1), Quota(500, 3600)]
    fine, full = Decision(True, 10, 9, 0.0, 1.0, 1), Decision(False, 500, 0, 600.5, 3600.0, 500)
    both = tightest([fine, full])
    assert headers.policy("n", quotas) == '"n-1s";q=10;w=1, "n-3600s";q=500;w=3600'
    assert headers.state("n", quotas, both) == '"n-1s";r=9;t=1, "n-3600s";r=0;t=601'
    assert headers.violated("n", quotas, both) == ["n-3600s"]
    blocked = Decision(False, 10, 0, 30.0, 30.0, 10, blocked=True)
    assert headers.state("n", quotas, blocked) == '"n-1s";r=0;t=30, "n-3600s";r=0;t=30'


def test_every_answer_of_a_limited_endpoint_bears_the_fields_whatever_it_is(
    make_app: MakeApp,
) -> None:
    web = make_app(RATE_LIMITS=limits(3, "sessions.login")).test_client()
    good = {"name": "mara", "password": "correct horse"}
    answers = [
        web.post("/sessions/login", data=data)
        for data in ({"name": "x"}, good, {"name": "x"}, good)
    ]
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
        "detail": f"The limit is 1 in this window. Try again in {wait} s.",
        "violated-policies": ["catalog.api.get_product"],
    }
    assert refused.headers["RateLimit"] == f'"catalog.api.get_product";r=0;t={wait}'


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        ("text/html", "text/html"),
        ("*/*", "text/html"),
        ("application/json", "application/problem+json"),
    ],
)
def test_a_refusal_of_a_page_is_a_page_or_a_problem_by_accept(
    make_app: MakeApp, accept: str, mimetype: str
) -> None:
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
        forged = web.post(
            "/sessions/login", data={"name": "x"}, headers={"Sec-Fetch-Site": "cross-site"}
        )
        assert forged.status_code == 403 and "RateLimit" not in forged.headers
    assert web.post("/sessions/login", data={"name": "x"}).status_code == 422


@pytest.mark.parametrize("other", ["203.0.113.9", "2001:db8::1", "fe80::1%eth0"])
def test_each_address_has_its_own_quota(make_app: MakeApp, client: Client, other: str) -> None:
    web = make_app(RATE_LIMITS=limits(1)).test_client()
    for address in ("203.0.113.1", other):
        codes = [
            web.get(PRODUCT, environ_overrides={"REMOTE_ADDR": address}).status_code
            for _ in range(2)
        ]
        assert codes == [200, 429]
    keys = [key.decode() for key in client.scan_iter("demo:rate_limit:*")]
    assert len(keys) == 2
    assert all(
        re.fullmatch(r"demo:rate_limit:\{[A-Za-z0-9._-]+:[A-Za-z0-9._~-]+\}", key) for key in keys
    )
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
def test_an_odd_forwarded_header_behind_a_proxy_is_no_500(
    make_app: MakeApp, forwarded: str
) -> None:
    web = make_app(RATE_LIMITS=limits(1), TRUSTED_PROXIES=1).test_client()
    assert web.get(PRODUCT, headers={"X-Forwarded-For": forwarded}).status_code == 200
    assert web.get(PRODUCT, headers={"X-Forwarded-For": forwarded}).status_code == 429


def test_fewer_hops_than_trusted_are_not_believed(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(1), TRUSTED_PROXIES=2).test_client()
    assert web.get(PRODUCT, headers={"X-Forwarded-For": "203.0.113.1"}).status_code == 200
    assert web.get(PRODUCT, headers={"X-Forwarded-For": "203.0.113.2"}).status_code == 429


@pytest.mark.parametrize("trusted", [0, 1])
@pytest.mark.parametrize("first", ["203.0.113.1", "2001:db8::1"])
def test_what_a_client_says_of_itself_never_chooses_its_quota(
    make_app: MakeApp, trusted: int, first: str
) -> None:
    """With a trusted proxy, the entry that the proxy itself has added is the last; all before it is
    the client's word."""
    web = make_app(RATE_LIMITS=limits(1), TRUSTED_PROXIES=trusted).test_client()
    added = f", {first}" if trusted else ""
    said: list[dict[str, str]] = [
        {"X-Forwarded-For": "198.51.100.1"},
        {"X-Forwarded-For": "garbage, ,,"},
        {"X-Forwarded-For": "'; DROP TABLE"},
        {"Forwarded": "for=198.51.100.3"},
        {"X-Real-IP": "198.51.100.4"},
        {"X-Client-IP": "198.51.100.5", "True-Client-IP": "198.51.100.6"},
        {"X-Forwarded-Host": "elsewhere.example"},
    ]
    codes = []
    for fields in [{}, *said]:
        forwarded = (fields.get("X-Forwarded-For", "") + added).removeprefix(", ")
        together = {**fields, **({"X-Forwarded-For": forwarded} if forwarded else {})}
        environ = {"REMOTE_ADDR": "10.0.0.1" if trusted else first}
        codes.append(web.get(PRODUCT, headers=together, environ_overrides=environ).status_code)
    assert codes == [200] + [429] * len(said)


def test_a_header_that_comes_twice_is_one_list() -> None:
    quiet = {"DEMO_PRODUCTS": "50", "DEMO_DB_LATENCY_MS": "0"}
    with serve(
        workers=1, DEMO_TRUSTED_PROXIES="1", DEMO_RATE_LIMITS=json.dumps(limits(1)), **quiet
    ) as server:
        host, port = server.url.removeprefix("http://").split(":")

        def get(*forwarded: str) -> int:
            lines = "".join(f"X-Forwarded-For: {value}\r\n" for value in forwarded)
            with socket.create_connection((host, int(port)), timeout=10) as wire:
                wire.sendall(
                    f"GET {PRODUCT} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{lines}\r\n".encode()
                )
                with wire.makefile("rb") as answer:
                    return int(answer.readline().split()[1])

        assert get("198.51.100.1", "203.0.113.1") == 200
        assert get("198.51.100.2", "203.0.113.1") == 429
        assert get("203.0.113.1", "203.0.113.2") == 200
        assert get("x" * 3000, "203.0.113.2") == 429


def test_callers_of_one_ipv6_network_share_a_quota(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(1)).test_client()

    def get(address: str) -> int:
        return web.get(PRODUCT, environ_overrides={"REMOTE_ADDR": address}).status_code

    assert [get("2001:db8:1:2::1"), get("2001:db8:1:2:ffff::9"), get("2001:db8:1:3::1")] == [
        200,
        429,
        200,
    ]
    assert [get("::ffff:203.0.113.1"), get("203.0.113.1")] == [200, 429]


def test_several_quotas_stand_in_the_headers_and_in_the_problem(make_app: MakeApp) -> None:
    quotas = {"quotas": [{"limit": 5, "window_seconds": 1}, {"limit": 2, "window_seconds": 600}]}
    web = make_app(RATE_LIMITS={"catalog.api.get_product": quotas}).test_client()
    name = "catalog.api.get_product"
    first = web.get(PRODUCT)
    assert round_trips(first) == 4  # one for the limits, three for a product's first load
    assert first.headers["RateLimit-Policy"] == f'"{name}-1s";q=5;w=1, "{name}-600s";q=2;w=600'
    assert first.headers["RateLimit"] == f'"{name}-1s";r=4;t=1, "{name}-600s";r=1;t=600'
    web.get(PRODUCT)
    refused = web.get(PRODUCT)
    assert (refused.status_code, round_trips(refused)) == (429, 1)
    assert refused.json["violated-policies"] == [f"{name}-600s"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_can_guard(make_app: MakeApp, algorithm: str) -> None:
    web = make_app(RATE_LIMITS=limits(2, algorithm=algorithm, window_seconds=86_400)).test_client()
    assert [web.get(PRODUCT).status_code for _ in range(4)] == [200, 200, 429, 429]


def test_another_algorithm_counts_anew_and_meets_no_key_of_the_one_before(
    make_app: MakeApp,
) -> None:
    for algorithm in ("sliding_window_log", "gcra", "sliding_window_log"):
        web = make_app(RATE_LIMITS=limits(2, algorithm=algorithm)).test_client()
        assert web.get(PRODUCT).status_code == 200


@pytest.mark.usefixtures("no_runs")
def test_the_endpoints_of_a_prefix_count_together_and_an_exempt_one_does_not(
    make_app: MakeApp,
) -> None:
    quota = {"limit": 3, "window_seconds": 600}
    web = make_app(
        RATE_LIMITS={"catalog.*": quota, "catalog.lab.index": {"mode": "exempt"}}
    ).test_client()
    paths = (
        "/catalog/",
        PRODUCT,
        "/catalog/products/42",
        "/catalog/lab/",
        "/catalog/",
        PRODUCT,
        "/catalog/lab/",
        "/monitor/",
    )
    assert [web.get(path).status_code for path in paths] == [200, 200, 200, 200, 429, 429, 200, 200]
    assert web.get("/catalog/").headers["RateLimit-Policy"] == '"catalog.*";q=3;w=600'


def test_a_dry_run_counts_and_reports_and_refuses_nobody(make_app: MakeApp) -> None:
    web = make_app(
        RATE_LIMITS=limits(1, mode="dry-run", block_after=1, when_away="deny")
    ).test_client()
    before = decisions(web, "would_refuse")
    answers = [web.get(PRODUCT) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert (
        answers[2].headers["RateLimit-Policy"] == '"catalog.api.get_product";q=1;w=60;demo-dry-run'
    )
    assert answers[2].headers["RateLimit"].startswith('"catalog.api.get_product";r=0;t=')
    assert "Retry-After" not in answers[2].headers
    assert decisions(web, "would_refuse") - before == 2
    away = make_app(
        REDIS_URL="redis://127.0.0.1:1", RATE_LIMITS=limits(1, mode="dry-run", when_away="deny")
    ).test_client()
    assert away.get(PRODUCT).status_code == 200


def test_a_blocked_caller_costs_no_round_trip(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(1, block_after=2, block_seconds=300)).test_client()
    answers = [web.get(PRODUCT) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 429, 429]
    assert [round_trips(answer) for answer in answers[1:]] == [1, 1, 0, 0]
    assert answers[1].json["type"].endswith("#quota-exceeded")
    assert answers[3].json["type"].endswith("#abnormal-usage-detected")
    assert all(295 <= int(answer.headers["Retry-After"]) <= 300 for answer in answers[2:])
    assert "you are blocked" in answers[3].json["detail"]
    assert web.get(PRODUCT, environ_overrides={"REMOTE_ADDR": "203.0.113.1"}).status_code == 200


def test_who_is_signed_in_has_a_quota_of_his_own_wherever_he_comes_from(make_app: MakeApp) -> None:
    app = make_app(RATE_LIMITS=limits(1, by="user"))

    def visitor(name: str, address: str) -> Callable[[], int]:
        web = app.test_client()
        environ = {"REMOTE_ADDR": address}
        if name:
            form = {"name": name, "password": "correct horse"}
            assert (
                web.post("/sessions/login", data=form, environ_overrides=environ).status_code == 303
            )
        return lambda: web.get(PRODUCT, environ_overrides=environ).status_code

    mara, mara_elsewhere = visitor("mara", "203.0.113.1"), visitor("mara", "203.0.113.2")
    noor, nobody = visitor("noor", "203.0.113.1"), visitor("", "203.0.113.1")
    assert [mara(), mara_elsewhere(), noor(), nobody(), nobody()] == [200, 429, 200, 200, 429]


def test_a_key_has_a_quota_of_its_own_and_stands_in_no_key(
    make_app: MakeApp, client: Client
) -> None:
    web = make_app(RATE_LIMITS=limits(1, by="api_key")).test_client()

    def get(key: str = "") -> int:
        return web.get(
            PRODUCT, headers={"Authorization": f"Bearer {key}"} if key else {}
        ).status_code

    assert [get("s3cret-one"), get("s3cret-two"), get("s3cret-one"), get(), get()] == [
        200,
        200,
        429,
        200,
        429,
    ]
    assert not [key for key in client.scan_iter("demo:rate_limit:*") if b"s3cret" in key]


def test_several_that_count_together_are_one_identity(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(1, by="address+api_key")).test_client()

    def get(address: str, key: str) -> int:
        fields = {"Authorization": f"Bearer {key}"}
        return web.get(
            PRODUCT, headers=fields, environ_overrides={"REMOTE_ADDR": address}
        ).status_code

    pairs = [("203.0.113.1", "a"), ("203.0.113.2", "a"), ("203.0.113.1", "b"), ("203.0.113.1", "a")]
    assert [get(*pair) for pair in pairs] == [200, 200, 200, 429]


SCORES = "/leaderboard/api/boards/main/scores"


@pytest.mark.parametrize("spelling", ["mara", "MARA", " mara ", "ｍａｒａ"])
def test_a_field_is_counted_however_it_is_spelt(make_app: MakeApp, spelling: str) -> None:
    web = make_app(
        RATE_LIMITS=limits(1, "leaderboard.submit_score", by="field:player")
    ).test_client()
    assert web.post(SCORES, json={"player": "mara", "score": 1}).status_code == 201
    assert web.post(SCORES, json={"player": spelling, "score": 1}).status_code == 429
    assert web.post(SCORES, json={"player": "noor", "score": 1}).status_code == 201


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"player": {"a": 1}}', b"\xff", b"[" * 5000])
def test_a_body_without_the_field_is_counted_and_then_told(make_app: MakeApp, body: bytes) -> None:
    web = make_app(
        RATE_LIMITS=limits(1, "leaderboard.submit_score", by="field:player")
    ).test_client()
    assert web.post(SCORES, data=body).status_code in (400, 422)
    assert web.post(SCORES, data=body).status_code == 429


def test_a_network_has_one_count(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(2, by="network")).test_client()
    for one, other, elsewhere in (
        ("203.0.113.1", "203.0.113.200", "203.0.114.1"),
        ("2001:db8:1:1::1", "2001:db8:1:ffff::1", "2001:db8:2:1::1"),
    ):
        codes = [
            web.get(PRODUCT, environ_overrides={"REMOTE_ADDR": address}).status_code
            for address in (one, other, other, elsewhere)
        ]
        assert codes == [200, 200, 429, 200]


def test_everyone_together_has_one_count(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(2, by="everyone")).test_client()
    codes = [
        web.get(PRODUCT, environ_overrides={"REMOTE_ADDR": f"203.0.113.{number}"}).status_code
        for number in range(4)
    ]
    assert codes == [200, 200, 429, 429]


@pytest.mark.parametrize(
    ("count", "kept"),
    [("all", [1, 1, 1]), ("failures", [0, 1, 0]), ("successes", [1, 0, 0])],
)
def test_a_limit_counts_the_answers_that_it_is_for(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, count: str, kept: list[int]
) -> None:
    app = make_app(RATE_LIMITS=limits(5, count=count))
    web = app.test_client()
    left = 5
    for status, counted in zip((200, 404, 503), kept, strict=True):

        def answer(product_id: int, status: int = status) -> Any:
            return Response("", status)

        monkeypatch.setitem(app.view_functions, "catalog.api.get_product", answer)
        left -= counted
        told = web.get(PRODUCT)
        assert told.status_code == status
        assert f'"catalog.api.get_product";r={left};' in told.headers["RateLimit"]


def test_who_signs_in_uses_up_nothing_of_the_account(make_app: MakeApp) -> None:
    app = make_app()
    form = {"name": "ida", "password": "a long enough phrase"}
    app.test_client().post("/sessions/sign-up", data=form)
    for number in range(12):
        answer = app.test_client().post(
            "/sessions/login", data=form, environ_overrides={"REMOTE_ADDR": f"203.0.113.{number}"}
        )
        assert answer.status_code == 303
        assert '"sessions.login/field:name";r=100;t=0' in answer.headers["RateLimit"]


def test_what_the_first_limit_counted_is_given_back_when_a_later_one_refuses(
    make_app: MakeApp,
) -> None:
    both = [
        {"limit": 5, "window_seconds": 600},
        {"limit": 1, "window_seconds": 600, "by": "api_key"},
    ]
    web = make_app(RATE_LIMITS={"catalog.api.get_product": both}).test_client()
    fields = {"Authorization": "Bearer one"}
    web.get(PRODUCT, headers=fields)
    for _ in range(3):
        refused = web.get(PRODUCT, headers=fields)
        assert refused.status_code == 429
        assert '"catalog.api.get_product";r=4;' in refused.headers["RateLimit"]
        assert refused.json["violated-policies"] == ["catalog.api.get_product/api_key"]
    assert web.get(PRODUCT, headers={"Authorization": "Bearer two"}).status_code == 200


def test_refused_hits_count_where_the_setting_says_so(make_app: MakeApp, client: Client) -> None:
    web = make_app(RATE_LIMITS=limits(2, count_refused=True)).test_client()
    for _ in range(5):
        web.get(PRODUCT)
    (key,) = client.scan_iter("demo:rate_limit:*")
    newest = client.zrange(key, -1, -1, withscores=True)[0][1]
    assert client.zcard(key) == 2
    web.get(PRODUCT)
    assert client.zrange(key, -1, -1, withscores=True)[0][1] > newest


def test_a_cost_is_what_a_request_takes(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(5, cost=2)).test_client()
    answers = [web.get(PRODUCT) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == [
        "r=3",
        "r=1",
        "r=1",
    ]


@pytest.mark.parametrize(
    ("given", "left"),
    [(["a", "b", "c"], 2), (["a"], 4), ([], 4), ("abc", 4), (None, 4), ({"a": 1, "b": 2}, 4)],
)
def test_a_cost_by_a_list_is_as_many_as_it_has_and_one_at_least(
    make_app: MakeApp, given: Any, left: int
) -> None:
    """Whatever stands in its place: the view tells what is wrong with that."""
    web = make_app(
        RATE_LIMITS=limits(5, "leaderboard.submit_score", cost="field:scores")
    ).test_client()
    body = {"scores": given}
    answer = web.post("/leaderboard/api/boards/main/scores:batch", json=body)
    assert answer.status_code < 500
    assert answer.headers["RateLimit"].split(";")[1] == f"r={left}"


def decisions(web: FlaskClient, outcome: str) -> float:
    """How often a limit has come to an outcome, by /metrics."""
    lines = web.get("/metrics").text.splitlines()
    counted = [
        line
        for line in lines
        if line.startswith("demo_rate_limit_decisions_total{") and f'"{outcome}"' in line
    ]
    return sum(float(line.rpartition(" ")[2]) for line in counted)


@pytest.mark.parametrize(
    ("policy", "codes"),
    [("allow", [200] * 4), ("deny", [503] * 4), ("local", [200, 200, 429, 429])],
)
def test_without_redis_a_limit_does_what_it_says_and_it_is_counted(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, policy: str, codes: list[int]
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    web = make_app(
        REDIS_URL="redis://127.0.0.1:1", RATE_LIMITS=limits(4, "monitor.livez", when_away=policy)
    ).test_client()
    outcome = "fallback_local_refused" if policy == "local" else f"fallback_{policy}"
    before = decisions(web, outcome)
    answers = [web.get("/livez") for _ in range(4)]
    assert [answer.status_code for answer in answers] == codes
    quota = 2 if policy == "local" else 4
    for answer in answers:
        assert (
            answer.headers["RateLimit-Policy"]
            == f'"monitor.livez";q={quota};w=60;demo-fallback="{policy}"'
        )
        assert ("RateLimit" in answer.headers) is (policy == "local")
    assert decisions(web, outcome) - before == (2 if policy == "local" else 4)


@pytest.mark.parametrize("policy", ["allow", "deny", "local"])
@pytest.mark.parametrize("trouble", ["killed", "paused", "black hole", "full", "read-only"])
def test_each_policy_answers_whatever_happens_to_redis(
    make_app: MakeApp, policy: str, trouble: str
) -> None:
    """Once the breaker knows, nobody waits for a server that does not answer: one probe a minute
    goes out here."""
    codes, asked = [], []
    with private_engine() as engine, socket.create_server(("127.0.0.1", 0)) as hole:
        url = (
            f"redis://127.0.0.1:{hole.getsockname()[1]}" if trouble == "black hole" else engine.url
        )
        rules = limits(2, "monitor.livez", when_away=policy)
        web = make_app(
            REDIS_URL=url, REDIS_TIMEOUT_SECONDS=0.25, BREAKER_SECONDS=60, RATE_LIMITS=rules
        ).test_client()
        if trouble != "black hole":
            assert (
                web.get("/livez", environ_overrides={"REMOTE_ADDR": "203.0.113.9"}).status_code
                == 200
            )
        with redis.Redis.from_url(engine.url) as direct:
            if trouble == "killed":
                engine.kill()
            elif trouble == "paused":
                engine.pause()
            elif trouble == "full":
                direct.config_set("maxmemory", "1")
            elif trouble == "read-only":
                direct.replicaof("127.0.0.1", 1)
        for _ in range(4):
            answer = web.get("/livez")
            codes.append(answer.status_code)
            asked.append(round_trips(answer))
    assert codes == {"allow": [200] * 4, "deny": [503] * 4, "local": [200, 200, 429, 429]}[policy]
    # A black hole was met at the start already. Full and read-only servers answer, so they are
    # asked each time.
    assert asked == {"black hole": [0] * 4, "full": [1] * 4, "read-only": [1] * 4}.get(
        trouble, [1, 0, 0, 0]
    )


def test_what_a_process_counted_while_redis_was_away_is_not_handed_back(make_app: MakeApp) -> None:
    """Nor is known here what Redis had counted before: each counts its own, to the last hit."""
    with private_engine() as engine, redis.Redis.from_url(engine.url) as direct:
        rules = limits(3, "monitor.livez", when_away="local")
        web = make_app(REDIS_URL=engine.url, RATE_LIMITS=rules).test_client()
        codes = [web.get("/livez").status_code]
        direct.config_set("maxmemory", "1")
        codes += [web.get("/livez").status_code for _ in range(4)]
        direct.config_set("maxmemory", "0")
        codes += [web.get("/livez").status_code for _ in range(3)]
    assert codes == [200, *[200, 200, 200, 429], *[200, 200, 429]]


def test_who_is_refused_stays_refused_while_redis_is_full(make_app: MakeApp) -> None:
    with private_engine() as engine:
        web = make_app(
            REDIS_URL=engine.url, RATE_LIMITS=limits(1, "monitor.livez", when_away="deny")
        ).test_client()
        assert [web.get("/livez").status_code for _ in range(2)] == [200, 429]
        with redis.Redis.from_url(engine.url) as direct:
            direct.config_set("maxmemory", "1")
        assert web.get("/livez").status_code == 429


def test_the_command_lists_what_is_limited_where(make_app: MakeApp) -> None:
    rules = {
        **limits(3, algorithm="gcra", by="user", block_after=4),
        "monitor.*": {"limit": 9, "window_seconds": 1.5},
    }
    listed = make_app(RATE_LIMITS=rules).test_cli_runner().invoke(args=["limits"])
    assert listed.exit_code == 0
    lines = [re.split(r"  +", line) for line in listed.output.splitlines()]
    assert lines[0] == ["endpoint", "limit", "algorithm", "counts by", "away", "mode"]
    assert [
        "catalog.api.get_product",
        "3 in 60 s, blocked after 4",
        "gcra",
        "user",
        "allow",
        "enforce",
    ] in lines
    assert [
        "monitor.livez",
        "9 in 1.5 s",
        "sliding_window_log",
        "address",
        "allow",
        "enforce",
    ] in lines


@pytest.mark.parametrize(
    ("referrer", "back"),
    [
        ("http://localhost/leaderboard/boards/main?player=x", "/leaderboard/boards/main?player=x"),
        ("http://localhost//evil.example/", "/"),
        ("http://localhost.evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
    ],
)
def test_the_page_of_a_refusal_leads_back_to_pages_of_ours_alone(
    make_app: MakeApp, referrer: str, back: str
) -> None:
    web = make_app(RATE_LIMITS=limits(1, "leaderboard.post_score")).test_client()
    for _ in range(2):
        page = web.post(
            "/leaderboard/boards/main/scores",
            data={"player": "a", "score": "1"},
            headers={"Referer": referrer},
        )
    assert page.status_code == 429
    assert f'href="{back}" data-go>Back to the form</a>' in seen(page.text)
    assert f'data-countdown="{page.headers["Retry-After"]}"' in page.text


def test_the_page_of_a_refused_visit_leads_to_itself(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limits(1, "catalog.index")).test_client()
    for _ in range(2):
        page = web.get("/catalog/?category=lamps&page=1")
    assert 'href="/catalog/?category=lamps&amp;page=1" data-go>Try again</a>' in seen(page.text)


def test_a_limit_of_a_use_case_that_is_taken_out_is_no_error(make_app: MakeApp) -> None:
    web: FlaskClient = make_app(
        ("rate_limit",), RATE_LIMITS=limits(1, "sessions.login")
    ).test_client()
    assert web.get("/rate-limit/").status_code == 200


@pytest.mark.parametrize(("policy", "code"), [("allow", 200), ("deny", 503)])
def test_a_page_follows_its_policy_too_without_redis(
    make_app: MakeApp, policy: str, code: int
) -> None:
    rules = limits(1, "catalog.index", when_away=policy)
    web = make_app(REDIS_URL="redis://127.0.0.1:1", RATE_LIMITS=rules).test_client()
    answer = web.get("/catalog/")
    assert (answer.status_code, answer.mimetype) == (code, "text/html")
    assert (
        answer.headers["RateLimit-Policy"] == f'"catalog.index";q=1;w=60;demo-fallback="{policy}"'
    )
    assert answer.headers.get("Retry-After") == ("1" if code == 503 else None)


def test_two_limits_of_one_endpoint_by_the_same_caller_count_apart(make_app: MakeApp) -> None:
    both = [{"limit": 5, "window_seconds": 60}, {"limit": 2, "window_seconds": 3600}]
    web = make_app(RATE_LIMITS={"home.index": both}).test_client()
    answers = [web.get("/") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    policies = answers[0].headers["RateLimit-Policy"].split(", ")
    assert policies == ['"home.index";q=5;w=60', '"home.index-2";q=2;w=3600']
    assert answers[2].headers["RateLimit"].split(", ")[0] == '"home.index";r=3;t=60'
