"""`python -m tests.make_samples`: asks each operation of the API once, and keeps what was answered, for
the page of the API. The first entry of each list is kept; of a text its first lines."""

import json
import tempfile
from pathlib import Path
from typing import Any

from demo.analytics.collector import Collector
from demo.app import close, create_app
from demo.client import engine
from demo.web.api_examples import SAMPLES
from demo.web.services import part

SCORES = "/leaderboard/api/boards/main/scores"
LINES = 2


def short(value: Any) -> Any:
    """The same with one entry in each list."""
    if isinstance(value, dict):
        return {key: short(each) for key, each in value.items()}
    return [short(each) for each in value[:1]] if isinstance(value, list) else value


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = engine.start(Path(folder), keep=False)
        app = create_app(
            {
                "REDIS_URL": url,
                "INSTANCE_PATH": folder,
                "PRODUCTS": 100,
                "DB_LATENCY_MS": 0,
                "BACKGROUND": "none",
            }
        )
        web, kept = app.test_client(), {}
        for player, score in (("noor", 1900), ("mara", 1200), ("sven", 700)):
            web.post(SCORES, json={"player": player, "score": score, "metadata": {"level": 3}})
        web.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
        web.post("/sessions/cart", data={"product": "42"})
        web.get("/catalog/products/42")
        part(Collector, app).flush()
        for path, methods in web.get("/openapi.json").json["paths"].items():
            for method, said in methods.items():
                kept[said["operationId"]] = asked(web, path, method, said)
        close(app)
        engine.release(Path(folder), wait_seconds=5)
    SAMPLES.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(kept)} answers in {SAMPLES}")


def asked(web: Any, path: str, method: str, said: dict[str, Any]) -> Any:
    query = {}
    for one in said.get("parameters", []):
        if one["in"] == "path":
            path = path.replace("{" + one["name"] + "}", one["example"])
        elif one["in"] == "query" and "example" in one:
            query[one["name"]] = one["example"]
    body = said.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    answer = web.open(path, method=method.upper(), json=body, query_string=query)
    assert answer.status_code in (200, 201), (path, answer.text)
    if answer.is_json:
        return short(answer.json)
    if answer.mimetype == "text/event-stream":
        chunks = answer.iter_encoded()
        text = ""
        while "data:" not in text:
            text += next(chunks).decode()
        answer.close()
        return text.strip()
    return "\n".join(answer.text.splitlines()[:LINES])


if __name__ == "__main__":
    main()
