"""Redis for tests: TEST_REDIS_URL when it is set, else an embedded engine; private engines for
tests that hurt theirs."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import redis

from demo.client import engine
from tests.serving import until

FIRST_DATABASE = 8


def shared_url() -> str:
    """TEST_REDIS_URL with a database of this test process alone, or nothing."""
    url = os.environ.get("TEST_REDIS_URL", "")
    if not url:
        return ""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    if url.startswith("unix:"):
        return f"{url}{'&' if '?' in url else '?'}db={FIRST_DATABASE + number}"
    return urlunsplit(urlsplit(url)._replace(path=f"/{FIRST_DATABASE + number}"))


def clean(client: redis.Redis) -> None:
    """Removes this app's keys: never a FLUSHDB, the server may be somebody's."""
    for keys in _batches(client):
        client.unlink(*keys)


def _batches(client: redis.Redis) -> Iterator[list[bytes]]:
    cursor = 0
    while True:
        cursor, keys = client.scan(cursor, match="demo:*", count=1000)
        if keys:
            yield keys
        if cursor == 0:
            return


class PrivateEngine:
    """A server of one test's own: it may be killed, paused, filled."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.socket = folder / "private.sock"
        self.url = f"unix://{self.socket}"
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [
            engine.find_engine(),
            "--port",
            "0",
            "--unixsocket",
            str(self.socket),
            "--save",
            "",
            "--dir",
            str(self.folder),
        ]
        self.process = subprocess.Popen(
            [*command, *self.arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers)

    def _answers(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self.socket), retry=None) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def private_engine(*arguments: str) -> Iterator[PrivateEngine]:
    """A server that ends with the block."""
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        server = PrivateEngine(Path(folder), *arguments)
        try:
            yield server
        finally:
            server.resume()
            server.kill()
