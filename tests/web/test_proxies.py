"""A proxy that is not declared: its address is trusted with nothing, and the log says so once."""

import logging
from collections.abc import Callable

import pytest
from flask import Flask

from demo.web.proxies import HEADERS, Proxies

MakeApp = Callable[..., Flask]
LOOPBACK = {"REMOTE_ADDR": "127.0.0.1"}


@pytest.mark.parametrize("name", HEADERS.values())
def test_metrics_ask_for_the_token_where_an_undeclared_proxy_stands_between(
    make_app: MakeApp, name: str
) -> None:
    web = make_app(METRICS_TOKEN="token-of-tests").test_client()
    assert web.get("/metrics", environ_overrides=LOOPBACK).status_code == 200
    through = {name: "203.0.113.7"}
    refused = web.get("/metrics", headers=through, environ_overrides=LOOPBACK)
    assert refused.status_code == 403
    assert "DEMO_TRUSTED_PROXIES" in refused.text and "demo_http_requests" not in refused.text
    through["Authorization"] = "Bearer token-of-tests"
    assert web.get("/metrics", headers=through, environ_overrides=LOOPBACK).status_code == 200


@pytest.mark.parametrize(
    ("hops", "headers", "status"),
    [
        (1, {}, 200),  # asked from beside the app, not through the proxy
        (1, {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1"}, 200),
        (1, {"X-Forwarded-For": "203.0.113.7"}, 403),
        (1, {"X-Forwarded-For": "203.0.113.7, 127.0.0.1"}, 403),  # one more before it, on loopback
        (1, {"X-Real-IP": "203.0.113.7"}, 403),  # the proxy is not as it was said to be
        (1, {"Via": "1.1 squid"}, 403),
        (2, {"X-Forwarded-For": "127.0.0.1"}, 403),  # came past the first of the two
        (2, {"X-Forwarded-For": "127.0.0.1, 10.0.0.1"}, 200),
        (2, {"X-Forwarded-For": "127.0.0.1, 127.0.0.1, 10.0.0.1"}, 403),
    ],
)
def test_declared_proxies_tell_the_address_and_no_more_than_they_are(
    make_app: MakeApp, hops: int, headers: dict[str, str], status: int
) -> None:
    web = make_app(TRUSTED_PROXIES=hops).test_client()
    answer = web.get("/metrics", headers=headers, environ_overrides=LOOPBACK)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("hops", "headers", "told"),
    [
        (0, {"X-Forwarded-For": "203.0.113.7", "Via": "1.1 x"}, "came with X-Forwarded-For, but"),
        (0, {"X-Real-IP": "203.0.113.7"}, "came with X-Real-IP, but"),
        (1, {"X-Forwarded-For": "a, b, c"}, "came with X-Forwarded-For with 3 addresses, but"),
        (1, {"X-Forwarded-For": "203.0.113.7", "Via": "1.1 x"}, ""),
        (0, {"X-Requested-With": "x"}, ""),
    ],
)
def test_the_log_says_once_what_to_set(
    make_app: MakeApp,
    caplog: pytest.LogCaptureFixture,
    hops: int,
    headers: dict[str, str],
    told: str,
) -> None:
    web = make_app(TRUSTED_PROXIES=hops).test_client()
    with caplog.at_level(logging.WARNING, "demo.web.proxies"):
        for path in ("/", "/rate-limit/", "/metrics"):
            web.get(path, headers=headers)
    lines = [line.getMessage() for line in caplog.records if line.name == "demo.web.proxies"]
    assert len(lines) == bool(told)
    for line in lines:
        assert told in line and f"DEMO_TRUSTED_PROXIES is {hops}" in line
        assert "203.0.113.7" not in line


def test_what_a_client_writes_into_the_header_is_never_repeated() -> None:
    seen = Proxies(1).undeclared({"HTTP_X_FORWARDED_FOR": "evil,evil"})
    assert seen == "X-Forwarded-For with 2 addresses"


def test_what_proxies_of_every_kind_add_is_known() -> None:
    """By its name as their documentation writes it: one that is not known makes its proxy unseen."""
    assert set(HEADERS.values()) == {
        *("Forwarded", "Forwarded-For", "Via"),
        *("X-Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port"),
        *("X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Server"),
        *("X-Forwarded-Ssl", "X-Original-Forwarded-For", "X-Original-Host", "X-Scheme"),
        *("X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-ProxyUser-IP"),
        *("X-Azure-ClientIP", "X-Envoy-External-Address", "Fastly-Client-IP", "Fly-Client-IP"),
        *("CF-Connecting-IP", "CF-Connecting-IPv6", "True-Client-IP"),
    }
    assert set(HEADERS) == {"HTTP_" + name.upper().replace("-", "_") for name in HEADERS.values()}
