"""The eviction run's own process: one line of JSON on standard input, a line for each step on
standard output.

A private engine for each policy that it knows, without a port and without a file, lives in the
folder that the process is given. All of it ends, and the folder is removed, when the run is over,
when its time is up, on SIGTERM, and as soon as standard input is closed. The kernel closes standard
input with the process that started it, however that one ends. Should this process be killed itself,
the kernel kills its engines (Linux), and the folder is its owner's to remove. This process and each
engine have a bound of their memory; an engine holds a few MB, and refuses writes long before it
comes near.
"""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from demo.client import children, folders
from demo.monitor import belady
from demo.monitor.eviction import (
    BATCH,
    NEWER_POLICIES,
    POLICIES,
    SECONDS,
    SESSIONS,
    VALUE,
    Options,
    Outcome,
    Subject,
    in_points,
)
from demo.monitor.traces import trace

START_SECONDS = 5.0
REPORT_SECONDS = 1.0
MEMORY_MB = 512
ENGINE_MB = 256  # of addresses: what its threads might use of them is most
ENGINE_MAXMEMORY_MB = 8  # until the run sets its own, which is less
CONNECTIONS = 8


class Task(msgspec.Struct, frozen=True):
    """What the process is to do, with which server binary; after `longest_seconds` it tells what it
    has. A run may be smaller than the form lets visitors choose: of so many `requests`, in batches,
    with so much memory for the cache and so many sessions beside it."""

    binary: str
    folder: str
    options: Options
    seconds: float = SECONDS
    longest_seconds: float = 24.0
    batch: int = BATCH
    sessions: int = SESSIONS
    value_bytes: int = len(VALUE)
    requests: int | None = None
    memory_kb: int | None = None

    def chosen(self) -> Options:
        """The options as they are meant."""
        return msgspec.structs.replace(
            self.options,
            requests=self.requests or self.options.requests,
            memory_kb=self.memory_kb or self.options.memory_kb,
        )


def main() -> None:
    """Reads the task, does it, and leaves nothing."""
    children.bound(MEMORY_MB)
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    folder = Path(task.folder)
    held = folders.lock(folder / "alive.lock", exclusive=False)
    engines: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    children.end_with_owner()
    try:
        subjects = _start(task, folder, engines)
        _measure(task, subjects)
    finally:
        for process in engines:
            process.kill()
        for process in engines:
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)
        if held:
            held.close()


def _start(task: Task, folder: Path, engines: list[subprocess.Popen[bytes]]) -> list[Subject]:
    """One engine a policy, all begun before the first is waited for; those of newer policies when
    the first has said that it knows them. Raises RedisError when one does not answer."""
    places = [begin_engine(task.binary, folder, engines) for _ in POLICIES]
    until = time.monotonic() + START_SECONDS
    clients = [client_of(place, until) for place in places]
    newer = NEWER_POLICIES if _knows(clients[0], NEWER_POLICIES[0]) else ()
    places = [begin_engine(task.binary, folder, engines) for _ in newer]
    until = time.monotonic() + START_SECONDS
    clients += [client_of(place, until) for place in places]
    room = task.chosen().memory_kb * 1024
    chosen = zip(clients, (*POLICIES, *newer), strict=True)
    return [
        Subject(client, policy, room, task.sessions, b"v" * task.value_bytes)
        for client, policy in chosen
    ]


def begin_engine(binary: str, folder: Path, engines: list[subprocess.Popen[bytes]]) -> Path:
    """One more engine; the place of its socket."""
    place = folder / f"{len(engines)}.sock"
    settings = {
        "port": "0",
        "unixsocket": str(place),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "dir": str(folder),
        "loglevel": "warning",
        "maxmemory": f"{ENGINE_MAXMEMORY_MB}mb",
        "maxclients": str(CONNECTIONS),
    }
    words = [word for name, value in settings.items() for word in (f"--{name}", value)]
    nowhere = subprocess.DEVNULL
    prepare = children.dying_with_parent(ENGINE_MB)
    engines.append(
        subprocess.Popen(
            [binary, *words], stdin=nowhere, stdout=nowhere, stderr=nowhere, preexec_fn=prepare
        )
    )
    return place


def client_of(place: Path, until: float) -> redis.Redis:
    """A client of an engine, which has answered or has had the time of all."""
    client = redis.Redis(unix_socket_path=str(place), socket_timeout=5, retry=Retry(NoBackoff(), 0))
    while not _answers(client) and time.monotonic() < until:
        time.sleep(0.01)
    return client


def _knows(client: redis.Redis, policy: str) -> bool:
    try:
        return bool(client.config_set("maxmemory-policy", policy))
    except redis.ResponseError:
        return False


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _measure(task: Task, subjects: list[Subject]) -> None:
    """The same batch to each engine in turn, at the same pace; then the optimum over what all were
    asked."""
    options, batch = task.chosen(), task.batch
    room = options.room_for(task.value_bytes)
    keys = trace(options.trace, options.requests, room, options.seed)
    began = reported = time.monotonic()
    info = subjects[0].client.info("server")
    name = f"{'Valkey' if 'valkey_version' in info else 'Redis'} {info.get('valkey_version', info['redis_version'])}"
    done = 0
    while done < len(keys) and time.monotonic() - began < task.longest_seconds:
        time.sleep(max(0.0, began + task.seconds * done / len(keys) - time.monotonic()))
        for subject in subjects:
            subject.ask(keys[done : done + batch])
        done = min(done + batch, len(keys))
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            _tell(
                Outcome(done / len(keys), [subject.result(len(keys)) for subject in subjects], name)
            )
    results = [subject.result(len(keys)) for subject in subjects]
    # A batch is a small memory of its own: what was missed early in it is written after what was
    # found late in it.
    capacity = max(result.entries for result in results) + batch
    best = belady.hits(keys[:done], capacity)
    seconds = round(time.monotonic() - began, 1)
    points = in_points(best, len(keys))
    _tell(
        Outcome(1.0, results, name, done == len(keys), True, capacity, sum(best), points, seconds)
    )


def _tell(outcome: Outcome) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
