"""What a hostile pickle would have done, in a process with nothing to harm.

The payload is fixed and ours. A child without the site's packages, with an empty environment, in a folder of its own that
is removed afterwards, and with little memory, time and disk, unpickles it and tells what happened.
"""

import io
import pickletools
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SECONDS = 3.0
# Protocol 0 by hand: call builtins.exec with this text. A pickle is a program, and this is a whole one.
DEED = "import os; open('taken-over.txt', 'w').write('uid %d' % os.getuid())"
PAYLOAD = b"cbuiltins\nexec\n(V" + DEED.encode() + b"\ntR."
CHILD = """
import pickle, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
pickle.loads(sys.stdin.buffer.read())
"""


@dataclass(frozen=True)
class Deed:
    """The file that appeared and what is in it, empty when nothing happened, and the child's last words if it had any."""

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
    with tempfile.TemporaryDirectory(prefix="hostile-pickle-") as folder:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", CHILD],
            input=PAYLOAD,
            capture_output=True,
            cwd=folder,
            env={},
            timeout=SECONDS,
            check=False,
        )
        files = sorted(Path(folder).iterdir())
        error = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        return Deed(files[0].name, files[0].read_text()[:200], error) if files else Deed("", "", error)
