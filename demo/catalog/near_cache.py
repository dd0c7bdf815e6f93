"""A near cache: values in the memory of this process, dropped when Redis says that they changed. A
hit in the near cache costs no round trip.

One connection per process asks for CLIENT TRACKING in broadcast mode. If a key with the prefix is
written, deleted or evicted, or expires, Redis reports it and the process drops its copy. A reader
reserves a place before it asks Redis, and fills the place only if no message has taken it away
meanwhile. An invalidation message is not lost even if it arrives before the reply to the read.
Without a subscription the near cache holds nothing, and when the subscription breaks it drops all
values.

The cost is freshness: after another process has invalidated a value, the old value can be served
until the message arrives. That usually takes less than a millisecond. On a connection that died in
silence it takes `heartbeat_seconds` and one timeout of the connection. The near cache never holds a
value for longer than `max_age_seconds`. An invalidation takes effect in its own process before the
call returns.

Source: Redis documentation, "Client-side caching in Redis". Not for a cluster, where each node
reports only its own keys.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from demo.client.contract import RedisClient, checked, errors_of, text

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Place:
    """Where a value is held, or, without one, where one is expected."""

    name: str
    depends_on: tuple[str, ...]
    value: Any = None
    size: int = 0
    held_until: float = 0.0


class NearCache:
    """At most `max_entries` values of `max_bytes` in all, the least recently used go first.

    `client` is a redis-py client on one server or behind Sentinel. The subscription begins with the
    first reservation, which comes after a fork, in a thread of its own.
    """

    def __init__(
        self,
        client: RedisClient,
        prefix: str,
        *,
        max_entries: int = 1000,
        max_bytes: int = 16_000_000,
        max_age_seconds: float = 5.0,
        heartbeat_seconds: float = 1.0,
    ) -> None:
        self._client, self._prefix = checked(client), text("prefix", prefix)
        self._errors = errors_of(client)
        self._failures: tuple[type[Exception], ...] = (*self._errors.all, OSError)
        self.max_entries, self.max_bytes, self.max_age_seconds = (
            max_entries,
            max_bytes,
            max_age_seconds,
        )
        self._heartbeat_seconds = heartbeat_seconds
        self._lock = threading.Lock()
        self._places: OrderedDict[str, Place] = OrderedDict()
        self._dependents: dict[str, set[str]] = {}
        self._bytes = 0
        self._subscribed = False
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0

    @property
    def subscribed(self) -> bool:
        """Whether Redis tells this process of changes; only then is anything held."""
        return self._subscribed

    @property
    def entries(self) -> int:
        """How many places there are, the reserved ones included."""
        return len(self._places)

    @property
    def bytes(self) -> int:
        """What the values take, by the sizes that were told."""
        return self._bytes

    def get(self, name: str) -> Any:
        """The value, or None."""
        with self._lock:
            place = self._places.get(name)
            if place is None or place.value is None:
                return None
            if time.monotonic() >= place.held_until:
                self._forget(name)
                return None
            self._places.move_to_end(name)
            return place.value

    def reserve(self, name: str, depends_on: Sequence[str] = ()) -> Place | None:
        """A place to fill with what Redis is about to answer; a change of `name` or of what it
        depends on takes it away. None while there is no subscription."""
        if self._pid != os.getpid():
            self._start()
        place = Place(name, tuple(depends_on))
        with self._lock:
            if not self._subscribed:
                return None
            self._hold(place)
        return place

    def fill(self, place: Place | None, value: Any, size: int) -> None:
        """Puts a value where a place is still reserved for it; None gives the place back."""
        if place is None:
            return
        with self._lock:
            if self._places.get(place.name) is not place:
                return
            self._forget(place.name)
            if value is not None and size <= self.max_bytes:
                until = time.monotonic() + self.max_age_seconds
                self._hold(Place(place.name, place.depends_on, value, size, until))

    def drop(self, *names: str) -> None:
        """Forgets these, and what depends on them."""
        with self._lock:
            for name in names:
                self._forget(name)
                for dependent in list(self._dependents.get(name, ())):
                    self._forget(dependent)

    def flush(self) -> None:
        """Forgets everything, what was reserved included."""
        self._begin_anew(self._subscribed)

    def close(self) -> None:
        """Ends the subscription, and returns when it has ended."""
        self._closed.set()
        if self._thread and self._pid == os.getpid():
            self._thread.join()

    def _begin_anew(self, subscribed: bool) -> None:
        with self._lock:
            self._subscribed = subscribed
            self._places.clear()
            self._dependents.clear()
            self._bytes = 0

    def _hold(self, place: Place) -> None:
        self._forget(place.name)
        self._places[place.name] = place
        self._bytes += place.size
        for name in place.depends_on:
            self._dependents.setdefault(name, set()).add(place.name)
        while len(self._places) > self.max_entries or self._bytes > self.max_bytes:
            self._forget(next(iter(self._places)))

    def _forget(self, name: str) -> None:
        place = self._places.pop(name, None)
        if place is None:
            return
        self._bytes -= place.size
        for of in place.depends_on:
            dependents = self._dependents.get(of)
            if dependents:
                dependents.discard(name)
                if not dependents:
                    del self._dependents[of]

    def _start(self) -> None:
        with self._lock:
            if self._pid == os.getpid() or self._closed.is_set():
                return
            self._pid, self._subscribed = os.getpid(), False
            self._thread = threading.Thread(target=self._run, name="near-cache", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        said = ""
        while not self._closed.is_set():
            try:
                self._listen()
            except self._failures as error:
                if said != str(error):
                    log.warning("near cache: no subscription: %s", type(error).__name__)
                said = str(error)
            self._closed.wait(self._heartbeat_seconds)

    def _listen(self) -> None:
        pool = self._client.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self._prefix)
            connection.read_response()
            connection._parser.set_invalidation_push_handler(self._told)
            self._begin_anew(subscribed=True)
            while not self._closed.is_set():
                if not pool.owns_connection(connection):
                    raise self._errors.connection("another server is the primary by now")
                if connection.can_read(timeout=self._heartbeat_seconds):
                    connection.read_response(push_request=True)
                else:
                    connection.send_command("PING")
                    while connection.read_response(push_request=True) is None:
                        pass
        finally:
            self._begin_anew(subscribed=False)
            connection.disconnect()  # The connection must not go back to the pool with tracking on.
            pool.release(connection)

    def _told(self, message: Any) -> None:
        names = message[1]
        if names is None:  # the database was flushed
            self.flush()
        else:
            self.drop(*(name.decode("utf-8", "replace") for name in names))
