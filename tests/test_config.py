import json
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask

from demo import config, limits
from demo.config import BOUNDS, SETTINGS, ConfigError
from demo.limits import QuotaSetting, RateLimit
from demo.sessions import account_use, accounts
from demo.web.secret_key import secret_key

VARIABLES = {name: setting for name, setting in SETTINGS.items() if setting.type is not str}
WRONG: dict[Any, list[str]] = {
    int: ["x", "1.5", "true", '"5"', "[]", "null", "1e999", "NaN"],
    float: ["x", "true", '"5"', "[]", "null", "NaN", "Infinity"],
    bool: ["x", "1", "0", "yes", "True", "null", '"true"'],
}


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("DEMO_POOL_SIZE", "0", "DEMO_POOL_SIZE must be from 1 to"),
        ("DEMO_POOL_SIZE", "many", "DEMO_POOL_SIZE is wrong"),
        ("DEMO_POOL_SIZE", "1.5", "DEMO_POOL_SIZE is wrong"),
        ("DEMO_XRAY", "maybe", "DEMO_XRAY is wrong"),
        ("DEMO_RATE_LIMITS", "{", "DEMO_RATE_LIMITS is wrong"),
        ("DEMO_DB_LATENCY_MS", "-1", "DEMO_DB_LATENCY_MS must be"),
        (
            "DEMO_METRICS_ALLOW",
            '["10.0.0.0/99"]',
            "DEMO_METRICS_ALLOW must be a list of networks",
        ),
        ("DEMO_METRICS_ALLOW", "[1]", "DEMO_METRICS_ALLOW is wrong"),
        ("DEMO_COLOUR", "red", "DEMO_COLOUR is not a setting"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(
    variable: str, value: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        config.load(environ={variable: value})


def test_settings_come_from_the_environment_and_overrides_win() -> None:
    environ = {
        "DEMO_POOL_SIZE": "7",
        "DEMO_RATE_LIMITS": "{}",
        "DEMO_XRAY": "false",
        "SECRET_KEY": "123",
        "DEMO_PRODUCTS": "",
    }
    values = config.load({"POOL_SIZE": 9}, environ)
    assert (values["POOL_SIZE"], values["RATE_LIMITS"], values["XRAY"], values["SECRET_KEY"]) == (
        9,
        {},
        False,
        "123",
    )
    assert values["PRODUCTS"] == 10_000
    with pytest.raises(ConfigError, match="COLOUR is not a setting"):
        config.load({"COLOUR": "red"}, {})


def test_the_secret_key_is_made_once_for_all_who_start_at_once(tmp_path: Path) -> None:
    keys: list[str] = []
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        keys.append(secret_key(tmp_path / "instance"))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1 and len(keys[0]) == 64
    folder = tmp_path / "instance"
    assert [path.name for path in folder.iterdir()] == ["secret_key"]
    assert stat.S_IMODE((folder / "secret_key").stat().st_mode) == 0o600


def test_a_secret_key_that_cannot_be_kept_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="SECRET_KEY is not set"):
        secret_key(tmp_path / "file" / "instance")


def test_without_an_environment_every_setting_has_its_default() -> None:
    values = config.load({}, {})
    assert set(values) == set(SETTINGS)
    for name, setting in SETTINGS.items():
        if name not in ("RATE_LIMITS", "INSTANCE_PATH", "METRICS_ALLOW"):
            assert values[name] == setting.default, name
    assert values["INSTANCE_PATH"] == str(config.REPOSITORY / "instance")
    by_address, by_both, by_name, by_device = values["RATE_LIMITS"]["sessions.login"]
    assert by_address == RateLimit(10, 60)
    spared = {"count": "failures", "spare": "device:name"}
    quotas = (QuotaSetting(10, 60), QuotaSetting(20, 3600))
    assert by_both == RateLimit(quotas=quotas, by="field:name+address", **spared)
    assert by_name == RateLimit(100, 3600, by="field:name", **spared)
    assert by_device == RateLimit(10, 600, by="device:name", count="failures")


def test_the_whole_web_cannot_fill_the_accounts_with_such_as_nobody_uses() -> None:
    limits = config.load({}, {})["RATE_LIMITS"]["sessions.sign_up"]
    (everyone,) = [limit for limit in limits if limit.by == "everyone"]
    quota = everyone.all_quotas()[0]
    # A day more than they are kept: pruning is not done at once.
    windows = (account_use.NEW_DAYS + 1) * 86_400 / quota.window_seconds
    assert quota.limit * windows < accounts.MOST_ACCOUNTS / 2
    assert everyone.count == "successes"


def test_every_variable_has_a_name_that_a_typo_is_noticed_by() -> None:
    for name, setting in SETTINGS.items():
        assert setting.env in (name, f"DEMO_{name}")
    assert len({setting.env for setting in SETTINGS.values()}) == len(SETTINGS)


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name, setting in VARIABLES.items() for text in WRONG.get(setting.type, [])],
)
def test_a_value_of_the_wrong_type_is_refused_for_every_setting(name: str, text: str) -> None:
    variable = SETTINGS[name].env
    with pytest.raises(
        ConfigError, match=rf"^{variable} (is wrong: .*|must be from .*)\.$"
    ) as told:
        config.load(environ={variable: text})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_hold_at_both_ends(name: str) -> None:
    least, most = BOUNDS[name]
    variable = SETTINGS[name].env
    step = 1 if SETTINGS[name].type is int else 0.001
    for value in (least, most):
        assert config.load({}, {variable: json.dumps(value)})[name] == value
    for value in (least - step, most + step):
        with pytest.raises(ConfigError, match=f"{variable} must be from {least} to {most}"):
            config.load({}, {variable: json.dumps(value)})


