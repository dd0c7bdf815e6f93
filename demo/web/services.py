"""What the app is made of: one frozen record of what all use cases share.

`create_app` makes it and hands it to `init(app, services)` of each use case; a view asks for it
here.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Flask, current_app

from demo.client.background import Background
from demo.client.breaker import Breaker, Breakers
from demo.client.told_again import ToldAgain
from demo.client.wire import Client
from demo.database import Database
from demo.observe.http_metrics import HttpMetrics
from demo.observe.redis_sums import RedisSums
from demo.observe.request_log import RequestLog
from demo.web.before_flask import BeforeFlask

T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """What is shared. A visitor's own choice of a broken Redis, or a nearly full Redis, affects
    `redis` and never `protected_redis`, which uses the same connections. Limits, sessions and
    signatures ask `protected_redis`. `look` changes with every template and static file.

    `titles` names each use case by its blueprint, `needs` the commands that each runs.
    `before_scrape` runs before metrics are read. `closing` holds what ends with the app, the last
    first. `parts` holds what a use case keeps, by type.
    """

    redis: Client
    protected_redis: Client
    redis_url: str
    breaker: Breaker | Breakers
    sums: RedisSums
    database: Database
    background: Background
    told_again: ToldAgain
    metrics: HttpMetrics
    request_log: RequestLog
    before_flask: BeforeFlask
    look: str
    titles: dict[str, str]
    needs: dict[str, tuple[str, ...]]
    before_scrape: list[Callable[[], None]] = field(default_factory=list)
    closing: ExitStack = field(default_factory=ExitStack)
    parts: dict[type, Any] = field(default_factory=dict)

    def keep(self, part: T) -> T:
        """Keeps a use case's own part, one of each type, for `part` to find."""
        self.parts[type(part)] = part
        return part


def services(app: Flask | None = None) -> Services:
    """The services of an app, of the running one by default."""
    made: Services = (app or current_app).extensions["services"]
    return made


def part(kind: type[T], app: Flask | None = None) -> T:
    """The part of this type that a use case keeps. Raises KeyError where it keeps none."""
    found: T = services(app).parts[kind]
    return found


def get_redis() -> Client:
    """The client of the running app."""
    return services().redis


def get_protected_redis() -> Client:
    """The client of what protects: no visitor's choice reaches it."""
    return services().protected_redis


def get_breaker() -> Breaker | Breakers:
    """The breaker of the running app's client."""
    return services().breaker


def get_database() -> Database:
    """The database of the running app."""
    return services().database
