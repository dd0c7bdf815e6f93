"""Password hashes, made and checked a few at a time, and never in the thread that serves others.

A hash by scrypt keeps a core busy for about 60 ms and takes 32 MB. Under gevent all requests of a
worker share one thread, and all of them would wait for it. So gevent's thread pool does it, and on
Linux with a lower priority than the threads that serve. hashlib releases the interpreter's lock in
that time. AT_ONCE hashes are worked on at the same time in a process; who finds no place waits for
one, WAIT_SECONDS at most, and no more wait than could have their turn by then.
"""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from typing import Any, TypeVar

from werkzeug.security import check_password_hash, generate_password_hash

AT_ONCE, WAIT_SECONDS = 2, 1.5
# A thread that waits serves nobody else meanwhile; a greenlet costs next to nothing.
MOST_WAITING_GREENLETS, MOST_WAITING_THREADS = 50, 2
NICE = 10
T = TypeVar("T")


class Busy(Exception):
    """There was no place in time: nothing was hashed."""


class Places:
    """`at_once` calls run at the same time, `waiting` wait for their turn, `wait_seconds` at most."""

    def __init__(self, at_once: int, waiting: int, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._all = threading.BoundedSemaphore(at_once + waiting)
        self._free = threading.BoundedSemaphore(at_once)

    def run(self, work: Callable[[], T]) -> T:
        """What `work` returns. Raises Busy, and what `work` raises."""
        if not self._all.acquire(blocking=False):
            raise Busy
        try:
            if not self._free.acquire(timeout=self._wait_seconds):
                raise Busy
            try:
                return _in_a_thread(work)
            finally:
                self._free.release()
        finally:
            self._all.release()


def make(password: str, method: str) -> str:
    """The hash of a password, salted. Raises Busy."""
    return places.run(partial(generate_password_hash, password, method))


def is_right(hashed: str, password: str) -> bool:
    """Whether the hash is that of the password. Raises Busy."""
    return places.run(partial(check_password_hash, hashed, password))


def _under_gevent() -> bool:
    """Whether this process' threads are greenlets of one."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _in_a_thread(work: Callable[[], T]) -> T:
    if not _under_gevent():  # then the caller's is one
        return work()
    done: T = _pool(os.getpid()).apply(partial(_behind_others, work))
    return done


@cache
def _pool(_: int) -> Any:
    """The threads of this process."""
    return import_module("gevent.threadpool").ThreadPool(AT_ONCE)


def _behind_others(work: Callable[[], T]) -> T:
    """Linux knows a thread by its id where others know a process."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    return work()


places = Places(
    AT_ONCE,
    MOST_WAITING_GREENLETS if _under_gevent() else MOST_WAITING_THREADS,
    WAIT_SECONDS,
)
