"""A pytest plugin that notes, for each test, the lines and the Lua scripts that it ran, and how long
it took. MUTANTS_RECORD names the folder for the notes."""

import json
import os
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import redis.connection
from coverage import Coverage

FOLDER = Path(os.environ["MUTANTS_RECORD"])


class Recorder:
    """Threads of the app that outlive a test count to the next one: at worst a test too many runs."""

    def __init__(self, name: str) -> None:
        self.name, self.now = name, ""
        self.scripts: defaultdict[str, set[str]] = defaultdict(set)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.failed: set[str] = set()
        self.lines = Coverage(data_file=FOLDER / f"lines.{name}", config_file=False)
        self.lines.set_option("run:include", ["demo/*"])
        self.lines.set_option("run:relative_files", True)
        self._watch_scripts()
        self.lines.start()

    def _watch_scripts(self) -> None:
        packer = redis.connection.HiredisRespSerializer
        original = packer.pack

        def pack(serializer: Any, *args: Any) -> Any:
            if len(args) > 1 and args[0] in ("EVALSHA", b"EVALSHA"):
                sha = args[1].decode() if isinstance(args[1], bytes) else str(args[1])
                self.scripts[self.now].add(sha)
            return original(serializer, *args)

        packer.pack = pack

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self.now = item.nodeid
        self.lines.switch_context(item.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.lines.stop()
        self.lines.save()
        notes = {
            test: {"seconds": round(seconds, 3), "scripts": sorted(self.scripts[test])}
            for test, seconds in self.seconds.items()
            if test not in self.failed
        }
        (FOLDER / f"notes.{self.name}.json").write_text(json.dumps(notes))


def pytest_sessionstart(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput") or not session.config.option.numprocesses:
        name = os.environ.get("PYTEST_XDIST_WORKER", "main")
        session.config.pluginmanager.register(Recorder(name))
