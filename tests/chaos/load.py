"""Light mixed load on a running app: what each part was answered, and what it was promised.

Every visitor is a thread that does one thing over and over, about as often as people would, and
writes down what was acknowledged. When the load has stopped, `audit` compares that with what is
there.
"""

import contextlib
import http.client
import json
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from demo.sessions.accounts import DEMO_PASSWORD
from demo.web.cookies import SESSION

PRODUCT = 42
BOARDS = ("one", "two", "three", "four", "five", "six")
CART, COMES_AND_GOES = "mara", "noor"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LATE_SECONDS = 0.5


@dataclass(frozen=True)
class Seen:
    """One answer; `status` is 0 for none, moments are of `time.monotonic`."""

    part: str
    status: int
    began: float
    ended: float


@dataclass
class Told:
    """What the round was told, and what of it was wrong. `unknown` may have been done. Each score is a
    player's first and only one: `scores` has the moment at which it was acknowledged, `scores_lost`
    those of the lost."""

    seen: list[Seen] = field(default_factory=list)
    acknowledged: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    versions: list[tuple[float, int]] = field(default_factory=list)
    stale: list[tuple[float, float, str]] = field(default_factory=list)
    ended_sids: list[str] = field(default_factory=list)
    revived: list[float] = field(default_factory=list)
    sessions_lost: int = 0
    events: int = 0
    scores: dict[tuple[str, str], float] = field(default_factory=dict)
    scores_lost: list[float] = field(default_factory=list)
    pieces: int = 0


