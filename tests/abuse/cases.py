"""The abuses, each a bounded program: what one of several strangers does over and over, until the
time is up. They come from addresses of their own, by X-Forwarded-For."""

import contextlib
import http.client
import json
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from demo.teach.pull_the_plug import COOKIE

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


class Stranger:
    """A client with an address of its own."""

    def __init__(self, place: str, number: int, stop: threading.Event, told: Counter[int]) -> None:
        self.place, self.number, self.stop, self.told = place, number, stop, told
        self.address = f"203.0.{number}.9" if number % 2 else f"2001:db8:1:{number:x}::9"
        self._connection: http.client.HTTPConnection | None = None
        self.cookie = ""

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, address: str = ""
    ) -> int:
        """The status, 0 for none."""
        sent = {"X-Forwarded-For": address or self.address, **(headers or {})}
        if self.cookie:
            sent["Cookie"] = self.cookie
        if isinstance(body, dict):
            body = (
                urlencode(body)
                if sent.get("Content-Type") == FORM["Content-Type"]
                else json.dumps(body)
            )
        status = 0
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self.place, timeout=15)
            self._connection.request("GET" if body is None else "POST", path, body, sent)
            answer = self._connection.getresponse()
            answer.read()
            status = answer.status
            for name, value in answer.getheaders():
                if name.lower() == "set-cookie" and COOKIE in value.partition("=")[0]:
                    self.cookie = value.split(";")[0]
        except (OSError, http.client.HTTPException):
            if self._connection:
                self._connection.close()
            self._connection = None
        self.told[status] += 1
        return status


Act = Callable[[Stranger], None]


def identities(stranger: Stranger) -> None:
    """Limits of their own, as large as may be."""
    hit = {
        "identity": secrets.token_hex(8),
        "limit": 1000,
        "window_seconds": 3600,
        "cost": 1000,
    }
    address = "" if stranger.number % 2 else f"2001:db8:2:{secrets.randbelow(256):x}::1"
    stranger.ask("/rate-limit/api/hits", hit, JSON, address)


def batches(stranger: Stranger) -> None:
    """New players by the hundred, with as much metadata as may be."""
    metadata = {"m": "x" * 1000}
    scores = [
        {"player": secrets.token_hex(8), "score": 2**50, "metadata": metadata} for _ in range(200)
    ]
    stranger.ask(
        f"/leaderboard/api/boards/fill-{stranger.number}/scores:batch", {"scores": scores}, JSON
    )


def new_boards(stranger: Stranger) -> None:
    """A board for each score."""
    path = f"/leaderboard/api/boards/b{secrets.token_hex(6)}/scores"
    stranger.ask(path, {"player": "p", "score": 1}, JSON)


def keys(stranger: Stranger) -> None:
    """An idempotency key for each score."""
    headers = {**JSON, "Idempotency-Key": secrets.token_hex(100)}
    stranger.ask("/leaderboard/api/boards/main/scores", {"player": "p", "score": 1}, headers)


def carts(stranger: Stranger) -> None:
    """A cart without a cookie, each time anew."""
    stranger.ask("/sessions/cart", {"product": 1 + secrets.randbelow(150)}, FORM)


def pages(stranger: Stranger) -> None:
    """Products one after the other, so that each is cached."""
    stranger.ask(f"/catalog/products/{1 + secrets.randbelow(200)}")


def playgrounds(stranger: Stranger) -> None:
    """The playground, with a quota of one's own each time."""
    form = {"limit": 1 + secrets.randbelow(50), "window_seconds": 60, "count": 20}
    stranger.ask("/rate-limit/", form, FORM)


def wrong_passwords(stranger: Stranger) -> None:
    """For the innocent's name, from everywhere."""
    address = f"192.0.2.{secrets.randbelow(250)}"
    stranger.ask("/sessions/login", {"name": "yuki", "password": "wrong"}, FORM, address)


