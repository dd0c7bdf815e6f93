"""Every setting: its name, default, unit and what it is for. Read from the environment, checked
once, at the start."""

import ipaddress
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from demo.limits import DEFAULTS, RateLimit
from demo.observe.logs import Format
from demo.observe.origins import canonical

REPOSITORY = Path(__file__).resolve().parent.parent


class ConfigError(Exception):
    """A setting is wrong. The message is one sentence that names the setting and never shows a
    secret."""


class Setting(msgspec.Struct, frozen=True):
    """One setting: the environment variable that sets it, its default, its type and what it is for."""

    env: str
    default: Any
    type: Any
    about: str


SETTINGS: dict[str, Setting] = {
    "REDIS_URL": Setting(
        "REDIS_URL", "", str, "URL of Redis or Valkey; empty starts the embedded engine"
    ),
    "DATABASE_URL": Setting(
        "DATABASE_URL",
        "",
        str,
        "SQLAlchemy URL, `postgresql://…` for Postgres; empty uses SQLite in `instance/`",
    ),
    "SECRET_KEY": Setting(
        "SECRET_KEY",
        "",
        str,
        "key that signs cookies; several containers need the same one; empty generates one in "
        "`instance/secret_key` (mode 0600)",
    ),
    "INSTANCE_PATH": Setting(
        "DEMO_INSTANCE_PATH",
        "",
        str,
        "folder for data that outlives the app; empty uses `instance/` beside `wsgi.py`",
    ),
    "KEEP_DATA": Setting(
        "DEMO_KEEP_DATA", True, bool, "keep the embedded engine's data across restarts"
    ),
    "ENGINE_MAXMEMORY_MB": Setting(
        "DEMO_ENGINE_MAXMEMORY_MB", 64, int, "memory limit of the embedded engine, in MB"
    ),
    "POOL_SIZE": Setting(
        "DEMO_POOL_SIZE",
        32,
        int,
        "maximum connections to Redis per worker; on a cluster, to each server",
    ),
    "REDIS_TIMEOUT_SECONDS": Setting(
        "DEMO_REDIS_TIMEOUT_SECONDS",
        0.25,
        float,
        "longest wait for a connection or a reply from Redis, in seconds",
    ),
    "BREAKER_SECONDS": Setting(
        "DEMO_BREAKER_SECONDS",
        0.5,
        float,
        "while Redis is away, pause between two test calls, in seconds; "
        "the first two come without a pause",
    ),
    "SAMPLE_DATA": Setting(
        "DEMO_SAMPLE_DATA",
        True,
        bool,
        "on a fresh start, add made-up players to the boards and a few minutes of made-up page "
        "views; with `false`, the next start removes them",
    ),
    "PRODUCTS": Setting(
        "DEMO_PRODUCTS",
        10_000,
        int,
        "number of made-up products that the first start creates",
    ),
    "DB_LATENCY_MS": Setting(
        "DEMO_DB_LATENCY_MS",
        200,
        int,
        "delay added to each visit to the database, in ms; simulates a busy database across a "
        "network",
    ),
    "CATALOG_TTL_SECONDS": Setting(
        "DEMO_CATALOG_TTL_SECONDS",
        60,
        int,
        "how long a catalog entry is fresh in the cache, in seconds",
    ),
    "CATALOG_STALE_SECONDS": Setting(
        "DEMO_CATALOG_STALE_SECONDS",
        60,
        int,
        "how long the app may still serve a catalog entry that is no longer fresh, while a reader reloads it "
        "or the database is away, in seconds",
    ),
    "NEAR_CACHE": Setting(
        "DEMO_NEAR_CACHE",
        False,
        bool,
        "also keep catalog answers in each worker's memory; Redis notifies the worker of changes",
    ),
    "SHARED_DICTIONARIES": Setting(
        "DEMO_SHARED_DICTIONARIES",
        False,
        bool,
        "send only the difference between a cached catalog page and the "
        "[frame](http-api.md#shared-dictionaries) of all pages, to browsers that support it",
    ),
    "SESSION_IDLE_SECONDS": Setting(
        "DEMO_SESSION_IDLE_SECONDS",
        86_400,
        int,
        "a session ends after this long without a visit, in seconds",
    ),
    "SESSION_ABSOLUTE_SECONDS": Setting(
        "DEMO_SESSION_ABSOLUTE_SECONDS",
        2_592_000,
        int,
        "a session ends this long after it began, in seconds",
    ),
    "RATE_LIMITS": Setting(
        "DEMO_RATE_LIMITS",
        DEFAULTS,
        dict[str, RateLimit | list[RateLimit]],
        "rate limits by endpoint or prefix, as JSON; replaces all limits of the default, those "
        "of sign-in too; [Rate limits](rate-limits.md) explains the fields; `{}` removes all "
        "limits",
    ),
    "STREAM_VIEWERS": Setting(
        "DEMO_STREAM_VIEWERS",
        1000,
        int,
        "maximum viewers of live boards per worker; never more than half of its threads or "
        "connections",
    ),
    "STREAM_VIEWERS_PER_ADDRESS": Setting(
        "DEMO_STREAM_VIEWERS_PER_ADDRESS",
        250,
        int,
        "maximum viewers from one address per worker, as [HTTP "
        "API](http-api.md#watch-a-board-with-server-sent-events) explains in full",
    ),
    "BODY_SECONDS": Setting(
        "DEMO_BODY_SECONDS",
        10.0,
        float,
        "longest wait for a request body, in seconds; each 16 kB received adds one second",
    ),
    "TRUSTED_PROXIES": Setting(
        "DEMO_TRUSTED_PROXIES",
        0,
        int,
        "exact number of reverse proxies in front whose `X-Forwarded-*` headers the app trusts",
    ),
    "ORIGIN": Setting(
        "DEMO_ORIGIN",
        "",
        str,
        "public address, such as `https://demo.example.org`. Links use this address. The app "
        "refuses requests for other hosts, and changes from pages at other addresses. Empty "
        "takes the `Host` of each request [as the address](deploy.md#on-the-public-web)",
    ),
    "PUBLIC": Setting(
        "DEMO_PUBLIC",
        False,
        bool,
        "set on a host that strangers can reach: see [what it closes](security.md#a-public-host)",
    ),
    "SECURE_COOKIES": Setting(
        "DEMO_SECURE_COOKIES",
        False,
        bool,
        "set when served over https: adds HSTS and makes cookies Secure, with the prefix "
        "`__Host-`, or `__Secure-` under a path",
    ),
    "API_KEY": Setting(
        "DEMO_API_KEY",
        "",
        str,
        "when set, changes through the API need `Authorization: Bearer <key>`, and no form of "
        "a page changes products or scores",
    ),
    "PRECONDITION_REQUIRED": Setting(
        "DEMO_PRECONDITION_REQUIRED",
        False,
        bool,
        "when `true`, a product change through the API must have `If-Match` or "
        "`If-Unmodified-Since`; a change without one gets a 428",
    ),
    "BACKGROUND": Setting(
        "DEMO_BACKGROUND",
        "web",
        Literal["web", "worker", "none"],
        "where the [background jobs](deploy.md#background-jobs) run: `web` (in a web worker), "
        "`worker` (in `flask --app wsgi worker`) or `none`: then invalidations that had to "
        "wait are not repeated, and the monitor has no history",
    ),
    "LOG_FORMAT": Setting(
        "DEMO_LOG_FORMAT",
        "text",
        Format,
        "log format: `text` to stderr, or `json`, one object per line, to stdout",
    ),
    "METRICS_ALLOW": Setting(
        "DEMO_METRICS_ALLOW",
        ["127.0.0.0/8", "::1"],
        list[str],
        "networks that may read `/metrics` without a token; a request through an untrusted proxy "
        "always needs the token",
    ),
    "METRICS_TOKEN": Setting(
        "DEMO_METRICS_TOKEN",
        "",
        str,
        "when set, clients that send `Authorization: Bearer <token>` may read `/metrics` too",
    ),
    "SIGNING_SECRET": Setting(
        "DEMO_SIGNING_SECRET",
        "",
        str,
        "when set, only the API accepts scores, and each request needs a signature made with "
        "this secret: [`signatures.py`](../demo/leaderboard/signatures.py)",
    ),
    "XRAY": Setting(
        "DEMO_XRAY",
        True,
        bool,
        "show the Redis commands on each page; with `false` the app sends catalog pages "
        "straight from the cache, which holds them compressed",
    ),
}

