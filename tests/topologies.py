"""The three ways in which a Redis is given to somebody, on loopback: one server, one that a Sentinel
names, and a cluster."""

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import redis

from tests.servers import cluster_node, sentinel_of, tcp_server, until

STANDING = {"cluster-node-timeout": "2000", "cluster-require-full-coverage": "yes"}
KINDS = ("standalone", "sentinel", "cluster")


@dataclass(frozen=True)
class Topology:
    """`ports` are those of the servers that hold data, `sentinel` that of the Sentinel."""

    kind: str
    ports: list[int] = field(default_factory=list)
    sentinel: int = 0

    def url(self, login: str = "", options: str = "") -> str:
        """Its REDIS_URL, with a login such as "user:password" and options such as "protocol=2"."""
        login, options = login and f"{login}@", options and f"?{options}"
        if self.kind == "sentinel":
            return f"redis+sentinel://{login}127.0.0.1:{self.sentinel}/prime{options}"
        if self.kind == "cluster":
            hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
            return f"redis+cluster://{login}{hosts}{options}"
        return f"redis://{login}127.0.0.1:{self.ports[0]}{options}"

    def each(self, *command: str) -> None:
        """Sends a command to every server that holds data."""
        for port in self.ports:
            with redis.Redis(port=port) as node:
                node.execute_command(*command)


@contextlib.contextmanager
def topology(
    kind: str, *arguments: str, binary: str | None = None, nodes: int = 1, replicas: bool = False
) -> Iterator[Topology]:
    """A server, or one behind a Sentinel, or a cluster of so many nodes, each with a replica if
    wanted, that end with the block."""
    with ExitStack() as stack:
        if kind != "cluster":
            port = stack.enter_context(tcp_server(*arguments, binary=binary))
            sentinel = 0
            if kind == "sentinel":
                sentinel = stack.enter_context(sentinel_of(port, binary=binary))
            yield Topology(kind, [port], sentinel)
            return
        ports = []
        for number in range(nodes * (2 if replicas else 1)):
            bounds = [16384 * place // nodes for place in (number, number + 1)]
            slots = range(*bounds) if number < nodes else range(0)
            # They ask each other often, and learn sooner what each has.
            options = ["--cluster-node-timeout", "500", *arguments]
            ports.append(stack.enter_context(cluster_node(*options, slots=slots, binary=binary)))
        clients = [stack.enter_context(redis.Redis(port=port)) for port in ports]
        for number, client in enumerate(clients):
            for port in ports[:number]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", port)
        for client in clients:
            until(lambda client=client: _is_whole(client, len(ports)), 30)
        for client in clients:
            for name, value in STANDING.items():
                if f"--{name}" not in arguments:
                    client.config_set(name, value)
        for primary, replica in zip(clients[:nodes], clients[nodes:], strict=False):
            name = primary.execute_command("CLUSTER", "MYID")
            until(lambda replica=replica, name=name: _follows(replica, name), 30)
        yield Topology(kind, ports)


def _is_whole(client: redis.Redis, nodes: int) -> bool:
    told = client.execute_command("CLUSTER INFO")
    found = told["cluster_state"], told["cluster_slots_ok"], told["cluster_known_nodes"]
    return found == ("ok", "16384", str(nodes))


def _follows(replica: redis.Redis, primary: bytes) -> bool:
    told = replica.info("replication")
    if told["role"] == "slave":  # told once more, it would begin anew
        return told["master_link_status"] == "up"
    with contextlib.suppress(redis.ResponseError):  # it has not heard of the primary yet
        replica.execute_command("CLUSTER", "REPLICATE", primary)
    return False
