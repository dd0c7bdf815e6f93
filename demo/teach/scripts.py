"""What is known of the Lua scripts of this app: by their SHA-1, as EVALSHA names them."""

import hashlib
from dataclasses import dataclass
from functools import cache

from demo.client.permissions import CALL
from demo.observe import recorder


@dataclass(frozen=True)
class Script:
    """A script's file name, as its header's first line gives it, and the commands in its text, each
    once, in order. Which of them a call has run, and how long each took, Redis does not tell."""

    name: str
    commands: tuple[str, ...]


_known: dict[str, Script] = {}


def learn(text: str) -> None:
    """Remembers a script."""
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    _known[sha] = of_text(text)


def called(command: str, first: str | bytes) -> Script:
    """The script that EVALSHA calls by its SHA-1, or EVAL by its text."""
    if command != "EVAL":
        return of(first)
    return of_text(first.decode() if isinstance(first, bytes) else first)


def of_text(text: str) -> Script:
    """A script by its text."""
    first = text.partition("\n")[0].removeprefix("--").strip()
    return Script(
        first.partition(":")[0], tuple(dict.fromkeys(name.upper() for name in CALL.findall(text)))
    )


def of(sha: str | bytes) -> Script:
    """The script, or one that has only the beginning of its SHA-1 for a name."""
    sha = sha.decode() if isinstance(sha, bytes) else sha
    learn_all()
    return _known.get(sha) or Script(sha[:8], ())


def text_of(called: str) -> str:
    """The text of a script of this app by its SHA-1; what EVAL was given is the text itself."""
    return recorder.texts().get(called, called)


@cache
def learn_all() -> None:
    """Reads the app's own scripts, once in a process."""
    for text in recorder.texts().values():
        learn(text)
