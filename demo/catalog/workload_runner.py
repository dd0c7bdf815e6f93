"""The workload's own process: a line of options on standard input; on standard output, with each
strategy that is done, a line of all outcomes so far. All of it JSON.

It has its own database in the folder that it is given and its own keys in Redis, so nobody else is
affected. Its load is not on the worker that serves pages. As a worker of write-behind it saves
batches until it is killed. It ends as soon as standard input is closed, which the kernel does with
the process that started it, and takes its folder and its own worker with it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from demo.catalog import products, seed, workload
from demo.catalog.strategies import NAMES, Rows, behind, build
from demo.catalog.workload import PRODUCTS, DatabaseGone, Options, Outcome, Tally, percentile
from demo.catalog.write_behind import WriteBehind
from demo.client import children
from demo.client.breaker import Breaker, BreakerOpen
from demo.client.pool import connect
from demo.client.wire import Client
from demo.database import Database, sqlite_url

MODULE = "demo.catalog.workload_runner"
MEMORY_MB = 1024  # of addresses: 32 readers reserve 8 MB each


class Task(msgspec.Struct, frozen=True):
    """What the process is to do. `worker` is a worker of the run's write-behind, which never ends
    by itself."""

    redis_url: str
    run: str
    folder: str
    options: Options
    worker: bool = False


class Gate(Breaker):
    """Lets nothing through while it is shut: Redis is away, for this process."""

    shut = False

    def before(self) -> None:
        """Raises while it is shut."""
        if self.shut:
            raise BreakerOpen(0.0)


class Trouble:
    """What goes wrong in the middle third."""

    def __init__(self, options: Options, gate: Gate) -> None:
        self.options, self.gate = options, gate
        self.database_gone = False
        self.forget: Callable[[], None] | None = None
        self._once = threading.Lock()

    def progress(self, share: float) -> None:
        """Is told how much is done."""
        middle = 1 / 3 <= share < 2 / 3
        if (
            share >= 0.5
            and self.options.failure == "memory"
            and self.forget
            and self._once.acquire(blocking=False)
        ):
            self.forget()
        self.gate.shut = middle and self.options.failure == "redis"
        self.database_gone = middle and self.options.failure == "database"

    def end(self) -> None:
        """All is well again."""
        self.gate.shut = self.database_gone = False

    def visit(self) -> None:
        """On each way to the database, and back."""
        if self.database_gone:
            raise DatabaseGone
        time.sleep(self.options.latency_ms / 2000)


def main() -> None:
    """Reads the task and does it."""
    children.bound(MEMORY_MB)
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    if not task.worker:
        signal.signal(signal.SIGTERM, lambda *_: _give_up(task.folder))
    children.end_with_owner()
    gate = Gate(0.01)
    client = connect(task.redis_url, pool_size=40, timeout_seconds=1.0, around=(gate.around,))
    if task.worker:
        serve(client, task, Trouble(task.options, gate))
        return
    outcomes = []
    for kind in NAMES:
        outcomes.append(measure(kind, client, task, Trouble(task.options, gate)))
        sys.stdout.buffer.write(msgspec.json.encode(outcomes) + b"\n")
        sys.stdout.buffer.flush()


def _give_up(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def serve(client: Client, task: Task, trouble: Trouble) -> None:
    """A worker that takes its time between commit and acknowledgement, so that a kill finds it
    there."""
    with _database(task, "behind") as database:
        store = behind(client, f"{task.run}-behind", Rows(database, trouble.visit))
        acknowledge = store._acknowledge

        def slowly(changes: object) -> None:
            time.sleep(0.05)
            acknowledge(changes)  # type: ignore[arg-type]

        store._acknowledge = slowly  # type: ignore[method-assign]
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            store.flush("killed", count=10)
            time.sleep(0.005)


def measure(kind: str, client: Client, task: Task, trouble: Trouble) -> Outcome:
    """One strategy, from a fresh database to the last change written."""
    with _database(task, kind) as database:
        seed.seed(database.engine, PRODUCTS)
        before = _stock(database)
        rows = Rows(database, trouble.visit)
        name = f"{task.run}-{kind}"
        strategy = build(kind, client, name, rows)
        trouble.forget = lambda: _clean(
            client, name, strategy
        )  # what a Redis without persistence does when it restarts
        pending = replayed = None
        if isinstance(strategy, WriteBehind):
            tally, seconds, pending, replayed = _run_behind(strategy, task, trouble, rows)
        else:
            tally, seconds = workload.run(strategy, task.options, trouble.progress, rows.visits)
            trouble.end()
        lost = max(0, tally.bought - (before - _stock(database)))
        _clean(client, name, strategy)
        return _outcome(kind, tally, seconds, rows, lost, pending, replayed)


def _run_behind(
    store: WriteBehind[products.Product], task: Task, trouble: Trouble, rows: Rows
) -> tuple[Tally, float, int | None, int | None]:
    """With a worker beside it: a thread, or, where it is to be killed, a process."""
    if task.options.failure == "worker":
        return _run_with_a_killed_worker(store, task, trouble, rows)
    over = threading.Event()

    def save() -> None:
        while not over.wait(0.005):
            with contextlib.suppress(*workload.failures()):
                store.flush("one", idle_ms=0)

    worker = threading.Thread(target=save)
    worker.start()
    try:
        tally, seconds = workload.run(store, task.options, trouble.progress, rows.visits)
        trouble.end()
    finally:
        over.set()
        worker.join()
    _drain(store)
    return tally, seconds, None, None


def _run_with_a_killed_worker(
    store: WriteBehind[products.Product], task: Task, trouble: Trouble, rows: Rows
) -> tuple[Tally, float, int, int]:
    worker = children.start(MODULE, preexec_fn=children.dying_with_parent(MEMORY_MB))
    assert worker.stdin and worker.stdout
    worker.stdin.write(msgspec.json.encode(msgspec.structs.replace(task, worker=True)) + b"\n")
    worker.stdin.flush()
    worker.stdout.readline()
    pending: list[int] = []
    lock = threading.Lock()

    def progress(share: float) -> None:
        with lock:
            if share >= 0.5 and not pending:
                pending.append(_kill_within_a_batch(store, worker))

    try:
        tally, seconds = workload.run(store, task.options, progress, rows.visits)
    finally:
        worker.kill()
        worker.wait()
        worker.stdin.close()
        worker.stdout.close()
        trouble.end()
    return tally, seconds, pending[0] if pending else store.pending(), _drain(store)


def _kill_within_a_batch(
    store: WriteBehind[products.Product], worker: subprocess.Popen[bytes]
) -> int:
    """Kills the worker once it has read what it has not acknowledged, a second later at most; how
    many changes wait.

    It is stopped first: between a look and a kill it could still acknowledge.
    """
    for _ in range(100):
        worker.send_signal(signal.SIGSTOP)
        waiting = store.pending()
        if store.unacknowledged():
            break
        worker.send_signal(signal.SIGCONT)
        time.sleep(0.01)
    worker.kill()
    worker.wait()
    return waiting


def _drain(store: WriteBehind[products.Product]) -> int:
    """Writes what still waits, and what a dead worker has left; how many that were."""
    claimed = 0
    for _ in range(200):
        if not store.pending():
            break
        claimed += store.flush("last", idle_ms=0, count=500).claimed
    return claimed


@contextlib.contextmanager
def _database(task: Task, kind: str) -> Iterator[Database]:
    folder = Path(task.folder) / kind
    folder.mkdir(exist_ok=True)
    database = Database(sqlite_url(folder))
    try:
        yield database
    finally:
        database.engine.dispose()


def _stock(database: Database) -> int:
    with database.read() as connection:
        found = products.load_products(connection, range(1, PRODUCTS + 1))
    return sum(product.stock for product in found.values())


def _clean(client: Client, name: str, strategy: object) -> None:
    ids = range(1, PRODUCTS + 1)
    names = [f"demo:catalog:{{{name}:{number}}}" for number in ids]
    if isinstance(strategy, WriteBehind):
        names = [
            strategy.stream,
            strategy.dead,
            *(strategy.entry_key(str(number)) for number in ids),
        ]
    pipeline = client.pipeline(transaction=False)
    for key in names:
        pipeline.unlink(key)
    pipeline.execute()


def _outcome(
    kind: str,
    tally: Tally,
    seconds: float,
    rows: Rows,
    lost: int,
    pending: int | None,
    replayed: int | None,
) -> Outcome:
    return Outcome(
        kind,
        tally.done,
        rows.reads,
        rows.writes,
        percentile(tally.reads, 50),
        percentile(tally.reads, 99),
        percentile(tally.writes, 50),
        percentile(tally.writes, 99),
        tally.stale,
        lost,
        tally.errors,
        seconds,
        pending,
        replayed,
        len(tally.reads),
        len(tally.writes),
        tally.from_redis,
        tally.fresh,
    )


if __name__ == "__main__":
    main()