@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_variable_is_the_default(name: str) -> None:
    assert config.load({}, {SETTINGS[name].env: ""})[name] == config.load({}, {})[name]


def test_text_is_taken_as_it_stands() -> None:
    values = config.load(
        {}, {"SECRET_KEY": '"q"', "DEMO_API_KEY": "null", "REDIS_URL": "redis://h"}
    )
    assert (values["SECRET_KEY"], values["API_KEY"], values["REDIS_URL"]) == (
        '"q"',
        "null",
        "redis://h",
    )


@pytest.mark.parametrize("name", ["SECRET_KEY", "API_KEY", "REDIS_URL", "DATABASE_URL"])
def test_what_is_wrong_never_shows_a_secret(name: str) -> None:
    with pytest.raises(ConfigError) as told:
        config.load({name: ["hunter2"]}, {})
    assert "hunter2" not in str(told.value) and SETTINGS[name].env in str(told.value)


@pytest.mark.parametrize("variable", ["DEMO_", "DEMO_POOLSIZE", "DEMO_xray", "DEMO_REDIS_URL"])
def test_a_variable_that_is_no_setting_ends_the_start(variable: str) -> None:
    with pytest.raises(ConfigError, match=f"^{variable} is not a setting of this app.$"):
        config.load({}, {variable: "1"})


def test_variables_of_others_are_left_alone() -> None:
    assert config.load({}, {"POOL_SIZE": "x", "XDEMO_A": "1", "demo_b": "1"})["POOL_SIZE"] == 32


def test_a_rate_limit_is_checked_to_its_last_field() -> None:
    good = '{"home.index": {"limit": 3, "window_seconds": 1.5, "when_away": "deny"}}'
    assert config.load({}, {"DEMO_RATE_LIMITS": good})["RATE_LIMITS"] == {
        "home.index": RateLimit(3, 1.5, "deny")
    }
    for bad in (
        '{"a": {"limit": 0, "window_seconds": 1}}',
        '{"a": {"limit": 10001, "window_seconds": 1}}',
        '{"a": {"limit": 1.5, "window_seconds": 1}}',
        '{"a": {"limit": 1, "window_seconds": 0.09}}',
        '{"a": {"limit": 1, "window_seconds": 86401}}',
        '{"a": {"limit": 1, "window_seconds": NaN}}',
        '{"a": {"limit": 1, "window_seconds": 1, "when_away": "Allow"}}',
        '{"a": 5}',
        '{"a": {"limit": 1}}',
        '{"a": {"window_seconds": 1}}',
        '{"a": {}}',
        '{"a": {"limit": 1, "window_seconds": 1, "quotas": [{"limit": 1, "window_seconds": 1}]}}',
        '{"a": {"quotas": [{"limit": 1}]}}',
        '{"a": {"quotas": [' + ", ".join(['{"limit": 1, "window_seconds": 1}'] * 6) + "]}}",
        '{"a": {"quotas": [{"limit": 1, "window_seconds": 1}, {"limit": 2, "window_seconds": 1.0}]}}',
        '{"a": {"limit": 1, "window_seconds": 1, "by": "ip"}}',
        '{"a": {"limit": 1, "window_seconds": 1, "by": "field:"}}',
        '{"a": {"limit": 1, "window_seconds": 1, "by": "user,address"}}',
        '{"a": {"limit": 1, "window_seconds": 1, "by": "device"}}',
        '{"a": {"limit": 1, "window_seconds": 1, "spare": "field:name"}}',
        '{"a": {"limit": 1, "window_seconds": 1, "algorithm": "leaky"}}',
        '{"a": {"limit": 5, "window_seconds": 1, "cost": 6}}',
        '{"a": {"limit": 5, "window_seconds": 1, "cost": 0}}',
        '{"a": {"limit": 5, "window_seconds": 1, "mode": "off"}}',
        '{"a": {"limit": 5, "window_seconds": 1, "mode": "exempt"}}',
        '{"a": {"limit": 5, "window_seconds": 1, "count": "some"}}',
        '{"a": {"limit": 5, "window_seconds": 1, "block_after": -1}}',
        '{"a": {"limit": 5, "window_seconds": 1, "block_after": 1, "block_seconds": 0}}',
        '{"a": [{"limit": 5, "window_seconds": 1}, {"limit": 0, "window_seconds": 1}]}',
        "null",
        "[]",
    ):
        with pytest.raises(ConfigError, match=r"^DEMO_RATE_LIMITS is wrong: .*\.$"):
            config.load({}, {"DEMO_RATE_LIMITS": bad})


