"""Which tests run a line, nearest first. What each test ran is recorded once and kept in `.mutants/`;
the tests of a file that has changed since are recorded anew."""

import hashlib
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from coverage import CoverageData

from tests.mutants.copies import copied, environment
from tests.mutants.faults import Fault, in_a_function, statements
from tests.servers import REPOSITORY

KEPT = REPOSITORY / ".mutants"
LEFT_OUT = ("tests/browser/", "tests/upgrade/", "tests/mutants/")


class Record:
    """What is kept: `notes` of each test (seconds, scripts), the hash of each file of tests and of
    each file of code as they were, and the lines in coverage.py's own file."""

    def __init__(self) -> None:
        self.file = KEPT / "notes.json"
        kept = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.notes: dict[str, dict[str, object]] = kept.get("notes", {})
        self.hashes: dict[str, str] = kept.get("hashes", {})
        self.lines = CoverageData(str(KEPT / "lines"))
        self.lines.read()

    def bring_up_to_date(self, jobs: int) -> None:
        """Records the files of tests that are new or have changed."""
        found = (
            str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("tests/**/test_*.py")
        )
        stale = sorted(
            file
            for file in found
            if not file.startswith(LEFT_OUT) and self.hashes.get(file) != _hash(file)
        )
        if stale:
            print(f"recording what the tests of {len(stale)} files run …", flush=True)
            self._record(stale, jobs)

    def _record(self, stale: list[str], jobs: int) -> None:
        KEPT.mkdir(exist_ok=True)
        with copied() as folder:
            notes = folder.parent / "notes"
            notes.mkdir()
            command = [sys.executable, "-m", "pytest", "-q", "-n", str(jobs)]
            command += ["-p", "tests.mutants.recording", *stale]
            told = environment(folder, MUTANTS_RECORD=str(notes))
            subprocess.run(command, cwd=folder, env=told, check=False)
            for part in notes.glob("lines.*"):
                lines = CoverageData(str(part))
                lines.read()
                self.lines.update(lines)
            gone = set(stale)
            kept = {test: note for test, note in self.notes.items() if _file(test) not in gone}
            for part in notes.glob("notes.*.json"):
                kept |= json.loads(part.read_text())
        self.notes = kept
        self.hashes |= {file: _hash(file) for file in stale}
        for file in self.lines.measured_files():
            self.hashes.setdefault(file, _hash(file))
        self.lines.write()
        self.file.write_text(json.dumps({"notes": self.notes, "hashes": self.hashes}))

    def of(self, fault: Fault, seconds: float) -> list[str]:
        """The tests that run the line of a fault: all of its own file of tests, then those of the
        others, the nearest first, up to so many seconds. Where none is known to, as for what is
        done on import alone, those that run anything of the file."""
        tests = self._of_script(fault) if fault.file.endswith(".lua") else self._of_line(fault)
        by_file: defaultdict[str, list[str]] = defaultdict(list)
        for test in tests & self.notes.keys():
            by_file[_file(test)].append(test)
        chosen: list[str] = []
        left = seconds
        for file in sorted(by_file, key=lambda each: (_distance(each, fault.file), each)):
            own = _distance(file, fault.file) == 0
            for test in sorted(by_file[file], key=self._seconds):
                if own or left > 0:
                    chosen.append(test)
                    left -= self._seconds(test)
        return chosen

    def seconds(self, tests: list[str]) -> float:
        return sum(map(self._seconds, tests))

    def _seconds(self, test: str) -> float:
        return float(str(self.notes[test]["seconds"]))

    def _of_script(self, fault: Fault) -> set[str]:
        sha = hashlib.sha1((REPOSITORY / fault.file).read_bytes()).hexdigest()
        return {test for test, note in self.notes.items() if sha in str(note["scripts"])}

    def _of_line(self, fault: Fault) -> set[str]:
        by_line = self.lines.contexts_by_lineno(fault.file)
        everything = {test for tests in by_line.values() for test in tests if test}
        # What runs in a process that a test has started is not seen: its own file of tests may know,
        # or that of what it begins like.
        everything |= {test for test in self.notes if _distance(_file(test), fault.file) <= 1}
        source, line = (REPOSITORY / fault.file).read_text(), fault.change[0]
        if self.hashes.get(fault.file) != _hash(fault.file) or not in_a_function(source, line):
            return everything
        within = min((each for each in statements(source) if line in each), key=len)
        return {test for at in within for test in by_line.get(at, []) if test} or everything


def _hash(file: str) -> str:
    """Of a file, and where it holds tests, of what lies beside it for them."""
    path = REPOSITORY / file
    beside = path.parent.glob("[!t]*.py") if path.name.startswith("test_") else []
    texts = [each.read_bytes() for each in [path, *sorted(beside)] if each.exists()]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def _file(test: str) -> str:
    return test.partition("::")[0]


def _distance(file: str, code: str) -> int:
    """How far a file of tests is from a file of code: its own, of its folder, of another."""
    test, of = Path(file), Path(code)
    if test.parent.name != of.parent.name:
        return 3
    stem, own = test.stem.removeprefix("test_"), of.stem
    return 0 if stem == own else 1 if own.startswith(stem) or stem.startswith(own) else 2
