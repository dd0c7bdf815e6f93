"""The limiters, their guard and the playground on a cluster, where the keys of one script have to
share a slot."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from flask import Flask

from demo.rate_limit.algorithms import ALGORITHMS
from tests.seen import seen
from tests.servers import tcp_server, until


@pytest.fixture(scope="module")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two nodes, half of the slots each."""
    folders = [str(tmp_path_factory.mktemp(name)) for name in ("one", "other")]
    cluster = ("--cluster-enabled", "yes", "--dir")
    with tcp_server(*cluster, folders[0]) as one, tcp_server(*cluster, folders[1]) as other:
        with redis.Redis(port=one) as first, redis.Redis(port=other) as second:
            first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8000)
            second.execute_command("CLUSTER", "ADDSLOTSRANGE", 8001, 16383)
            first.execute_command("CLUSTER", "MEET", "127.0.0.1", other)
            for node in (first, second):
                until(
                    lambda node=node: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok"
                )
        yield f"redis+cluster://127.0.0.1:{one}"


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
    assert seen(page.text).count("worst 10 s: <b") == (6 if "skew" in form else 5)
    assert web.post("/rate-limit/reset", data={**form, "count": "1"}).status_code == 303
