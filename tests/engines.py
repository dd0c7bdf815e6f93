"""`python -m tests.engines BINARY…`: everything on servers of several versions, as one table.

Each binary is a server program; what it is, it says itself. On each: the patterns' tests, and a walk
through the app on one server, as each of the least users of docs/redis-servers.md, over TLS where it
was built with it, behind a Sentinel of its own kind, and on a cluster of three primaries and three
replicas. All of it on loopback, and gone at the end. `--walk` leaves the patterns' tests out.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import redis

from demo.app import USE_CASES, close, create_app
from demo.client import explain, pool
from demo.client.redis_url import AddressError, parse
from demo.web.services import services
from tests import users
from tests.certificates import Authority
from tests.client.test_tls import has_tls
from tests.servers import REPOSITORY, free_port, tcp_server, until
from tests.topologies import topology
from tests.walking import GOOD, read_everything, walk

PATTERNS = [f"tests/{name}" for name in ("catalog", "sessions", "rate_limit", "leaderboard")]
NO_SIGN_IN = {"sign-in": 503, "cart": 503}
Given = Callable[[str], AbstractContextManager[str]]


def version(binary: str) -> str:
    """What a server program says that it is."""
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(Redis|Valkey).*?v=([\d.]+)", told)
    return f"{found[1]} {found[2]}" if found else told.strip()


@contextmanager
def one(binary: str) -> Iterator[str]:
    with tcp_server(binary=binary) as port:
        yield f"redis://127.0.0.1:{port}"


@contextmanager
def user(rights: Callable[[], str], binary: str) -> Iterator[str]:
    with tcp_server(binary=binary) as port, redis.Redis(port=port) as admin:
        admin.execute_command("ACL", "SETUSER", "least", "on", ">p@ss", *rights().split())
        yield f"redis://least:p%40ss@127.0.0.1:{port}"


@contextmanager
def tls(binary: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        authority, port = Authority(Path(folder), "authority"), free_port()
        signed = authority.sign("127.0.0.1")
        options = {
            "tls-port": port,
            "tls-cert-file": signed.certificate,
            "tls-key-file": signed.key,
            "tls-ca-cert-file": authority.file,
            "tls-auth-clients": "no",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        with tcp_server(*words, binary=binary):
            yield f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.file}"


@contextmanager
def sentinel(binary: str) -> Iterator[str]:
    with topology("sentinel", binary=binary) as given:
        yield given.url()


@contextmanager
def cluster(binary: str) -> Iterator[str]:
    with topology("cluster", binary=binary, nodes=3, replicas=True) as given:
        yield given.url()


def _needs() -> dict[str, tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        app = create_app({"INSTANCE_PATH": folder, "PRODUCTS": 20, "BACKGROUND": "none"})
        needs = services(app).needs
        close(app)
    return needs


def patterns(binary: str) -> str:
    """How many of the patterns' tests passed."""
    with tcp_server(binary=binary) as port:
        asked = [sys.executable, "-m", "pytest", "-q", "-k", "not views", *PATTERNS]
        done = subprocess.run(
            [*asked, "--ignore", "tests/sessions/test_life.py"],
            cwd=REPOSITORY,
            env={**os.environ, "TEST_REDIS_URL": f"redis://127.0.0.1:{port}"},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    passed = sum(line.count(".") for line in re.findall(r"^[.sxF]+ ", done.stdout, re.MULTILINE))
    return f"{passed} passed" + "".join(f"; failed: {name}" for name in failed)


def walked(url: str, expected: dict[str, int], *, restricted: bool = False) -> str:
    """What differs from what is expected, or how many tasks and addresses were ok and how many were
    refused with a 503. Who is not restricted lacks no command."""
    client = pool.connect(url, pool_size=2, timeout_seconds=1.0)
    until(lambda: _is_there(client, url), 30)
    client.close()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"REDIS_URL": url, "INSTANCE_PATH": folder, "PRODUCTS": 200}
        app = create_app({**settings, "BACKGROUND": "none", "DB_LATENCY_MS": 0})
        try:
            told, read = walk(app), read_everything(app)
            lacks = app.test_client().get("/readyz").json["degraded"]
        finally:
            close(app)
    wrong: dict[str, object] = {
        name: status for name, status in told.items() if status != expected[name]
    }
    wrong |= {path: status for path, status in read.items() if status >= 500 and status != 503}
    if expected is GOOD and lacks != [] and not restricted:
        wrong["/readyz"] = lacks
    refused = sum(status == 503 for status in (*told.values(), *read.values()))
    good = f"{len(told) + len(read) - refused} ok" + (f", {refused} refused" if refused else "")
    return good if not wrong else f"**wrong: {wrong}**"


def _is_there(client: pool.Client, url: str) -> bool:
    try:
        return explain.check(client, parse(url), 1.0) is None
    except AddressError:
        return False


def main(arguments: list[str]) -> None:
    """Prints the table; exit code 1 when something was not as it should be."""
    binaries = [argument for argument in arguments if argument != "--walk"]
    if not binaries:
        sys.exit("Name at least one server program, such as /usr/bin/redis-server.")
    needs = _needs()
    assert set(needs) == set(USE_CASES)
    columns: dict[str, Callable[[str], str]] = {}
    if "--walk" not in arguments:
        columns["patterns"] = patterns
    ways: dict[str, tuple[Given, dict[str, int]]] = {
        "one server": (one, GOOD),
        "user for everything": (partial(user, lambda: users.everything(needs)), GOOD),
        "user for four": (partial(user, lambda: users.four(needs)), GOOD),
        "user for scores": (partial(user, users.scores), {**GOOD, **NO_SIGN_IN}),
        "TLS": (tls, GOOD),
        "Sentinel": (sentinel, GOOD),
        "cluster 3 + 3": (cluster, GOOD),
    }
    print("| server |", " | ".join([*columns, *ways]), "|")
    print("|---" * (len(columns) + len(ways) + 1) + "|")
    well = True
    for binary in binaries:
        cells = [version(binary), *(measure(binary) for measure in columns.values())]
        for name, (given, expected) in ways.items():
            if name == "TLS" and not has_tls(binary):
                cells.append("no TLS")
                continue
            with given(binary) as url:
                restricted = name in ("user for four", "user for scores")
                cells.append(walked(url, expected, restricted=restricted))
        print("|", " | ".join(cells), "|", flush=True)
        well = well and not any("wrong" in cell or "failed" in cell for cell in cells)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