QUOTA = RateLimit(1, 1)


@pytest.mark.parametrize(
    ("endpoint", "pattern"),
    [
        ("catalog.product", "catalog.product"),
        ("catalog.api.get_product", "catalog.api.*"),
        ("catalog.index", "catalog.*"),
        ("home.index", "*"),
        ("static", "*"),
        ("monitor.livez", "monitor.livez"),
    ],
)
def test_an_endpoint_falls_under_its_name_else_the_longest_prefix(
    endpoint: str, pattern: str
) -> None:
    exempt = RateLimit(mode="exempt")
    told = {
        "*": QUOTA,
        "catalog.*": QUOTA,
        "catalog.api.*": [QUOTA, QUOTA],
        "catalog.product": QUOTA,
        "monitor.livez": exempt,
    }
    found, together = limits.covering(told, endpoint)
    assert found == pattern
    assert len(together) == {"catalog.api.*": 2, "monitor.livez": 0}.get(pattern, 1)
    assert limits.covering({}, endpoint) == ("", ())


@pytest.mark.parametrize(
    ("pattern", "fine"),
    [
        ("a.b", True),
        ("a.*", True),
        ("*", True),
        ("static", True),
        ("gone.anything", True),
        ("gone.*", True),
        ("a.c", False),
        ("b.*", False),
        ("a.", False),
        ("a*", False),
        ("*.b", False),
        ("", False),
    ],
)
def test_a_pattern_that_nothing_falls_under_is_found(pattern: str, fine: bool) -> None:
    assert limits.without_target({pattern: QUOTA}, ["a.b", "static"], {"gone"}) == (
        None if fine else pattern
    )


def test_the_app_refuses_to_start_with_a_wrong_setting(make_app: Callable[..., Flask]) -> None:
    for settings in ({"POOL_SIZE": 0}, {"COLOUR": "red"}, {"XRAY": 1}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            make_app(**settings)


def test_a_secret_key_that_is_there_is_kept(tmp_path: Path) -> None:
    first = secret_key(tmp_path / "instance")
    assert secret_key(tmp_path / "instance") == first
    assert secret_key(tmp_path / "other") != first


def test_two_workers_without_a_set_key_sign_alike(make_app: Callable[..., Flask]) -> None:
    one, other = (make_app(SECRET_KEY="") for _ in range(2))
    assert one.secret_key == other.secret_key and len(str(one.secret_key)) == 64


@pytest.mark.parametrize("content", ["", " \n", "short"])
def test_a_key_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret_key").write_text(content)
    with pytest.raises(ConfigError, match="contains no key"):
        secret_key(tmp_path)


def test_a_key_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "secret_key").mkdir()
    with pytest.raises(ConfigError, match="SECRET_KEY is not set"):
        secret_key(tmp_path)


ONE = {"limit": 5, "window_seconds": 60}


def quotas(count: int) -> dict[str, object]:
    return {"quotas": [{"limit": 5, "window_seconds": 60 + more} for more in range(count)]}


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        ({**ONE, "limit": 1}, {**ONE, "limit": 0}),
        ({**ONE, "limit": 10_000}, {**ONE, "limit": 10_001}),
        ({**ONE, "window_seconds": 0.1}, {**ONE, "window_seconds": 0.099}),
        ({**ONE, "window_seconds": 86_400}, {**ONE, "window_seconds": 86_401}),
        (quotas(1), quotas(0)),
        (quotas(5), quotas(6)),
        ({**ONE, "cost": 1}, {**ONE, "cost": 0}),
        ({**ONE, "cost": 5}, {**ONE, "cost": 6}),
        ({**ONE, "block_after": 0}, {**ONE, "block_after": -1}),
        ({**ONE, "block_after": 1000}, {**ONE, "block_after": 1001}),
        ({**ONE, "block_seconds": 0.1}, {**ONE, "block_seconds": 0.099}),
        ({**ONE, "block_seconds": 86_400}, {**ONE, "block_seconds": 86_401}),
    ],
    ids=str,
)
def test_what_a_limit_may_say_is_bounded_to_the_last(
    within: dict[str, object], beyond: dict[str, object]
) -> None:
    assert msgspec.convert(within, RateLimit)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(beyond, RateLimit)
