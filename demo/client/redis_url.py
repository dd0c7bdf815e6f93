"""The grammar of REDIS_URL: one server, a Sentinel's service or a cluster, with TLS or without.

    redis://[user:password@]host:port/db                             rediss:// for TLS
    unix://[user:password@]/path/to/socket?db=0
    redis+sentinel://[user:password@]host:port,host:port/service/db  rediss+sentinel://
    redis+cluster://[user:password@]host:port,host:port              rediss+cluster://

It is that of the `limits` library and others. Behind a question mark stand options, the same for
all forms: OPTIONS. A # ? @ / or % in a user or a password is written as %23 %3F %40 %2F %25.

This is the only parser: what it returns is what is connected to.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
DEFAULT_PORTS = {"sentinel": 26379, "cluster": 6379, "": 6379}
WRITTEN = (
    "in a user, a password or an option, write # as %23, % as %25, / as %2F, ? as %3F and @ as %40"
)
BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class AddressError(Exception):
    """REDIS_URL cannot be used. The message is one sentence that names the setting and never a
    secret."""


@dataclass(frozen=True)
class Address:
    """A parsed REDIS_URL. `kind` is sentinel, cluster or empty; `path` a socket's; `options` what
    the connections take beside these, by redis-py's names, those to Sentinels too. `str()` shows it
    without users, passwords and options."""

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> str:
        return self.scheme.partition("+")[2]

    @property
    def tls(self) -> bool:
        return self.scheme.startswith("rediss")

    def __str__(self) -> str:
        hosts = ",".join(map(shown, self.hosts))
        rest = f"/{self.service}" if self.service else ""
        return f"{self.scheme}://{hosts}{self.path}{rest}{f'/{self.db}' if self.db else ''}"


def shown(host: tuple[str, int]) -> str:
    """A host and its port, as a URL has them."""
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def parse(url: str) -> Address:
    """Checks a REDIS_URL. Raises AddressError with one sentence that never holds a secret."""
    try:
        return _parse(url)
    except ValueError as error:
        raise AddressError(f"REDIS_URL is wrong: {error}.") from None


def _parse(url: str) -> Address:
    # By hand: urllib takes an IPv6 address for the only host that there is.
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        raise ValueError(f"its scheme must be one of {', '.join(SCHEMES)}")
    _refuse_bare_characters(rest, scheme == "unix")
    place, slash, path = rest.partition("?")[0].partition("/")
    login, _, names = place.rpartition("@")
    user, password = (unquote(part) or None for part in login.partition(":")[::2])
    found: dict[str, Any] = {"username": user, "password": password}
    kind = scheme.partition("+")[2]
    if scheme == "unix":
        if names or not path.strip("/"):
            raise ValueError("it must have the form unix:///path/to/socket?db=0")
        found["path"] = unquote(slash + path)
    else:
        found["hosts"] = tuple(_host(item, DEFAULT_PORTS[kind]) for item in names.split(","))
        if kind == "" and len(found["hosts"]) > 1:
            raise ValueError("it names several hosts, which only +sentinel and +cluster accept")
        found.update(_path(kind, [part for part in path.split("/") if part]))
    options = _options(rest.partition("?")[2])
    _refuse_misplaced(options, found, scheme, kind)
    for name in ("db", "username", "password", "sentinel_username", "sentinel_password"):
        if name in options:
            found[name] = options.pop(name)
    return Address(scheme, options=options, **found)


def _refuse_bare_characters(rest: str, is_socket: bool) -> None:
    """A password that is not written as it has to be would end where one of these stands, and what
    is behind it would be taken for a host."""
    if "#" in rest:
        raise ValueError(f"it contains a #: {WRITTEN}")
    place = re.split("[/?]", rest, maxsplit=1)[0]
    tail = rest[len(place) :]
    if "@" in (tail.partition("?")[2] if is_socket and not place else tail):
        raise ValueError(f"it contains an @ after a {tail[0]}: {WRITTEN}")
    if place.count("@") > 1:
        raise ValueError(f"it contains two @: {WRITTEN}")
    if BARE_PERCENT.search(rest):
        raise ValueError(f"it contains a bare %: {WRITTEN}")


def _path(kind: str, parts: list[str]) -> dict[str, Any]:
    """What follows the hosts: a Sentinel's service, and the database."""
    found: dict[str, Any] = {}
    if kind == "sentinel":
        found["service"], parts = unquote(parts[0]) if parts else "", parts[1:]
        if not found["service"]:
            raise ValueError("a Sentinel URL must end in /<service name>")
    if len(parts) > 1 or (parts and (kind == "cluster" or not parts[0].isdecimal())):
        raise ValueError("after the hosts there must be a database number")
    return {**found, "db": int(parts[0]) if parts else 0}


