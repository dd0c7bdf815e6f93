"""What a person who knows Redis would say after a look at this server: findings in plain words,
why, and the command that mends each. A finding that is harmless in development is only a note, not
an alarm.

Each check is a function of the facts that returns a finding, None where all is well, or NOT_KNOWN.
It is asked of every server that there is.
"""

from collections.abc import Callable
from dataclasses import replace

from demo.monitor import checks_memory, checks_server
from demo.monitor.facts import NOT_KNOWN, Facts, Finding, Limits, Outcome

Check = Callable[[Facts, Limits], Outcome]
CHECKS: dict[str, Check] = {
    "memory is limited": checks_memory.no_maxmemory,
    "sessions cannot be evicted": checks_memory.evicts_sessions,
    "the cache leaves room": checks_memory.noeviction_with_a_cache,
    "enough connections": checks_server.too_many_connections,
    "data is saved to disk": checks_server.nothing_persists,
    "a password is set": checks_server.no_password,
    "all keys have a TTL": checks_memory.endless_keys,
    "no big key": checks_memory.big_key,
    "no hot key": checks_memory.hot_key,
    "the version is tested": checks_server.untested_version,
    "the clocks agree": checks_server.clocks_apart,
    "replication and snapshots work": checks_server.replica_cut_off,
    "all servers answer": checks_server.server_away,
}
WEIGHTS = ("act", "heed", "note")


def advise(
    facts: Facts, limits: Limits | None = None
) -> tuple[list[Finding], list[str], list[str]]:
    """The findings, the gravest first, what was found to be well, and what could not be looked at."""
    found = {title: _worst(check, facts, limits or Limits()) for title, check in CHECKS.items()}
    findings = [finding for finding in found.values() if isinstance(finding, Finding)]
    findings.sort(key=lambda finding: WEIGHTS.index(finding.weight))
    well, not_known = (
        [title for title, finding in found.items() if finding == outcome]
        for outcome in (None, NOT_KNOWN)
    )
    return findings, well, not_known


def _worst(check: Check, facts: Facts, limits: Limits) -> Outcome:
    """What a check finds on the server where it is gravest, which is named if there are others."""
    asked = [server for server in facts.servers if server.snapshot]
    outcomes = {
        server.name: check(replace(facts, server=server.snapshot), limits)
        for server in asked
        if server.snapshot
    } or {"": check(facts, limits)}
    name, worst = min(outcomes.items(), key=lambda item: _gravity(item[1]))
    if isinstance(worst, Finding) and worst.of_one_server and len(outcomes) > 1:
        return replace(worst, title=f"{worst.title} ({name})")
    return worst


def _gravity(outcome: Outcome) -> int:
    if isinstance(outcome, Finding):
        return WEIGHTS.index(outcome.weight)
    return len(WEIGHTS) + (outcome is None)
