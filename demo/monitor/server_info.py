"""What the server says of itself, in one INFO."""

import re
from dataclasses import dataclass
from typing import Any

DATABASE = re.compile(r"db\d+")  # Redis 8 adds lines such as db0_distrib_strings_sizes

REPLICA = re.compile(r"slave\d+")


@dataclass(frozen=True)
class Snapshot:
    """Figures of one moment. Memory in bytes; `maxmemory_bytes` 0 is no limit; `hit_ratio` is the
    server's over all keys since it started, None before the first read. `tcp_port` 0: a socket
    of this machine only. `replica_lag_bytes` is what the slowest replica has not acknowledged."""

    engine: str
    version: str
    mode: str
    uptime_seconds: int
    memory_bytes: int
    maxmemory_bytes: int
    eviction_policy: str
    evicted: int
    expired: int
    clients: int
    commands_a_second: int
    keys: int
    hit_ratio: float | None
    hits: int
    misses: int
    peak_bytes: int
    fragmentation: float
    max_clients: int
    blocked_clients: int
    refused_connections: int
    role: str
    replicas: int
    replica_lag_bytes: int
    link: str
    aof: bool
    unsaved_changes: int
    last_save_ok: bool
    tcp_port: int


def read_info(info: dict[str, Any]) -> Snapshot:
    """The figures of one server's answer to INFO."""
    hits, misses = info["keyspace_hits"], info["keyspace_misses"]
    # Valkey says 7.2.4 as its redis_version for the sake of old clients, and its own beside it.
    valkey = info.get("valkey_version")
    offset = info.get("master_repl_offset", 0)
    replicas = [
        value for name, value in info.items() if isinstance(value, dict) and REPLICA.fullmatch(name)
    ]
    return Snapshot(
        engine="Valkey" if valkey else "Redis",
        version=str(valkey or info["redis_version"]),
        mode=str(info.get("redis_mode", info.get("server_mode", "standalone"))),
        uptime_seconds=info["uptime_in_seconds"],
        memory_bytes=info["used_memory"],
        maxmemory_bytes=info["maxmemory"],
        eviction_policy=str(info["maxmemory_policy"]),
        evicted=info["evicted_keys"],
        expired=info["expired_keys"],
        clients=info["connected_clients"],
        commands_a_second=info["instantaneous_ops_per_sec"],
        keys=sum(
            value["keys"]
            for name, value in info.items()
            if isinstance(value, dict) and DATABASE.fullmatch(name)
        ),
        hit_ratio=hits / (hits + misses) if hits + misses else None,
        hits=hits,
        misses=misses,
        peak_bytes=info.get("used_memory_peak", 0),
        fragmentation=float(info.get("mem_fragmentation_ratio", 0.0)),
        max_clients=info.get("maxclients", 0),
        blocked_clients=info.get("blocked_clients", 0),
        refused_connections=info.get("rejected_connections", 0),
        role=str(info.get("role", "master")),
        replicas=info.get("connected_slaves", 0),
        replica_lag_bytes=max(
            (offset - replica.get("offset", offset) for replica in replicas), default=0
        ),
        link=str(info.get("master_link_status", "")),
        aof=bool(info.get("aof_enabled", 0)),
        unsaved_changes=info.get("rdb_changes_since_last_save", 0),
        last_save_ok=info.get("rdb_last_bgsave_status", "ok") == "ok"
        and info.get("aof_last_write_status", "ok") == "ok",
        tcp_port=info.get("tcp_port", 0),
    )
