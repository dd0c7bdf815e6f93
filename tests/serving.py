"""A real server for tests: gunicorn with real workers, on a port of its own, in a folder of its
own."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests import gunicorn_forks, servers
from tests.servers import REPOSITORY, until

PRODUCTS = "200"
GTHREAD = "--worker-class gthread --threads 8"


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def round_trips(self) -> int:
        """What the x-ray says in Server-Timing."""
        return int(self.headers["Server-Timing"].split('desc="')[1].split()[0])


@dataclass
class Server:
    """A running gunicorn. `lines` is what it printed so far."""

    process: subprocess.Popen[bytes] | gunicorn_forks.Fork
    instance: Path
    temporary: Path
    lines: list[str] = field(default_factory=list)
    url: str = ""

    def request(
        self,
        path: str,
        method: str = "GET",
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        sent = {"Connection": "close", **(headers or {})}
        if data is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def engine_pid(self) -> int | None:
        """The process of this run's embedded engine."""
        for pid, command in processes():
            if str(self.temporary) in command and "redis.sock" in command:
                return pid
        return None

    def leftovers(self) -> list[str]:
        """Processes and folders of this run that are still there."""
        found = [command for _, command in processes() if str(self.temporary) in command]
        return found + [path.name for path in self.temporary.iterdir()]


def processes() -> list[tuple[int, str]]:
    """Every process on this machine that has a command line. Linux and anything with ps."""
    listing = Path("/proc")
    if not (listing / "self" / "cmdline").exists():
        lines = subprocess.run(
            ["ps", "-axo", "pid=,args="], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        return [(int(line.split()[0]), line.strip().partition(" ")[2]) for line in lines]
    found = []
    for folder in listing.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                command = (
                    (folder / "cmdline")
                    .read_bytes()
                    .replace(b"\0", b" ")
                    .decode(errors="replace")
                    .strip()
                )
                if command:
                    found.append((int(folder.name), command))
    return found


def parents() -> dict[int, int]:
    """The parent of every process that runs; one that nobody has waited for is none. Linux."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    found[int(folder.name)] = int(parent)
    return found


def descendants(pid: int) -> set[int]:
    """All that a process has started, and what these have. Linux."""
    known, found = parents(), {pid}
    while more := {child for child, parent in known.items() if parent in found} - found:
        found |= more
    return found - {pid}


@contextlib.contextmanager
def serve(
    *,
    workers: int = 2,
    arguments: str = "",
    instance: Path | None = None,
    ready: bool = True,
    fresh: bool = False,
    **environment: str,
) -> Iterator[Server]:
    """Runs the app under gunicorn until the block ends. A `fresh` one is started by its command, any
    other is forked from a process that has imported the app."""
    with tempfile.TemporaryDirectory(prefix="serve-") as folder:
        temporary = Path(folder) / "tmp"
        temporary.mkdir()
        home = instance or Path(folder) / "instance"
        variables = {key: value for key, value in os.environ.items() if not key.startswith("DEMO_")}
        variables.update(
            DEMO_INSTANCE_PATH=str(home),
            DEMO_SAMPLE_DATA="false",
            TMPDIR=str(temporary),
            WEB_CONCURRENCY=str(workers),
            GUNICORN_CMD_ARGS=f"--bind 127.0.0.1:0 {arguments}",
        )
        if not fresh:  # as many as tests ask for: to make ten times as many takes half of a start
            variables["DEMO_PRODUCTS"] = PRODUCTS
        variables["REDIS_URL"] = _clean_url()
        variables.update(environment)
        readable, out = os.pipe()
        process = _fresh(variables, out) if fresh else _forked(variables, out)
        os.close(out)
        server = Server(process, home, temporary)
        reader = threading.Thread(target=_read, args=(readable, server), daemon=True)
        reader.start()
        try:
            if ready:
                until(lambda: server.url or process.poll() is not None, 30)
                assert server.url, "".join(server.lines)
                until(lambda: _answers(server), 30)
            yield server
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            until(lambda: not server.leftovers(), 10)
            reader.join(5)


def _fresh(variables: dict[str, str], out: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "gunicorn"],
        cwd=REPOSITORY,
        env=variables,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _forked(variables: dict[str, str], out: int) -> gunicorn_forks.Fork:
    kind = "gthread" if "gthread" in variables["GUNICORN_CMD_ARGS"] else "gevent"
    return gunicorn_forks.of(kind).start(variables, out)


def _clean_url() -> str:
    url = servers.shared_url()
    if url:
        with redis.Redis.from_url(url) as client:
            servers.clean(client)
    return url


def _read(readable: int, server: Server) -> None:
    with open(readable) as lines:
        for line in lines:
            server.lines.append(line)
            if found := re.search(r"Redis in practice: (http://[\d.]+:\d+)", line):
                server.url = found[1]


def _answers(server: Server) -> bool:
    try:
        return server.request("/livez").status == 200
    except OSError:
        return False
