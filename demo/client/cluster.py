"""A cluster's client on the wire: each command goes to the server that holds its key. If one server
of a cluster fails, calls to the others are not affected.

redis-py knows the map of a cluster, the keys of a command and the shapes of replies. Sending and
reading are our own (`cluster_talk.py`). redis-py reloads the slot map within the call that failed.
It resends a pipeline's commands that a server was only late with, and it waits for one server after
another.
"""
# mypy: allow-untyped-calls
# parts of redis-py have no types

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

from redis import RedisCluster
from redis._parsers import Encoder
from redis.cluster import PRIMARY, ClusterNode, ClusterPipeline, TransactionStrategy
from redis.exceptions import (
    AskError,
    ConnectionError,
    MovedError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.maint_notifications import MaintNotificationsConfig

from demo.client.cluster_talk import Talk
from demo.client.wire import Around, Guard, Send, Trip, Wired, raise_first, through

AGAIN_SECONDS, MOVING_SECONDS = 0.1, 0.02
MOST_MOVES = 5


class _Keys(RedisCluster):
    """Tells the keys of a command on a server that does not let us ask for COMMAND, too: the first
    one, which says where the command has to go."""

    def _get_command_keys(self, *args: Any) -> Any:
        if self.commands_parser.commands:
            return super()._get_command_keys(*args)
        if args[0] in ("XREAD", "XREADGROUP"):
            return [args[args.index("STREAMS") + 1]]
        return list(args[2:3] if args[0] == "BITOP" else args[1:2])


class _Map(_Keys):
    """What redis-py knows of a cluster; COMMAND is of use for it and no condition."""

    def command(self, **options: Any) -> Any:
        try:
            return super().command(**options)
        except ResponseError:
            return {}


class ClusterClient(Wired, Talk, _Keys):
    """A redis-py client for a cluster, whose calls wait `timeout_seconds` at most, however many
    servers they go to.

    What cannot be sent to one server, or is not answered there in time, is the error of its own
    commands and of no others. `guards` gives what stands before each server, by name; "" is the
    cluster's map, which a client that was made while the cluster was away asks for when it is
    needed. After a failure the map is asked for again, beside the calls. Nothing is sent twice but
    what was refused by a server that does not hold the key.

    `pool` makes the pool of a server, `turn` bounds the pipelines that are under way. Each pipeline
    holds a connection to one server while it waits for one to the next, so unbounded pipelines
    could deadlock on a pool.
    """

    def __init__(
        self,
        *,
        hosts: Sequence[tuple[str, int]],
        timeout_seconds: float,
        retry: Any,
        pool: Callable[..., Any],
        turn: AbstractContextManager[Any],
        guards: Callable[[str], Guard],
        around: Sequence[Around] = (),
    ) -> None:
        self.send, self.texts = through(around), {}
        self.turn, self.guards = turn, guards
        self._timeout_seconds = timeout_seconds
        self._hosts, self._retry, self._pool = hosts, retry, pool
        self._not_on_the_map: dict[str, Any] = {}
        self._map_lock, self._asking = threading.Lock(), threading.Lock()
        with suppress(RedisError):
            self.ask_for_the_map()

    @property
    def has_map(self) -> bool:
        """Whether the cluster was there once."""
        return "nodes_manager" in self.__dict__

    def __getattr__(self, name: str) -> Any:
        """What is not there yet comes with the map."""
        if self.has_map or name.startswith("__"):
            raise AttributeError(name)
        self.send(Trip("CLUSTER SLOTS", [("CLUSTER SLOTS",)], [], self._need_the_map))
        return getattr(self, name)

    def _need_the_map(self, _: Trip | None = None) -> list[Any]:
        guard = self.guards("")
        guard.before()
        try:
            self.ask_for_the_map()
        except RedisError as error:
            guard.learn([error])
            raise
        guard.learn([])
        return [None]

    def ask_for_the_map(self) -> None:
        """Gets it, or gets it again. Raises RedisError."""
        with self._map_lock:
            try:
                if self.has_map:
                    self.nodes_manager.initialize(disconnect_startup_nodes_pools=False)
                    return
                host, port = self._hosts[0]
                made = _Map(
                    # only of a URL's nodes redis-py makes the pools of the class it is told
                    url=f"redis://{f'[{host}]' if ':' in host else host}:{port}",
                    startup_nodes=[ClusterNode(*other) for other in self._hosts[1:]],
                    retry=self._retry,
                    connection_pool_class=self._pool,
                    maint_notifications_config=MaintNotificationsConfig(enabled=False),
                )
            except RedisClusterException as error:
                if isinstance(error.__cause__, RedisError):
                    raise error.__cause__ from None
                raise ConnectionError(str(error)) from error
            self.__dict__.update(made.__dict__)

    def doubt(self) -> None:
        """Has the map asked for again, beside the calls, once at a time."""
        if self._asking.acquire(blocking=False):
            try:
                threading.Thread(target=self._ask_again, name="map", daemon=True).start()
            except RuntimeError:  # no thread is begun any more as the process ends
                self._asking.release()

    def _ask_again(self) -> None:
        try:
            with suppress(RedisError):
                self.ask_for_the_map()
            threading.Event().wait(AGAIN_SECONDS)  # or each call that fails would ask
        finally:
            self._asking.release()

    def register_script(self, script: Any) -> Any:
        return self.remember(super().register_script(script))

    def get_encoder(self) -> Any:
        return Encoder("utf-8", "strict", False)

    def close(self) -> None:
        if self.has_map:
            super().close()

    def _carry(self, trip: Trip) -> list[Any]:
        if not self.has_map:
            self._need_the_map()
        args, options = trip.parts[0]
        try:
            return [RedisCluster.execute_command(self, *args, **options)]
        except ResponseError as error:
            return [error]
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error

    def _execute_command(self, target_node: Any, *args: Any, **options: Any) -> Any:
        """Sends one command to one server, and follows it where it is sent on to. Where a part of its
        keys has moved, the rest is waited for a moment."""
        reply: Any = None
        until = time.monotonic() + self._timeout_seconds
        owner, first = target_node, list[Any]()
        for number in range(MOST_MOVES):
            # the first time a connection's own timeout is the same
            batch = (target_node, [*first, (args, options)])
            reply = self._talk([batch], until if number else 0.0)[0][-1]
            left = until - time.monotonic()
            if left <= 0:
                break
            target_node, first = owner, []
            if isinstance(reply, MovedError):
                target_node = owner = self._moved(reply, owner)
            elif isinstance(reply, AskError):
                target_node, first = self._asked(reply, owner), [(("ASKING",), {})]
            elif isinstance(reply, TryAgainError):
                time.sleep(
                    min(MOVING_SECONDS, left)
                )  # a key at a time is moved: most are soon there
            else:
                break
        if isinstance(reply, Exception):
            raise reply
        callback = self.cluster_response_callbacks.get(args[0])
        return callback(reply, **options) if callback else reply

    def _asked(self, error: AskError, owner: Any) -> Any:
        """The server that a key was moved to, ahead of its slot; it may be one that no map has yet."""
        host = _host(error, owner)
        node = self.nodes_manager.get_node(host=host, port=error.port)
        if node is None:
            self.doubt()
            node = self._not_on_the_map.setdefault(
                f"{host}:{error.port}", ClusterNode(host, error.port, PRIMARY)
            )
        return node

    def _moved(self, error: MovedError, owner: Any) -> Any:
        error.host = _host(error, owner)
        self.nodes_manager.move_slot(error)
        self.doubt()  # what moved is seldom alone
        return self.nodes_manager.get_node_from_slot(error.slot_id)

    def carry_all(self, parts: Sequence[Any]) -> list[Any]:
        """A pipeline's replies, or errors, one for each of its parts."""
        if not self.has_map:
            self._need_the_map()
        replies: list[Any] = [None] * len(parts)
        places: dict[str, tuple[Any, list[int]]] = {}
        for place, part in enumerate(parts):
            try:
                slot = self.determine_slot(*part.args)
                node = self.nodes_manager.get_node_from_slot(-1 if slot is None else slot)
            except RedisClusterException as error:
                replies[place] = ConnectionError(str(error))
                continue
            places.setdefault(node.name, (node, []))[1].append(place)
        batches = [
            (node, [(parts[place].args, parts[place].options) for place in at])
            for node, at in places.values()
        ]
        with self.turn:
            answers = self._talk(batches)
        for (_, at), answered in zip(places.values(), answers, strict=True):
            for place, reply in zip(at, answered, strict=True):
                if isinstance(reply, (MovedError, AskError, TryAgainError)):
                    try:
                        reply = RedisCluster.execute_command(
                            self, *parts[place].args, **parts[place].options
                        )
                    except (RedisError, RedisClusterException) as error:
                        reply = error
                replies[place] = reply
        return replies

    def guard_of(self, parts: Sequence[Any]) -> Guard:
        """What stands before the server of a transaction, whose keys share a slot."""
        if not self.has_map:
            self._need_the_map()
        slot = self.determine_slot(*parts[0].args)
        node = self.nodes_manager.get_node_from_slot(-1 if slot is None else slot)
        return self.guards(node.name)

    def pipeline(
        self, transaction: bool | None = None, shard_hint: str | None = None
    ) -> ClusterPipeline:
        made: Any = super().pipeline(transaction, shard_hint)
        made.__class__ = _ClusterPipeline
        made.send, made.carry_all, made.guard_of = self.send, self.carry_all, self.guard_of
        pipeline: ClusterPipeline = made
        return pipeline


def _host(error: AskError, sender: Any) -> str:
    """Where an error sends us: a server that does not know its own address leaves it out."""
    return str(error.host if error.host not in ("", "?") else sender.host)


class ClusterBeside(ClusterClient):
    """The same client with other wrappers: it has nothing of its own but those."""

    def __init__(self, client: ClusterClient, around: Sequence[Around]) -> None:
        self._beside, self.send = client, through(around)

    @property
    def has_map(self) -> bool:
        return self._beside.has_map

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._beside, name)

    def ask_for_the_map(self) -> None:
        self._beside.ask_for_the_map()

    def close(self) -> None:
        """The connections are the other's."""


class _ClusterPipeline(_Keys, ClusterPipeline):
    send: Send
    carry_all: Callable[[Sequence[Any]], list[Any]]
    guard_of: Callable[[Sequence[Any]], Guard]

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        parts = list(self._execution_strategy.command_queue)
        if not parts:
            return []
        atomic = isinstance(self._execution_strategy, TransactionStrategy)
        trip = Trip("pipeline", [part.args for part in parts], parts, self._carry, atomic)
        try:
            replies = self.send(trip)
        finally:
            self.reset()
        if raise_on_error:
            raise_first(trip, replies)
        return replies

    def _carry(self, trip: Trip) -> list[Any]:
        if not trip.atomic:
            return self.carry_all(trip.parts)
        try:
            return self.guard_of(trip.parts).around(trip, self._carry_together)
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error

    def _carry_together(self, trip: Trip) -> list[Any]:
        strategy: Any = self._execution_strategy
        strategy.command_queue = trip.parts
        try:
            return list(super().execute(raise_on_error=False))
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error
