"""One process that tries faults in a copy of the repository: `python -m tests.mutants.worker`, begun
in the copy. Reads a fault a line from stdin as JSON, and answers each with a line on stdout.

It has imported what the tests import of others' code, and nothing of ours: so each fault is tried in
a fork of it, which begins at once, sees the fault wherever it is imported, and leaves nothing behind.
"""

import importlib
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

MEMORY_BYTES = 4 << 30
OURS = ("demo", "tests", "wsgi", "gunicorn_conf")


def others() -> list[str]:
    """The modules of others that come with the tests' own, as a fork sees that collects some."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        import pytest

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        pytest.main(["-q", "-n", "0", "--collect-only", "tests/rate_limit/test_gcra.py"])
        Path(f"/dev/fd/{writer}").write_text("\n".join(sys.modules))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        names = told.read().split()
    os.waitpid(pid, 0)
    assert names
    return [name for name in names if name.partition(".")[0] not in OURS]


class OneByOne:
    """Runs the tests asked for and no others, in the order asked for, and notes the first that
    fails."""

    def __init__(self, tests: list[str], told: Path) -> None:
        self.order, self.told = {test: at for at, test in enumerate(tests)}, told

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.order),
            key=lambda item: self.order[item.nodeid],
        )

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.told.read_text():
            self.told.write_text(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.told.read_text():
            self.told.write_text(f"import of {report.nodeid}")


def run_tests(tests: list[str], told: Path) -> int:
    """pytest's exit code. Hypothesis looks for the same examples each time, and not for the smallest
    that fails."""
    import hypothesis
    import pytest

    hypothesis.settings.register_profile(
        "mutants",
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
        derandomize=True,
        database=None,
    )
    hypothesis.settings.load_profile("mutants")
    options = ["-q", "-x", "-n", "0", "--no-header", "-p", "no:cacheprovider"]
    options += ["--basetemp", str(told.with_name("b"))]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # it has imported plugins before
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    return int(pytest.main([*options, *files], plugins=[OneByOne(tests, told)]))


def _in_a_fork(tests: list[str], told: Path) -> None:
    code = 3
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        output = os.open(told.with_name("output"), os.O_CREAT | os.O_WRONLY)
        for number in (1, 2):
            os.dup2(output, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        tempfile.tempdir = os.environ["TMPDIR"] = str(told.parent)
        code = run_tests(tests, told)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def trial(tests: list[str], seconds: float) -> tuple[str, str]:
    """What came of it: noticed, survived, late or broken; and the test that noticed it. Whatever the
    tests have started ends with them."""
    folder = Path(tempfile.mkdtemp(prefix=""))
    told = folder / "told"
    told.touch()
    pid = os.fork()
    if not pid:
        _in_a_fork(tests, told)
    fd = os.pidfd_open(pid)
    late = not select.select([fd], [], [], seconds)[0]
    os.close(fd)
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    status = os.waitpid(pid, 0)[1]
    noticed_by = told.read_text()
    output = (folder / "output").read_text(errors="replace")
    shutil.rmtree(folder, ignore_errors=True)
    if late:
        return "late", noticed_by
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return "survived", ""
    if code in (4, 5) and "while loading conftest" not in output:  # not asked as it should be
        return "broken", f"exit {code}: {output[-600:]}"
    return "noticed", noticed_by or f"exit {code}"


def _write(file: Path, text: str, time: int) -> None:
    file.write_text(text)
    os.utime(file, (time, time))


def main() -> None:
    for name in others():
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    print(json.dumps("ready"), flush=True)
    for number, line in enumerate(sys.stdin):
        asked = json.loads(line)
        file = Path(asked["file"])
        as_it_was, since = file.read_text(), int(file.stat().st_mtime)
        # Bytecode is told apart by time and size: each fault has a time of its own.
        _write(file, asked["text"], since + 1 + number)
        try:
            answer = trial(asked["tests"], asked["seconds"])
        finally:
            _write(file, as_it_was, since)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
