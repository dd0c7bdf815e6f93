"""What a lesson does on an engine of its own, in a process of its own: so nothing of it is left,
however it ends."""

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import msgspec
from werkzeug.exceptions import ServiceUnavailable

from demo.client import children, engine

KILL_SECONDS = 7.5


def binary(otherwise: str) -> str:
    """The engine's program. Raises ServiceUnavailable with these words where none is installed."""
    try:
        return engine.find_engine()
    except engine.EngineError:
        raise ServiceUnavailable(otherwise) from None


@contextmanager
def told(module: str, task: msgspec.Struct) -> Iterator[IO[bytes]]:
    """What a module says of its task, line by line; it ends with the block, or after KILL_SECONDS.
    Raises ServiceUnavailable, and OSError where it does not take the task."""
    try:
        process = children.start(module)
    except OSError:
        raise ServiceUnavailable("This machine has no room for a run now.") from None
    assert process.stdin and process.stdout
    late = threading.Timer(KILL_SECONDS, process.kill)
    late.start()
    try:
        process.stdin.write(msgspec.json.encode(task) + b"\n")
        process.stdin.flush()
        yield process.stdout
    finally:
        _end(process)
        late.cancel()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Closes what the process reads, which it takes as the word to end."""
    assert process.stdin and process.stdout
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
