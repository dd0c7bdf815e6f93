"""What a hostile pickle would have done, shown where it can do no harm.

This module has one hostile pickle, which is our own, and reports what it did. The hostile pickle is
loaded in a child process that has little memory, CPU time and disk, and can open few files. The
child process has no site packages, an empty environment, and a folder of its own that is removed
afterwards.
"""

import io
import pickletools
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SECONDS = 3.0
# Protocol 0 by hand: call builtins.exec with this text. A pickle is a program, and this is a whole
# one.
DEED = "import os; open('taken-over.txt', 'w').write('uid %d, environment %s' % (os.getuid(), sorted(os.environ)))"
PAYLOAD = b"cbuiltins\nexec\n(V" + DEED.encode() + b"\ntR."
# The child sets its own limits: preexec_fn is not safe under gevent and threads. macOS refuses a
# limit of the memory.
CHILD = """
import pickle, resource, sys
limits = {"CPU": 1, "FSIZE": 4096, "NOFILE": 16, "NPROC": 0, "CORE": 0}
if sys.platform != "darwin":
    limits["AS"] = 256 * 1024 * 1024
data = sys.stdin.buffer.read()
for name, most in limits.items():
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
pickle.loads(data)
"""


@dataclass(frozen=True)
class Deed:
    """The file that appeared and what is in it, empty when nothing happened, and the child's last
    words if it had any."""

    file: str
    content: str
    error: str


def disassemble() -> str:
    """The payload as pickle's own tools show it."""
    out = io.StringIO()
    pickletools.dis(PAYLOAD, out)
    return out.getvalue()


def let_it_run() -> Deed:
    """Unpickles the payload where it can do no harm. Raises OSError, SubprocessError."""
    with (
        tempfile.TemporaryDirectory(prefix="hostile-pickle-") as folder,
        tempfile.TemporaryFile() as words,
    ):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", CHILD],
            input=PAYLOAD,
            stdout=subprocess.DEVNULL,
            stderr=words,
            cwd=folder,
            env={},
            timeout=SECONDS,
            check=False,
        )
        words.seek(0)
        error = words.read(4096).decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        if done.returncode < 0:
            error = f"ended by signal {-done.returncode}"
        files = sorted(
            path for path in Path(folder).iterdir() if path.is_file() and not path.is_symlink()
        )
        if not files:
            return Deed("", "", error)
        return Deed(files[0].name, files[0].read_text("utf-8", "replace")[:200], error)
