"""What lies in deploy/ names only metrics that exist, and can be loaded."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from flask import Flask

from demo.observe import metrics
from demo.web.services import services
from tests.servers import REPOSITORY, sentinel_of, tcp_server

DEPLOY = REPOSITORY / "deploy"
NAME = re.compile(r"\b(?:demo_\w+|up\b)")
PROMETHEUS_OWN = {"up": {"job"}}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
COMPARISON = re.compile(r"\s[<>]=?\s*[\d.]+$")


def exported() -> dict[str, set[str]]:
    """The name of each series, and its labels."""
    found = dict(PROMETHEUS_OWN)
    for family in metrics.registry.collect():
        labels = set(metrics.registry._names_to_collectors[family.name]._labelnames)  # type: ignore[attr-defined]
        for suffix in SUFFIXES[family.type]:
            found[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def alerts() -> list[dict[str, str]]:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts())
    for panel in json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_names_series_and_labels_that_exist(expression: str) -> None:
    series = exported()
    named = NAME.findall(expression)
    assert named and set(named) <= set(series)
    assert expression.count("(") == expression.count(")") and expression.count(
        "{"
    ) == expression.count("}")
    known = set.union(*(series[name] for name in named)) | {"instance"}
    for labels in re.findall(r"by \(([^)]*)\)", expression):
        assert {label.strip() for label in labels.split(",")} <= known
    for selector in re.findall(r"{([^}]*)}", expression):
        assert set(re.findall(r"(\w+)(?:=~|!=|=)", selector)) <= known


def test_each_metric_of_an_alert_has_its_sample_also_under_sentinel(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    for gauge in (metrics.POOL_SIZE, metrics.POOL_IN_USE):
        gauge.set(0)
    with tcp_server() as master, sentinel_of(master) as port:
        limits = {"monitor.livez": {"limit": 5, "window_seconds": 600}}
        app = make_app(
            REDIS_URL=f"redis+sentinel://127.0.0.1:{port}/prime", RATE_LIMITS=limits, POOL_SIZE=7
        )
        web, pool = app.test_client(), services(app).redis.connection_pool
        for path in ("/catalog/products/42", "/livez"):
            assert web.get(path).status_code == 200
        taken = pool.get_connection()
        web.get("/monitor/")
        pool.release(taken)
        told = web.get("/metrics").text
    for rule in alerts():
        for name in set(NAME.findall(rule["expr"])) - set(PROMETHEUS_OWN):
            assert re.search(rf"^{name}[ {{]", told, re.MULTILINE), name
    assert "demo_pool_connections_max 7.0" in told and "demo_pool_connections_in_use 1.0" in told
    assert services(app).metrics.use() == (2, 7)  # the page's own, beside the one that was taken


def test_every_metric_stands_in_the_dashboard_or_in_an_alert() -> None:
    named = {name for expression in expressions() for name in NAME.findall(expression)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()} == families


def test_an_alert_compares_waits_and_tells_what_it_means() -> None:
    for rule in alerts():
        assert COMPARISON.search(rule["expr"]) and re.fullmatch(r"\d+[sm]", rule["for"])
        assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "ticket")
        mentioned = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        kept = {
            label.strip()
            for labels in re.findall(r"by \(([^)]*)\)", rule["expr"])
            for label in labels.split(",")
        }
        assert mentioned <= kept


def test_the_scrape_and_the_compose_file_load() -> None:
    scrape = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert all((DEPLOY / name).exists() for name in scrape["rule_files"])
    compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
    targets = set(re.findall(r'"([\w-]+):8000"', (DEPLOY / "prometheus.yml").read_text()))
    assert targets == {name for name in compose["services"] if name.startswith("web")}
    scaled = {
        name
        for name, service in compose["services"].items()
        if service.get("profiles") == ["scale"]
    }
    assert set(compose["services"]) - scaled == {"web", "redis"}
    for name in scaled:
        assert set(compose["services"][name].get("depends_on", {})) <= scaled
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (
                (REPOSITORY / source).exists()
                if source.startswith(".")
                else source in compose["volumes"]
            )


def test_redis_and_its_sentinels_know_each_other_by_address() -> None:
    services = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]
    names = [name for name in services if name.startswith(("redis-", "sentinel-"))]
    addresses = {name: services[name]["networks"]["redis"]["ipv4_address"] for name in names}
    assert len(set(addresses.values())) == len(names) == 6
    for name in names:  # a look-up of a name that died stops the one who looks
        command = services[name]["command"][-1].replace("$$last", "21")
        assert not [other for other in names if other in command]
        assert addresses["sentinel-1" if name.startswith("redis") else "redis-1"] in command
    for web in ("web-1", "web-2"):
        assert set(services[web]["networks"]) == {"default", "redis"}
        listed = (
            services[web]["environment"]["REDIS_URL"].rpartition("@")[2].split("/")[0].split(",")
        )
        assert listed == [
            f"{addresses[name]}:26379" for name in names if name.startswith("sentinel")
        ]


def test_a_master_that_nobody_follows_takes_no_writes_and_any_one_may_die() -> None:
    services = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]
    nodes = [name for name in services if name.startswith("redis-")]
    told = {
        re.findall(r"--min-replicas-to-write (\d+)", services[name]["command"][-1])[0]
        for name in nodes
    }
    assert told == {"1"} and len(nodes) == 3  # two are left, and one of them follows the other


def test_the_dashboard_has_a_place_for_each_panel() -> None:
    panels = json.loads(Path(DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels) == len({panel["id"] for panel in panels})
