"""The grammar of REDIS_URL: one server, a Sentinel's service or a cluster, with TLS or without.

    redis://[user:password@]host:port/db                             rediss:// for TLS
    unix:///path/to/socket?db=0
    redis+sentinel://[user:password@]host:port,host:port/service/db  rediss+sentinel://
    redis+cluster://[user:password@]host:port,host:port              rediss+cluster://

It is that of the `limits` library and others.
"""

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

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


class AddressError(Exception):
    """REDIS_URL cannot be used. The message is one sentence that names the setting and never a
    secret."""


@dataclass(frozen=True)
class Address:
    """A parsed REDIS_URL. `str()` shows it without user and password."""

    url: str
    kind: str
    tls: bool
    hosts: tuple[tuple[str, int], ...]
    username: str | None
    password: str | None
    service: str
    db: int

    def __str__(self) -> str:
        scheme, place, path = _split(self.url)
        return f"{scheme}://{place.rpartition('@')[2]}{path}"


def _split(url: str) -> tuple[str, str, str]:
    """Scheme, what stands before the path, and the path; the query is left to redis-py."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    place, slash, path = rest.partition("/")
    return scheme, place, slash + path


def parse(url: str) -> Address:
    """Checks a REDIS_URL. Raises AddressError with one sentence that never holds the password."""
    try:
        return _parse(url)
    except ValueError as error:
        reason = str(error) if "@" not in str(error) else "it cannot be read"
        raise AddressError(f"REDIS_URL is wrong: {reason}.") from None


def _parse(url: str) -> Address:
    # By hand: urllib takes an IPv6 address for the only host that there is.
    full_scheme, place, rest = _split(url)
    scheme, _, kind = full_scheme.partition("+")
    if full_scheme not in SCHEMES:
        raise ValueError(f"its scheme has to be one of {', '.join(SCHEMES)}")
    login, _, names = place.rpartition("@")
    user, password = (unquote(part) or None for part in login.partition(":")[::2])
    if scheme == "unix":
        return Address(url, "", False, (), user, password, "", _socket_db(url, rest))
    hosts = tuple(_host(item, DEFAULT_PORTS[kind]) for item in names.split(","))
    if kind == "" and len(hosts) > 1:
        raise ValueError("it names several hosts, which only +sentinel and +cluster take")
    service, db = _path(kind, [part for part in rest.split("/") if part])
    return Address(url, kind, scheme == "rediss", hosts, user, password, service, db)


def _socket_db(url: str, path: str) -> int:
    """The database of a socket, which its query names."""
    db = parse_qs(url.partition("?")[2]).get("db", ["0"])[0]
    if not path.strip("/") or not db.isdecimal():
        raise ValueError("it is of the form unix:///path/to/socket?db=0")
    return int(db)


def _path(kind: str, parts: list[str]) -> tuple[str, int]:
    """What follows the hosts: a Sentinel's service, and the database."""
    service = ""
    if kind == "sentinel":
        service, parts = unquote(parts[0]) if parts else "", parts[1:]
        if not service:
            raise ValueError("a Sentinel URL ends in /<service name>")
    if len(parts) > 1 or (parts and (kind == "cluster" or not parts[0].isdigit())):
        raise ValueError("what follows the hosts has to be a database number")
    return service, int(parts[0]) if parts else 0


def _host(text: str, default_port: int) -> tuple[str, int]:
    if text.startswith("["):
        host, end, rest = text[1:].partition("]")
        if not end or (rest and not rest.startswith(":")):
            raise ValueError("an IPv6 address stands in brackets")
        port = rest.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if not host:
        raise ValueError("a host is missing")
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("a port has to be a number from 1 to 65535")
    return host, int(port) if port else default_port
