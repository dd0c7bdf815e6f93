"""`python -m tests.mutants [PATH …] [--sample N] [--seed S] [--jobs J] [--seconds T] [--recorded]`.

Puts one fault after the other into the code in PATH, of all of `demo/` if none is named, and runs the
tests that run the line, those of its own file first and then up to T seconds of others, until one
fails. Prints the faults that none has noticed, with the promise nearest to them. Each is tried in a
copy of the repository; one that lasts too long counts as noticed. Takes minutes to hours, and is no
test.
"""

import argparse
import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.mutants.copies import copied, environment
from tests.mutants.faults import Fault, equivalents, files, of_file, promise, sample
from tests.mutants.tests_of import Record


@dataclass(frozen=True)
class Tried:
    fault: Fault
    outcome: str
    by: str


class Bench:
    """Tries faults, some at once, each in a copy of its own."""

    def __init__(self, record: Record, seconds: float) -> None:
        self.record, self.seconds = record, seconds
        self.known = equivalents()
        self.waiting: queue.SimpleQueue[Fault] = queue.SimpleQueue()
        self.tried: list[Tried] = []

    def run(self, faults: list[Fault], jobs: int) -> None:
        for fault in faults:
            self.waiting.put(fault)
        threads = [threading.Thread(target=self._work) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:  # what is being tried is tried to its end
            with contextlib.suppress(queue.Empty):
                while True:
                    self.waiting.get_nowait()
            for thread in threads:
                thread.join()

    def _work(self) -> None:
        with copied() as folder, contextlib.ExitStack() as stack:
            command = [sys.executable, "-m", "tests.mutants.worker"]
            worker = stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=folder,
                    env=environment(folder),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(worker.terminate)
            assert worker.stdout
            assert json.loads(worker.stdout.readline()) == "ready"
            with contextlib.suppress(queue.Empty):
                while True:
                    self._tell(self._try(self.waiting.get_nowait(), worker))

    def _try(self, fault: Fault, worker: Any) -> Tried:
        _, was, becomes = fault.change
        if (fault.file, was, becomes) in self.known:
            return Tried(fault, "equivalent", self.known[fault.file, was, becomes])
        tests = self.record.of(fault, self.seconds)
        if not tests:
            return Tried(fault, "survived", "no test runs it")
        asked = {
            "file": fault.file,
            "text": fault.text,
            "tests": tests,
            "seconds": 60 + 5 * self.record.seconds(tests),
        }
        worker.stdin.write(json.dumps(asked) + "\n")
        worker.stdin.flush()
        outcome, by = json.loads(worker.stdout.readline())
        return Tried(fault, outcome, by or f"{len(tests)} tests")

    def _tell(self, tried: Tried) -> None:
        self.tried.append(tried)
        line, was, becomes = tried.fault.change
        place = f"{tried.fault.file}:{line}"
        print(
            f"{len(self.tried)} {tried.outcome} {place} [{tried.fault.kind}] {was} -> {becomes}"
            f" ({tried.by})",
            flush=True,
        )


def report(tried: list[Tried]) -> str:
    """The table of survivors, and the sums."""
    lines = []
    for each in sorted(tried, key=lambda each: (each.fault.file, each.fault.change)):
        if each.outcome in ("survived", "broken"):
            line, was, becomes = each.fault.change
            lines += [f"{each.fault.file}:{line}  {each.outcome}, {each.by}"]
            lines += [f"    was      {was}", f"    becomes  {becomes}"]
            lines += [f"    promise  {promise(each.fault.file, line)}"]
    sums = Counter(each.outcome for each in tried)
    judged = len(tried) - sums["equivalent"]
    noticed = sums["noticed"] + sums["late"]
    share = 100 * noticed / judged if judged else 100.0
    lines += [
        f"{len(tried)} tried: {sums['equivalent']} equivalent, {noticed} of the other {judged} "
        f"noticed ({share:.1f} %; {sums['late']} by their time), {sums['survived']} survived, "
        f"{sums['broken']} could not be tried"
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("paths", nargs="*", default=["demo"], metavar="PATH")
    parser.add_argument("--sample", type=int, metavar="N", help="so many faults, by chance")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="tried at once")
    parser.add_argument("--seconds", type=float, default=30, metavar="T", help="of tests a fault")
    parser.add_argument("--recorded", action="store_true", help="record nothing anew")
    given = parser.parse_args()
    record = Record()
    if not given.recorded:
        record.bring_up_to_date(given.jobs)
    found = [fault for file in files(given.paths) for fault in of_file(file)]
    chosen = found if given.sample is None else sample(found, given.sample, given.seed)
    print(f"{len(found)} faults, of which {len(chosen)} are tried", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bench = Bench(record, given.seconds)
    bench.run(chosen, given.jobs)
    print(report(bench.tried))


if __name__ == "__main__":
    main()
