"""A race under observation: the requests of one small app, in lanes, with what each asked of Redis,
seen by the x-ray."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from demo.observe.trace import Step, Trace, begin_trace, current_trace, end_trace, resume_trace
from demo.teach.describe import commands_of


@dataclass(frozen=True)
class Did:
    """One moment of a race: its lane, what it asked of Redis or, without a key, what it did. With
    the value that it read or wrote, and the other lane's value that it overwrote unread."""

    lane: int
    command: str
    key: str
    reply: str
    value: str = ""
    over: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a race went on one of the two: whether it went well, what is left, all moments in their
    order."""

    system: str
    well: bool
    sentence: str
    moments: tuple[Did, ...]


class Race:
    """One app under observation. `meanwhile` is what happens between a request's reading and its
    writing. `seen` tells of a command whether it writes, and the value that it read or wrote."""

    def __init__(self, app: Flask, user: str) -> None:
        self.app, self.user, self.moments = app, user, list[Did]()
        self.meanwhile: Callable[[], Any] = lambda: None
        self.seen: Callable[[tuple[Any, ...], Any], tuple[bool, str]] = lambda args, reply: (
            False,
            "",
        )
        self._held: dict[str, tuple[int, str]] = {}  # by key: who wrote it last, and what
        self._known: dict[tuple[int, str], str] = {}  # what a lane has read or written last
        self._trace, self._lane, self._seen = begin_trace(), -1, 0

    def client(self, sid: str | None = None) -> FlaskClient:
        """A browser, with an id that it got from somewhere."""
        made = self.app.test_client()
        if sid:
            made.set_cookie("session", sid)
        return made

    def ask(self, lane: int, client: FlaskClient, path: str) -> str:
        """One request of a lane, and what it was answered."""
        before = self._turn_to(lane)
        self.moments.append(Did(lane, f"begins {path}", "", ""))
        answer = client.get(path).text
        self._turn_to(lane)
        self.moments.append(Did(lane, f"is answered: {answer}", "", ""))
        self._turn_to(before)
        return answer

    def _turn_to(self, lane: int) -> int:
        """Gives what was asked since the last turn to the lane that asked it."""
        for step in self._trace.steps[self._seen :]:
            for each, (args, reply) in zip(commands_of(step), step.asked, strict=True):
                if self._lane >= 0:
                    value, over = self._values(each.key, args, reply)
                    self.moments.append(
                        Did(self._lane, each.name, each.key, each.reply, value, over)
                    )
        self._seen = len(self._trace.steps)
        before, self._lane = self._lane, lane
        return before

    def _values(self, key: str, args: tuple[Any, ...], reply: Any) -> tuple[str, str]:
        """What a command of the lane read or wrote, and what of another lane it wrote over without
        having read it."""
        writes, value = self.seen(args, reply)
        writer, held = self._held.get(key, (self._lane, ""))
        blind = writes and writer != self._lane and self._known.get((self._lane, key)) != held
        if value:
            self._known[self._lane, key] = value
        if writes:
            self._held[key] = (self._lane, value)
        return value, held if blind else ""

    def end(self, system: str, well: bool, sentence: str) -> Outcome:
        """The outcome; the commands go on to the page's own x-ray."""
        self._turn_to(-1)
        return Outcome(system, well, sentence, tuple(self.moments))


@contextmanager
def own_trace() -> Iterator[None]:
    """Lets a race be seen by itself, and its steps stand in the trace of the page all the same."""
    outer = current_trace()
    try:
        yield
    finally:
        inner = current_trace()
        end_trace()
        if outer is not None:
            resume_trace(outer, detailed=outer.detailed)
            if inner is not None and inner is not outer:
                for step in _shifted(inner, outer):
                    outer.add(step)


def _shifted(inner: Trace, outer: Trace) -> list[Step]:
    offset_ms = (inner.started - outer.started) * 1000
    return [step._replace(start_ms=step.start_ms + offset_ms) for step in inner.steps]
