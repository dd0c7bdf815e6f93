"""The process of simulated visitors: one line of JSON on standard input, one a second on standard
output. Each visitor asks the app over HTTP, thinks, and asks again.

It ends when its time is up, on SIGTERM, and as soon as standard input is closed. The kernel closes
standard input with the process that started it, however that one ends. Its memory and its time to
compute are bounded.
"""

import contextlib
import http.client
import random
import signal
import socket
import sys
import threading
import time
from collections import Counter
from typing import Any
from urllib.parse import urlencode

import msgspec

from demo.client import children
from demo.observe.redis_sums import bucket_of, percentile_ms
from demo.web.simulated import HEADER

MEMORY_MB, CPU_SECONDS, STACK_BYTES = 768, 60, 256 * 1024
THINK_SECONDS = (1.0, 3.0)
TIMEOUT_SECONDS = 5.0
MOST_PRODUCTS, MOST_SCORE = 500, 10_000


class Errand(msgspec.Struct, frozen=True):
    """What visitors ask now and then, in proportion to `weight`; `{product}`, `{visitor}` and `{score}`
    stand for one of each visitor's own. With `form` or `body` it is a POST. One that is `last` is
    done when a visitor leaves."""

    path: str
    weight: int = 1
    form: dict[str, str] = {}
    body: dict[str, str | int] = {}
    headers: dict[str, str] = {}
    last: bool = False


class Task(msgspec.Struct, frozen=True):
    """What the process is to do: `address` is a host and a port, or the path of a socket; `marks`
    holds what each visitor sends to be known as simulated."""

    address: tuple[str, int] | str
    host: str
    marks: list[str]
    errands: list[Errand]
    products: int
    seconds: float


class Told(msgspec.Struct, frozen=True):
    """How far it is. Refused are 429, failed 5xx and what was not answered."""

    seconds: float
    answered: int
    refused: int
    failed: int
    p95_ms: float | None
    over: bool = False


class Sums:
    """What all visitors have met."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: Counter[int] = Counter()
        self.answered = self.refused = self.failed = 0

    def note(self, status: int, seconds: float) -> None:
        """One answer; status 0 where there was none."""
        with self._lock:
            self._times[bucket_of(seconds)] += 1
            self.answered += 0 < status < 500 and status != 429
            self.refused += status == 429
            self.failed += status >= 500 or not status

    def told(self, seconds: float, over: bool = False) -> Told:
        """So far."""
        with self._lock:
            p95 = percentile_ms(self._times, 95)
            return Told(seconds, self.answered, self.refused, self.failed, p95, over)


class Connection(http.client.HTTPConnection):
    """To a port, or to the path of a socket."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        host, port = ("localhost", 80) if isinstance(address, str) else address
        super().__init__(host, port, timeout=TIMEOUT_SECONDS)
        self._path = address if isinstance(address, str) else ""

    def connect(self) -> None:
        if not self._path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(self._path)


class Visitor:
    """One simulated visitor, with its own cookie, random numbers and favourites."""

    def __init__(self, number: int, task: Task, sums: Sums) -> None:
        self.number, self._task, self._sums = number, task, sums
        self._dice = random.Random(number)
        self._cookies: dict[str, str] = {}
        self._usual = [errand for errand in task.errands if not errand.last]

    def stay(self, over: threading.Event) -> None:
        """Asks and thinks until it is over."""
        while not over.wait(self._dice.uniform(*THINK_SECONDS)):
            weights = [errand.weight for errand in self._usual]
            self.ask(self._dice.choices(self._usual, weights)[0])

    def leave(self) -> None:
        """What a visitor who has a cookie does at the end."""
        for errand in self._task.errands:
            if errand.last and self._cookies:
                self.ask(errand)

    def ask(self, errand: Errand) -> None:
        """One request, over a connection of its own, so that all workers get their share."""
        began, status = time.perf_counter(), 0
        headers = {"Host": self._task.host, HEADER: self._task.marks[self.number], **errand.headers}
        headers |= {"User-Agent": "simulated visitor", "Connection": "close"}
        if self._cookies:
            headers["Cookie"] = "; ".join(
                f"{name}={value}" for name, value in self._cookies.items()
            )
        body, method = None, "GET"
        words = self._words()
        if errand.form or errand.last:
            method, body = "POST", urlencode({n: _put(v, words) for n, v in errand.form.items()})
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif errand.body:
            method, body = "POST", msgspec.json.encode(_filled(errand.body, words)).decode()
            headers["Content-Type"] = "application/json"
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = Connection(self._task.address)
            with contextlib.closing(connection):
                connection.request(method, _put(errand.path, words), body, headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
                self._remember(answer)
        self._sums.note(status, time.perf_counter() - began)

    def _words(self) -> dict[str, str]:
        most = min(self._task.products, MOST_PRODUCTS)
        product = min(int(self._dice.paretovariate(0.7)), most)
        score = str(self._dice.randrange(MOST_SCORE))
        return {"{product}": str(product), "{visitor}": str(self.number), "{score}": score}

    def _remember(self, answer: Any) -> None:
        for text in answer.headers.get_all("Set-Cookie") or ():
            name, _, value = text.partition(";")[0].partition("=")
            if value and "Max-Age=0" not in text:
                self._cookies[name] = value
            else:
                self._cookies.pop(name, None)


def main() -> None:
    """Reads the task and does it."""
    children.bound(MEMORY_MB, CPU_SECONDS)
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    children.end_with_owner()
    run(task, over)


def run(task: Task, over: threading.Event) -> None:
    """All visitors until the time is up, and a line for each second."""
    threading.stack_size(STACK_BYTES)
    sums, began = Sums(), time.monotonic()
    visitors = [Visitor(number, task, sums) for number in range(len(task.marks))]
    threads = [threading.Thread(target=visitor.stay, args=(over,)) for visitor in visitors]
    for thread in threads:
        thread.start()
    while not over.wait(min(1.0, max(0.0, began + task.seconds - time.monotonic()))):
        if time.monotonic() - began >= task.seconds:
            over.set()
        else:
            _tell(sums.told(time.monotonic() - began))
    for thread in threads:
        thread.join()
    for visitor in visitors:
        visitor.leave()
    _tell(sums.told(time.monotonic() - began, True))


def _put(text: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(name, value)
    return text


def _filled(body: dict[str, str | int], words: dict[str, str]) -> dict[str, str | int]:
    """Whole numbers stay, or become, such."""
    made: dict[str, str | int] = {}
    for name, given in body.items():
        text = _put(str(given), words)
        made[name] = int(text) if given == "{score}" or isinstance(given, int) else text
    return made


def _tell(told: Told) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
