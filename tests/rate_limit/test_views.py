import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.client.wire import Client
from demo.config import ConfigError
from demo.rate_limit.algorithms import ALGORITHMS, bytes_of
from demo.rate_limit.limiter import Quota
from demo.web.budgets import Budgets
from demo.web.services import part
from tests.conftest import round_trips
from tests.seen import seen

HITS = "/rate-limit/api/hits"
MakeApp = Callable[..., Flask]


def limit(
    number: int = 1, when_away: str = "allow", endpoint: str = "catalog.api.get_product"
) -> dict[str, Any]:
    return {endpoint: {"limit": number, "window_seconds": 60, "when_away": when_away}}


def test_the_guard_refuses_past_the_limit_and_says_so_in_the_drafts_headers(
    make_app: MakeApp,
) -> None:
    web = make_app(RATE_LIMITS=limit(2)).test_client()
    first, second, third = (web.get("/catalog/api/products/42") for _ in range(3))
    assert [answer.status_code for answer in (first, second, third)] == [200, 200, 429]
    assert first.headers["RateLimit-Policy"] == '"catalog.api.get_product";q=2;w=60'
    assert first.headers["RateLimit"] == '"catalog.api.get_product";r=1;t=60'
    assert third.headers["RateLimit"].startswith('"catalog.api.get_product";r=0;t=')
    assert "Retry-After" not in first.headers and "Retry-After" not in second.headers
    assert 1 <= int(third.headers["Retry-After"]) <= 60
    assert third.mimetype == "application/problem+json"
    assert third.json["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert third.json["violated-policies"] == ["catalog.api.get_product"]
    assert third.json["status"] == 429
    assert round_trips(third) == 1


def test_a_browser_is_refused_with_a_page(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limit(1, endpoint="catalog.product")).test_client()
    web.get("/catalog/products/42")
    page = web.get("/catalog/products/42")
    assert (page.status_code, page.mimetype) == (429, "text/html")
    assert "Too many requests" in page.text
    assert "Retry-After" in page.headers


def test_other_endpoints_are_not_limited(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limit(1)).test_client()
    answers = [web.get("/catalog/api/products") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit" not in answers[0].headers


def test_an_empty_setting_lifts_every_limit(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS={}).test_client()
    for _ in range(15):
        assert web.post("/sessions/login", data={"name": "x"}).status_code == 422


def test_password_guessing_is_limited_by_default(web: FlaskClient) -> None:
    codes = [
        web.post("/sessions/login", data={"name": "mara", "password": "guess"}).status_code
        for _ in range(12)
    ]
    assert codes == [422] * 10 + [429] * 2


@pytest.mark.parametrize(("policy", "code"), [("allow", 200), ("deny", 503)])
def test_without_redis_each_limit_follows_its_own_policy_and_names_it(
    make_app: MakeApp, policy: str, code: int
) -> None:
    web = make_app(REDIS_URL="redis://127.0.0.1:1", RATE_LIMITS=limit(1, policy)).test_client()
    for _ in range(2):
        answer = web.get("/catalog/api/products/42")
        assert answer.status_code == code
        assert (
            answer.headers["RateLimit-Policy"]
            == f'"catalog.api.get_product";q=1;w=60;demo-fallback="{policy}"'
        )
        assert "RateLimit" not in answer.headers


@pytest.mark.parametrize(
    "setting",
    [
        {"catalog.nothing": {"limit": 1, "window_seconds": 1}},
        {"nowhere": {"limit": 1, "window_seconds": 1}},
        {"catalog.product": {"limit": 0, "window_seconds": 1}},
        {"catalog.product": {"limit": 1, "window_seconds": 0}},
        {"catalog.product": {"limit": 1, "window_seconds": 1, "when_away": "shrug"}},
        {"catalog.product": {"limit": 1, "window_seconds": 1, "extra": 1}},
        {"catalog.product": {"limit": 1}},
        [1],
    ],
)
def test_a_limit_that_would_protect_nothing_is_refused_at_the_start(
    make_app: MakeApp, setting: Any
) -> None:
    with pytest.raises(ConfigError, match="DEMO_RATE_LIMITS"):
        make_app(RATE_LIMITS=setting)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "203.0.113.1"},
        {"Forwarded": "for=203.0.113.1"},
        {"X-Real-IP": "203.0.113.1"},
        {"X-Forwarded-For": "garbage, \x7f, 1"},
    ],
)
def test_without_trusted_proxies_nobody_chooses_an_address(
    make_app: MakeApp, headers: dict[str, str]
) -> None:
    web = make_app(RATE_LIMITS=limit(1)).test_client()
    assert web.get("/catalog/api/products/42").status_code == 200
    assert web.get("/catalog/api/products/42", headers=headers).status_code == 429


