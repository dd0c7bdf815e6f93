"""Folders on this machine: `instance/`, which outlives the app, and private temporary ones, which
must not.

A temporary folder holds a file `alive.lock`. Each user of the folder holds a flock on it, which the
kernel drops with the last process, however that one ended. A temporary folder whose lock is free is
a leftover, and the next start removes it.
"""

import atexit
import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PREFIX = "redis-in-practice-"
LONGEST_ROOT = 60  # the kernel takes 104 to 108 bytes for a socket's path
log = logging.getLogger(__name__)


def lock(path: Path, *, exclusive: bool, wait: bool = True) -> IO[bytes] | None:
    """A flock on the file at `path`, made if missing, held until the returned file is closed in
    this process and in all that were forked from it. None when `wait` is false and somebody else
    holds it."""
    file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_alive(folder: Path) -> bool:
    """Whether somebody holds the lock of a temporary folder."""
    try:
        free = lock(folder / "alive.lock", exclusive=True, wait=False)
    except OSError:
        return False
    if free is None:
        return True
    free.close()
    return False


def root() -> Path:
    """The system's place for temporary files, or /tmp where its name is too long for a unix
    socket's path."""
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual)) <= LONGEST_ROOT else Path("/tmp")


def temporary(kind: str) -> Path:
    """A new private folder (0700); `kind` is part of its name."""
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-", dir=root()))


@contextlib.contextmanager
def scratch(kind: str) -> Iterator[Path]:
    """A temporary folder for the length of a block; what a killed process leaves is swept by the
    next start."""
    folder = temporary(kind)
    held = lock(folder / "alive.lock", exclusive=False)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held:
            held.close()


def sweep() -> None:
    """Removes the temporary folders of this user whose last process is gone."""
    for folder in root().glob(f"{PREFIX}*-*"):
        with contextlib.suppress(OSError):
            mine = (
                folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid()
            )
            if mine and (folder / "alive.lock").exists() and not is_alive(folder):
                shutil.rmtree(folder, ignore_errors=True)


def instance_folder(wanted: str) -> Path:
    """`wanted`, made if missing; where it cannot be written, a temporary folder that ends with the
    app.

    The temporary one is handed to child processes by the variable DEMO_INSTANCE_PATH, and one log
    line says that nothing is kept.
    """
    path = Path(wanted)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        reason = error.strerror
    sweep()
    path = temporary("instance")
    held = lock(path / "alive.lock", exclusive=False)
    owner = os.getpid()

    def let_go() -> None:
        if os.getpid() == owner:
            shutil.rmtree(path, ignore_errors=True)
        if held:
            held.close()

    atexit.register(let_go)
    os.environ["DEMO_INSTANCE_PATH"] = str(path)
    log.warning("%s cannot be written (%s): nothing is kept after this run", wanted, reason)
    return path
