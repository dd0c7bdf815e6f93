"""The advisor on the server: connections, persistence, who gets in, version, clock, copies."""

from demo.monitor.facts import NOT_KNOWN, Facts, Finding, Limits, Outcome

Version = tuple[int, int]
TESTED: dict[str, tuple[Version, Version]] = {
    "Redis": ((7, 0), (8, 99)),
    "Valkey": ((8, 0), (9, 99)),
}
LOOPBACK = {"127.0.0.1", "-127.0.0.1", "::1", "-::1", "localhost"}


def too_many_connections(facts: Facts, _: Limits) -> Outcome:
    """Pools that the server cannot serve."""
    wanted, most = facts.pool_size * facts.workers, facts.server.max_clients
    if not most:
        return NOT_KNOWN
    if wanted <= most:
        return None
    return Finding(
        "pool-above-maxclients",
        "act",
        "The pools can open more connections than the server accepts",
        f"{facts.workers} workers with {facts.pool_size} connections each can open {wanted}, in a "
        f"cluster to each server. The server accepts {most} and refuses the rest.",
        f"CONFIG SET maxclients {wanted * 2}",
    )


def nothing_persists(facts: Facts, _: Limits) -> Outcome:
    """Sessions that a restart forgets."""
    if facts.server.aof or "sessions" not in facts.use_cases:
        return None
    if facts.save is None:
        return NOT_KNOWN
    if facts.save.strip():
        return None
    return Finding(
        "no-persistence",
        "note" if facts.embedded else "heed",
        "A restart of the server signs out all visitors",
        "The server writes neither a log nor a snapshot to disk, and it holds the only copy of sessions and scores."
        + (
            " DEMO_KEEP_DATA=false chose this here, which is fine in development."
            if facts.embedded
            else ""
        ),
        "CONFIG SET appendonly yes",
    )


def no_password(facts: Facts, _: Limits) -> Outcome:
    """A default user that anybody is."""
    if not facts.server.tcp_port:
        return None
    if facts.open_door is None:
        return NOT_KNOWN
    if not facts.open_door:
        return None
    near = facts.protected or (
        facts.bind is not None and facts.bind != "" and set(facts.bind.split()) <= LOOPBACK
    )
    return Finding(
        "no-password",
        "note" if near else "act",
        "The default user has no password",
        "The server answers only this machine, which is fine in development. Set a password "
        "before another machine can reach it."
        if near
        else "Anyone who can reach the port can read every session and change every score.",
        "ACL SETUSER default resetpass >a-long-secret",
    )


def untested_version(
    facts: Facts, _: Limits, tested: dict[str, tuple[Version, Version]] | None = None
) -> Outcome:
    """A server that these patterns were not tested on."""
    least, most = (tested or TESTED).get(facts.server.engine, ((0, 0), (999, 0)))
    parts = [
        int("".join(c for c in part if c.isdigit()) or 0)
        for part in facts.server.version.split(".")[:2]
    ]
    version = (parts[0], parts[1] if len(parts) > 1 else 0)
    if least <= version <= most:
        return None
    return Finding(
        "untested-version",
        "heed" if version < least else "note",
        f"{facts.server.engine} {facts.server.version} is "
        f"{'older' if version < least else 'newer'} than the tested versions",
        f"This app was tested with versions {least[0]}.{least[1]} to {most[0]}.x. This version may work, but is untested.",
        "TEST_REDIS_URL=redis://… make test",
    )


def clocks_apart(facts: Facts, limits: Limits) -> Outcome:
    """Two clocks that do not tell the same time."""
    apart = facts.clock_ahead_seconds
    if apart is None:
        return NOT_KNOWN
    if abs(apart) < limits.clock_seconds:
        return None
    return Finding(
        "clocks-apart",
        "heed",
        f"The clocks are {abs(apart):.1f} s apart",
        f"This machine is {'ahead of' if apart > 0 else 'behind'} the server. Rate limits and "
        "boards use the server’s clock, but cookies, certificates and logs use this machine’s "
        "clock.",
        "timedatectl set-ntp true",
        of_one_server=False,
    )


def replica_cut_off(facts: Facts, _: Limits) -> Outcome:
    """A replica without its primary, or a copy that failed."""
    if facts.server.role in ("slave", "replica") and facts.server.link != "up":
        return Finding(
            "not-replicated",
            "act",
            "This replica has lost its primary",
            "It answers with old data and refuses writes.",
            "INFO replication",
        )
    if facts.server.last_save_ok:
        return None
    return Finding(
        "save-failed",
        "act",
        "The last save failed",
        "Data that is only in memory is lost when the server stops. Often the disk is full or the "
        "folder is not writable.",
        "INFO persistence",
    )


def server_away(facts: Facts, _: Limits) -> Outcome:
    """A server that does not answer, or that the Sentinels have lost."""
    away = [server for server in facts.servers if server.trouble]
    if not away:
        return None
    several = len(away) > 1
    return Finding(
        "server-away",
        "act",
        f"{len(away)} of {len(facts.servers)} servers {'have' if several else 'has'} a problem",
        "; ".join(f"{server.role} {server.name}: {server.trouble}" for server in away)
        + ". Its data, or its service as a standby, is missing until it is back.",
        "CLUSTER NODES, or SENTINEL REPLICAS",
        of_one_server=False,
    )
