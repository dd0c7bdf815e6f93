"""Whatever is asked of the API, nothing fails and nothing is answered that /openapi.json does not
tell.

`python -m tests.fuzz 5000` asks so many times, on a server of its own; the suite asks less often.
"""

import contextlib
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, load_all_checks, not_a_server_error

from demo.app import close, create_app
from demo.client import engine

STREAM = r"/stream$"
load_all_checks()
TOLD = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
WHAT_HOLDS = [not_a_server_error, *(CHECKS.get_one(name) for name in TOLD)]


def run(app: Flask, cases: int) -> Counter[str]:
    """Asks `cases` times or more, shared evenly; returns how often each status was answered. Raises
    for what is wrong."""
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app).exclude(path_regex=STREAM)
    found = [operation.ok() for operation in schema.get_all_operations()]
    seen: Counter[str] = Counter()
    each = -(-cases // len(found))
    for operation in found:
        for mode in schemathesis.GenerationMode:

            @settings(
                max_examples=each,
                deadline=None,
                phases=[Phase.generate, Phase.explicit],
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                response = case.call(headers={"Accept-Encoding": "identity"})
                seen[f"{case.operation.label} {response.status_code}"] += 1
                case.validate_response(response, checks=WHAT_HOLDS)

            with contextlib.suppress(Unsatisfiable):  # where nothing is taken, nothing can be wrong
                ask()
    return seen


def main(cases: int) -> None:
    """On an engine of its own."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder)
        settings = {"INSTANCE_PATH": folder, "PRODUCTS": 300, "DB_LATENCY_MS": 0, "RATE_LIMITS": {}}
        app = create_app(
            {**settings, "REDIS_URL": engine.start(path, keep=False), "SECRET_KEY": "of the tests"}
        )
        try:
            seen = run(app, cases)
        finally:
            close(app)
            engine.release(path, wait_seconds=5)
    for name, number in sorted(seen.items()):
        print(f"{number:6}  {name}")
    print(f"{seen.total():6}  asked: no 5xx, no status and no shape that is not told")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