def test_behind_one_proxy_exactly_the_last_hop_counts(make_app: MakeApp) -> None:
    web = make_app(RATE_LIMITS=limit(1), TRUSTED_PROXIES=1).test_client()

    def get(forwarded: str) -> int:
        return web.get(
            "/catalog/api/products/42", headers={"X-Forwarded-For": forwarded}
        ).status_code

    assert get("10.0.0.1, 203.0.113.1") == 200
    assert get("10.9.9.9, 203.0.113.1") == 429
    assert get("10.0.0.1, 203.0.113.2") == 200


def test_the_api_answers_whole(web: FlaskClient) -> None:
    body = {"identity": "me", "limit": 2, "window_seconds": 60}
    first = web.post(HITS, json=body)
    assert first.status_code == 200
    assert set(first.json) == set(
        "allowed limit remaining retry_after_seconds reset_after_seconds algorithm".split()
    )
    assert (first.json["allowed"], first.json["remaining"], first.json["algorithm"]) == (
        True,
        1,
        "sliding_window_log",
    )
    web.post(HITS, json=body)
    third = web.post(HITS, json=body)
    assert third.status_code == 429
    assert (third.json["allowed"], third.json["remaining"]) == (False, 0)
    assert 0 < third.json["retry_after_seconds"] <= 60
    assert third.mimetype == "application/problem+json"
    assert third.headers["RateLimit-Policy"] == '"api";q=2;w=60'
    assert web.post(HITS, json={**body, "identity": "you"}).status_code == 200
    assert web.post(HITS, json={**body, "limit": 3}).status_code == 200


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ("no json", 400, None),
        ("[]", 422, "body"),
        ("{}", 422, "identity"),
        ('{"identity": ""}', 422, "identity"),
        ('{"identity": "' + "x" * 10_000 + '"}', 422, "identity"),
        ('{"identity": 7}', 422, "identity"),
        ('{"identity": "me", "limit": 0}', 422, "limit"),
        ('{"identity": "me", "limit": 1001}', 422, "limit"),
        ('{"identity": "me", "limit": "5"}', 422, "limit"),
        ('{"identity": "me", "window_seconds": 0}', 422, "window_seconds"),
        ('{"identity": "me", "window_seconds": 3601}', 422, "window_seconds"),
        ('{"identity": "me", "window_seconds": NaN}', 400, None),
        ('{"identity": "me", "cost": 0}', 422, "cost"),
        ('{"identity": "me", "cost": 6}', 422, "cost"),
        ('{"identity": "me", "algorithm": "magic"}', 422, "algorithm"),
        ('{"identity": "me", "free": true}', 422, "free"),
    ],
)
def test_a_wrong_body_is_told(web: FlaskClient, body: str, code: int, field: str | None) -> None:
    answer = web.post(HITS, data=body)
    assert answer.status_code == code
    if field:
        assert [error["field"] for error in answer.json["errors"]] == [field]


@pytest.mark.parametrize("identity", ["\x00", "a\nb", "é", "{}", "*"])
def test_any_identity_of_a_sane_length_is_counted(web: FlaskClient, identity: str) -> None:
    body = {"identity": identity, "limit": 1}
    assert [web.post(HITS, json=body).status_code for _ in range(2)] == [200, 429]


PLAY = "/rate-limit/?limit=5&window_seconds=10"
FORM = {"limit": "5", "window_seconds": "10"}


def lane(page: str, title: str) -> str:
    """The drawing of one lane."""
    drawing = rf'<div class="lane[^>]*><div class="who">{title}<.*?</svg>\s*<div class="sum">.*?</div></div>'
    found = re.search(drawing, seen(page), re.DOTALL)
    assert found, title
    return found[0]


def test_a_burst_is_drawn_in_every_lane_and_told_as_a_table(web: FlaskClient) -> None:
    answer = web.post("/rate-limit/", data={"count": "8", **FORM})
    assert (answer.status_code, answer.headers["Location"]) == (303, PLAY)
    page = web.get(PLAY).text
    assert 'aria-label="Fixed window: ' in lane(
        page, "Fixed window"
    )  # its window may end while they are sent
    for title in ("Sliding log", "Sliding counter", "Token bucket", "GCRA"):
        drawn = lane(page, title)
        assert f'aria-label="{title}: 5 allowed, 3 refused"' in drawn
        assert drawn.count("<circle") == 5 and drawn.count("<path") == 3
        assert "most in 10 s: <b>5</b>" in drawn and re.search(r"0 left, \d+ B", drawn)
    assert page.count("<td>refused</td>") + page.count("<td>allowed</td>") == 5 * 8
    assert lane(web.get("/rate-limit/?limit=6").text, "GCRA").count("<circle") == 0
    assert web.post("/rate-limit/reset", data=FORM).status_code == 303
    web.post("/rate-limit/", data={"count": "1"})
    assert "1 allowed, 0 refused" in lane(web.get("/rate-limit/").text, "Sliding log")


