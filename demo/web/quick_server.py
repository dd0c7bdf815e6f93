"""What gunicorn would repeat for each answer, done once: an answer from the cache costs less than
what the server does around it.

gunicorn checks every header of every answer by two patterns, though most of ours never change. It
formats the date for each, looks each of its settings up through a method, and sends head and body
one after the other. Here it judges such a header once, the same pair is known from then on, and a
body that is whole goes out with its head. What is judged, dropped or refused stays gunicorn's own
decision. Used by `gunicorn.conf.py`, in each worker.
"""

import time
from functools import lru_cache
from typing import Any

from gunicorn import util
from gunicorn.http import wsgi

MOST_KNOWN = 2_000
# Another one each time, or nobody's business.
NEVER_KNOWN = frozenset(("X-Request-ID", "Server-Timing", "Set-Cookie", "Location"))
_known: set[tuple[str, str]] = set()


class Gathered:
    """Takes what is sent, for who sends it together."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.sendall = self.pieces.append


class Answer(wsgi.Response):  # type: ignore[misc]
    """gunicorn's answer, over whatever connection."""

    sock: Any

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        kept: list[tuple[str, str]] = self.headers
        for pair in headers:
            if type(pair) is tuple and pair in _known:
                kept.append(pair)
            else:
                self._judge(pair)

    def _judge(self, pair: tuple[str, str]) -> None:
        count, length, upgrade = len(self.headers), self.response_length, self.upgrade
        super().process_headers([pair])
        unchanged = self.headers[count:] == [pair]
        plain = (self.response_length, self.upgrade) == (length, upgrade)
        if (
            unchanged
            and plain
            and pair[0] not in NEVER_KNOWN
            and pair[0].lower() != "content-length"
        ):
            if len(_known) >= MOST_KNOWN:
                _known.clear()
            _known.add(pair)

    def write(self, arg: bytes) -> None:
        if self.headers_sent or type(arg) is not bytes or len(arg) != self.response_length:
            super().write(arg)
            return
        connection: Any = self.sock
        self.sock = gathered = Gathered()
        try:
            super().write(arg)
        finally:
            self.sock = connection
        connection.sendall(b"".join(gathered.pieces))


@lru_cache(maxsize=2)
def _of_second(second: int) -> str:
    return str(_http_date(second))


_http_date = util.http_date


def http_date(timestamp: float | None = None) -> str:
    """As gunicorn's own."""
    return _of_second(int(time.time() if timestamp is None else timestamp))


def use(worker: Any) -> None:
    """From now on, in this worker."""
    wsgi.Response, util.http_date = Answer, http_date
    settings = worker.cfg.settings
    worker.cfg.__dict__.update({name: settings[name].get() for name in settings})
    if not worker.cfg.accesslog:  # a configured log alone has it make the line, and nobody takes it
        worker.log._access_log_enabled = False
