"""What is asked of an eviction run, what came of it, and the one loop that asks an engine and fills
it again.

Redis keeps the time of the last use in whole seconds, so a run that is over in one second would
have no order to evict by. The requests are therefore spread evenly over SECONDS. In an eviction
run, the memory has room for the keys of several seconds, so keys differ in age and the policies
differ in hits.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import redis
from redis.exceptions import OutOfMemoryError

from demo.monitor.traces import Kind

POLICIES = ("allkeys-lfu", "allkeys-lru", "allkeys-random", "volatile-ttl", "noeviction")
NEWER_POLICIES = ("allkeys-lrm", "volatile-lrm")  # of Redis 8.6 and later
DEFINED = {
    "allkeys-lfu": "evicts a key that was used least often, of all keys",
    "allkeys-lru": "evicts a key whose last use is longest ago, of all keys",
    "allkeys-random": "evicts a random key, of all keys",
    "volatile-ttl": "evicts the key that would expire soonest; keys without a TTL stay",
    "noeviction": "evicts nothing and refuses writes that need memory",
    "allkeys-lrm": "evicts a key whose last change is longest ago, however often it is read",
    "volatile-lrm": "does the same among keys with a TTL; all keys of this lab have one",
}
SETTINGS = {"maxmemory-samples": "10", "lfu-log-factor": "1", "lfu-decay-time": "1"}
SECONDS = 15.0
BATCH = 40
POINTS = 30
VALUE = b"v" * 400
ENTRY_BYTES = (
    600  # about what one of them takes with its key, its expiry and its places in two tables
)
SESSIONS = 200
SESSION_SECONDS = 86_400
CACHE_SECONDS = 600


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the visitor chooses; the memory is what the cache gets, in kB, on top of an engine with
    its sessions."""

    trace: Kind = "zipf"
    requests: Annotated[int, msgspec.Meta(ge=20_000, le=40_000)] = 24_000
    memory_kb: Annotated[int, msgspec.Meta(ge=1024, le=2048)] = 1536
    seed: Annotated[int, msgspec.Meta(ge=0, le=999_999)] = 1

    @property
    def room(self) -> int:
        """About how many entries fit."""
        return self.room_for(len(VALUE))

    def room_for(self, value_bytes: int) -> int:
        """The same for values of this size."""
        return self.memory_kb * 1024 // (ENTRY_BYTES - len(VALUE) + value_bytes)


class Result(msgspec.Struct, frozen=True):
    """One policy: of `asked` requests `hits` were answered. `points` are shares of hits, POINTS
    over the whole trace, none for those that were not reached; `sessions` are still there;
    `refused` writes found no room; `entries` at most were held at once, not counting sessions."""

    policy: str
    asked: int
    hits: int
    points: list[float | None]
    sessions: int
    refused: int
    entries: int


class Outcome(msgspec.Struct, frozen=True):
    """A whole run. `share` of it is done, 1 also when time was up before `complete`. `capacity` is
    what the optimum was given, its `optimum_hits` are over as many requests as every policy was
    asked; both are 0 until the end."""

    share: float
    results: list[Result]
    engine: str = ""
    complete: bool = False
    over: bool = False
    capacity: int = 0
    optimum_hits: int = 0
    optimum_points: list[float | None] = []
    seconds: float = 0.0


class Subject:
    """One engine under one policy, with people signed in before the cache comes."""

    def __init__(
        self,
        client: redis.Redis,
        policy: str,
        memory_bytes: int,
        sessions: int = SESSIONS,
        value: bytes = VALUE,
    ) -> None:
        self._value = value
        self.client, self.policy = client, policy
        self.answered: list[bool] = []
        self.refused = self.entries = self._keys = 0
        self.signed_in = [f"session:{number}" for number in range(sessions)]
        for name, setting in {"maxmemory-policy": policy, **SETTINGS}.items():
            client.config_set(name, setting)
        pipeline = client.pipeline(transaction=False)
        for name in self.signed_in:
            pipeline.set(name, value, ex=SESSION_SECONDS)
        pipeline.execute()
        client.config_set("maxmemory", client.info("memory")["used_memory"] + memory_bytes)

    def ask(self, keys: Sequence[int]) -> None:
        """Reads a batch in one round trip, and writes what was missing in a second one. Raises
        RedisError."""
        asked = self.client.mget([f"cache:{key}" for key in keys])
        found = [value is not None for value in asked]
        pipeline = self.client.pipeline(transaction=False)
        for key in dict.fromkeys(key for key, hit in zip(keys, found, strict=True) if not hit):
            pipeline.set(f"cache:{key}", self._value, ex=CACHE_SECONDS)
        pipeline.dbsize()
        *written, size = pipeline.execute(raise_on_error=False)
        self.answered += found
        self.refused += sum(isinstance(answer, OutOfMemoryError) for answer in written)
        self._keys = max(self._keys, size)

    def look(self) -> int:
        """How many sessions are there; counting them does not count as a use. What lay beside them
        since the last look was at most `entries`."""
        there = int(self.client.exists(*self.signed_in))
        self.entries = max(self.entries, self._keys - there)
        self._keys = 0
        return there

    def result(self, requests: int) -> Result:
        """What came of it so far."""
        there, answered = self.look(), self.answered
        points = in_points(answered, requests)
        return Result(
            self.policy, len(answered), sum(answered), points, there, self.refused, self.entries
        )


def in_points(answered: Sequence[bool], requests: int) -> list[float | None]:
    """The share of hits in each of POINTS equal parts of the trace, none where a part has not been
    asked for."""
    edges = [requests * part // POINTS for part in range(POINTS + 1)]
    parts = [answered[first:last] for first, last in zip(edges, edges[1:], strict=False)]
    return [round(sum(part) / len(part), 4) if part else None for part in parts]


def price(found: Result) -> str:
    """What a policy has lost, in words; empty when it lost nothing."""
    gone = SESSIONS - found.sessions
    lost = [f"signed out {gone} of {SESSIONS} visitors"] if gone else []
    if found.refused:
        count = f"{found.refused:,}".replace(",", "\u202f")
        lost.append(f"refused {count} write{'s' * (found.refused != 1)}")
    return " and ".join(lost)


def ranked(results: Sequence[Result]) -> list[Result]:
    """Those that lost nothing first; then by what they answered from memory."""
    return sorted(results, key=lambda found: (bool(price(found)), -_percent(found)))


def verdict(outcome: Outcome) -> str:
    """A finished run in a few sentences: an answer more is not worth a person signed out, nor a
    write refused."""
    order = ranked(outcome.results)
    found = [(each.policy, f"{_percent(each):.1f} %", price(each)) for each in order]
    well = [f"{policy} {ratio}" for policy, ratio, lost in found if not lost]
    best = 100 * outcome.optimum_hits / max(1, outcome.results[0].asked if outcome.results else 0)
    return " ".join(
        [
            f"If a cache and sessions share a server, use {order[0].policy}. "
            f"Hit ratio of the policies that signed out nobody and refused no write: {', '.join(well)}."
            if well
            else "Each policy signed out visitors or refused writes.",
            *(f"{policy} reached {ratio}, but it {lost}." for policy, ratio, lost in found if lost),
            f"No policy could have reached more than {best:.1f} %.",
        ]
    )


def _percent(found: Result) -> float:
    return 100 * found.hits / max(1, found.asked)