def test_a_burst_at_the_edge_gets_twice_the_limit_through_the_fixed_window_alone(
    web: FlaskClient,
) -> None:
    web.post("/rate-limit/", data={"pattern": "edge", **FORM})
    page = web.get(PLAY).text
    assert 'most in 10 s: <b class="over">10</b><br><b>+5</b> against the log' in lane(
        page, "Fixed window"
    )
    assert 'class="s-edge"' in lane(page, "Fixed window")
    for title in ("Sliding log", "Sliding counter", "Token bucket", "GCRA"):
        assert "most in 10 s: <b>5</b><br>" in lane(page, title)


def test_the_switches_change_what_the_lanes_do(web: FlaskClient) -> None:
    switches = {"pattern": "burst", "count": "10", "skew": "1", "count_refused": "1", **FORM}
    answer = web.post("/rate-limit/", data=switches)
    assert answer.headers["Location"] == f"{PLAY}&count_refused=1&skew=1"
    page = web.get(answer.headers["Location"]).text
    assert 'most in 10 s: <b class="over">10</b>' in lane(page, "Log, app’s clock")
    assert page.count(" checked") == 2
    assert "six lanes" in page and "-r-s:" in page


def test_the_code_of_each_algorithm_is_shown(web: FlaskClient) -> None:
    for algorithm, file in (
        ("sliding_window_log", "sliding_window"),
        ("gcra", "gcra"),
        ("token_bucket", "token_bucket"),
    ):
        page = web.get(f"/rate-limit/?code={algorithm}").text
        assert f"demo/rate_limit/{file}.lua</b>" in page
        assert len(page) < 42_000
    assert web.get("/rate-limit/?code=magic").status_code == 422


def test_the_page_says_whom_it_counts_and_why(make_app: MakeApp) -> None:
    fields = {"X-Forwarded-For": "198.51.100.7, 203.0.113.9"}
    direct = seen(make_app().test_client().get("/rate-limit/", headers=fields).text)
    assert "yours is <code>127.0.0.1</code>" in direct and "No proxy is trusted" in direct
    assert "<code>X-Forwarded-For: 198.51.100.7, 203.0.113.9</code> does not" in direct
    behind = make_app(TRUSTED_PROXIES=1).test_client().get("/rate-limit/", headers=fields).text
    behind = seen(behind)
    assert "yours is <code>203.0.113.9</code>" in behind and "1 proxy is trusted" in behind
    assert "the connection comes from <code>127.0.0.1</code>" in behind
    six = (
        make_app()
        .test_client()
        .get("/rate-limit/", environ_overrides={"REMOTE_ADDR": "2001:db8::7"})
        .text
    )
    assert "yours is <code>2001:db8::/64</code>" in six


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"limit": "0"}, "limit-error"),
        ({"limit": "abc"}, "limit-error"),
        ({"limit": "51"}, "limit-error"),
        ({"window_seconds": "61"}, "window_seconds-error"),
        ({"pattern": "flood"}, "pattern: "),
        ({"count": "31"}, "Expected int"),
        ({"count": "1", "other": "1"}, ""),
    ],
)
def test_a_wrong_form_is_told_beside_its_field(
    web: FlaskClient, client: Client, form: dict[str, str], text: str
) -> None:
    answer = web.post("/rate-limit/", data=form)
    assert answer.status_code == 422
    assert text in answer.text
    assert not list(client.scan_iter("demo:rate_limit:*"))


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "window_seconds=61", "skew=maybe", "limit=1&other=1"]
)
def test_a_wrong_address_is_told_in_the_page(web: FlaskClient, query: str) -> None:
    answer = web.get(f"/rate-limit/?{query}")
    assert answer.status_code == 422
    assert 'class="error"' in answer.text


