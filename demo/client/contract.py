"""What a pattern asks of the client that it is given, and of the prefix of its keys.

A client is one of redis-py or valkey-py, for one server, for a Sentinel's primary or for a cluster;
it is synchronous and speaks bytes. Anything else is refused where a pattern is made, in one sentence
that names the argument. The errors that a pattern catches are those of the client's own package.

Every key is `<prefix>:<use case>:{…}…`, and a prefix has no braces: two services with two prefixes
share no key.
"""

import inspect
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol

PREFIX = "demo"
PLAIN = re.compile(r"[A-Za-z0-9._-]{1,40}(?::[A-Za-z0-9._-]{1,40}){0,3}")
PACKAGES = ("redis", "valkey")


class RedisClient(Protocol):
    """A synchronous client of redis-py or valkey-py. What a pattern sends goes through these."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """One command."""

    def register_script(self, script: Any) -> Any:
        """A script to call."""

    def __enter__(self) -> Any:
        """What no asynchronous client has, so that a type checker refuses it."""


@dataclass(frozen=True)
class Errors:
    """The errors of one package. `all` are what every call may raise: what is the matter with a
    cluster as a whole is no RedisError to redis-py."""

    all: tuple[type[Exception], ...]
    response: type[Exception]
    no_script: type[Exception]
    out_of_memory: type[Exception]
    connection: type[Exception]
    data: type[Exception]
    watch: type[Exception]


def checked(client: Any, *, asynchronous: bool = False) -> Any:
    """The client. Raises TypeError for what no pattern can use, as soon as it is made."""
    send = getattr(client, "execute_command", None)
    if not callable(send) or not callable(getattr(client, "register_script", None)):
        raise TypeError(
            f"client: must be a client of redis-py or valkey-py, not {type(client).__name__}"
        )
    if _is_asynchronous(client.__class__) != asynchronous:
        raise TypeError(
            "client: must be asynchronous here, for example redis.asyncio.Redis"
            if asynchronous
            else "client: must be synchronous, for example redis.Redis, not asynchronous"
        )
    encoder = getattr(client, "get_encoder", None)
    if encoder and encoder().decode_responses:
        raise TypeError("client: must return bytes: make it without decode_responses")
    return client


@lru_cache(maxsize=64)
def _is_asynchronous(client_type: Any) -> bool:
    return inspect.iscoroutinefunction(getattr(client_type, "execute_command", None))


@lru_cache(maxsize=64)
def errors_of_type(client_type: Any) -> Errors:
    """The errors of the package that a type of clients comes from, redis-py's where that cannot be
    told."""
    tops = [base.__module__.partition(".")[0] for base in client_type.__mro__]
    package = next((top for top in tops if top in PACKAGES), PACKAGES[0])
    found = import_module(f"{package}.exceptions")
    name = package.capitalize()
    return Errors(
        all=(getattr(found, f"{name}Error"), getattr(found, f"{name}ClusterException")),
        response=found.ResponseError,
        no_script=found.NoScriptError,
        out_of_memory=found.OutOfMemoryError,
        connection=found.ConnectionError,
        data=found.DataError,
        watch=found.WatchError,
    )


def errors_of(client: Any) -> Errors:
    """The errors of a client's own package."""
    return errors_of_type(client.__class__)


def in_one_step(client: Any) -> Any:
    """A pipeline of commands on one key that are carried out with nobody's in between. For a cluster
    valkey-py has none: there they go out together, and others may come in between."""
    try:
        return client.pipeline(transaction=True)
    except errors_of(client).all:
        return client.pipeline(transaction=False)


def any_errors() -> tuple[type[Exception], ...]:
    """What calls may raise, of each package that is in use: for who has no client at hand."""
    found = [module for name in PACKAGES if (module := sys.modules.get(f"{name}.exceptions"))]
    names = [(module, module.__name__.partition(".")[0].capitalize()) for module in found]
    return tuple(
        getattr(module, f"{name}{kind}")
        for module, name in names
        for kind in ("Error", "ClusterException")
    )


def beginning(prefix: str, use_case: str) -> str:
    """What all keys of a use case begin with. Raises TypeError or ValueError for a prefix that is
    none."""
    if not isinstance(prefix, str):
        raise TypeError(f"prefix: must be a text, not {type(prefix).__name__}")
    if not PLAIN.fullmatch(prefix):
        raise ValueError(
            "prefix: must be letters, digits, '.', '_' and '-', in parts parted by ':'"
        )
    return f"{prefix}:{use_case}:"


def text(name: str, value: object) -> str:
    """The value. Raises TypeError, which names the argument, unless it is a text."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: must be a text, not {type(value).__name__}")
    return value


def whole(name: str, value: object) -> int:
    """The value. Raises TypeError, which names the argument, unless it is a whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: must be a whole number, not {type(value).__name__}")
    return value


def number(name: str, value: object) -> float:
    """The value. Raises TypeError, which names the argument, unless it is a number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name}: must be a number, not {type(value).__name__}")
    return value


def positive(name: str, value: object) -> float:
    """The value. Raises TypeError or ValueError, which name the argument, unless it is a number
    above 0."""
    if not 0 < number(name, value) < float("inf"):
        raise ValueError(f"{name}: must be a positive number")
    return number(name, value)


def plain(name: str, value: object) -> str:
    """The value. Raises TypeError or ValueError, which name the argument, unless it is a name that
    may stand in a key as it is."""
    if not text(name, value) or "{" in str(value) or "}" in str(value):
        raise ValueError(f"{name}: must be a text without braces, and not empty")
    return str(value)
