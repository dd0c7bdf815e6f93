"""The faults, one at a time. Each is given the topology, does its harm, and mends it."""

from collections.abc import Callable
from dataclasses import dataclass

import redis
from redis.exceptions import RedisError

from tests.chaos.proxy import Habits
from tests.chaos.servers import Given, Node
from tests.servers import until

BOARD_KEY = "demo:leaderboard:{one}:all"
Act = Callable[[Given], None]


@dataclass(frozen=True)
class Fault:
    """`does` has `seconds` before `mends`; `habits` are those of a proxy in front of the server."""

    name: str
    kind: str
    does: Act
    mends: Act = lambda given: None
    seconds: float = 6.0
    habits: Habits | None = None


def _kill(given: Given) -> None:
    given.primary().kill()


def _start_the_dead(given: Given) -> None:
    for node in [*given.nodes, *given.sentinels]:
        if node.process and node.process.poll() is not None:
            node.start()


def _pause_primary(given: Given) -> None:
    given.primary().pause()


def _resume_all(given: Given) -> None:
    for node in given.nodes:
        node.resume()


def _by_hand(given: Given) -> None:
    """The old primary lives on, and is not told for a while."""
    until(lambda: _ordered(given.sentinels[0]), 10)


def _ordered(sentinel: Node) -> bool:
    try:
        return bool(sentinel.ask("SENTINEL", "FAILOVER", "prime"))
    except redis.ResponseError:
        return False


def _kill_without_quorum(given: Given) -> None:
    for sentinel in given.sentinels[1:]:
        sentinel.kill()
    given.primary().kill()


def _kill_one_of_cluster(given: Given) -> None:
    given.primaries()[0].kill()


def _cluster_by_hand(given: Given) -> None:
    replica = next(node for node in given.nodes if not node.is_primary())
    replica.ask("CLUSTER", "FAILOVER")


def _cluster_taken_over(given: Given) -> None:
    """Without asking the primary, which lives on."""
    replica = next(node for node in given.nodes if not node.is_primary())
    replica.ask("CLUSTER", "FAILOVER", "TAKEOVER")


def _slot_of_the_board(given: Given) -> tuple[int, Node, Node]:
    slot = int(str(given.nodes[0].ask("CLUSTER", "KEYSLOT", BOARD_KEY)))
    ranges = given.nodes[0].ask("CLUSTER", "SLOTS")
    assert isinstance(ranges, list)
    port = next(told[2][1] for told in ranges if told[0] <= slot <= told[1])
    owner = next(node for node in given.nodes if node.port == port)
    other = next(node for node in given.primaries() if node is not owner)
    return slot, owner, other


def _hold_half_moved(given: Given) -> None:
    slot, owner, other = _slot_of_the_board(given)
    other.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", owner.ask("CLUSTER", "MYID"))
    owner.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", other.ask("CLUSTER", "MYID"))


def _move(given: Given) -> None:
    """All the way."""
    _hand_over(*_slot_of_the_board(given))


def _hand_over(slot: int, owner: Node, other: Node) -> None:
    name = other.ask("CLUSTER", "MYID")
    other.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", owner.ask("CLUSTER", "MYID"))
    owner.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", name)
    while keys := owner.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
        assert isinstance(keys, list)
        owner.ask("MIGRATE", "127.0.0.1", other.port, "", 0, 2000, "KEYS", *keys)
    for node in (other, owner):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", name)


def _add(given: Given) -> None:
    """A server that nobody knew is given a board's slot."""
    spare = given.spare
    assert spare
    name = spare.ask("CLUSTER", "MYID")
    spare.ask("CLUSTER", "MEET", "127.0.0.1", given.nodes[0].port)
    until(lambda: all(str(name) in str(node.ask("CLUSTER", "NODES")) for node in given.nodes), 20)
    until(lambda: "cluster_state:ok" in str(spare.ask("CLUSTER", "INFO")), 20)
    slot, owner, _ = _slot_of_the_board(given)
    _hand_over(slot, owner, spare)


