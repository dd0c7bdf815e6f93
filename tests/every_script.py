"""One call at least of every script of this app, in the way in which the app calls it."""

import re
import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from demo.catalog.write_behind import Versioned, WriteBehind
from demo.client.leader import Leader
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.signatures import Signatures, Unsigned, sign
from demo.learn.counters import Counter
from demo.learn.fenced_lock import FencedLock
from demo.monitor.sampler import Sampler
from demo.observe.trace import begin_trace, end_trace
from demo.sessions.session_store import SessionStore
from demo.teach.turns import Turns, Who


def run_every_script(web: FlaskClient, wired: Any) -> None:
    """`web` is a visitor of an app, `wired` a client of the app's kind; both on the same Redis."""
    web.get("/catalog/products/42")
    web.get("/catalog/")
    web.post("/catalog/products/42/burst", data={"start": "stale"})
    web.post("/sessions/cart", data={"product": "42"})
    web.post("/sessions/sign-up", data={"name": "ida", "password": "a long enough phrase"})
    web.post("/sessions/devices/link")
    link = re.search(r"code=([\w.-]+)", web.get("/sessions/devices").text)
    web.application.test_client().post(
        "/sessions/second-device", data={"code": link[1] if link else ""}
    )
    web.post("/sessions/lab", data={"race": "revived"})
    web.post(
        "/sessions/password",
        data={"password": "a long enough phrase", "new": "another long phrase"},
    )
    web.post("/sessions/logout")
    web.post("/rate-limit/", data={"count": "3"})
    web.get("/catalog/lab/hashes/")
    web.get("/analytics/")
    web.get("/readyz")
    begin_trace()
    queue = WriteBehind(wired, "slots", int, lambda key: Versioned(key, 1, 1), lambda _: None)
    queue.update("a", lambda value: value + 1)
    queue.flush("one")
    board = Leaderboard(wired, "slots")
    board.submit("mara", 1)
    board.for_players(["mara"])
    board.season("one")
    board.remove("mara")
    board.trim(0)
    with pytest.raises(Unsigned, match="seconds from"):
        Signatures(wired, "x").check(
            "5", "n" * 16, sign("x", "5", "n" * 16, "GET", "/", b""), "GET", "/", b""
        )
    now = str(int(time.time()))
    Signatures(wired, "x").check(
        now, "m" * 16, sign("x", now, "m" * 16, "GET", "/", b""), "GET", "/", b""
    )
    sessions = SessionStore(wired, idle_seconds=60, absolute_seconds=60)
    sessions.save(str(sessions.begin({"a": 1})), {"b": 2}, [])
    Counter(wired, "demo:learn:{slots}:counter").script()
    lock = FencedLock(wired, "slots", hold_ms=1000)
    lock.store(lock.acquire() or 0, b"x")
    board.top(1)
    leader = Leader(wired, "sampler", "slots")
    leader.campaign()
    Sampler(wired, lambda: "slots").step(leader.token)
    leader.resign()
    turns = Turns(wired, "slots")
    turns.keep(turns.join(Who("a", "b", "c"), "").id)
    end_trace()
    web.post("/leaderboard/api/boards/main/scores", json={"player": "mara", "score": 1})
    web.get("/leaderboard/boards/main?player=mara")
