"""One app for all workers: made once, before they are forked, so that they share what does not
change, and none makes it again when it replaces another.

What must not be shared is let go of before: connections to Redis and to the database, and what
making the app was counted with. Threads do not survive a fork, and under gevent they go on in each
worker, where nobody knows them. So an app that has begun one, as where traces are sent, is no app to
share: each worker makes its own then. All that runs beside requests begins in the worker anyway, with
its first request or when it is told to.
"""

import os
import threading

from flask import Flask

from demo.client import connections
from demo.client.pool import process_name
from demo.client.sentinel import SentinelPool
from demo.observe.database_visits import DatabaseVisits
from demo.web.services import part, services


def can_share(app: Flask) -> bool:
    """Whether a fork would lose nothing of it."""
    made = services(app)
    # by their ids: where a process was itself forked under gevent, Python 3.13 lists its one thread twice
    alone = len({thread.ident for thread in threading.enumerate()}) == 1
    traced = any(name.startswith("OTEL_") for name in os.environ)
    return (
        alone and not traced and not made.breaker.is_open and not connections.is_cluster(made.redis)
    )


def prepare() -> None:
    """Before the app is made in a process that will fork: what watches the Sentinels begins later."""
    SentinelPool.may_watch = False


def let_go(app: Flask) -> None:
    """Before the forks: nothing is connected, nothing was counted."""
    made = services(app)
    for pool in connections.pools(made.redis):
        pool.disconnect()
        pool.forget()
    made.database.engine.dispose()
    made.sums.take()
    part(DatabaseVisits, app).take()


def take(app: Flask) -> None:
    """After the fork: connections get the name of this process, and Sentinels are watched."""
    SentinelPool.may_watch = True
    for pool in connections.pools(services(app).redis):
        if pool.connection_kwargs.get("client_name", "").startswith("demo:"):
            pool.connection_kwargs["client_name"] = process_name()
