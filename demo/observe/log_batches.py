"""Lines that are written together: one for each request costs more than the answer that it tells of,
when each is a record, a format and a write of its own.

Under gunicorn a worker hands its lines over, and a thread writes all that wait, 50 ms after the
first. A record is written at once, behind the lines that wait, so the order stays. A worker that ends
writes what waits; SIGKILL loses those 50 ms. What comes while `MOST_WAITING` lines wait, or cannot be
written, is dropped, and the log tells how many lines that were. Another process, which any signal may
end, writes each line at once.
"""

import logging
import os
import threading
from collections import deque
from typing import TextIO
from weakref import WeakSet

LATE_SECONDS = 0.05
MOST_WAITING = 10_000


class Batches(logging.StreamHandler[TextIO]):
    """A handler that takes whole lines too. Nothing waits before `may_wait` is set."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.may_wait = False
        self.begin_anew()
        _all.add(self)

    def begin_anew(self) -> None:
        """Forgets the lines of the process that this one was forked from."""
        self._waiting: deque[str] = deque()
        self._dropped, self._counting = 0, threading.Lock()
        self._some, self._told = threading.Event(), False
        self._writer: threading.Thread | None = None

    def line(self, text: str) -> None:
        """Takes a line, which ends with a newline."""
        if len(self._waiting) >= MOST_WAITING:
            with self._counting:  # not the handler's lock: whoever writes may be held up
                self._dropped += 1
            return
        self._waiting.append(text)
        if not self.may_wait:
            self.flush()
        elif not self._told:  # the writer forgets it before it looks, so no line is left alone
            self._told = True
            if self._writer is None:
                self._start()
            self._some.set()

    def emit(self, record: logging.LogRecord) -> None:
        self._write()
        super().emit(record)

    def flush(self) -> None:
        """Writes what waits."""
        with _locked(self):
            self._write()

    def _start(self) -> None:
        with _locked(self):
            if self._writer is None:
                self._writer = threading.Thread(target=self._run, name="log", daemon=True)
                self._writer.start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._some.wait()
            pause.wait(LATE_SECONDS)
            self._some.clear()
            self._told = False
            self.flush()

    def _write(self) -> None:
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        with self._counting:
            lost, self._dropped = self._dropped, 0
        told = [*lines, f"{lost} lines of requests were dropped\n"] if lost else lines
        try:
            self.stream.write("".join(told))
            self.stream.flush()
        except (OSError, ValueError):  # nobody reads any more, or it is closed
            with self._counting:
                self._dropped += lost + len(lines)


_all: WeakSet[Batches] = WeakSet()


def _begin_anew() -> None:
    for handler in _all:
        handler.begin_anew()


os.register_at_fork(after_in_child=_begin_anew)


def _locked(handler: logging.Handler) -> threading.RLock:
    assert handler.lock is not None
    return handler.lock