def test_without_redis_the_page_shows_what_each_policy_does(away: Flask) -> None:
    web = away.test_client()
    page = web.get("/rate-limit/")
    assert page.status_code == 200
    assert "Requests cannot be counted: Redis is away, " in page.text
    assert web.post("/rate-limit/", data={"count": "8", **FORM}).status_code == 303
    page = web.get(PLAY)
    for policy, passed in (("allow", 8), ("deny", 0), ("local", 5)):
        assert f'aria-label="{policy}: {passed} allowed, {8 - passed} refused"' in page.text
    assert web.post("/rate-limit/reset").status_code == 503
    assert web.post(HITS, json={"identity": "me"}).status_code == 503
    assert web.get(HITS, query_string={"identity": "me"}).status_code == 503


def test_the_page_tells_how_often_a_policy_has_stood_in(make_app: MakeApp) -> None:
    web = make_app(
        REDIS_URL="redis://127.0.0.1:1", RATE_LIMITS=limit(1, endpoint="monitor.livez")
    ).test_client()

    def told() -> int:
        found = re.search(
            r"has replaced Redis <b>([\d\u202f]+)</b> times",
            seen(web.get("/rate-limit/").text),
        )
        assert found
        return int(found[1].replace("\u202f", ""))

    before = told()
    for _ in range(3):
        web.get("/livez")
    assert told() - before == 3


def test_who_takes_redis_away_does_so_for_himself_alone(web: FlaskClient, app: Flask) -> None:
    other = app.test_client()
    assert (
        web.post("/choices", data={"redis": "refused", "back": "/rate-limit/"}).status_code == 303
    )
    page = web.get("/rate-limit/").text
    assert "Redis refuses every connection." in page and "Redis hangs" not in page
    assert (
        "The limits that protect this site still count."
        in page.partition("Only for you:")[2].partition("</form>")[0]
    )
    assert "Requests cannot be counted: Redis is away, " in page
    assert web.post("/rate-limit/", data={"count": "6", **FORM}).status_code == 303
    assert "local: 5 allowed, 1 refused" in web.get(PLAY).text
    assert "Requests cannot be counted" not in other.get("/rate-limit/").text
    assert web.get("/catalog/products/42").status_code == 200
    web.post("/choices", data={"redis": "", "back": "/rate-limit/"})
    assert "Requests cannot be counted" not in web.get("/rate-limit/").text


def test_the_page_says_when_a_full_quota_lets_the_next_hit_pass(web: FlaskClient) -> None:
    form = {"count": "6", "limit": "5", "window_seconds": "60"}
    page = web.get(web.post("/rate-limit/", data=form).headers["Location"]).text
    wait = re.search(r"<i>Retry-After:</i> (\d+)\n", page)
    assert wait, "the page shows the fields of an answer"
    assert 50 <= int(wait[1]) <= 60
    assert "&#34;violated-policies&#34;" in page
    until = re.search(r'data-until="([\d.]+)"', page)
    assert until and int(wait[1]) - 1 <= float(until[1]) <= int(wait[1])


