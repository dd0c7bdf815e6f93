"""What a person who knows Redis would say after a look at this server: findings in plain words,
why, and the command that mends it. What is harmless in development is said to be so, and is no
alarm.

Each check is a function of the facts that returns a finding, None where all is well, or NOT_KNOWN.
"""

from collections.abc import Callable

from demo.monitor import checks_memory, checks_server
from demo.monitor.facts import NOT_KNOWN, Facts, Finding, Limits, Outcome

CHECKS: dict[str, Callable[[Facts, Limits], Outcome]] = {
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


def advise(
    facts: Facts, limits: Limits | None = None
) -> tuple[list[Finding], list[str], list[str]]:
    """The findings, the gravest first, what was found to be well, and what could not be looked at."""
    found = {title: check(facts, limits or Limits()) for title, check in CHECKS.items()}
    findings = [finding for finding in found.values() if isinstance(finding, Finding)]
    findings.sort(key=lambda finding: WEIGHTS.index(finding.weight))
    well, not_known = (
        [title for title, finding in found.items() if finding == outcome]
        for outcome in (None, NOT_KNOWN)
    )
    return findings, well, not_known
