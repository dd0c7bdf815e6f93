"""What this process has asked of Redis, summed up by use case: commands, reads that found
something, times of round trips.

A command belongs to the use case that its first key names, `demo:<use_case>:…`; a round trip that
measures keys, to none. Times go into buckets, four to each doubling. A percentile of round trip
times is wrong by at most one eighth of its value. Sums of many processes stay right, and noting a
command costs about a microsecond. Summing up sends nothing to Redis. `take` hands the sums to the
job that carries them there.
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ConnectionError, RedisError

from demo.client.contract import PREFIX
from demo.client.wire import NotSent, Send, Trip

OTHER = "other"
HOT_EACH, HOT_AT_MOST = 16, 500
_random = random.Random()  # of each process its own, and not of the state that all threads share
os.register_at_fork(after_in_child=_random.seed)
_LOOKUPS = {"GET", "GETEX", "HGET", "HGETALL", "HMGET", "MGET", "EXISTS", "ZSCORE", "SISMEMBER"}
_ANY_VALUE = {"GET", "GETEX", "HGET", "ZSCORE"}  # an empty string and a score of 0 are found
_SCRIPTS = {"EVALSHA", "EVAL", "FCALL"}
_STREAMS = {"XREAD", "XREADGROUP"}
_LOOKS = "MEMORY USAGE"


def bucket_of(seconds: float) -> int:
    """The bucket of a time: from 8 microseconds on four to each doubling, below that one for each
    microsecond."""
    us = int(seconds * 1e6)
    if us < 8:
        return max(us, 0)
    bits = us.bit_length()
    return bits * 4 + ((us >> (bits - 3)) & 3) - 8


def seconds_of(bucket: int) -> float:
    """The middle of a bucket."""
    if bucket < 8:
        return (bucket + 0.5) / 1e6
    bits, quarter = divmod(bucket + 8, 4)
    return ((4 + quarter) + 0.5) * float(2 ** (bits - 3)) / 1e6


def percentile_ms(times: dict[int, int], percent: float) -> float | None:
    """So many per cent of the times are no longer than this, in ms; None without any."""
    rank, seen = sum(times.values()) * percent / 100, 0
    for bucket in sorted(times):
        seen += times[bucket]
        if seen >= rank:
            return seconds_of(bucket) * 1000
    return None


@dataclass
class Sums:
    """Of one use case: commands, lookups by whether they found something, round trips by bucket of
    their time."""

    commands: int = 0
    hits: int = 0
    misses: int = 0
    times: Counter[int] = field(default_factory=Counter)


class RedisSums:
    """The sums of one process. `ask` holds, for a use case that knows better than its keys what a
    hit is, what tells its hits and misses since the process began. `chance` is from 0 to 1."""

    def __init__(self, chance: Callable[[], float] | None = None, *, prefix: str = PREFIX) -> None:
        self._first = f"{prefix}:"
        self._chance = chance or _random.random
        self._lock = threading.Lock()
        self._sums: dict[str, Sums] = {}
        self._keys: Counter[str] = Counter()
        self._until_hot = 0
        self._asked: dict[str, tuple[int, int]] = {}
        self.ask: dict[str, Callable[[], tuple[int, int]]] = {}

    def around(self, trip: Trip, send: Send) -> list[Any]:
        """Sums up each round trip that Redis has answered, or has not answered in time."""
        began = time.perf_counter()
        try:
            replies = send(trip)
        except (ConnectionError, NotSent):
            raise
        except RedisError as error:
            replies = [error] * len(trip.commands)
            self.note(trip.commands, replies, time.perf_counter() - began)
            raise
        self.note(trip.commands, replies, time.perf_counter() - began)
        return replies

    def note(
        self, commands: Sequence[tuple[Any, ...]], replies: Iterable[Any], seconds: float
    ) -> None:
        """One round trip: its commands, what was answered, how long it took."""
        with self._lock:
            sums, first, long = None, self._first, len(self._first)
            looks = bool(commands) and commands[0][0] == _LOOKS
            for args, reply in zip(commands, replies, strict=False):
                name, key = args[0], _key(args)
                room = OTHER
                if key.startswith(first) and not looks:
                    room = key[long : key.find(":", long)]
                mine = self._sums.get(room)
                if mine is None:
                    mine = self._sums[room] = Sums()
                mine.commands += 1
                if name in _LOOKUPS:
                    self._look_up(mine, args, reply)
                sums = sums or mine
                self._until_hot -= 1
                if self._until_hot < 0:
                    self._note_hot(room, key)
            if sums is not None:
                sums.times[bucket_of(seconds)] += 1

    def _note_hot(self, room: str, key: str) -> None:
        # Each HOT_EACH-th on average: exactly so, requests of as many commands would show one key
        # only.
        self._until_hot = int(self._chance() * (2 * HOT_EACH - 1))
        if room != OTHER and (key in self._keys or len(self._keys) < HOT_AT_MOST):
            self._keys[key] += HOT_EACH

    def take(self) -> tuple[dict[str, Sums], Counter[str]]:
        """The sums since the last call, and about how often single keys were asked for; what was
        taken counts no more."""
        with self._lock:
            sums, self._sums = self._sums, {}
            keys, self._keys = self._keys, Counter()
        for room, told in self.ask.items():
            now, before = told(), self._asked.get(room, (0, 0))
            self._asked[room] = now
            mine = sums.setdefault(room, Sums())
            mine.hits, mine.misses = now[0] - before[0], now[1] - before[1]
        return {
            room: mine for room, mine in sums.items() if mine.commands or mine.hits or mine.misses
        }, keys

    def put_back(self, sums: dict[str, Sums]) -> None:
        """What was taken and could not be sent counts again."""
        with self._lock:
            for room, theirs in sums.items():
                mine = self._sums.setdefault(room, Sums())
                mine.commands += theirs.commands
                mine.times.update(theirs.times)
                if room in self.ask:
                    hits, misses = self._asked.get(room, (0, 0))
                    self._asked[room] = (hits - theirs.hits, misses - theirs.misses)
                else:
                    mine.hits += theirs.hits
                    mine.misses += theirs.misses

    def _look_up(self, mine: Sums, args: tuple[Any, ...], reply: Any) -> None:
        if isinstance(reply, Exception):
            return
        name, asked = args[0], 1
        if name == "MGET":
            found, asked = len(reply) - reply.count(None), len(reply)
        elif name == "EXISTS":
            found, asked = int(reply), len(args) - 1
        elif name == "HMGET":
            found = any(part is not None for part in reply)
        else:
            found = reply is not None and (bool(reply) or name in _ANY_VALUE)
        mine.hits += found
        mine.misses += asked - found


def _key(args: tuple[Any, ...]) -> str:
    name = args[0]
    try:
        if name in _SCRIPTS:
            key = args[3]
        elif name in _STREAMS:
            key = args[args.index(b"STREAMS") + 1]
        else:
            key = args[1]
    except (IndexError, ValueError):
        return ""
    if type(key) is str:
        return key
    return key.decode("utf-8", "replace") if type(key) is bytes else ""
