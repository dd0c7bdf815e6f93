"""The advisor on what lies in memory: limit, policy, keys."""

from demo.monitor.facts import NOT_KNOWN, Facts, Finding, Limits, Outcome


def no_maxmemory(facts: Facts, _: Limits) -> Outcome:
    """Memory without an end."""
    if facts.server.maxmemory_bytes:
        return None
    return Finding(
        "no-maxmemory",
        "heed",
        "Redis has no memory limit",
        "The server grows until the machine has no memory left and the system kills it. All its data is then lost.",
        "CONFIG SET maxmemory 1gb",
    )


def evicts_sessions(facts: Facts, _: Limits) -> Outcome:
    """A policy that can evict a session."""
    policy = facts.server.eviction_policy
    if policy == "noeviction" or "sessions" not in facts.use_cases:
        return None
    return Finding(
        "evicts-sessions",
        "act" if facts.server.maxmemory_bytes else "heed",
        f"{policy} can evict sessions",
        "When memory is full, the server evicts the keys that the policy picks. Sessions have a "
        "TTL, so only noeviction spares them. With any other policy, a full cache signs visitors "
        "out.",
        "CONFIG SET maxmemory-policy noeviction",
    )


def noeviction_with_a_cache(facts: Facts, limits: Limits) -> Outcome:
    """Noeviction, where a cache has to make room."""
    server = facts.server
    if (
        server.eviction_policy != "noeviction"
        or "catalog" not in facts.use_cases
        or not server.maxmemory_bytes
    ):
        return None
    share = server.memory_bytes / server.maxmemory_bytes
    if "sessions" not in facts.use_cases:
        return Finding(
            "noeviction-cache",
            "heed",
            "The cache cannot evict old entries",
            "With noeviction, a full server refuses every write. No sessions are stored here, so "
            "it can evict the least used entries.",
            "CONFIG SET maxmemory-policy allkeys-lfu",
        )
    if share < limits.full:
        return None
    return Finding(
        "noeviction-cache",
        "act" if share > 0.9 else "heed",
        f"Memory is {share:.0%} full, and no key may be evicted",
        "noeviction is right for sessions, but when memory is full every write is refused, for "
        "the cache and for sign-in. Expired entries free memory. More memory, or a separate "
        "server for the cache, is safer.",
        f"CONFIG SET maxmemory {2 * server.maxmemory_bytes // 1_000_000}mb",
    )


def endless_keys(facts: Facts, _: Limits) -> Outcome:
    """Keys that stay for ever."""
    if not facts.survey:
        return NOT_KNOWN
    if not facts.survey.endless:
        return None
    return Finding(
        "no-ttl",
        "heed",
        f"{facts.survey.endless} of this app’s keys never expire",
        "Every key of this app should have a TTL. These keys stay until you remove them: "
        + ", ".join(facts.survey.endless_names[:3])
        + ".",
        "EXPIRE <key> 86400",
        of_one_server=False,
    )


def big_key(facts: Facts, limits: Limits) -> Outcome:
    """One key that is slow to read, to copy and to free."""
    if not facts.survey:
        return NOT_KNOWN
    if not facts.survey.biggest or facts.survey.biggest[0][1] < limits.big_bytes:
        return None
    name, size = facts.survey.biggest[0]
    return Finding(
        "big-key",
        "heed",
        f"One key holds {size / 1e6:.0f} MB",
        f"{name}: all clients wait while it is read in full or freed, and a cluster cannot split it.",
        "UNLINK <key>",
        of_one_server=False,
    )


def hot_key(facts: Facts, limits: Limits) -> Outcome:
    """One key that much of the work is about."""
    gathered = facts.gathered
    if not gathered or not gathered.workers:
        return NOT_KNOWN
    if not gathered.hot:
        return None
    commands = sum(room.commands for room in gathered.rooms.values())
    name, count = gathered.hot[0]
    rate = commands / gathered.seconds
    if rate < limits.hot_commands_a_second or count < limits.hot_share * commands:
        return None
    return Finding(
        "hot-key",
        "heed",
        f"One key is in {min(1.0, count / commands):.0%} of all commands",
        f"{name}, at {rate:.0f} commands per second: one core of one node does all this work, in a "
        "cluster of any size. A near cache avoids these round trips.",
        "DEMO_NEAR_CACHE=true",
        of_one_server=False,
    )
