"""What stands beside each operation on the page of the API: a curl that runs as it is pasted, and an
answer that was really given.

The answers were taken from a run by `python -m tests.make_samples`, with each list cut after its first
entry; a test compares their shapes with the document.
"""

import json
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

SAMPLES = Path(__file__).with_name("api_samples.json")


@cache
def samples() -> dict[str, str]:
    """The answer to each operation, by its id: JSON, or the beginning of a text."""
    kept: dict[str, Any] = json.loads(SAMPLES.read_text())
    return {
        name: one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)
        for name, one in kept.items()
    }


def curl(base: str, method: str, path: str, said: Mapping[str, Any]) -> str:
    """The operation as a line for a shell, with the document's own examples."""
    words = ["curl", "-N"] if "stream" in path else ["curl"]
    if method not in ("GET", "POST"):
        words += ["-X", method]
    query = {}
    for one in said.get("parameters", ()):
        if one["in"] == "path":
            path = path.replace("{" + one["name"] + "}", one["example"])
        elif one["in"] == "query" and "example" in one:
            query[one["name"]] = one["example"]
    words.append(base + path + (f"?{urlencode(query)}" if query else ""))
    if said.get("security"):
        words += ["-H", "Authorization: Bearer <key>"]
    if "requestBody" in said:
        body = said["requestBody"]["content"]["application/json"]["example"]
        words += ["-d", json.dumps(body)]
    return shlex.join(words)
