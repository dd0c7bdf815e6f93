"""What a visitor has done to Redis for himself alone, put between the one client and the wire.

A lost connection, a slow server and one that hangs fail as they do in redis-py, after the pool's
own timeout. They trip a breaker of this visitor alone, so nobody else is affected. A read-only
server and one without memory refuse the commands that a real one would refuse, and answer all
others. COMMAND says which commands write. A script runs as EVALSHA_RO, where the server itself
refuses its first write.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from redis.exceptions import (
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from demo.client.breaker import Breaker
from demo.client.memory import LessonsFull, Memory
from demo.client.wire import Send, Trip
from demo.teach import scripts
from demo.teach.pull_the_plug import Waits, current

SLOW_SECONDS = 0.3
VISITORS = 256
LESSONS = "lessons"  # the fault that is nobody's choice
LOST = ("refused", "slow", "paused")
SCRIPTS = ("EVAL", "EVALSHA")
NOT_READ_ONLY = "not allowed from read-only scripts"
_GROWING = """
APPEND BITFIELD BITOP BLMOVE BRPOPLPUSH COPY DECR DECRBY GEOADD GEORADIUS GEORADIUSBYMEMBER GEOSEARCHSTORE GETSET HINCRBY
HINCRBYFLOAT HMSET HSET HSETEX HSETNX INCR INCRBY INCRBYFLOAT LINSERT LMOVE LPUSH LPUSHX LSET MSET MSETEX MSETNX PFADD
PFDEBUG PFMERGE PSETEX RESTORE RESTORE-ASKING RPOPLPUSH RPUSH RPUSHX SADD SDIFFSTORE SET SETBIT SETEX SETNX SETRANGE
SINTERSTORE SORT SUNIONSTORE XADD XSETID ZADD ZDIFFSTORE ZINCRBY ZINTERSTORE ZRANGESTORE ZUNIONSTORE"""
_OTHER_WRITES = """
BLMPOP BLPOP BRPOP BZMPOP BZPOPMAX BZPOPMIN DEL DELIFEQ EXPIRE EXPIREAT GETDEL GETEX HDEL HEXPIRE HEXPIREAT HGETDEL HGETEX
HPERSIST HPEXPIRE HPEXPIREAT LMPOP LPOP LREM LTRIM MOVE PERSIST PEXPIRE PEXPIREAT RENAME RENAMENX RPOP SMOVE SPOP SREM
UNLINK XACK XAUTOCLAIM XCLAIM XDEL XREADGROUP XTRIM ZMPOP ZPOPMAX ZPOPMIN ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK
ZREMRANGEBYSCORE"""
GROWING = frozenset(_GROWING.split())
WRITES = GROWING | frozenset(_OTHER_WRITES.split())


class Plugs:
    """One per client: a breaker for each of the last `VISITORS` who have taken Redis away for
    themselves. Where `memory` is short, lessons are refused as by a server that is full."""

    def __init__(
        self, timeout_seconds: float, open_seconds: float, memory: Memory, waits: Waits
    ) -> None:
        self.timeout_seconds, self.open_seconds = timeout_seconds, open_seconds
        self._memory, self._waits = memory, waits
        self._breakers: OrderedDict[str, Breaker] = OrderedDict()

    def breaker(self, visitor: str) -> Breaker:
        """This visitor's own."""
        breaker = self._breakers.setdefault(visitor, Breaker(self.open_seconds))
        while len(self._breakers) > VISITORS:
            self._breakers.popitem(last=False)
        return breaker

    def around(self, trip: Trip, send: Send) -> list[Any]:
        """Sends a trip as the visitor who asks has chosen it to fare."""
        choice, memory = current(), self._memory
        if not memory.used:
            memory.use()
        fault = choice.redis
        if not fault:
            if memory.is_short and memory.refuses(trip):
                return _refuse(LESSONS, trip, send)
            return send(trip)
        if fault not in LOST:
            return _refuse(fault, trip, send)

        def lose(lost: Trip) -> list[Any]:
            self.wait(fault)
            return send(lost)

        return self.breaker(choice.visitor).around(trip, lose)

    def wait(self, fault: str) -> None:
        """What befalls a connection before anything has come back. Raises ConnectionError or
        TimeoutError."""
        if fault == "refused":
            refused = ConnectionError("Error 111 connecting to Redis. Connection refused.")
            refused.unsent = True  # type: ignore[attr-defined]
            raise refused
        seconds = SLOW_SECONDS if fault == "slow" else self.timeout_seconds
        waited = self._waits.wait(min(seconds, self.timeout_seconds))
        if seconds >= self.timeout_seconds or not waited:
            raise TimeoutError("Timeout reading from socket")


def _refuse(fault: str, trip: Trip, send: Send) -> list[Any]:
    """The answers of such a server, its refusals among them. A transaction is refused as a whole."""
    name = str(trip.commands[0][0]).upper()
    if name in SCRIPTS and _touches(fault, name, trip.commands[0][1]):
        return _run_read_only(fault, trip.instead((f"{name}_RO", *trip.commands[0][1:])), send)
    refusals = [refused(fault, args) for args in trip.commands]
    first = next(filter(None, refusals), None)
    if first is not None and trip.atomic:
        raise first
    passed = [place for place, refusal in enumerate(refusals) if refusal is None]
    replies = iter(send(trip.only(passed)) if passed else [])
    return [next(replies) if refusal is None else refusal for refusal in refusals]


def _run_read_only(fault: str, trip: Trip, send: Send) -> list[Any]:
    replies = send(trip)
    if isinstance(replies[0], ResponseError):
        told = str(replies[0])
        # A server that is too old for it, or does not permit it, cannot tell: then it is refused.
        if NOT_READ_ONLY in told or "_ro'" in told.lower():
            return [_refusal(fault)]
    return replies


def refused(fault: str, args: Iterable[Any]) -> RedisError | None:
    """What such a server says to this command, if it refuses it."""
    name = str(next(iter(args))).upper()
    return _refusal(fault) if name in (WRITES if fault == "readonly" else GROWING) else None


def _touches(fault: str, name: str, script: str | bytes) -> bool:
    commands = scripts.called(name, script).commands
    return fault == "readonly" or not commands or any(name in GROWING for name in commands)


def _refusal(fault: str) -> RedisError:
    if fault == LESSONS:
        return LessonsFull("what is left of Redis' memory is kept for sessions and limits")
    if fault == "readonly":
        return ReadOnlyError("You can't write against a read only replica.")
    return OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
