"""A visitor who signed in before, reads, posts scores and signs in elsewhere, over and over: what was
answered, and how fast."""

import http.client
import json
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from demo.sessions.accounts import DEMO_PASSWORD
from demo.web.cookies import SESSION

ADDRESS = "198.51.100.7"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PAGES = (
    *("/", "/catalog/", "/catalog/products/42", "/sessions/", "/rate-limit/", "/leaderboard/"),
    *("/leaderboard/boards/main", "/analytics/", "/monitor/"),
)
SIGN_IN_SECONDS = 10.0  # as often as the limit for one address lets anybody
PAUSE_SECONDS = 0.02


@dataclass
class Met:
    """What a visitor met: answers by part and status, seconds by part."""

    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def note(self, part: str, status: int, seconds: float) -> None:
        self.statuses.setdefault(part, Counter())[status] += 1
        self.seconds.setdefault(part, []).append(seconds)

    def wrong(self) -> dict[str, dict[int, int]]:
        """Answers that are not the ones hoped for, by part."""
        found = {
            part: {status: count for status, count in of.items() if status not in (200, 201, 303)}
            for part, of in self.statuses.items()
        }
        return {part: of for part, of in found.items() if of}

    def errors(self) -> dict[str, dict[int, int]]:
        """Of those the ones that nobody may ever get: none at all, and 500."""
        found = {
            part: {status: count for status, count in of.items() if status in (0, 500)}
            for part, of in self.wrong().items()
        }
        return {part: of for part, of in found.items() if of}

    def p95_ms(self, part: str) -> float:
        """Of a part, in milliseconds."""
        times = sorted(self.seconds.get(part, [0.0]))
        return 1000 * times[min(len(times) - 1, int(0.95 * len(times)))]


class Innocent:
    """A browser with a session, made before anything happens."""

    def __init__(self, url: str, name: str = "yuki") -> None:
        self._place, self._name = url.removeprefix("http://"), name
        self._cookie, self._signed_in_at = "", time.monotonic()
        status = self._sign_in(Met())
        assert status == 303, status

    def visit(self, seconds: float) -> Met:
        """Goes round for so long."""
        met, until = Met(), time.monotonic() + seconds
        while time.monotonic() < until:
            for path in PAGES:
                self._ask(met, "page", path)
            score = {"player": "innocent", "score": secrets.randbelow(10_000)}
            self._ask(met, "score", "/leaderboard/api/boards/main/scores", score)
            if time.monotonic() - self._signed_in_at > SIGN_IN_SECONDS:
                self._sign_in(met)
        return met

    def _sign_in(self, met: Met) -> int:
        self._signed_in_at = time.monotonic()
        form = {"name": self._name, "password": DEMO_PASSWORD}
        return self._ask(met, "sign-in", "/sessions/login", urlencode(form))

    def _ask(self, met: Met, part: str, path: str, body: Any = None) -> int:
        headers = {"X-Forwarded-For": ADDRESS, **({"Cookie": self._cookie} if self._cookie else {})}
        if isinstance(body, str):
            headers |= FORM
        elif body is not None:
            body = json.dumps(body)
        began, status = time.monotonic(), 0
        connection = http.client.HTTPConnection(self._place, timeout=15)
        try:
            connection.request("GET" if body is None else "POST", path, body, headers)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
            for name, value in answer.getheaders():
                if name.lower() == "set-cookie" and value.startswith(f"{SESSION}="):
                    self._cookie = value.split(";")[0]
        except OSError:
            pass
        finally:
            connection.close()
        met.note(part, status, time.monotonic() - began)
        time.sleep(PAUSE_SECONDS)
        return status