class Visitor:
    """A browser or a program, with a connection of its own and the session's cookie."""

    def __init__(self, url: str, told: Told) -> None:
        self._place = url.removeprefix("http://")
        self._told = told
        self._connection: http.client.HTTPConnection | None = None
        self.sid = ""
        self.cache_status = ""

    def ask(
        self,
        part: str,
        path: str,
        method: str = "GET",
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Status and body: 0 and nothing where no answer came."""
        sent = dict(headers or {})
        if self.sid:
            sent["Cookie"] = f"{SESSION}={self.sid}"
        data = body
        if isinstance(body, dict):
            data = urlencode(body) if sent.get("Content-Type") == FORM["Content-Type"] else None
            data = json.dumps(body) if data is None else data
        began, status, read = time.monotonic(), 0, b""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._place, timeout=15)
            self._connection.request(method, path, data, sent)
            answer = self._connection.getresponse()
            read, status = answer.read(), answer.status
            self.cache_status = answer.getheader("Cache-Status") or ""
            for name, value in answer.getheaders():
                if name.lower() == "set-cookie" and value.startswith(f"{SESSION}="):
                    self.sid = value.split(";")[0].removeprefix(f"{SESSION}=")
        except (OSError, http.client.HTTPException):
            self.close()
        self._told.seen.append(Seen(part, status, began, time.monotonic()))
        try:
            return status, json.loads(read)
        except ValueError:
            return status, None

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def sign_in(self, name: str) -> int:
        form = {"name": name, "password": DEMO_PASSWORD}
        return self.ask("sign-in", "/sessions/login", "POST", form, FORM)[0]

    def who(self) -> tuple[int, Any]:
        status, told = self.ask("session", "/sessions/api/me")
        return status, told and told.get("user")


class Load:
    """The visitors of one round."""

    def __init__(self, url: str) -> None:
        self.url, self.told = url, Told()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        every: list[tuple[float, Callable[[Visitor], None]]] = [
            (0.02, self._read),
            (0.02, self._read),
            (0.2, self._change_the_price),
            (0.1, self._fill_a_cart),
            (0.6, self._come_and_go),
            (0.05, self._hit),
            *((0.1, self._score(board)) for board in BOARDS),
        ]
        self._threads = [
            threading.Thread(target=self._repeat, args=each, daemon=True) for each in every
        ]
        self._threads.append(threading.Thread(target=self._watch, daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _repeat(self, seconds: float, act: Callable[[Visitor], None]) -> None:
        visitor = Visitor(self.url, self.told)
        while not self._stop.wait(seconds):
            act(visitor)
        visitor.close()

    def _read(self, visitor: Visitor) -> None:
        began = time.monotonic()
        status, told = visitor.ask("page", f"/catalog/api/products/{PRODUCT}")
        if status == 200 and told:
            known = [at for at, version in self.told.versions if version > told["version"]]
            if known and min(known) < began:
                self.told.stale.append((began, began - min(known), visitor.cache_status))

    def _change_the_price(self, visitor: Visitor) -> None:
        body = {"price_cents": 1000 + len(self.told.versions)}
        path = f"/catalog/api/products/{PRODUCT}"
        status, told = visitor.ask("price", path, "PATCH", body)
        if status == 200:
            self.told.versions.append((time.monotonic(), told["version"]))

    def _fill_a_cart(self, visitor: Visitor) -> None:
        if not visitor.sid and visitor.sign_in(CART) != 303:
            return
        body = {"product": 1 + self.told.pieces // 80, "change": 1}
        status, _ = visitor.ask("cart", "/sessions/cart", "POST", body, FORM)
        if status == 303:
            status, user = visitor.who()
            if status == 200 and user != CART:  # it went into a visitor's cart
                self.told.sessions_lost += 1
                visitor.sid = ""
            else:
                self.told.acknowledged["cart"] += 1
                self.told.pieces += 1
        else:
            self.told.unknown["cart"] += 1

    def _come_and_go(self, visitor: Visitor) -> None:
        """Signs in and out, and keeps what is worthless now."""
        visitor.sid = ""
        if visitor.sign_in(COMES_AND_GOES) != 303:
            return
        sid = visitor.sid
        if visitor.ask("sign-out", "/sessions/logout", "POST", {}, FORM)[0] == 303:
            self.told.ended_sids.append(sid)
        for old in self.told.ended_sids[-12::3]:
            visitor.sid = old
            if visitor.who() == (200, COMES_AND_GOES):
                self.told.revived.append(time.monotonic())
        visitor.sid = ""

    def _hit(self, visitor: Visitor) -> None:
        body = {"identity": "chaos", "limit": 50, "window_seconds": 10}
        visitor.ask("limit", "/rate-limit/api/hits", "POST", body)

    def _score(self, board: str) -> Callable[[Visitor], None]:
        """Sends each score under a key of its own until it is acknowledged, as programs do."""
        waiting: list[tuple[str, str]] = []

        def post(visitor: Visitor) -> None:
            if not waiting:
                key = uuid.uuid4().hex
                waiting.append((key, f"p-{key}"))
            key, player = waiting.pop()
            status, _ = visitor.ask(
                "score",
                f"/leaderboard/api/boards/{board}/scores",
                "POST",
                {"player": player, "score": 1, "mode": "sum"},
                {"Idempotency-Key": key},
            )
            if status == 201:
                self.told.acknowledged["score"] += 1
                self.told.scores[board, player] = time.monotonic()
            else:
                waiting.append((key, player))

        return post

    def _watch(self) -> None:
        """One live board."""
        while not self._stop.is_set():
            place = self.url.removeprefix("http://")
            connection = http.client.HTTPConnection(place, timeout=12)
            with contextlib.closing(connection), contextlib.suppress(OSError):
                connection.request("GET", f"/leaderboard/api/boards/{BOARDS[0]}/stream")
                answer = connection.getresponse()
                while not self._stop.is_set() and (line := answer.fp.readline()):
                    if line.startswith(b"event: "):
                        self.told.events += 1
                        status = 200 if line.strip() == b"event: board" else 503
                        now = time.monotonic()
                        self.told.seen.append(Seen("stream", status, now, now))
            self._stop.wait(0.2)

    def audit(self) -> dict[str, int]:
        """What is there, compared with what was promised: lost, counted twice, revived."""
        visitor = Visitor(self.url, Told())
        found: dict[str, int] = defaultdict(int)
        for (board, player), acknowledged in self.told.scores.items():
            path = f"/leaderboard/api/boards/{board}/players/{player}"
            status, told = visitor.ask("audit", path)
            if status not in (200, 404):
                found["rows unreadable"] += 1
                continue
            there = told["player"]["score"] if told and told.get("player") else 0
            if not there:
                self.told.scores_lost.append(acknowledged)
            found["scores lost"] += not there
            found["scores twice"] += max(0, there - 1)
        visitor.sign_in(CART)
        _, me = visitor.ask("audit", "/sessions/api/me")
        pieces = sum(line["quantity"] for line in me["cart"]) if me else 0
        found["pieces lost"] = max(0, self.told.acknowledged["cart"] - pieces)
        most = self.told.acknowledged["cart"] + self.told.unknown["cart"]
        found["pieces twice"] = max(0, pieces - most)
        for sid in self.told.ended_sids:
            visitor.sid = sid
            found["revived at the end"] += visitor.who() == (200, COMES_AND_GOES)
        visitor.close()
        return dict(found)
