"""What the server that runs the app tells it: whether it goes on, and how many answers may stay
open at once.

An answer that stays open holds a thread under gthread, and a connection under gevent: of both, half
are left to ordinary requests. Without a word from the server, as under `flask run`, every answer
has a thread of its own.
"""

import ipaddress
import os
import resource
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask

from demo.web.services import services

LARGE = 1_000_000


@dataclass(frozen=True)
class Server:
    """`goes_on` is false from the moment when this process is to end, if only to make room for a
    fresh one; `ends` is true when the whole server was told to. `address` is where this machine
    asks it over HTTP: a host and a port, the path of a socket, or None where that is not known."""

    goes_on: Callable[[], bool] = lambda: True
    open_answers: int = LARGE
    ends: Callable[[], bool] = lambda: False
    address: tuple[str, int] | str | None = None


def workers() -> int:
    """How many workers there are, this one included, as far as this process was told."""
    told = os.environ.get("WEB_CONCURRENCY", "")
    return int(told) if told.isdecimal() and int(told) else 1


def tell(app: Flask, worker: Any) -> None:
    """Called by a gunicorn worker, once it has the app."""
    settings, kind = worker.cfg, worker.cfg.worker_class_str
    places = (
        settings.worker_connections if kind.startswith(("gevent", "eventlet")) else settings.threads
    )
    told = threading.Event()
    before: Any = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: Any) -> None:
        told.set()
        before(number, frame)

    signal.signal(signal.SIGTERM, end)
    sockets = [] if settings.is_ssl else worker.sockets
    services(app).keep(
        Server(
            lambda: bool(worker.alive),
            min(places, _files(2 * places)) // 2,
            told.is_set,
            address_of(sockets[0]) if sockets else None,
        )
    )


def address_of(listening: Any) -> tuple[str, int] | str | None:
    """Where this machine reaches a socket that listens."""
    name = listening.getsockname()
    if isinstance(name, (str, bytes)):
        return os.fsdecode(name) or None
    host = ipaddress.ip_address(name[0])
    if host.is_unspecified:  # it listens on all, and loopback is one of them
        return ("127.0.0.1" if host.version == 4 else "::1"), int(name[1])
    return str(host), int(name[1])


def of(app: Flask) -> Server:
    """What was told to an app."""
    found: Server = services(app).parts.get(Server) or Server()
    return found


def _files(wanted: int) -> int:
    """How many files this process may have open, after asking for so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return LARGE if soft == resource.RLIM_INFINITY else soft
