"""What the server says of itself, in one INFO."""

import re
from dataclasses import dataclass
from typing import Any

DATABASE = re.compile(r"db\d+")  # Redis 8 adds lines such as db0_distrib_strings_sizes


@dataclass(frozen=True)
class Snapshot:
    """A few figures of one moment. Memory in bytes; `maxmemory_bytes` 0 is no limit; `hit_ratio` is the server's over
    all keys, None before the first read."""

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


def snapshot(client: Any) -> Snapshot:
    """Asks the server, or one node of a cluster. One round trip; raises RedisError."""
    info = client.info()
    if not isinstance(info.get("redis_version"), str):
        info = next(iter(info.values()))
    hits, misses = info["keyspace_hits"], info["keyspace_misses"]
    # Valkey says 7.2.4 as its redis_version for the sake of old clients, and its own beside it.
    valkey = info.get("valkey_version")
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
        keys=sum(value["keys"] for name, value in info.items() if DATABASE.fullmatch(name)),
        hit_ratio=hits / (hits + misses) if hits + misses else None,
    )
