"""Is it atomic? One counter, many threads, four ways; and a lock whose holder was paused."""

import contextvars
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from demo.learn.counters import Contended, Counter
from demo.learn.fenced_lock import FencedLock
from demo.teach.experiments import Bench, Experiment, Found, Row, counter

THREADS, EACH = 16, 3
WANTED = THREADS * EACH
HOLD_MS, WAIT_SECONDS = 50, 5.0


def together(do: Callable[[int], None]) -> None:
    """In so many threads at once, each in this context."""
    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(do, number))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def add_together(bench: Bench, name: str, add: Callable[[Counter], int], unseen: int = 0) -> Row:
    """A row: the sum, lost updates, retries, round trips and milliseconds. `unseen` round trips of each
    try are those of WATCH and of the GET behind it, which no trace notes."""
    made = Counter(bench.client, bench.key("learn", name))
    made.write(0)
    retries, errors, sent, began = list[int](), list[Exception](), counter(), time.perf_counter()
    gate = threading.Barrier(THREADS)

    def work(_: int) -> None:
        with suppress(threading.BrokenBarrierError):
            gate.wait(WAIT_SECONDS)
        try:
            for _ in range(EACH):
                if not bench.over:
                    retries.append(add(made))
        except Contended:
            return
        except Exception as error:
            errors.append(error)

    together(work)
    if errors:
        raise errors[0]
    took_ms = 1000 * (time.perf_counter() - began)
    held, tries = made.read(), len(retries) + sum(retries)
    trips = sent() + unseen * tries
    return Row(name, [held, len(retries) - held, sum(retries), trips, took_ms])


def get_and_set_together(bench: Bench) -> Row:
    """All read before any writes, round after round: the worst that chance could do."""
    made = Counter(bench.client, bench.key("learn", "get-set"))
    made.write(0)
    gate, sent, began = threading.Barrier(THREADS), counter(), time.perf_counter()
    errors: list[Exception] = []

    def work(_: int) -> None:
        try:
            for _ in range(EACH):
                seen = made.read()
                gate.wait(WAIT_SECONDS)
                made.write(seen + 1)
                gate.wait(WAIT_SECONDS)
        except threading.BrokenBarrierError:
            return  # another one has failed, and tells why
        except Exception as error:
            errors.append(error)
            gate.abort()

    together(work)
    if errors:
        raise errors[0]
    held = made.read()
    values = [held, WANTED - held, 0, sent(), 1000 * (time.perf_counter() - began)]
    return Row("GET and SET", list(values))


def late_writer(bench: Bench) -> tuple[bytes, bytes]:
    """What two stores hold after their first holder was paused past its time and wrote late: one
    that asks for no token, and one that does."""
    lock = FencedLock(bench.client, bench.name, hold_ms=HOLD_MS)
    bench.take(lock.lock_key, lock.token_key, lock.value_key)
    plain = bench.key("learn", "unfenced")
    first = lock.acquire()
    second, until = None, time.monotonic() + WAIT_SECONDS
    while second is None and time.monotonic() < until:  # the first one sleeps past his time
        time.sleep(HOLD_MS / 5000)
        second = lock.acquire()
    for token, value in ((second, b"second"), (first, b"first")):
        bench.client.set(plain, value, px=60_000)
        lock.store(token or 0, value)
    return bench.client.get(plain) or b"", lock.value() or b""


def measure(bench: Bench) -> Found:
    """All four ways, then the lock."""
    ways: dict[str, Callable[[], Row]] = {
        "GET and SET": lambda: get_and_set_together(bench),
        "INCR": lambda: add_together(bench, "INCR", Counter.incr),
        "WATCH and MULTI": lambda: add_together(bench, "WATCH and MULTI", Counter.watch, 2),
        "Script": lambda: add_together(bench, "Script", Counter.script),
    }
    rows = [row for name, do in ways.items() if (row := bench.part(name, do))]
    counts = {f"lost {row.name}": float(str(row.values[1])) for row in rows}
    counts |= {f"retries {row.name}": float(str(row.values[2])) for row in rows}
    held = bench.part("The lock", lambda: late_writer(bench))
    if held:
        counts |= {"plain late": held[0] == b"first", "fenced late": held[1] == b"first"}
    return Found(rows, counts)


def verdict(found: Found) -> str:
    """Which ways have lost something."""
    lost = {row.name for row in found.rows if found.counts[f"lost {row.name}"] > 0}
    if len(found.rows) < 4:
        return ""
    return "one" if lost == {"GET and SET"} else "more" if lost else "none"


def tell(found: Found) -> str:
    """Of both parts."""
    if not found.rows:
        return ""
    told = [
        f"{THREADS} threads added {EACH} each, so {WANTED} were due: "
        + "; ".join(f"{row.name} lost {found.counts[f'lost {row.name}']:.0f}" for row in found.rows)
        + "."
    ]
    if found.has("retries WATCH and MULTI"):
        told.append(f"WATCH tried again {found.counts['retries WATCH and MULTI']:.0f} times.")
    if found.has("plain late", "fenced late"):
        late = "was overwritten" if found.counts["plain late"] else "was kept"
        fenced = "overwrote it too" if found.counts["fenced late"] else "was refused"
        told.append(
            f"The newer value {late} by the holder that was paused; with a token its write {fenced}."
        )
    return " ".join(told)


EXPERIMENT = Experiment(
    measure,
    verdict,
    tell,
    ("Counter", "Lost updates", "Retries", "Round trips", "ms"),
    drawn=1,
)
