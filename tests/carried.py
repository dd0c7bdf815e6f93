"""Patterns carried off, as the docs say: into an empty FastAPI and an empty Django project, under another
name and prefix, on redis-py, on valkey-py and on a cluster.

    python -m tests.carried            every pattern: its tests, and mypy --strict of the package
    python -m tests.carried --short    the few that most services want, without the long tests, and
                                       only their READMEs' uses on valkey-py and on a cluster

A test that needs what a cluster has not (a server to fill, to stop, or that a Sentinel watches) starts one
of its own, so all tests run on a cluster. Prints a line for each pattern; ends with 1 if anything failed.
Asks no network: the packages are those of the running interpreter.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

from demo.teach import packing, pattern_zip
from demo.teach.packing import Wish
from tests.topologies import topology

AT_ONCE = 2
SHORT = tuple(name for _, name in pattern_zip.MOST_WANTED)
QUIET = "-q -p no:cacheprovider -p no:valkey -p no:schemathesis -p no:anyio -p no:xdist"
FASTAPI = """from fastapi import FastAPI
{imports}

app = FastAPI()
"""
DJANGO = """SECRET_KEY = "of an empty project"
INSTALLED_APPS: list[str] = []
"""


def run(folder: Path, *arguments: str, **more: str) -> tuple[bool, str]:
    """A command of the running interpreter; whether it ended well, and what it said."""
    kept = ("PYTEST", "TEST_", "DJANGO", "CI")
    outside = {name: text for name, text in os.environ.items() if not name.startswith(kept)}
    outside |= {"PYTEST_ADDOPTS": QUIET, "PYTHONDONTWRITEBYTECODE": "1", **more}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=outside, capture_output=True, text=True
    )
    return done.returncode == 0, done.stdout + done.stderr


def project(folder: Path, kind: str, wish: Wish) -> Path:
    """An empty project with the zip unpacked beside its own files, by the documented steps: `take`, then
    the package moved to where the project's own are."""
    (folder / "README.md").write_text("of the project")
    (folder / "tests").mkdir()
    (folder / "tests" / "conftest.py").write_text("of_the_project = True\n")
    taken = folder / wish.name
    for path, text in packing.tree(wish).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)
    assert (folder / "README.md").read_text() == "of the project"
    modules = sorted(path.stem for path in (taken / wish.name).glob("*.py") if path.stem[0] != "_")
    names = [f"from {wish.name} import {', '.join(modules)}"]
    if kind == "fastapi":
        (taken / "main.py").write_text(FASTAPI.format(imports="\n".join(names)))
    else:
        (taken / "settings.py").write_text(DJANGO)
        (taken / "main.py").write_text(
            "import os\n\nos.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\n"
            "import django\n\ndjango.setup()\n" + "\n".join(names) + "\n"
        )
    return taken


def tried(patterns: tuple[tuple[str, str], ...], cluster: str, whole: bool) -> list[str]:
    """What failed of some patterns, taken together."""
    failed = []
    wish = Wish(patterns, "carried", "shop")
    with tempfile.TemporaryDirectory(prefix="carried-") as name:
        for kind in ("fastapi", "django"):
            folder = Path(name) / kind
            folder.mkdir()
            taken = project(folder, kind, wish)
            if importlib.util.find_spec(kind):
                asked = [("its project starts", ("-c", "import main"), {})]
            else:
                print(f"  {kind} is not installed: its project was not started")
                asked = []
            if kind == "fastapi":
                tests = () if whole else ("-k", "not hypothesis and not model and not machine")
                cache = str(Path(tempfile.gettempdir()) / "carried-mypy")
                strict = ("-m", "mypy", "--strict", "--cache-dir", cache, "-p", wish.name)
                what, some = ("tests", ()) if whole else ("use", ("tests/test_use.py",))
                asked += [
                    ("mypy --strict", strict, {}),
                    ("tests, redis-py", ("-m", "pytest", *tests), {}),
                    (f"{what}, valkey-py", ("-m", "pytest", *some), {"TEST_CLIENT": "valkey"}),
                ]
                for client in ("redis", "valkey"):
                    given = {"TEST_REDIS_URL": cluster, "TEST_CLUSTER": "1", "TEST_CLIENT": client}
                    asked.append((f"{what}, {client} cluster", ("-m", "pytest", *some), given))
            for what, command, more in asked:
                well, said = run(taken, *command, **more)
                if not well:
                    failed.append(f"{kind}, {what}:\n{said[-2000:]}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("patterns", nargs="*")
    asked = parser.parse_args()
    wanted = asked.patterns or (SHORT if asked.short else ())
    patterns = [each for each in sorted(pattern_zip.offered()) if not wanted or each[1] in wanted]
    together = asked.short and not asked.patterns  # one package of all of them
    tries = [tuple(patterns)] if together else [(pattern,) for pattern in patterns]

    def judge(some: tuple[tuple[str, str], ...]) -> bool:
        began, port = time.monotonic(), clusters.get()
        failed = tried(some, f"redis://127.0.0.1:{port}", not asked.short)
        clusters.put(port)
        names = ", ".join(map("/".join, some))
        lines = [f"{'FAILED' if failed else 'ok':7}{names}, {time.monotonic() - began:.0f} s"]
        print("\n".join([*lines, *(f"    {each}" for each in failed)]), flush=True)
        return bool(failed)

    clusters: SimpleQueue[int] = SimpleQueue()  # each run has one to itself: it removes all keys
    with ExitStack() as stack:
        for _ in range(min(AT_ONCE, len(tries))):
            clusters.put(stack.enter_context(topology("cluster", nodes=2)).ports[0])
        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        wrong = sum(pool.map(judge, tries))
    print(f"{len(tries) - wrong} of {len(tries)} carried off")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
