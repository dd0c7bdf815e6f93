"""Each road that a write takes to Redis: by what kind of client, in which protocol, in what form.

The cheap corner is every kind of client in the protocol that is used unasked, RESP3, and one server
in RESP2; TEST_MANY=1 takes all.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from tests.clients import connect
from tests.servers import until
from tests.topologies import KINDS, Topology, topology

PROTOCOLS = ("", "protocol=2", "protocol=3")
MANY = os.environ.get("TEST_MANY") == "1"
ROADS = [
    (kind, protocol)
    for kind, protocol in itertools.product(KINDS, PROTOCOLS)
    if MANY or not protocol or (kind, protocol) == ("standalone", "protocol=2")
]
ADD = "return redis.call('INCR', KEYS[1])"
Way = Callable[["Road", Any, str], Any]


def _in_pipeline(client: Any, name: str, *, transaction: bool) -> Any:
    return client.pipeline(transaction=transaction).incr(name).execute()[0]


def _by_script(road: "Road", client: Any, name: str, *, known: bool) -> Any:
    """A script that the servers know, or that each of them is sent as a whole."""
    script = client.register_script(ADD)
    road.given.each(*(("SCRIPT", "LOAD", ADD) if known else ("SCRIPT", "FLUSH")))
    return script(keys=[name])


WAYS: dict[str, Way] = {
    "command": lambda road, client, name: client.incr(name),
    "pipeline": lambda road, client, name: _in_pipeline(client, name, transaction=False),
    "transaction": lambda road, client, name: _in_pipeline(client, name, transaction=True),
    "script": lambda road, client, name: _by_script(road, client, name, known=True),
    "script by EVAL": lambda road, client, name: _by_script(road, client, name, known=False),
}


@dataclass(frozen=True)
class Road:
    """Servers of one kind, and how they are spoken to."""

    given: Topology
    protocol: str

    @contextmanager
    def client(self, **settings: Any) -> Iterator[Any]:
        """A client of the app's kind that no breaker keeps for long, unless it is told so."""
        options = {"pool_size": 4, "timeout_seconds": 5.0, "open_seconds": 0.01, **settings}
        made = connect(self.given.url(options=self.protocol), **options)
        try:
            yield made
        finally:
            made.close()

    @contextmanager
    def direct(self, name: str) -> Iterator[redis.Redis]:
        """redis-py's own client of the server that holds a key."""
        for port in self.given.ports:
            with redis.Redis(port=port) as node:
                try:
                    node.exists(name)
                except redis.exceptions.MovedError:
                    continue
                yield node
                return
        raise AssertionError(name)


@contextmanager
def roads(
    kind: str, protocol: str, servers: dict[str, Topology], stack: ExitStack
) -> Iterator[Road]:
    """The road, on servers that are started once."""
    if kind not in servers:
        servers[kind] = stack.enter_context(topology(kind, nodes=3))
    yield Road(servers[kind], protocol)


def address_of(connection: Any) -> str:
    """What its server calls it: a Sentinel has connections there too, which have to stay."""
    host, port = connection._sock.getsockname()
    return f"{host}:{port}"


class Lost:
    """What becomes of sent commands while it is on: the server does those that name the key, and
    its reply is lost, with the connection or without. `sent` holds them."""

    def __init__(self, name: str, *, cut: bool, only: bytes = b"") -> None:
        self._name, self._cut, self._only = name.encode(), cut, only
        self.sent: list[bytes] = []
        self._looks = False

    def __call__(self, send: Any) -> Any:
        """In place of a connection's send_packed_command."""

        def sends(connection: Any, command: Any, *args: Any, **options: Any) -> None:
            parts = [command] if isinstance(command, (bytes, str)) else list(command)
            packed = b"".join(each if isinstance(each, bytes) else each.encode() for each in parts)
            if self._looks or self._name not in packed or self._only not in packed:
                return send(connection, command, *args, **options)
            self._looks = True
            self.sent.append(packed)
            off = b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n"
            send(connection, [off, packed], *args, **options)
            with redis.Redis(port=connection._sock.getpeername()[1]) as direct:
                until(lambda: int(direct.get(self._name) or 0) >= len(self.sent))
                if self._cut:
                    direct.client_kill(address_of(connection))
            self._looks = False

        return sends