def wrong_names(stranger: Stranger) -> None:
    """For nobody's name, so that hashes are worked out."""
    name, address = secrets.token_hex(8), f"2001:db8:{secrets.randbelow(60_000):x}::1"
    stranger.ask("/sessions/login", {"name": f"n{name}", "password": "wrong"}, FORM, address)


def sign_ups(stranger: Stranger) -> None:
    """Accounts."""
    form = {"name": f"n{secrets.token_hex(8)}", "password": secrets.token_hex(16)}
    stranger.ask("/sessions/sign-up", form, FORM, f"2001:db8:{secrets.randbelow(60_000):x}::1")


def labs(stranger: Stranger) -> None:
    """All labs, one after the other."""
    for path, form in (
        ("/catalog/products/42/burst", {"start": "cold"}),
        ("/catalog/lab/", {"operations": "200"}),
        ("/sessions/lab", {"race": "lost-update"}),
        ("/monitor/eviction", {"trace": "zipf"}),
        ("/catalog/lab/serializers/pickle", {}),
        ("/learn/stampede/run", {}),
    ):
        if not stranger.stop.wait(0.2):
            stranger.ask(path, form, FORM)


def slow_choices(stranger: Stranger) -> None:
    """A slow database and a Redis that hangs, for oneself alone."""
    if not stranger.cookie:
        stranger.ask("/choices", {"database": "slow", "redis": "paused"}, FORM)
    stranger.ask(f"/catalog/products/{1 + secrets.randbelow(200)}")


def streams(stranger: Stranger) -> None:
    """Live boards that stay open, all from one address."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        opened = []
        while len(opened) < 40 and not stranger.stop.wait(0.02):
            one = stack.enter_context(_connected(stranger.place))
            one.sendall(
                b"GET /leaderboard/api/boards/main/stream HTTP/1.1\r\nHost: x\r\n"
                b"X-Forwarded-For: 203.0.113.99\r\n\r\n"
            )
            opened.append(one)
        stranger.stop.wait(5)
        for one in opened:
            one.settimeout(0.05)
            with contextlib.suppress(OSError, ValueError, IndexError):
                stranger.told[int(one.recv(64).split()[1])] += 1


def trickles(stranger: Stranger) -> None:
    """Bodies that come a byte a second."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        opened = [stack.enter_context(_connected(stranger.place)) for _ in range(40)]
        for one in opened:
            one.sendall(
                b"POST /sessions/cart HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: "
                + stranger.address.encode()
                + b"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 5000\r\n\r\n"
            )
        while not stranger.stop.wait(1) and opened:
            for one in list(opened):
                try:
                    one.sendall(b"x")
                except OSError:
                    opened.remove(one)
                    stranger.told[408] += 1


def _connected(place: str) -> socket.socket:
    host, port = place.split(":")
    return socket.create_connection((host, int(port)), timeout=5)


@dataclass(frozen=True)
class Case:
    """So many strangers do this; each waits `pause_seconds` between two times, so that it is a bounded
    rate."""

    name: str
    acts: tuple[Act, ...]
    strangers: int = 8
    pause_seconds: float = 0.05
    settings: dict[str, str] | None = None


CASES = [
    Case("fill", (identities, batches, new_boards, keys, carts, playgrounds, pages), 8),
    Case("lock-out", (wrong_passwords,), 4, 0.2),
    Case("sign-ins", (wrong_names, sign_ups), 4, 0.2),
    Case("labs", (labs,), 8, 0.2),
    Case("streams", (streams,), 4),
    Case("trickle", (trickles,), 4),
    Case("choices", (slow_choices,), 8),
]


def run(place: str, case: Case, seconds: float) -> Counter[int]:
    """All strangers of a case for so long; how often which status was answered."""
    stop, told = threading.Event(), Counter[int]()

    def repeat(number: int) -> None:
        stranger = Stranger(place, number, stop, told)
        act = case.acts[number % len(case.acts)]
        while not stop.wait(case.pause_seconds):
            act(stranger)

    threads = [
        threading.Thread(target=repeat, args=(number,), daemon=True)
        for number in range(max(case.strangers, len(case.acts)))
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join(20)
    return told
