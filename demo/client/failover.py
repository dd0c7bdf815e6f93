"""A failover behind Sentinels is followed the moment that it happens.

Between the promotion of a replica and the news of it, an old primary that lives on accepts writes
that will be lost. Polling once a second would lose a second of writes. So the app listens to each
Sentinel. When one says which replica it has selected, that replica is asked, twenty times a second,
whether it is the primary yet. As soon as the replica that a Sentinel selected is the primary, the
pool connects to it. Where a Sentinel permits no subscription, or a server no ROLE, the pool still
asks once a second.

Source: https://redis.io/docs/latest/develop/reference/sentinel-clients/ and the events of
https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/
"""

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from demo.client import changes
from demo.client.background import process_name
from demo.client.pool import single
from demo.client.redis_url import Address
from demo.client.sentinel import SentinelPool

SELECTED = b"+selected-slave"
SWITCHED = b"+switch-master"
ASK_SECONDS = 0.05
PROMOTION_SECONDS = 10.0
PING_SECONDS = 1.0
NOTE_TRIES = 20
WAIT = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}  # nobody waits for this one
log = logging.getLogger(__name__)


def follow(client: Any, address: Address, timeout_seconds: float) -> None:
    """Has the client of a Sentinel's primary follow each failover; for others there is nothing to
    do."""
    pool = client.connection_pool if address.kind == "sentinel" else None
    if pool is not None:
        pool.changed = partial(_say, client)
        login = partial(single, address, timeout_seconds=timeout_seconds)
        for sentinel in pool.sentinel_manager.sentinels:
            pool.watchers.append(partial(_listen, sentinel=sentinel, login=login))


def _say(client: Any, before: tuple[str, int], now: tuple[str, int], most: int) -> None:
    """In the log at once, and for the monitor as soon as the new primary takes it: in a thread, as
    who found out may be about to connect."""
    old, new = "{}:{}".format(*before), "{}:{}".format(*now)
    log.warning(
        "Redis has another primary: %s, before %s; acknowledgements at risk: %d at most",
        new,
        old,
        most,
    )
    told = {"before": old, "now": new, "at_risk": most}
    with contextlib.suppress(RuntimeError):  # no thread is begun any more as the process ends
        threading.Thread(target=_note, args=(client, told), name="change", daemon=True).start()


def _note(client: Any, told: dict[str, Any]) -> None:
    pause = threading.Event()
    for _ in range(NOTE_TRIES):
        if changes.note(client, process_name(), **told):
            return
        pause.wait(PING_SECONDS / 4)


def _listen(
    pool: "weakref.ref[SentinelPool]", sentinel: Any, login: Callable[[tuple[str, int]], Any]
) -> None:
    """Listens for as long as there is such a pool in this process."""
    pause, pid = threading.Event(), os.getpid()
    own = sentinel.connection_pool
    while _there(pool, pid):
        connection = own.connection_class(**{**own.connection_kwargs, **WAIT})
        try:
            connection.connect()
            connection.send_command("SUBSCRIBE", SELECTED, SWITCHED)
            while _there(pool, pid):
                event = _hear(connection)
                if event:
                    _act(pool, *event, login)
        except (AuthenticationError, ResponseError):
            return  # not with this user; another one, or the question a second, has to do
        except RedisError:
            pause.wait(PING_SECONDS)
        finally:
            connection.disconnect()


def _there(pool: "weakref.ref[SentinelPool]", pid: int) -> bool:
    return pool() is not None and pid == os.getpid()


def _hear(connection: Any) -> tuple[bytes, list[str]] | None:
    """The next event and its words; None where nothing was said for a while. Raises RedisError."""
    if not connection.can_read(timeout=PING_SECONDS):
        connection.send_command("PING")  # one that died in silence answers no more
    said = connection.read_response(push_request=True)
    if not isinstance(said, list) or said[0] != b"message":
        return None
    return said[1], said[2].decode("utf-8", "replace").split()


def _act(
    pool: "weakref.ref[SentinelPool]",
    event: bytes,
    words: list[str],
    login: Callable[[tuple[str, int]], Any],
) -> None:
    """Follows what an event tells of, if it tells of this pool's primary: `slave NAME HOST PORT @
    SERVICE …`, or `SERVICE HOST PORT HOST PORT`."""
    followed = pool()
    if followed is None:
        return
    if event == SWITCHED and words[:1] == [followed.service_name] and len(words) == 5:
        followed.follow((words[3], int(words[4])))
    if event == SELECTED and words[5:6] == [followed.service_name]:
        candidate = (words[2], int(words[3]))
        with contextlib.closing(login(candidate)) as asked:
            _await(followed, candidate, asked)


def _await(followed: SentinelPool, candidate: tuple[str, int], asked: Any) -> None:
    """Follows the candidate once it says that it is the primary. One that is late once, as it is
    being promoted, is asked again; one that does not permit ROLE is not."""
    pause, until = threading.Event(), time.monotonic() + PROMOTION_SECONDS
    while time.monotonic() < until and followed.master_address != candidate:
        acknowledged = followed.acknowledged()
        try:
            role = asked.execute_command("ROLE")[0]
        except (AuthenticationError, ResponseError):
            return
        except RedisError:
            role = b""
        if role in (b"master", "master"):
            followed.follow(candidate)
        else:
            if role:
                followed.still(acknowledged)
            pause.wait(ASK_SECONDS)
