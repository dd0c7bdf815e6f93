"""Polls: readers of one process that wait for the same load ask Redis together.

The first of them pauses and asks, and the others wait for its replies. So two hundred waiting
readers cost one round trip a pause in each process. A reader that comes after a poll was sent waits
for the next poll, so no reply is older than the reader's own start. If the reader that asks for all
fails or is ended, each of the others asks for itself.

Source: golang.org/x/sync/singleflight; group commit in databases.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from demo.catalog.lease import Waits

POLL_SECONDS = 0.02  # at most between two polls of a process
LONGEST_SECONDS = 1.0
Replies = list[bytes | None]


@dataclass(eq=False)
class Poll:
    """One that has not been sent yet: after how many seconds it will be, and what it brought."""

    seconds: float
    replies: Replies | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Polls:
    """The polls of a cache in this process. `open` has those that are not sent yet, by their keys."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, ...], Poll] = {}
        self._lock = threading.Lock()

    def ask(
        self,
        seconds: float,
        fetch: Callable[[list[str]], Replies],
        waits: Waits,
        sleep: Callable[[float], None],
        names: list[str],
    ) -> Replies:
        """What lies under these keys after a pause of so many seconds, or of fewer where another
        reader's poll is due sooner. Raises what `fetch` raises."""
        asked = tuple(names)
        with self._lock:
            poll = self.open.get(asked)
            if poll is None:
                mine = self.open[asked] = Poll(seconds)
        if poll is None:
            try:
                if seconds:
                    waits.sleep(sleep, seconds)
                self._close(asked, mine)
                mine.replies = fetch(names)
                return mine.replies
            finally:
                self._close(asked, mine)
                mine.done.set()
        began = time.monotonic()
        poll.done.wait(poll.seconds + LONGEST_SECONDS)
        waits.slept(min(poll.seconds, time.monotonic() - began))
        if poll.replies is None:
            self._close(asked, poll)  # left by a thread that a fork did not take along
            return fetch(names)
        return poll.replies

    def _close(self, asked: tuple[str, ...], poll: Poll) -> None:
        """Lets nobody join it any more."""
        with self._lock:
            if self.open.get(asked) is poll:
                del self.open[asked]
