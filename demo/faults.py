"""What a visitor has done to Redis for himself alone, put between the one client and the wire.

A lost connection, a slow server and one that hangs fail as redis-py lets them fail, after the pool's own timeout, and trip
a breaker of this visitor's own, so that nobody else waits less or gets less. A read-only server and one without memory
refuse the commands that they would refuse, and answer all others: what a command is comes from COMMAND, and a script runs
as EVALSHA_RO, where the server itself refuses its first write.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from redis.exceptions import ConnectionError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError, TimeoutError

from demo import scripts
from demo.breaker import Breaker
from demo.chosen import Choices

SLOW_SECONDS = 0.3
VISITORS = 256
LOST = ("refused", "slow", "paused")
SCRIPTS = ("EVAL", "EVALSHA")
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
    """One per client: a breaker for each of the last `VISITORS` who have taken Redis away for themselves."""

    def __init__(self, timeout_seconds: float, open_seconds: float) -> None:
        self.timeout_seconds, self.open_seconds = timeout_seconds, open_seconds
        self._breakers: OrderedDict[str, Breaker] = OrderedDict()

    def breaker(self, visitor: str) -> Breaker:
        """This visitor's own."""
        breaker = self._breakers.setdefault(visitor, Breaker(self.open_seconds))
        while len(self._breakers) > VISITORS:
            self._breakers.popitem(last=False)
        return breaker

    def wait(self, fault: str) -> None:
        """What befalls a connection before anything has come back. Raises ConnectionError or TimeoutError."""
        if fault == "refused":
            refused = ConnectionError("Error 111 connecting to Redis. Connection refused.")
            refused.unsent = True  # type: ignore[attr-defined]
            raise refused
        seconds = SLOW_SECONDS if fault == "slow" else self.timeout_seconds
        time.sleep(min(seconds, self.timeout_seconds))
        if seconds >= self.timeout_seconds:
            raise TimeoutError("Timeout reading from socket")


def refusing(fault: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """A server's answers to single commands, or its refusals."""

    def answer(*args: Any, **options: Any) -> Any:
        name = str(args[0]).upper()
        if name in SCRIPTS and _touches(fault, args[1]):
            try:
                return call(f"{name}_RO", *args[1:], **options)
            except ResponseError as error:
                if "not allowed from read-only scripts" not in str(error):
                    raise
                raise _refusal(fault) from None
        refusal = refused(fault, args)
        if refusal:
            raise refusal
        return call(*args, **options)

    return answer


def refused(fault: str, args: Iterable[Any]) -> RedisError | None:
    """What such a server says to this command, if it refuses it."""
    name = str(next(iter(args))).upper()
    return _refusal(fault) if name in (WRITES if fault == "readonly" else GROWING) else None


def refuses(chosen: Choices) -> bool:
    """Whether this visitor's server answers, and refuses some of what it is asked."""
    return bool(chosen.redis) and chosen.redis not in LOST


def _touches(fault: str, sha: str | bytes) -> bool:
    commands = scripts.of(sha).commands
    return fault == "readonly" or not commands or any(name in GROWING for name in commands)


def _refusal(fault: str) -> RedisError:
    if fault == "readonly":
        return ReadOnlyError("You can't write against a read only replica.")
    return OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
