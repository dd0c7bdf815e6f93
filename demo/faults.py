"""The plug that a visitor pulls: Redis refused, slow, paused, read-only or full, for this visitor alone.

A thin layer between the one client and the wire. What comes out are redis-py's own errors, after the time that the real
thing would take, so that everything above does what it would do. Each such visitor has a breaker of his own: that of the
process knows nothing of it.

A read-only or full server refuses a script at the first command that writes; here every script that has one is refused.
Slow is slow both ways: the command is carried out, and its answer comes late, or too late.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import sha1
from typing import Any, Literal

from redis.exceptions import ConnectionError, OutOfMemoryError, ReadOnlyError, TimeoutError

from demo.breaker import Breaker

Fault = Literal["", "refused", "slow", "paused", "read-only", "full"]
AWAY: tuple[Fault, ...] = ("refused", "slow", "paused")
SLOW_SECONDS = 0.3
TITLES: dict[Fault, str] = {
    "refused": "refuses",
    "slow": f"slow by {SLOW_SECONDS * 1000:.0f} ms",
    "paused": "paused",
    "read-only": "read-only",
    "full": "out of memory",
}
MOST_VISITORS = 1000
READS = frozenset(
    "GET MGET GETRANGE STRLEN EXISTS TTL PTTL TYPE HGET HMGET HGETALL HLEN HEXISTS HSTRLEN HKEYS HVALS SMEMBERS "
    "SISMEMBER SCARD LRANGE LLEN LINDEX ZRANGE ZREVRANGE ZRANGEBYSCORE ZRANK ZREVRANK ZSCORE ZMSCORE ZCOUNT ZCARD "
    "SCAN HSCAN ZSCAN SSCAN TIME PING INFO DBSIZE MEMORY OBJECT RANDOMKEY BITCOUNT GETBIT XLEN XRANGE XREVRANGE "
    "CONFIG CLIENT SLOWLOG LATENCY COMMAND ECHO SCRIPT ROLE SELECT SUBSCRIBE UNSUBSCRIBE PUBLISH WAIT CLUSTER ACL".split()
)
SHRINKS = frozenset(
    "DEL UNLINK EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST HDEL SREM SPOP ZREM ZREMRANGEBYRANK ZREMRANGEBYSCORE LTRIM "
    "LREM LPOP RPOP GETDEL GETEX RENAME XDEL XTRIM XACK".split()
)
COMMAND = re.compile(r"\bp?call\(\s*(?:'(\w+)'|([^'\s]))")  # redis.call, under a shorter name too


class Faults:
    """Of one client. `timeout_seconds` is how long it waits for an answer."""

    def __init__(self, timeout_seconds: float, open_seconds: float) -> None:
        self._timeout_seconds, self._open_seconds = timeout_seconds, open_seconds
        self._scripts: dict[str, frozenset[str]] = {}
        self._breakers: OrderedDict[str, Breaker] = OrderedDict()

    def learn(self, script: str) -> None:
        """Notes which commands a script has; one that is computed counts as one that writes."""
        names = frozenset(found[1] or "?" for found in COMMAND.finditer(script))
        self._scripts[sha1(script.encode(), usedforsecurity=False).hexdigest()] = names

    def breaker(self, visitor: str) -> Breaker:
        """The visitor's own."""
        found = self._breakers.pop(visitor, None) or Breaker(self._open_seconds)
        self._breakers[visitor] = found
        if len(self._breakers) > MOST_VISITORS:
            self._breakers.popitem(last=False)
        return found

    def apply(self, fault: Fault, commands: Iterable[tuple[Any, ...]], call: Callable[[], Any]) -> Any:
        """Calls, or raises what the fault would raise."""
        match fault:
            case "refused":
                raise ConnectionError("Error 111 connecting to Redis. Connection refused.")
            case "paused":
                time.sleep(self._timeout_seconds)
                raise TimeoutError("Timeout reading from socket")
            case "slow":
                reply = call()
                time.sleep(min(SLOW_SECONDS, self._timeout_seconds))
                if self._timeout_seconds < SLOW_SECONDS:
                    raise TimeoutError("Timeout reading from socket")
                return reply
        names = {name for args in commands for name in self._names(args)} - READS
        if fault == "read-only" and names:
            raise ReadOnlyError("You can't write against a read only replica.")
        if fault == "full" and names - SHRINKS:
            raise OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
        return call()

    def _names(self, args: tuple[Any, ...]) -> frozenset[str]:
        name = str(args[0]).upper()
        if name not in ("EVALSHA", "EVAL"):
            return frozenset([name])
        key = args[1].decode() if isinstance(args[1], bytes) else str(args[1])
        return self._scripts.get(key, frozenset(["?"]))