def test_windows_that_differ_in_little_are_two_quotas(web: FlaskClient) -> None:
    body = {"identity": "me", "limit": 1}
    codes = [
        web.post(HITS, json={**body, "window_seconds": window}).status_code
        for window in (3599.991, 3599.992, 3599.991)
    ]
    assert codes == [200, 200, 429]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_an_identity_says_is_in_no_key(
    web: FlaskClient, client: Client, algorithm: str
) -> None:
    for identity in ("mara@example.com", "a b", "}{", "x" * 64):
        assert (
            web.post(HITS, json={"identity": identity, "algorithm": algorithm}).status_code == 200
        )
    keys = list(client.scan_iter("demo:rate_limit:*"))
    assert len(keys) == 4
    name = b"api-5-10" + (b"" if algorithm == "sliding_window_log" else b"-" + algorithm.encode())
    for key in keys:
        assert re.fullmatch(rb"demo:rate_limit:\{" + name + rb":~[0-9a-f]{32}\}", key)
        assert 0 < client.pttl(key) <= 20_000


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_answers_whole_and_peeks_without_counting(
    web: FlaskClient, algorithm: str
) -> None:
    body = {"identity": "me", "limit": 2, "window_seconds": 3600, "algorithm": algorithm}
    answers = [web.post(HITS, json=body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.json["remaining"] for answer in answers] == [1, 0, 0]
    assert answers[2].json["algorithm"] == algorithm
    for _ in range(2):
        looked = web.get(HITS, query_string=body)
        assert looked.status_code == 200
        assert (looked.json["allowed"], looked.json["remaining"], looked.json["algorithm"]) == (
            False,
            0,
            algorithm,
        )
        assert looked.json["retry_after_seconds"] == pytest.approx(
            answers[2].json["retry_after_seconds"], abs=2
        )
        assert "Retry-After" not in looked.headers and looked.headers["RateLimit"].startswith(
            '"api";r=0;t='
        )


def test_a_peek_makes_no_key_and_says_what_is_wrong(web: FlaskClient, client: Client) -> None:
    looked = web.get(HITS, query_string={"identity": "nobody", "limit": "7"})
    assert (looked.status_code, looked.json["remaining"], looked.json["allowed"]) == (200, 7, True)
    assert not list(client.scan_iter("demo:rate_limit:*"))
    for query in (
        "",
        "identity=",
        "identity=me&limit=0",
        "identity=me&algorithm=magic",
        "identity=me&cost=1",
    ):
        assert web.get(f"{HITS}?{query}").status_code == 422


def test_identities_are_each_callers_own(web: FlaskClient) -> None:
    body = {"identity": "me", "limit": 1}
    one, other = {"REMOTE_ADDR": "203.0.113.1"}, {"REMOTE_ADDR": "203.0.113.2"}
    codes = [
        web.post(HITS, json=body, environ_overrides=environ).status_code
        for environ in (one, other, one, other)
    ]
    assert codes == [200, 200, 429, 429]


def test_a_network_has_so_many_bytes_of_identities_kept_and_no_more(
    app: Flask, web: FlaskClient, client: Client
) -> None:
    size = bytes_of("sliding_window_log", 5)
    part(Budgets, app).limits._most = lambda: 4 * 3 * size
    codes = [
        web.post(HITS, json={"identity": f"id-{number}"}).status_code for number in (0, 1, 2, 3, 0)
    ]
    assert codes == [200, 200, 200, 429, 200]
    assert web.post(HITS, json={"identity": "id-0", "limit": 6}).status_code == 429
    refused = web.post(HITS, json={"identity": "id-9"})
    assert "memory budget of your network" in refused.json["detail"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 20
    assert len(list(client.scan_iter("demo:rate_limit:*"))) == 3
    burst = web.post("/rate-limit/", data={"limit": "5", "window_seconds": "10", "count": "1"})
    assert burst.status_code == 429 and "memory budget of your network" in burst.text
    elsewhere = {"REMOTE_ADDR": "203.0.113.1"}
    assert web.post(HITS, json={"identity": "id-9"}, environ_overrides=elsewhere).status_code == 200


def test_a_cost_takes_so_many_places(web: FlaskClient) -> None:
    body = {"identity": "me", "limit": 5, "window_seconds": 60, "cost": 3}
    first, second = web.post(HITS, json=body), web.post(HITS, json=body)
    assert (first.status_code, first.json["remaining"]) == (200, 2)
    assert (second.status_code, second.json["remaining"]) == (429, 2)
    assert web.post(HITS, json={**body, "cost": 2}).json["remaining"] == 0


def test_a_hit_costs_one_round_trip(web: FlaskClient) -> None:
    body = {"identity": "me", "limit": 1}
    assert [round_trips(web.post(HITS, json=body)) for _ in range(2)] == [1, 1]
    assert (
        round_trips(web.get("/rate-limit/")) == 7
    )  # one for each of five limiters, two for what they hold


def test_a_lone_surrogate_is_no_500(web: FlaskClient) -> None:
    assert web.post(HITS, data=b'{"identity": "\\ud800"}').status_code == 400


@pytest.mark.parametrize("form", [{"limit": "0"}, {"window_seconds": "x"}])
def test_a_reset_of_a_quota_that_cannot_be_is_refused(
    web: FlaskClient, form: dict[str, str]
) -> None:
    answer = web.post("/rate-limit/reset", data=form)
    assert (answer.status_code, f"<strong>{next(iter(form))}</strong>" in answer.text) == (
        422,
        True,
    )


def test_a_wrong_form_fires_nothing(web: FlaskClient, client: Client) -> None:
    web.post("/rate-limit/", data={"count": "31"})
    assert not list(client.scan_iter("demo:rate_limit:*"))


def test_the_page_tells_what_a_hit_of_the_log_takes_as_its_own_test_measures_it(
    web: FlaskClient,
) -> None:
    assert "20 to 25 bytes a request up to 128, then 70 to 120" in web.get("/rate-limit/").text


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_identity_takes_no_more_than_the_page_tells(client: Client, name: str) -> None:
    limiter = ALGORITHMS[name](client, "bytes", Quota(100, 60))
    for _ in range(110):
        limiter.hit("client-1")
    most = bytes_of(name, 100)
    assert client.memory_usage(limiter.redis_keys("client-1")[0]) <= most
    assert most <= (12_000 if name == "sliding_window_log" else 500)
