"""What keeps Redis from us: each Sentinel, node, certificate and password asked separately, and a
sentence for each.

A failure of the whole says little: a Sentinel that lets nobody in looks like one that is away. So
when the first call of a start fails, every server of REDIS_URL is asked on its own.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis.exceptions import MovedError, RedisError, ResponseError

from demo.client import refusals
from demo.client.pool import sentinel_logins, single
from demo.client.redis_url import Address, AddressError, shown
from demo.client.refusals import LATE, LOGIN, NO_COMMAND, NO_PERMISSION, UNREACHABLE
from demo.client.wire import Client

Host = tuple[str, int]
OTHER_NAME = (62, 63, 64)  # of OpenSSL's verify codes: host name, e-mail, IP address
EXPIRED, NOT_YET = 10, 9
CLOCK_SECONDS = 5
NOT_LET_IN = "refuses the user or password"


@dataclass(frozen=True)
class Told:
    """One sentence. `ok` is whether all is well there; `for_good`, that only a person can mend
    it."""

    sentence: str
    ok: bool = True
    for_good: bool = False

    def __str__(self) -> str:
        return f"{'ok' if self.ok else 'no'}   {self.sentence}"


def check(client: Client, address: Address, timeout_seconds: float) -> str | None:
    """Asks Redis whether it is there and lets us in. None when it is; a sentence when it is away,
    which it may be at a start. Raises AddressError with a sentence for what only a person can
    mend: a wrong password, a certificate that is not right, a Sentinel's port, no cluster."""
    try:
        client.exists("demo:client:{check}")
    except RedisError as error:
        for told in each(address, timeout_seconds):
            if told.for_good:
                raise AddressError(f"REDIS_URL: {told.sentence}") from None
            if not told.ok:
                return f"REDIS_URL: {told.sentence}"
        kind = refusals.of(error)
        if kind is NO_PERMISSION:
            return None  # it is there; what is not permitted is told of each part
        return f"REDIS_URL: {address}: {kind.sentence}"
    return None


def each(address: Address, timeout_seconds: float) -> Iterator[Told]:
    """Asks every server that the address leads to."""
    yield from _files(address)
    if address.kind == "sentinel":
        yield from _by_sentinel(address, timeout_seconds)
    elif address.kind == "cluster":
        yield from _cluster(address, timeout_seconds)
    else:
        yield _server(address, timeout_seconds)


def _files(address: Address) -> Iterator[Told]:
    options = address.options
    for name in ("ssl_ca_certs", "ssl_certfile"):
        if name not in options:
            continue
        try:
            if name == "ssl_ca_certs":
                ssl.create_default_context(cafile=options[name])
            else:
                ssl.create_default_context().load_cert_chain(
                    options[name], options.get("ssl_keyfile"), options.get("ssl_password", "")
                )
            yield Told(f"{name}: its file is usable.")
        except (OSError, ValueError):
            what = "certificate" if name == "ssl_ca_certs" else "certificate with its key"
            yield Told(f"{name}: its file holds no usable {what}.", False, True)


def _asked(
    where: str,
    address: Address,
    host: Host | None,
    timeout_seconds: float,
    ask: Callable[[Client], Told],
) -> Told:
    """What one server says, or what it is that it refuses."""
    client = single(address, host, timeout_seconds)
    try:
        return ask(client)
    except RedisError as error:
        return _refused(where, address, error)
    finally:
        client.close()


def _server(address: Address, timeout_seconds: float, host: Host | None = None) -> Told:
    where = shown(host) if host else str(address)

    def ask(client: Client) -> Told:
        client.exists("demo:client:{check}")
        apart = abs(time.time() - client.time()[0])
        if apart > CLOCK_SECONDS:
            return Told(
                f"{where} answers, and its clock is {apart:.0f} s apart from this one.", False
            )
        return Told(f"{where} answers, and its clock agrees with this one.")

    return _asked(where, address, host, timeout_seconds, ask)


def _by_sentinel(address: Address, timeout_seconds: float) -> Iterator[Told]:
    primaries: list[Host] = []
    for host in address.hosts:
        where = f"the Sentinel {shown(host)}"
        ask = partial(_of_sentinel, where=where, service=address.service, primaries=primaries)
        for login in sentinel_logins(address):
            told = _asked(where, login, host, timeout_seconds, ask)
            if NOT_LET_IN not in told.sentence:
                break
        yield told
    for primary in dict.fromkeys(primaries):
        yield _server(address, timeout_seconds, primary)