def _host(text: str, default_port: int) -> tuple[str, int]:
    if text.startswith("["):
        host, end, rest = text[1:].partition("]")
        if not end or (rest and not rest.startswith(":")):
            raise ValueError("an IPv6 address must be in brackets")
        port = rest.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if not host:
        raise ValueError("a host is missing")
    if port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError("a port must be a number from 1 to 65535")
    return host, int(port) if port else default_port


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise ValueError("must be a whole number")
    return int(text)


def _file(text: str) -> str:
    try:
        with Path(text).open("rb"):
            return text
    except OSError as error:
        raise ValueError(f"names a file that cannot be read ({error.strerror})") from None


def _one_of(**values: Any) -> Callable[[str], Any]:
    def choose(text: str) -> Any:
        if text not in values:
            raise ValueError(f"must be {' or '.join(values)}")
        return values[text]

    return choose


def _name(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,64}", text):
        raise ValueError("must have 1 to 64 characters without spaces")
    return text


OPTIONS: dict[str, Callable[[str], Any]] = {
    "db": _number,
    "username": str,
    "password": str,
    "sentinel_username": str,
    "sentinel_password": str,
    "client_name": _name,
    "health_check_interval": _number,
    "protocol": _one_of(**{"2": 2, "3": 3}),
    "ssl_ca_certs": _file,
    "ssl_certfile": _file,
    "ssl_keyfile": _file,
    "ssl_password": str,
    "ssl_cert_reqs": _one_of(none="none", optional="optional", required="required"),
    "ssl_check_hostname": _one_of(true=True, false=False, **{"True": True, "False": False}),
}
# What the pool promises, and where it is set instead.
FIXED = {
    "decode_responses": "decode_responses must stay off, because sessions and pages share the pool",
    "max_connections": "max_connections is set by DEMO_POOL_SIZE",
    "socket_timeout": "socket_timeout is set by DEMO_REDIS_TIMEOUT_SECONDS",
    "socket_connect_timeout": "socket_connect_timeout is set by DEMO_REDIS_TIMEOUT_SECONDS",
    "retry_on_timeout": "retry_on_timeout must stay off, because a write would count twice",
}


def _options(query: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in filter(None, query.split("&")):
        name, _, text = item.partition("=")
        if name in FIXED:
            raise ValueError(FIXED[name])
        # Not said again: it may be the rest of a password that has an & in it.
        if name not in OPTIONS:
            raise ValueError(
                f"it contains an unknown option; known options are {', '.join(OPTIONS)}"
            )
        if name in found:
            raise ValueError(f"it contains the option {name} twice")
        try:
            found[name] = OPTIONS[name](unquote(text))
        except ValueError as error:
            raise ValueError(f"its option {name} {error}") from None
    return found


def _refuse_misplaced(
    options: Mapping[str, Any], found: Mapping[str, Any], scheme: str, kind: str
) -> None:
    for name in options:
        if name.startswith("ssl_") and not scheme.startswith("rediss"):
            raise ValueError(f"its option {name} needs TLS; use a scheme that begins with rediss")
        if name.startswith("sentinel_") and kind != "sentinel":
            raise ValueError(f"its option {name} works only in a Sentinel URL")
        if found.get(name):
            raise ValueError(f"it contains the {name} twice")
    if kind == "cluster" and options.get("db"):
        raise ValueError("a cluster has only database 0")
