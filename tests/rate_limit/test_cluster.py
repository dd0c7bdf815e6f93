"""The limiters, their guard and the playground on a cluster, where the keys of one script have to
share a slot."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from demo.rate_limit.algorithms import ALGORITHMS
from tests.seen import seen
from tests.topologies import topology


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    """Two nodes, half of the slots each."""
    with topology("cluster", nodes=2) as given:
        yield given.url()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_several_quotas_are_counted_in_one_step(
    make_app: Callable[..., Flask], cluster_url: str, algorithm: str, tmp_path: Path
) -> None:
    quotas = [{"limit": 9, "window_seconds": 86_400}, {"limit": 2, "window_seconds": 80_000}]
    rules = {"monitor.livez": {"quotas": quotas, "algorithm": algorithm, "when_away": "deny"}}
    web = make_app(
        ("rate_limit", "monitor"), REDIS_URL=cluster_url, RATE_LIMITS=rules
    ).test_client()
    for number in range(8):  # callers whose keys lie on either node
        environ = {"REMOTE_ADDR": f"203.0.113.{number}"}
        assert [web.get("/livez", environ_overrides=environ).status_code for _ in range(3)] == [
            200,
            200,
            429,
        ]


@pytest.mark.parametrize(
    "form",
    [{"count": "8", "skew": "1"}, {"pattern": "edge"}, {"pattern": "steady", "count_refused": "1"}],
)
def test_the_playground_is_served(
    make_app: Callable[..., Flask], cluster_url: str, form: dict[str, str]
) -> None:
    web = make_app(("rate_limit",), REDIS_URL=cluster_url).test_client()
    page = web.get(web.post("/rate-limit/", data=form).headers["Location"])
    assert page.status_code == 200
    assert seen(page.text).count("most in 10 s: <b") == (6 if "skew" in form else 5)
    assert web.post("/rate-limit/reset", data={**form, "count": "1"}).status_code == 303