def _of_sentinel(client: Client, *, where: str, service: str, primaries: list[Host]) -> Told:
    known: Any = client.sentinel_masters()
    state = known.get(service)
    if state is None:
        names = ", ".join(sorted(map(str, known))) or "none"
        return Told(f"{where} knows no {service}; it knows {names}.", False, True)
    primary = str(state["ip"]), int(state["port"])
    primaries.append(primary)
    if state["is_sdown"] or state["is_odown"]:
        return Told(f"{where} reports that the primary {shown(primary)} is down.", False)
    try:
        client.sentinel_ckquorum(service)
    except ResponseError as error:
        if refusals.of(error) is not NO_PERMISSION:
            return Told(f"{where} could not replace a primary, because there is no quorum.", False)
    return Told(f"{where} names the primary {shown(primary)}.")


def _cluster(address: Address, timeout_seconds: float) -> Iterator[Told]:
    found: list[Host] = []

    def ask(client: Client, where: str) -> Told:
        state = client.execute_command("CLUSTER INFO")["cluster_state"]
        found.extend(_nodes(client.execute_command("CLUSTER SLOTS")))
        well = state == "ok"
        return Told(f"{where} reports that the cluster is {'up' if well else 'down'}.", well)

    def ping(client: Client, where: str) -> Told:
        client.ping()
        return Told(f"{where} answers.")

    for host in address.hosts:
        where = shown(host)
        yield _asked(where, address, host, timeout_seconds, partial(ask, where=where))
    for node in dict.fromkeys(found):
        if node not in address.hosts:
            where = f"the node {shown(node)}"
            yield _asked(where, address, node, timeout_seconds, partial(ping, where=where))


def _nodes(slots: Any) -> Iterator[Host]:
    """All of a cluster's map, in either of the shapes that redis-py gives it."""
    for found in slots.values() if isinstance(slots, dict) else slots:
        nodes = [found["primary"], *found["replicas"]] if isinstance(found, dict) else found[2:]
        for name, port, *_ in nodes:
            host = name.decode() if isinstance(name, bytes) else str(name)
            if host:
                yield host, int(port)


def _refused(where: str, address: Address, error: RedisError) -> Told:
    kind, text = refusals.of(error), str(error)
    wrong = refusals.certificate_error(error)
    if wrong is not None:
        return Told(f"{where} {_tls(wrong, address)}.", False, True)
    if kind is LOGIN:
        return Told(f"{where} {NOT_LET_IN}.", False, True)
    if kind is NO_PERMISSION:
        return Told(f"{where} answers, but does not permit every command that was sent.")
    if "cluster support disabled" in text:
        return Told(f"{where} is not a cluster; use redis:// or rediss:// for it.", False, True)
    if isinstance(error, MovedError):
        return Told(f"{where} is a node of a cluster; use redis+cluster:// for it.", False, True)
    if kind is NO_COMMAND and "hello" in text.lower():
        return Told(f"{where} does not know HELLO; add the option protocol=2.", False, True)
    if kind is NO_COMMAND:
        other = "no Sentinel" if "sentinel" in text.lower() else "a Sentinel, or no Redis at all"
        return Told(f"{where} is {other}.", False, True)
    if kind is UNREACHABLE:
        return Told(f"{where} does not answer ({_reason(error, address)}).", False)
    if kind is LATE:
        silent = ", like a server without TLS at this port" if address.tls else ""
        return Told(f"{where} does not answer in time{silent}.", False)
    return Told(f"{where}: {kind.sentence}", False)


def _tls(error: ssl.SSLError, address: Address) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == EXPIRED:
            return "has a certificate that has expired"
        if error.verify_code == NOT_YET:
            return "has a certificate that is not valid yet"
        if error.verify_code in OTHER_NAME:
            return "has a certificate for a different name than the one in the URL"
        return (
            "has a certificate that ssl_ca_certs does not trust"
            if address.options.get("ssl_ca_certs")
            else "has a certificate that is not trusted here; set ssl_ca_certs to the file of its authority"
        )
    if "CERTIFICATE_REQUIRED" in str(error) or "HANDSHAKE_FAILURE" in str(error):
        return "requires a client certificate: set ssl_certfile and ssl_keyfile"
    if "UNKNOWN_CA" in str(error) or "BAD_CERTIFICATE" in str(error):
        return "does not accept the certificate of ssl_certfile"
    return "speaks no TLS at this port; use a URL that begins with redis"


def _reason(error: BaseException, address: Address) -> str:
    for cause in refusals.causes(error):
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, ConnectionRefusedError):
            return "nobody listens there"
        if isinstance(cause, FileNotFoundError):
            return "the socket does not exist"
    if address.tls and "ssl_certfile" not in address.options:
        return "it closes the connection, as a server does that requires a client certificate: ssl_certfile"
    if address.tls:
        return "it closes the connection"
    return "the connection closes at once, as with a server that requires TLS: rediss"
