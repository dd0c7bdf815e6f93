"""What an error of Redis means, in one table: what to tell, whether trying again helps, whether the
breaker opens.

redis-py sorts errors by class, and several kinds share a class or have none: then the first word of
the server's answer decides, which is its error code.
"""

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    TimeoutError,
    TryAgainError,
)
from redis.sentinel import MasterNotFoundError

from demo.client.connections import PoolExhausted
from demo.client.memory import LessonsFull
from demo.client.wire import LateInAll, NotSent


@dataclass(frozen=True)
class Refusal:
    """One kind of error. `retry_after_seconds` is None where only a person can mend it; `away`
    opens the breaker: that server can do nothing for now."""

    name: str
    sentence: str
    retry_after_seconds: int | None
    away: bool


BUSY_POOL = Refusal(
    "pool exhausted",
    "All connections to Redis are in use. Nothing was changed.",
    1,
    away=False,
)
NOT_SENT = Refusal(
    "breaker open", "Redis is away, and this cannot be done without it.", 1, away=False
)
UNREACHABLE = Refusal(
    "unreachable", "Redis is away, and this cannot be done without it.", 1, away=True
)
LATE = Refusal("late", "Redis did not answer in time.", 1, away=True)
LOGIN = Refusal("login refused", "Redis refuses this app's user or password.", None, away=True)
TLS = Refusal(
    "TLS failed",
    "The TLS connection to Redis failed: its certificate is not valid.",
    None,
    away=True,
)
FULL_HOUSE = Refusal("too many clients", "Redis accepts no more connections.", 5, away=True)
NO_MASTER = Refusal("no primary", "No Sentinel knows a primary of Redis.", 2, away=True)
LOADING = Refusal("loading", "Redis is starting and loads its data from disk.", 2, away=True)
CLUSTER_DOWN = Refusal("cluster down", "Part of the Redis cluster is down.", 2, away=True)
SHARD_DOWN = Refusal(
    "shard down", "The part of the Redis cluster that holds this data is down.", 2, away=False
)
MOVING = Refusal(
    "moving",
    "The part of the Redis cluster that holds this data is moving to another server.",
    1,
    away=False,
)
MASTER_DOWN = Refusal("primary down", "This Redis replica has lost its primary.", 2, away=True)
READ_ONLY = Refusal("read-only", "Redis accepts no writes: it is a replica.", 2, away=False)
NO_REPLICAS = Refusal(
    "no replicas", "Redis accepts no writes: too few replicas follow it.", 5, away=False
)
LESSONS_FULL = Refusal(
    "lessons full",
    "Redis memory is short. What is left is reserved for sessions and limits. Nothing was changed.",
    30,
    away=False,
)
FULL = Refusal("full", "Redis is full and accepts no more data.", 10, away=False)
DISK = Refusal("disk", "Redis accepts no writes: it cannot save to its disk.", 10, away=False)
BUSY = Refusal("busy", "Redis is busy with a long script.", 1, away=False)
NO_PERMISSION = Refusal(
    "no permission", "Redis does not permit this app to do that.", None, away=False
)
NO_COMMAND = Refusal(
    "unknown command", "This Redis lacks a command that the app needs.", None, away=False
)
WRONG_TYPE = Refusal("wrong type", "A key in Redis holds data of another type.", None, away=False)
OTHER = Refusal("refused", "Redis refused the request.", None, away=False)

ALL = (
    BUSY_POOL,
    NOT_SENT,
    UNREACHABLE,
    LATE,
    LOGIN,
    TLS,
    FULL_HOUSE,
    NO_MASTER,
    LOADING,
    CLUSTER_DOWN,
    SHARD_DOWN,
    MOVING,
    MASTER_DOWN,
    READ_ONLY,
    NO_REPLICAS,
    LESSONS_FULL,
    FULL,
    DISK,
    BUSY,
    NO_PERMISSION,
    NO_COMMAND,
    WRONG_TYPE,
    OTHER,
)
# Most special first: several of these are ConnectionErrors to redis-py, and some TimeoutErrors.
CLASSES: tuple[tuple[type[Exception], Refusal], ...] = (
    (PoolExhausted, BUSY_POOL),
    (LateInAll, LATE),
    (NotSent, NOT_SENT),
    (MasterNotFoundError, NO_MASTER),
    (AuthenticationError, LOGIN),
    (AuthorizationError, LOGIN),
    (BusyLoadingError, LOADING),
    (MasterDownError, MASTER_DOWN),
    (ClusterDownError, CLUSTER_DOWN),
    (TryAgainError, MOVING),
    (AskError, MOVING),
    (ReadOnlyError, READ_ONLY),
    (LessonsFull, LESSONS_FULL),
    (OutOfMemoryError, FULL),
    (NoPermissionError, NO_PERMISSION),
    (TimeoutError, LATE),
)
# What the text begins with, once redis-py has taken the codes off that it knows.
BEGINNINGS: tuple[tuple[str, Refusal], ...] = (
    ("max number of clients reached", FULL_HOUSE),
    ("The previous master is now a slave", READ_ONLY),
    ("NOAUTH", LOGIN),
    ("WRONGPASS", LOGIN),
    ("NOPERM", NO_PERMISSION),
    ("WRONGTYPE", WRONG_TYPE),
    ("MISCONF", DISK),
    ("NOREPLICAS", NO_REPLICAS),
    ("BUSY ", BUSY),
    ("OOM", FULL),
    ("READONLY", READ_ONLY),
    ("CLUSTERDOWN", CLUSTER_DOWN),
    ("MASTERDOWN", MASTER_DOWN),
    ("LOADING", LOADING),
    ("unknown command", NO_COMMAND),
    ("unknown subcommand", NO_COMMAND),
    # Inside a script no code tells it; the words are those of Valkey, of Redis from 8.0 on, of 7.0.
    ("Unknown command called from script", NO_COMMAND),
    ("Unknown Redis command called from script", NO_COMMAND),
    ("ACL failure in script", NO_PERMISSION),
    ("The user executing the script can't", NO_PERMISSION),
)
ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
SLOT_AWAY = "Hash slot not served"
# What stands before a pipeline's error: which of its commands it was.
OF_A_PIPELINE = re.compile(r"command \d+ of the pipeline, [A-Z ]+: ")


def of(error: BaseException) -> Refusal:
    """The kind of an error that redis-py raised, or that stands among the replies of a pipeline."""
    if certificate_error(error):
        return TLS
    text = OF_A_PIPELINE.sub("", str(error))
    for kind, refusal in CLASSES:
        if isinstance(error, kind):
            # One shard is away, and the others go on.
            return SHARD_DOWN if refusal is CLUSTER_DOWN and SLOT_AWAY in text else refusal
    for beginning, refusal in BEGINNINGS:
        if text.startswith(beginning):
            return refusal
    return UNREACHABLE if isinstance(error, ConnectionError) else OTHER


def certificate_error(error: BaseException) -> ssl.SSLError | None:
    """What TLS found wrong, if that is why there is no connection; not that one just ended."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ENDED):
            return cause
    return None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it came of; one that was raised again may be its own cause's cause."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def may_have_counted(error: BaseException) -> bool:
    """Whether the command may have been carried out all the same: it was on its way, and no answer
    has come back."""
    if getattr(error, "unsent", False):
        return False
    return isinstance(error, (ConnectionError, TimeoutError))