def _pause_all(given: Given) -> None:
    for node in given.nodes:
        node.pause()


def _kill_all(given: Given) -> None:
    for node in given.nodes:
        node.kill()


def _kill_a_shard(given: Given) -> None:
    """A primary and its replica: there is nobody for its slots, and with full coverage for none."""
    primary = given.primaries()[0]
    name = str(primary.ask("CLUSTER", "MYID"))
    followers = str(primary.ask("CLUSTER", "REPLICAS", name))
    for node in given.nodes:
        if (
            node is primary
            or f":{node.port}@" in followers
            or f"127.0.0.1:{node.port}" in followers
        ):
            node.kill()


def _uncovered_is_fine(given: Given) -> None:
    for node in given.nodes:
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    _kill_a_shard(given)


def _fill(given: Given) -> None:
    (node,) = given.nodes
    node.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    node.ask("CONFIG", "SET", "maxmemory", "1mb")


def _empty(given: Given) -> None:
    given.nodes[0].ask("CONFIG", "SET", "maxmemory", "0")


def _wait_for_all(given: Given) -> None:
    """Until whoever was started again follows."""

    def settled() -> bool:
        try:
            return all(
                node.is_primary() or "up" in str(node.ask("INFO", "replication"))
                for node in given.nodes
            )
        except RedisError:
            return False

    until(settled, 30)


def _mend(given: Given) -> None:
    _start_the_dead(given)
    _wait_for_all(given)


def _nothing(_: Given) -> None:
    """The harm is the proxy's."""


FAULTS = [
    Fault("by hand, the old primary lives on", "sentinel", _by_hand, seconds=12),
    Fault("primary killed", "sentinel", _kill, _mend),
    Fault("primary paused", "sentinel", _pause_primary, _resume_all),
    Fault("Sentinel killed", "sentinel", lambda given: given.sentinels[0].kill(), _mend, 4),
    Fault("primary killed without a quorum", "sentinel", _kill_without_quorum, _mend, 4),
    Fault("all restarted", "sentinel", _kill_all, _mend, 1),
    Fault("by hand", "cluster", _cluster_by_hand),
    Fault("taken over, the old primary lives on", "cluster", _cluster_taken_over),
    Fault("primary killed", "cluster", _kill_one_of_cluster, _mend, 8),
    Fault("primary paused", "cluster", lambda given: given.primaries()[0].pause(), _resume_all, 8),
    Fault("a board's slot moved", "cluster", _move, seconds=4),
    Fault("a board's slot half moved", "cluster", _hold_half_moved, _move, 4),
    Fault("a server added, and given a board's slot", "cluster", _add, seconds=4),
    Fault("all paused", "cluster", _pause_all, _resume_all, 2),
    Fault("all restarted", "cluster", _kill_all, _mend, 1),
    Fault("a shard dead, full coverage", "cluster", _kill_a_shard, _mend, 6),
    Fault("a shard dead, no full coverage", "cluster", _uncovered_is_fine, _mend, 6),
    Fault("5 % of connections dropped", "slow", _nothing, habits=Habits(drops=0.05)),
    Fault(
        "replies late by 20 to 260 ms",
        "slow",
        _nothing,
        habits=Habits(late=1.0, late_seconds=(0.02, 0.26)),
    ),
    Fault(
        "2 % of replies late by 300 ms",
        "slow",
        _nothing,
        seconds=12,
        habits=Habits(late=0.02, late_seconds=(0.3, 0.3)),
    ),
    Fault("2 % of replies lost", "slow", _nothing, habits=Habits(loses_replies=0.02)),
    Fault("paused", "slow", _pause_primary, _resume_all, 2),
    Fault("full", "full", _fill, _empty, 4),
    Fault("killed and started", "restart", _kill, _mend, 1),
]
