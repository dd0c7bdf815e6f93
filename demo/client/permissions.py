"""What the server's user may do: asked for, never assumed, so that what is missing is named.

Each part of an app names the commands that it needs. What its scripts run counts too: a script runs
with the permissions of who calls it.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from redis.exceptions import ResponseError

from demo.client import refusals

HERE = Path(__file__)
CALL = re.compile(r"\bp?call\(\s*['\"](\w+)")
# What a script calls protected it can do without.
NEEDED = re.compile(r"\bcall\(\s*['\"](\w+)")
SCRIPTS = ("EVALSHA", "EVAL")
# What a client needs whatever it is for: to begin, to ask for the time, to send a transaction, to
# choose a database, to find its way in a cluster.
BASE = (
    *("PING", "EXISTS", "TIME", "MULTI", "EXEC", "SELECT"),
    *("CLUSTER SLOTS", "CLUSTER INFO", "UNSUBSCRIBE"),
)
OPTIONAL = {
    "CLIENT SETNAME": "names of connections on the monitor and in CLIENT LIST",
    "CLIENT LIST": "the connections by name on the monitor",
    "CLIENT TRACKING": "the near cache: every cached page costs one round trip",
    "COMMAND": "nothing; the cluster client then assumes that a command's first argument is its key",
    "INFO": "the monitor’s figures and history; the steps that keep room for sessions, as the app "
    "cannot see Redis fill up; repeats of lost invalidations and ended sessions after a failover",
    "ROLE": "speed: the app follows a failover behind Sentinels after a second or two, not at once",
    "CLUSTER NODES": "the failed servers of a cluster on the monitor",
    "CONFIG GET": "the advisor’s checks of persistence and access",
    "ACL GETUSER": "the advisor’s check of the default user’s password",
    "SLOWLOG GET": "the slow commands on the monitor",
    "MEMORY USAGE": "sizes of keys in the keys panel, in the labs and on the monitor",
    "OBJECT ENCODING": "the encoding of a value in the keys panel and in the labs",
    "SCAN": "the survey of memory on the monitor",
    "SCRIPT LOAD": "nothing; the first call of each script costs one more round trip",
    "SUBSCRIBE": "instant updates of live boards: the app reads them every second instead",
    "PUBLISH": "change notices for live boards: the app reads them every five seconds instead",
}


def of_scripts(folder: Path) -> set[str]:
    """The commands that the Lua scripts of a folder cannot do without."""
    texts = [path.read_text() for path in sorted(folder.glob("*.lua"))]
    return {name.upper() for text in texts for name in NEEDED.findall(text)}


def rights(commands: Iterable[str]) -> str:
    """What ACL SETUSER is told to permit these commands, and what every client needs, alone."""
    wanted = sorted({name.lower().replace(" ", "|") for name in (*BASE, *commands)})
    return " ".join(["-@all", *(f"+{name}" for name in wanted)])


@cache
def needs(folder: Path, direct: str) -> tuple[str, ...]:
    """All that a part runs: what it sends itself, separated by spaces, subcommands behind a bar,
    and its scripts' commands."""
    inner = of_scripts(folder)
    sent = (name.replace("|", " ") for name in direct.split())
    return tuple(sorted({*sent, *inner, *(SCRIPTS if inner else ())}))


def missing(
    client: Any, parts: Mapping[str, Iterable[str]], prefix: str = "demo"
) -> dict[str, list[str]]:
    """The commands that are not permitted, by part; parts that lack nothing are left out.
    One round trip, or, where no script may be run, none more. Raises RedisError."""
    wanted = sorted({name for names in parts.values() for name in names})
    key = f"{prefix}:client:{{permissions}}"
    try:
        told = client.register_script(_text())(keys=[key], args=wanted)
    except ResponseError as error:
        if refusals.of(error) not in (refusals.NO_PERMISSION, refusals.NO_COMMAND):
            raise
        # Without scripts the rest cannot be asked for; they are what most parts stand on.
        refused = set(SCRIPTS)
    else:
        refused = {name for name, allowed in zip(wanted, told, strict=True) if not allowed}
        refused -= set(SCRIPTS)  # by one of them it has answered
    found = {part: sorted(refused & set(names)) for part, names in parts.items()}
    return {part: names for part, names in found.items() if names}


@cache
def _text() -> str:
    return HERE.with_suffix(".lua").read_text()
