"""Rate limits: which window? The burst at the edge, two calls that meet, and whether a caller who
waits as told gets in."""

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from demo.rate_limit.algorithms import ALGORITHMS
from demo.rate_limit.limiter import Quota
from demo.rate_limit.playground import Playground
from demo.teach.experiments import Bench, Experiment, Found, Row

QUOTA, COST, CALLERS, WAIT_SECONDS = Quota(5, 10), 3, 10, 5.0


def measure(bench: Bench) -> Found:
    """The three, in their order."""
    found, counts = list[Row](), dict[str, float]()
    lanes = bench.part("The burst at the edge", partial(_edge, bench))
    waits = bench.part("The wait", partial(_waits, bench)) if lanes else None
    for name, worst in (lanes or {}).items():
        told = (waits or {}).get(name)
        passed = None if told is None else "yes" if told[1] else "no"
        found.append(Row(name.replace("_", " "), [worst, told[0] if told else None, passed]))
        counts[f"worst {name}"] = worst
        if told:
            counts[f"kept {name}"] = told[1]
    race = bench.part("Two calls that meet", partial(_race, bench))
    if race:
        counts["two calls"], counts["one script"] = race
    return Found(found, counts)


def _edge(bench: Bench) -> dict[str, int]:
    """The most that each algorithm admitted in one window of any position."""
    playground = Playground(bench.client, QUOTA)
    try:
        playground.play(bench.name, "edge")
        return {lane.name: lane.worst for lane in playground.look(bench.name)[1]}
    finally:
        playground.reset(bench.name)


def _waits(bench: Bench) -> dict[str, tuple[float, bool]]:
    """The wait in seconds that each tells a refused caller of cost 3, and whether the caller passes
    then."""
    told = {}
    seconds, microseconds = bench.client.time()
    for name, kind in ALGORITHMS.items():
        limiter = kind(bench.client, "learn", QUOTA)
        bench.take(*limiter.redis_keys(bench.name))
        now = int(seconds) * 1_000_000 + int(microseconds)
        limiter.reset(bench.name)
        for _ in range(QUOTA.limit):
            limiter.hit(bench.name, now_us=now)
            now += 100_000
        refused = limiter.hit(bench.name, COST, now_us=now)
        later = now + round(refused.retry_after_seconds * 1_000_000)
        passed = limiter.hit(bench.name, COST, now_us=later).allowed
        told[name] = (refused.retry_after_seconds, passed and not refused.allowed)
        limiter.reset(bench.name)
    return told


def _race(bench: Bench) -> tuple[int, int]:
    """How many of ten at once pass a limit of five: by a count and an add, and by one script."""
    key = bench.key("rate_limit", "two-calls")
    gate = threading.Barrier(CALLERS)

    def count_then_add(number: int) -> bool:
        is_free = int(bench.client.zcard(key)) < QUOTA.limit
        with suppress(threading.BrokenBarrierError):
            gate.wait(WAIT_SECONDS)
        if is_free:
            pipeline = bench.client.pipeline(transaction=False)
            pipeline.zadd(key, {str(number): number})
            pipeline.expire(key, 60)
            pipeline.execute()
        return is_free

    limiter = ALGORITHMS["sliding_window_log"](bench.client, "learn", QUOTA)
    bench.take(*limiter.redis_keys(f"{bench.name}-race"))
    by_script = lambda _: limiter.hit(f"{bench.name}-race").allowed  # noqa: E731
    return _passed(count_then_add), _passed(by_script)


def _passed(ask: Callable[[int], bool]) -> int:
    answers: list[Any] = []

    def work(number: int) -> None:
        try:
            answers.append(ask(number))
        except Exception as error:
            answers.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return sum(answers)


def verdict(found: Found) -> str:
    """Which let more than the limit into one window."""
    if not found.rows:
        return ""
    over = {name for name in ALGORITHMS if found.counts.get(f"worst {name}", 0) > QUOTA.limit}
    return "none" if not over else "fixed" if over == {"fixed_window"} else "more"


def tell(found: Found) -> str:
    """The edge, the wait and the race."""
    if not found.rows:
        return ""
    worst = found.counts.get("worst fixed_window", 0)
    told = f"Around the edge the fixed window let {worst:.0f} through in one window, for a limit of {QUOTA.limit}."
    kept = [count for name, count in found.counts.items() if name.startswith("kept ")]
    if kept:
        told += (
            f" {sum(kept):.0f} of {len(kept)} algorithms let a caller in who had waited as told."
        )
    if found.has("two calls"):
        told += (
            f" Of {CALLERS} at once {found.counts['two calls']:.0f} passed a count and an add, and "
            f"{found.counts['one script']:.0f} one script."
        )
    return told


EXPERIMENT = Experiment(
    measure,
    verdict,
    tell,
    ("Most in one window", f"Told wait for a cost of {COST}, s", "Passes after it"),
    drawn=0,
)
