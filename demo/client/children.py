"""Child processes that end with the process that started them, and take no more than they were
given.

The owner holds the child's standard input open. The kernel closes it with the owner, however that
one ends, and the child takes it as the word to end. A child bounds itself: what is set between fork
and exec is not safe beside threads. What it starts in turn has the same bounds, each process for
itself. On Linux the kernel kills it with the thread that started it. macOS refuses a bound on
memory.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MB = 1024 * 1024
CPU_SECONDS, NICE = 120, 10


def start(module: str, **more: Any) -> subprocess.Popen[bytes]:
    """Starts a module of this app as a child whose standard input and output are pipes. Raises
    OSError."""
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        # Each thread would reserve 64 MB of addresses, which count.
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
        **more,
    )


def bound(memory_mb: int, cpu_seconds: int = CPU_SECONDS) -> None:
    """Bounds this process: its addresses, and so its memory, and the time that it computes; others
    that have work to do go first."""
    if os.getpriority(os.PRIO_PROCESS, 0) < NICE:
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    most = {resource.RLIMIT_CPU: cpu_seconds, resource.RLIMIT_CORE: 0}
    if sys.platform != "darwin":
        most[resource.RLIMIT_AS] = memory_mb * MB
    for kind, wanted in most.items():
        hard = resource.getrlimit(kind)[1]
        least = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (least, least))


def end_with_owner() -> None:
    """Sends this process SIGTERM as soon as its standard input is closed. What it has to be told
    is read before."""
    threading.Thread(target=_watch, name="owner", daemon=True).start()


def dying_with_parent(memory_mb: int) -> Callable[[], None]:
    """What a process of one thread gives to Popen as `preexec_fn`: the child is bounded, and killed
    when this process ends."""
    parent = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        bound(memory_mb)
        if libc is not None:
            PR_SET_PDEATHSIG = 1
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it ended before it could be told
                os._exit(1)

    return prepare


def _watch() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
