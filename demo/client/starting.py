"""Redis as the app starts: connected to, or said to be away; told all scripts; asked what it permits."""

import logging
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from demo.client import engine, explain, failover, permissions, pool, refusals
from demo.client.breaker import Breaker, Breakers
from demo.client.connections import is_cluster
from demo.client.probe import primaries, probe
from demo.client.redis_url import AddressError, parse
from demo.client.wire import Around, Client
from demo.config import REPOSITORY, ConfigError

log = logging.getLogger(__name__)


def connect(
    values: Mapping[str, Any],
    instance: Path,
    around: Sequence[Around],
    needs: Mapping[str, Sequence[str]],
) -> tuple[Client, str, Breaker | Breakers]:
    """The client, the URL and the breaker of the Redis in the settings, or of the embedded engine,
    which is started if need be. A cluster has a breaker for each server. `needs` names the commands
    of each part.

    Raises ConfigError with one sentence for what only a person can mend.
    """
    url, timeout_seconds = values["REDIS_URL"], values["REDIS_TIMEOUT_SECONDS"]
    try:
        url = url or engine.start(
            instance, keep=values["KEEP_DATA"], maxmemory_mb=values["ENGINE_MAXMEMORY_MB"]
        )
        client, breaker = _connect(url, values, around)
        failover.follow(client, parse(url), timeout_seconds)
        away = explain.check(client, parse(url), timeout_seconds)
    except (AddressError, engine.EngineError) as error:
        raise ConfigError(str(error)) from None
    if away:
        log.warning("%s The app starts without it.", away)
    else:
        _load_scripts(client)
        _say_what_is_missing(client, needs)
    return client, url, breaker


def _connect(
    url: str, values: Mapping[str, Any], around: Sequence[Around]
) -> tuple[Client, Breaker | Breakers]:
    breakers = Breakers(values["BREAKER_SECONDS"])
    client = pool.connect(
        url,
        pool_size=values["POOL_SIZE"],
        timeout_seconds=values["REDIS_TIMEOUT_SECONDS"],
        around=around,
        guards=breakers.of,
    )
    breakers.probe_by(partial(probe, client))
    if not is_cluster(client):
        return client, breakers.of("")
    breakers.names = lambda: primaries(client)
    return client, breakers


def _say_what_is_missing(client: Client, needs: Mapping[str, Sequence[str]]) -> None:
    try:
        missing = permissions.missing(client, needs)
    except RedisError as error:
        log.warning("What Redis permits is not known: %s", refusals.of(error).name)
        return
    for part, commands in missing.items():
        log.warning("%s: Redis does not permit %s.", part, ", ".join(commands))


def _load_scripts(client: Client) -> None:
    """Loads all scripts into Redis, so that no first call pays for it: in one round trip, or one
    for each node of a cluster. A script that is missing later is sent when it is called."""
    clustered = is_cluster(client)
    told: Any = client if clustered else client.pipeline(transaction=False)
    try:
        for script in _scripts():
            told.script_load(script)
        if not clustered:
            told.execute()
    except RedisError as error:
        log.info("Scripts are sent as they are called: %s", refusals.of(error).name)


@cache
def _scripts() -> list[str]:
    return [path.read_text() for path in sorted((REPOSITORY / "demo").rglob("*.lua"))]
