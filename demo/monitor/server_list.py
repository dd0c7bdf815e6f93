"""Every server that belongs to the Redis in use, and whether it answers. For a cluster these are
its primaries and replicas. Behind Sentinels they are the primary, its replicas and the Sentinels.
Otherwise it is the one server.

Sums are those of the servers that take writes: each holds a part of the keys. What one lacks is not
made up for by another, so what is wrong is looked for on each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from demo.client.contract import PREFIX, errors_of
from demo.monitor import reports
from demo.monitor.server_info import Snapshot, read_info

REPLICA_ROLES = ("slave", "replica")
PRIMARY, REPLICA, SENTINEL = "primary", "replica", "Sentinel"
UNREACHED = ("ConnectionError", "TimeoutError")
NAMED_OTHERWISE = {
    "is_sdown": "down according to one Sentinel",
    "is_odown": "down according to the Sentinels",
    "is_disconnected": "unreachable for a Sentinel",
}


@dataclass(frozen=True)
class Server:
    """One of them. `snapshot` is None where it was not asked or did not answer; `trouble` says what
    is the matter, in a few words."""

    name: str
    role: str
    snapshot: Snapshot | None = None
    trouble: str = ""


def snapshot(client: Any) -> Snapshot:
    """The figures of the server, or of all of a cluster. One round trip, in a cluster one to each
    server. Raises RedisError."""
    if hasattr(client, "get_node_from_key"):
        return merged(of_cluster(client))
    return read_info(client.info())


def with_reports(client: Any, *, prefix: str = PREFIX) -> tuple[Snapshot, list[Any]]:
    """The figures, and what all processes have reported, none where that may not be read. One round
    trip, in a cluster one more to each server. Raises RedisError."""
    cluster = hasattr(client, "get_node_from_key")
    pipeline = client.pipeline(transaction=False)
    pipeline.xrange(reports.stream_key(prefix))
    if not cluster:
        pipeline.execute_command("INFO")
    reported, *info = pipeline.execute(raise_on_error=False)
    if not cluster and isinstance(info[0], Exception):
        raise info[0]
    found = snapshot(client) if cluster else read_info(info[0])
    return found, [] if isinstance(reported, Exception) else reported


def every(client: Any, info: Any = None) -> list[Server]:
    """All that there are: of a cluster each is asked, else the primary, unless `info` holds its
    answer to INFO, and the Sentinels where there are any. Raises RedisError."""
    if hasattr(client, "get_node_from_key"):
        return of_cluster(client)
    told = read_info(client.info() if info is None else info)
    pool: Any = client.connection_pool
    watched = of_sentinels(pool) if hasattr(pool, "sentinel_manager") else []
    name = "{}:{}".format(*pool.master_address) if watched and pool.master_address else ""
    return [Server(name, PRIMARY, told), *watched]


def of_cluster(client: Any) -> list[Server]:
    """What each server says of itself, a round trip each. Raises RedisError where none does."""
    found, last = list[Server](), None
    errors = errors_of(client)
    for node in sorted(client.get_nodes(), key=lambda node: node.name):
        role = PRIMARY if node.server_type == "primary" else REPLICA
        try:
            told = read_info(client.execute_command("INFO", target_nodes=node))
            role = REPLICA if told.role in REPLICA_ROLES else PRIMARY
            found.append(Server(node.name, role, told, _link(told)))
        except errors.all as error:
            last = error
            found.append(Server(node.name, role, None, _why(error)))
    if not any(server.snapshot for server in found):
        raise (
            last if isinstance(last, errors.all[0]) else errors.response("not part of the cluster")
        )
    return found + _left_out(client, {server.name for server in found})


def _left_out(client: Any, known: set[str]) -> list[Server]:
    """Those that the map has left out as they have failed; none where CLUSTER NODES is not
    permitted."""
    try:
        told = client.execute_command("CLUSTER NODES", target_nodes=client.get_random_node())
    except errors_of(client).all:
        return []
    return [
        Server(
            name,
            REPLICA if "slave" in each["flags"] else PRIMARY,
            None,
            "failed according to the others",
        )
        for name, each in sorted(told.items())
        if name not in known and {"fail", "fail?"} & set(each["flags"].split(","))
    ]


def of_sentinels(pool: Any) -> list[Server]:
    """The replicas of the primary as the first Sentinel that answers sees them, and the Sentinels.
    Raises nothing."""
    service, replicas, watching = pool.service_name, list[Server](), dict[str, str]()
    for sentinel in list(pool.sentinel_manager.sentinels):
        options = sentinel.connection_pool.connection_kwargs
        name = f"{options['host']}:{options['port']}"
        try:
            seen = sentinel.sentinel_slaves(service)
        except errors_of(sentinel).all as error:
            watching.setdefault(name, _why(error))
            continue
        watching[name] = ""  # with one of its logins
        replicas = replicas or [
            Server(f"{told['ip']}:{told['port']}", REPLICA, None, _flags(told)) for told in seen
        ]
    return replicas + [
        Server(name, SENTINEL, None, trouble) for name, trouble in sorted(watching.items())
    ]


def merged(servers: Sequence[Server]) -> Snapshot:
    """The figures of all primaries that answer, as of one server: sums, and the worst of what
    cannot be summed."""
    found = [server.snapshot for server in servers if server.snapshot]
    told = [each for each in found if each.role not in REPLICA_ROLES] or found
    if len(told) == 1:
        return told[0]
    sums = {
        name: sum(getattr(each, name) for each in told)
        for name in (
            *("memory_bytes", "evicted", "expired", "clients", "commands_a_second", "keys", "hits"),
            *("misses", "peak_bytes", "max_clients", "blocked_clients", "refused_connections"),
            *("replicas", "unsaved_changes"),
        )
    }
    limits = [each.maxmemory_bytes for each in told]
    reads = sums["hits"] + sums["misses"]
    return replace(
        told[0],
        **sums,
        maxmemory_bytes=sum(limits) if all(limits) else 0,
        uptime_seconds=min(each.uptime_seconds for each in told),
        eviction_policy=", ".join(sorted({each.eviction_policy for each in told})),
        hit_ratio=sums["hits"] / reads if reads else None,
        fragmentation=max(each.fragmentation for each in told),
        replica_lag_bytes=max(each.replica_lag_bytes for each in told),
        aof=all(each.aof for each in told),
        last_save_ok=all(each.last_save_ok for each in told),
    )


def _link(told: Snapshot) -> str:
    return "has lost its primary" if told.role in REPLICA_ROLES and told.link != "up" else ""


def _flags(told: dict[str, Any]) -> str:
    for flag, words in NAMED_OTHERWISE.items():
        if told.get(flag):
            return words
    return "" if told.get("master-link-status", "ok") == "ok" else "has lost its primary"


def _why(error: Exception) -> str:
    if any(base.__name__ in UNREACHED for base in type(error).__mro__):
        return "does not answer"
    return f"refuses: {str(error).partition(' ')[0]}"
