"""Children: bounded, and gone with whoever started them, however that one ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import REPOSITORY, until

BOUNDED = """
import resource, sys
from demo.client import children
children.bound(200)
try:
    bytearray(300 * children.MB)
except MemoryError:
    print("refused", resource.getrlimit(resource.RLIMIT_CPU)[0], resource.getrlimit(resource.RLIMIT_CORE)[0])
bytearray(10 * children.MB)
"""
# Starts a child that does nothing but wait, tells its number, and waits itself.
OWNER = """
import subprocess, sys, time
from demo.client import children
child = "import time; from demo.client import children; {begins}; print('ready', flush=True); time.sleep(600)"
process = subprocess.Popen(
    [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, {more}
)
process.stdout.readline()
print(process.pid, flush=True)
time.sleep(600)
"""


def lives(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for is dead too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="macOS refuses a bound of the memory")
def test_a_child_takes_no_more_memory_than_it_was_given() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["refused", "120", "0"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
@pytest.mark.parametrize(
    ("begins", "more"),
    [
        ("children.end_with_owner()", ""),
        ("pass", "preexec_fn=children.dying_with_parent(1024)"),
    ],
    ids=["standard input", "the kernel's word"],
)
def test_a_child_ends_with_its_owner(way: signal.Signals, begins: str, more: str) -> None:
    code = OWNER.format(begins=begins, more=more)
    owner = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout
        child = int(owner.stdout.readline())
        assert lives(child)
        os.kill(owner.pid, way)
        owner.wait(10)
    until(lambda: not lives(child))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_that_is_stopped_ends_with_its_owner_too() -> None:
    """The lab of strategies stops its worker for a look: killed in that moment it leaves none."""
    code = OWNER.format(begins="pass", more="preexec_fn=children.dying_with_parent(1024)")
    owner = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout
        child = int(owner.stdout.readline())
        os.kill(child, signal.SIGSTOP)
        owner.kill()
        owner.wait(10)
    until(lambda: not lives(child))
