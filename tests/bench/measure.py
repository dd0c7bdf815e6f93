"""Ratios of neighbours measured in turns, and how they are printed."""

import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.client import engine

ROUNDS, CALLS = 25, 60
Figures = tuple[float, float, float]


@contextmanager
def on_one_core(*, keep: bool = False) -> Iterator[tuple[str, str]]:
    """An engine of its own and this process pinned to one core: the engine's URL and its folder."""
    logging.disable(logging.WARNING)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if cores:
        os.sched_setaffinity(0, {min(cores)})
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            yield engine.start(Path(folder), keep=keep), folder
            engine.release(Path(folder), wait_seconds=5)
    finally:
        if cores:
            os.sched_setaffinity(0, cores)


def ratio(base: Callable[[], object], variant: Callable[[], object]) -> Figures:
    """How long `variant` takes, in times of `base`: base, variant, base in turns; median, p25 and
    p75 of the pairs."""
    ratios = []
    for _ in range(ROUNDS):
        first, middle, last = _slice(base), _slice(variant), _slice(base)
        ratios.append(2 * middle / (first + last))
    low, median, high = statistics.quantiles(ratios, n=4)
    return median, low, high


def faster(base: Callable[[], object], variant: Callable[[], object]) -> Figures:
    """How many times as many calls of `variant` fit in the time of one of `base`."""
    median, low, high = ratio(base, variant)
    return 1 / median, 1 / high, 1 / low


def _slice(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return time.perf_counter() - began


def calibrate() -> float:
    """A fixed loop, before and after: when it drifted, so did everything."""
    began = time.perf_counter()
    sum(number * number for number in range(500_000))
    return (time.perf_counter() - began) * 1000


def report(
    name: str,
    figures: Figures,
    goal: float | None = None,
    *,
    most: float | None = None,
    limit: str = "",
) -> None:
    """One line; with a goal, or with what it may be at most, whether the better quartile reaches
    it. `limit` is what keeps it from more, told where it is missed."""
    median, low, high = figures
    verdict = "" if goal is None else f"   goal {goal}: {'met' if high >= goal else 'MISSED'}"
    verdict += "" if most is None else f"   at most {most}: {'met' if low <= most else 'MISSED'}"
    print(f"  {name:<66} {median:6.2f} ×   ({low:.2f} to {high:.2f}){verdict}", flush=True)
    if limit and "MISSED" in verdict:
        print(f"      The limit: {limit}", flush=True)


def say(text: str) -> None:
    """A heading or a remark."""
    print(text, flush=True)
