"""Every address that can be read, and what people and programs come for: what each answers."""

import re

from flask import Flask

SAMPLES = {
    "product_id": "42",
    "board": "main",
    "player": "mara",
    "filename": "app.css",
    "version_asked": "x",
    "handle": "0" * 32,
    "file": "test_app.py",
    "test": "test_home_names_every_use_case_with_a_figure",
    "use_case": "rate_limit",
    "pattern": "sliding_window",
    "token": "0" * 16,
    "name": "deploy",
    "path": "demo/client/wire.py",
    "lesson": "recipe",
}
BOARD = "/leaderboard/api/boards/main"
# What stands below the things that people come for when all is well.
GOOD = {
    **dict.fromkeys(
        ("page", "again", "board", "hit", "analytics", "monitor", "home", "ready"), 200
    ),
    **{"sign-in": 303, "cart": 303, "price": 200, "score": 201},
}


def requests(app: Flask) -> list[tuple[str, str]]:
    """Every method and path of the app, with samples in the places of the variables."""
    found = []
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: SAMPLES[match[1]], rule.rule)
        found += [
            (method, path) for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        ]
    return found


def walk(app: Flask) -> dict[str, int]:
    """What the use cases answer, at the things that people come for."""
    web = app.test_client()
    asked = {
        "page": web.get("/catalog/products/42"),
        "again": web.get("/catalog/products/42"),
        "price": web.patch("/catalog/api/products/42", json={"price_cents": 4200}),
        "sign-in": web.post("/sessions/login", data={"name": "mara", "password": "correct horse"}),
        "cart": web.post("/sessions/cart", data={"product": "42"}),
        "score": web.post(f"{BOARD}/scores", json={"player": "mara", "score": 5}),
        "board": web.get(BOARD),
        "hit": web.post("/rate-limit/api/hits", json={"identity": "me"}),
        "analytics": web.get("/analytics/"),
        "monitor": web.get("/monitor/"),
        "home": web.get("/"),
        "ready": web.get("/readyz"),
    }
    return {name: answer.status_code for name, answer in asked.items()}


def read_everything(app: Flask) -> dict[str, int]:
    """What every address answers that can be read, but for endless answers."""
    web = app.test_client()
    answered = {}
    for method, path in requests(app):
        if method == "GET" and not path.endswith("/stream"):
            answer = web.get(path)
            answered[path] = answer.status_code
            answer.close()
    return answered
