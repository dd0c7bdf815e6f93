"""gunicorn for tests, forked from a process that has imported the app: that is half of what a start
costs, and a suite starts a hundred. `python -m tests.gunicorn_forks KIND` is that process, one for
each kind of worker, as gevent's patches come before the app. tests/test_life.py starts from the
command line."""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = (
    Path(__file__).resolve().parent.parent
)  # nothing of ours is imported before the patches
_NUMBER = struct.Struct("!i")
_starting = threading.Lock()
_kept: dict[str, "Forks"] = {}


class Fork:
    """A process of gunicorn's own group. As subprocess.Popen, as far as tests ask it."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self.returncode: int | None = None
        self.pid = self._number()

    def poll(self) -> int | None:
        return self._end(0)

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        code = self._end(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("gunicorn", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _end(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], seconds)[0]:
            self.returncode = self._number()
            self._told.close()
        return self.returncode

    def _number(self) -> int:
        number: int = _NUMBER.unpack(self._told.recv(_NUMBER.size, socket.MSG_WAITALL))[0]
        return number


class Forks:
    """The process that is forked from, and the way to ask it."""

    def __init__(self, kind: str) -> None:
        self._asks, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.gunicorn_forks", kind],
            cwd=REPOSITORY,
            stdin=theirs,
            start_new_session=True,
        )
        theirs.close()
        self._one_at_a_time = threading.Lock()

    def start(self, environment: Mapping[str, str], out: int) -> Fork:
        """gunicorn with this environment; what it prints goes into the file `out`."""
        told, theirs = socket.socketpair()
        with theirs:
            asked = json.dumps(dict(environment)).encode()
            with self._one_at_a_time:
                socket.send_fds(self._asks, [_NUMBER.pack(len(asked))], [out, theirs.fileno()])
                self._asks.sendall(asked)
        return Fork(told)

    def close(self) -> None:
        self._asks.close()
        self._process.wait(30)


def of(kind: str) -> Forks:
    """The one of this test process."""
    with _starting:
        if kind not in _kept:
            _kept[kind] = Forks(kind)
        return _kept[kind]


def close() -> None:
    """Ends what was forked from."""
    while _kept:
        _kept.popitem()[1].close()


def _serve(kind: str) -> None:
    """Forks for whoever asks, until nobody can any more. It waits for its children at last: their
    time is part of its own then."""
    asks = socket.socket(fileno=0)  # before gevent's come with the app
    receive = socket.recv_fds
    with tempfile.TemporaryDirectory() as folder:
        # whether there is such a folder is decided on import
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        runpy.run_path(str(REPOSITORY / "gunicorn.conf.py"))["_import"](kind)
    importlib.import_module("gunicorn.app.wsgiapp")
    _prepare()
    children = []
    while (asked := receive(asks, _NUMBER.size, 2))[0]:
        (size,) = _NUMBER.unpack(asked[0])
        environment = json.loads(asks.recv(size, socket.MSG_WAITALL))
        child = os.fork()
        if not child:
            asks.close()
            _keep(environment, *asked[1])
        children.append(child)
        for file in asked[1]:
            os.close(file)
    for child in children:
        os.waitpid(child, 0)


def _prepare() -> None:
    """Makes here once what each fork would make for itself: compiled rules, SQLAlchemy's dialect and
    all that its first use brings. Nothing of it has a connection or a thread."""
    from demo.database import Database, sqlite_url
    from tests import compiled_rules

    compiled_rules.remember()
    compiled_rules.compile_all()
    with tempfile.TemporaryDirectory() as folder:
        database = Database(sqlite_url(Path(folder)))
        importlib.import_module("demo.catalog.seed").seed(database.engine, 1)
        database.engine.dispose()
    gc.collect()
    gc.freeze()


def _keep(environment: dict[str, str], out: int, told: int) -> None:
    """Runs gunicorn in a child of this one, and tells its number and how it ended."""
    child = os.fork()
    if child:
        os.write(told, _NUMBER.pack(child))
        os.close(out)
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(OSError):  # nobody asks any more
            os.write(told, _NUMBER.pack(os.waitstatus_to_exitcode(status)))
        os._exit(0)
    os.setsid()
    os.close(told)
    for its in (1, 2):
        os.dup2(out, its)
    os.close(out)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # where it is, the environment says
    sys.argv = ["gunicorn"]
    sys.exit(importlib.import_module("gunicorn.app.wsgiapp").run())


if __name__ == "__main__":
    _serve(sys.argv[1])
