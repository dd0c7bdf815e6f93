"""What a person who knows Redis would say after a look at this server: findings in plain words, why, and the command that
mends it. What is harmless in development is said to be so, and is no alarm.

Each check is a function of the facts that returns a finding or None.
"""

from collections.abc import Callable

from demo.monitor import checks_memory, checks_server
from demo.monitor.facts import Facts, Finding, Limits

CHECKS: dict[str, Callable[[Facts, Limits], Finding | None]] = {
    "memory has a limit": checks_memory.no_maxmemory,
    "no session can be evicted": checks_memory.evicts_sessions,
    "the cache has room": checks_memory.noeviction_with_a_cache,
    "connections suffice": checks_server.too_many_connections,
    "what must survive is on disk": checks_server.nothing_persists,
    "nobody gets in without a password": checks_server.no_password,
    "every key expires": checks_memory.endless_keys,
    "no key is big": checks_memory.big_key,
    "no key is hot": checks_memory.hot_key,
    "the version is a tested one": checks_server.untested_version,
    "the clocks agree": checks_server.clocks_apart,
    "copies are made": checks_server.replica_cut_off,
}
WEIGHTS = ("act", "heed", "note")


def advise(facts: Facts, limits: Limits | None = None) -> tuple[list[Finding], list[str]]:
    """The findings, the gravest first, and what was found to be well."""
    found = {title: check(facts, limits or Limits()) for title, check in CHECKS.items()}
    findings = [finding for finding in found.values() if finding]
    findings.sort(key=lambda finding: WEIGHTS.index(finding.weight))
    return findings, [title for title, finding in found.items() if not finding]
