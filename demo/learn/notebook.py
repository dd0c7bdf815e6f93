"""What a visitor has predicted and measured: a signed cookie of bounded size, so nothing is stored.

Each lesson has one note. Where the notes do not fit, the oldest sentences go first; whether a
prediction held is kept.
"""

import time
from contextlib import suppress
from typing import Any

import msgspec
from itsdangerous import BadData
from werkzeug import Response

from demo.learn.reader import lessons
from demo.web import cookies, signed

COOKIE = cookies.PREFIX + "lessons"
LIFE_SECONDS = 30 * 86_400
MOST_CHARACTERS, MOST_SENTENCE = 3000, 320


class Note(msgspec.Struct, array_like=True):
    """Of one lesson: the option that was predicted, the one that the last run has shown to be right,
    the sentence of that run, the engine, and when, in seconds since 1970."""

    predicted: str = ""
    shown: str = ""
    told: str = ""
    engine: str = ""
    at: int = 0

    @property
    def is_run(self) -> bool:
        """Whether there was a run."""
        return bool(self.at)

    @property
    def held(self) -> bool | None:
        """Whether the prediction held; None without a prediction, or where the run showed nothing."""
        return self.predicted == self.shown if self.predicted and self.shown else None


Notes = dict[str, Note]


def read() -> Notes:
    """The notes of who asks; what is forged, foreign or too old counts as none."""
    for text in cookies.sent(COOKIE):
        with suppress(BadData, msgspec.ValidationError):
            given = _signer().loads(text, max_age=LIFE_SECONDS)
            notes = msgspec.convert(given, Notes)
            return {name: note for name, note in notes.items() if name in lessons()}
    return {}


def predict(notes: Notes, lesson: str, option: str) -> None:
    """Notes a prediction. One that comes after a run starts the lesson again."""
    notes[lesson] = Note(option)


def note_run(notes: Notes, lesson: str, shown: str, told: str, engine: str) -> None:
    """Notes what a run has shown."""
    before = notes.get(lesson, Note())
    sentence = told if len(told) <= MOST_SENTENCE else f"{told[: MOST_SENTENCE - 1]}…"
    notes[lesson] = Note(before.predicted, shown, sentence, engine, int(time.time()))


def write(response: Response, notes: Notes) -> None:
    """Gives the notes to the browser."""
    text = _signer().dumps(msgspec.to_builtins(notes))
    for note in sorted(notes.values(), key=lambda note: note.at):
        if len(text) <= MOST_CHARACTERS:
            break
        note.told = ""
        text = _signer().dumps(msgspec.to_builtins(notes))
    cookies.put(response, COOKIE, text, LIFE_SECONDS)


def forget(response: Response) -> None:
    """Takes all notes back."""
    cookies.take_back(response, COOKIE)


def _signer() -> Any:
    return signed.serializer("lessons")


def are_there() -> bool:
    """Whether this visitor has sent any."""
    return bool(cookies.sent(COOKIE))
