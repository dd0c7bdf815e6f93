"""Threads, processes, pools: a connection for each request, a shared pool, a pool that is too
small, and a fork."""

import statistics
import subprocess
import threading
import time
from functools import partial

import msgspec
from redis.exceptions import RedisClusterException, RedisError
from werkzeug.exceptions import ServiceUnavailable

from demo.client import children
from demo.client.pool import connect
from demo.learn.fork_runner import Task, Told
from demo.learn.lesson_atomic import THREADS, together
from demo.teach.experiments import Bench, Experiment, Found, Row, milliseconds
from demo.web.services import services

REQUESTS, LARGE, SMALL = 30, 16, 2
HOLD_SECONDS, WAIT_SECONDS, RUNNER_SECONDS = 0.05, 0.12, 4.0
OWN, SHARED = "A connection for each, median", "A shared pool, median"
PROGRAM = "demo.learn.fork_runner"


def measure(bench: Bench) -> Found:
    """One part after the other, each on connections of this run alone."""
    url = services().redis_url
    found, counts = list[Row](), dict[str, float]()
    for name, do in (
        (OWN, partial(each_its_own, url)),
        (SHARED, partial(shared, url)),
    ):
        times = bench.part(name, do)
        if times:
            found.append(Row(name, [REQUESTS, statistics.median(times), 0]))
            counts[name] = statistics.median(times)
    for size in (LARGE, SMALL):
        name = f"{THREADS} threads on a pool of {size}, in all"
        told = bench.part(name, partial(crowded, bench, url, size))
        if told:
            took_ms, failed = told
            found.append(Row(name, [THREADS, took_ms, failed]))
            counts[f"failed {size}"] = failed
    forked = bench.part("A fork", partial(fork, bench, url))
    if forked:
        counts |= {"shared": forked.shared == "child", "pooled": forked.pooled == "child"}
    return Found(found, counts)


def each_its_own(url: str) -> list[float]:
    """Connects, asks and closes for each request."""

    def ask() -> None:
        client = connect(url, pool_size=1, timeout_seconds=1.0)
        try:
            client.ping()
        finally:
            client.close()

    return [milliseconds(ask) for _ in range(REQUESTS)]


def shared(url: str) -> list[float]:
    """One client and its pool for all requests."""
    client = connect(url, pool_size=LARGE, timeout_seconds=1.0)
    try:
        client.ping()
        return [milliseconds(client.ping) for _ in range(REQUESTS)]
    finally:
        client.close()


def crowded(bench: Bench, url: str, size: int) -> tuple[float, int]:
    """Threads that each hold a connection for a moment: the time of all in ms, and how many got
    none in time. Raises RedisError."""
    client = connect(url, pool_size=size, timeout_seconds=WAIT_SECONDS)
    key, failed, errors = bench.key("learn", "held"), list[str](), list[RedisError]()

    def hold(_: int) -> None:
        try:
            with client.pipeline(transaction=True) as pipeline:
                pipeline.watch(key)  # type: ignore[no-untyped-call]  # keeps its connection until the end
                time.sleep(HOLD_SECONDS)
        except (RedisError, RedisClusterException) as error:
            failed.append(type(error).__name__)
            if "Exhausted" not in failed[-1] and isinstance(error, RedisError):
                errors.append(error)

    try:
        took_ms = milliseconds(lambda: together(hold))
    finally:
        client.close()
    if errors:
        raise errors[0]
    return took_ms, len(failed)


def fork(bench: Bench, url: str) -> Told:
    """What a forked child reads. Raises ServiceUnavailable."""
    task = Task(url, (bench.key("learn", "parent"), bench.key("learn", "child")))
    try:
        process = children.start(PROGRAM, stderr=subprocess.DEVNULL)
    except OSError:
        raise ServiceUnavailable("This machine has no room for a process now.") from None
    late = threading.Timer(RUNNER_SECONDS, process.kill)
    late.start()
    try:
        told, _ = process.communicate(msgspec.json.encode(task) + b"\n")
        return msgspec.json.decode(told, type=Told)
    except (OSError, msgspec.MsgspecError):
        raise ServiceUnavailable(
            "The process that forks could not be run, or has no one connection to share here."
        ) from None
    finally:
        late.cancel()


def verdict(found: Found) -> str:
    """What a connection for each request costs beside the pool."""
    own, pool = (found.counts.get(name) for name in (OWN, SHARED))
    if own is None or pool is None:
        return ""
    return "more" if own >= 2 * pool else "same"


def tell(found: Found) -> str:
    """The cost, the crowd, the fork."""
    counts, told = found.counts, list[str]()
    if verdict(found):
        own, pool = counts[OWN], counts[SHARED]
        told.append(
            f"A request with a connection of its own took {own:.2f} ms, from the pool {pool:.2f} ms."
        )
    if found.has(f"failed {SMALL}"):
        told.append(
            f"On a pool of {SMALL} {counts[f'failed {SMALL}']:.0f} of {THREADS} threads got no connection in "
            f"{WAIT_SECONDS * 1000:.0f} ms."
        )
    if found.has("shared", "pooled"):
        read = "its own answer" if counts["shared"] else "its parent’s answer"
        pooled = "its own" if counts["pooled"] else "another one"
        told.append(
            f"After a fork the child read {read} on the shared connection, and {pooled} by the pool."
        )
    return " ".join(told)


EXPERIMENT = Experiment(measure, verdict, tell, ("Requests", "ms", "Failed"), drawn=1)