BOUNDS: dict[str, tuple[float, float]] = {
    "ENGINE_MAXMEMORY_MB": (8, 1_000_000),
    "POOL_SIZE": (1, 10_000),
    "REDIS_TIMEOUT_SECONDS": (0.01, 60),
    "BREAKER_SECONDS": (0.01, 60),
    "PRODUCTS": (1, 5_000_000),
    "DB_LATENCY_MS": (0, 10_000),
    "CATALOG_TTL_SECONDS": (1, 86_400),
    "CATALOG_STALE_SECONDS": (0, 86_400),
    "SESSION_IDLE_SECONDS": (1, 31_536_000),
    "SESSION_ABSOLUTE_SECONDS": (1, 31_536_000),
    "STREAM_VIEWERS": (0, 100_000),
    "STREAM_VIEWERS_PER_ADDRESS": (1, 100_000),
    "BODY_SECONDS": (0.1, 600),
    "TRUSTED_PROXIES": (0, 10),
}


def load(
    overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """All settings, from `overrides` first, then the environment, then the defaults.

    Raises ConfigError with one sentence when a value is of the wrong type or out of bounds, or when
    a DEMO_ variable or an override names no setting.
    """
    overrides = dict(overrides or {})
    values: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        given = overrides.pop(name) if name in overrides else _from_environment(setting, environ)
        values[name] = _checked(name, setting, given)
    known = {setting.env for setting in SETTINGS.values()}
    for variable in environ:
        if variable.startswith("DEMO_") and variable not in known:
            raise ConfigError(f"{variable} is not a setting of this app.")
    if overrides:
        raise ConfigError(f"{next(iter(overrides))} is not a setting of this app.")
    if values["PUBLIC"] and not values["SECURE_COOKIES"]:
        raise ConfigError("DEMO_PUBLIC needs DEMO_SECURE_COOKIES, because sign-ins must use https.")
    if values["PUBLIC"] and not values["ORIGIN"].startswith("https://"):
        raise ConfigError("DEMO_PUBLIC needs DEMO_ORIGIN, the https:// address for links.")
    values["INSTANCE_PATH"] = values["INSTANCE_PATH"] or str(REPOSITORY / "instance")
    return values


def _from_environment(setting: Setting, environ: Mapping[str, str]) -> Any:
    text = environ.get(setting.env)
    if text is None or (text == "" and setting.type is not str):
        return setting.default
    if setting.type in (str, Format):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _checked(name: str, setting: Setting, given: Any) -> Any:
    try:
        value = msgspec.convert(given, type=setting.type)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{setting.env} is wrong: {error}.") from None
    if name == "METRICS_ALLOW":
        return [_network(setting, network) for network in value]
    if name == "ORIGIN" and value:
        return _origin(setting, value)
    if name in BOUNDS and not BOUNDS[name][0] <= value <= BOUNDS[name][1]:
        least, most = BOUNDS[name]
        raise ConfigError(f"{setting.env} must be from {least} to {most}.")
    return value


def _origin(setting: Setting, text: str) -> str:
    found = canonical(text)
    if found is None:
        raise ConfigError(
            f"{setting.env} must be a scheme and a host such as https://demo.example.org, without a path."
        )
    return found


def _network(setting: Setting, text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(f"{setting.env} must be a list of networks such as 10.0.0.0/8.") from None
