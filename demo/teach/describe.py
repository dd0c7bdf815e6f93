"""Commands in words: arguments are shortened, replies are told by type and size, and nothing of a
session is shown."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from demo.observe.trace import Step, Trace
from demo.teach import scripts
from demo.web.formats import LONG_SECONDS, duration, number, size

Words = tuple[str, list[str], list[str]]
PLAIN = re.compile(r"[\w:{}.,@/+=()\[*$-]+")
OWN_PREFIX = "demo:"
SECRET_PREFIX = "demo:sessions:"
ALL_KEYS = ("MGET", "DEL", "UNLINK", "EXISTS")
SHOWN_ARGUMENTS = 8
SHOWN_KEYS = 4
SHOWN_CHARACTERS = 48
TYPED_CHARACTERS = 2000
ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True)
class Command:
    """One command as shown: `reply` is a description, `refused` tells an error apart from an
    answer."""

    name: str
    key: str
    arguments: str
    reply: str
    refused: bool = False


def commands_of(step: Step) -> tuple[Command, ...]:
    """The commands of one visit, for the eye."""
    return tuple(describe(*asked) for asked in step.asked)


def keys_of(trace: Trace) -> list[str]:
    """The app's own keys that the commands of a request named, each once, in order."""
    found = [key for step in trace.of("redis") for args, _ in step.asked for key in split(args)[1]]
    return [key for key in dict.fromkeys(found) if key.startswith(OWN_PREFIX)]


def split(args: tuple[Any, ...]) -> Words:
    """A command's name, its keys and its other arguments; a script is told by its file."""
    name = str(args[0])
    words = [_text(arg) for arg in args[1:]]
    if name in ("EVALSHA", "EVAL"):
        count = int(words[1])
        return (
            f"{name} {scripts.called(name, words[0]).name} {words[1]}",
            words[2 : 2 + count],
            words[2 + count :],
        )
    count = len(words) if name in ALL_KEYS else 1
    if name in ("XREADGROUP", "XREAD") and "STREAMS" in words:
        at = words.index("STREAMS") + 1
        return name, words[at : at + 1], words[: at - 1]
    return name, words[:count], words[count:]


def describe(args: tuple[Any, ...], reply: Any, words: Words | None = None) -> Command:
    """One command for the eye: its name, its key, its shortened arguments, and what its reply is.
    `words` are those that `split` has made of it, where they are known."""
    name, keys, rest = words or split(args)
    if any(key.startswith(SECRET_PREFIX) for key in keys):
        rest = ["••••"] if rest else []
    refused = isinstance(reply, Exception)
    named, shown = _first(keys, SHOWN_KEYS, shorten_key), _first(rest, SHOWN_ARGUMENTS, shorten)
    return Command(name, named, shown, told(reply), refused)


def _first(words: list[str], most: int, shortened: Callable[[str], str]) -> str:
    more = [f"… {len(words) - most} more"] if len(words) > most else []
    return " ".join([*map(shortened, words[:most]), *more])


def as_typed(args: tuple[Any, ...], words: Words | None = None) -> str:
    """The command for redis-cli, with what is secret masked and what is long cut."""
    whole = typed_whole(args, words)
    if whole:
        return whole
    name, keys, rest = words or split(args)
    if any(key.startswith(SECRET_PREFIX) for key in keys):
        rest = ["••••"] if rest else []
    head = [str(args[0]), *map(str, args[1:3])] if name.startswith("EVAL") else [name]
    shown = rest[: SHOWN_ARGUMENTS - 4] + ["…"] if len(rest) > SHOWN_ARGUMENTS else rest
    return " ".join(
        [
            *head,
            *(quoted(shorten_key(key)) for key in keys),
            *(quoted(shorten(word)) for word in shown),
        ]
    )


def typed_whole(args: tuple[Any, ...], words: Words | None = None) -> str:
    """The command as redis-cli takes it, byte for byte; empty for one that names a session, and for
    one that is too long to be read."""
    if any(key.startswith(SECRET_PREFIX) for key in (words or split(args))[1]):
        return ""
    name, *rest = args
    typed = " ".join([str(name), *map(quoted, rest)])
    return typed if len(typed) <= TYPED_CHARACTERS else ""


def lives(args: tuple[Any, ...]) -> str:
    """How long a command lets its key live, as far as its own words say."""
    name, words = str(args[0]), [str(arg) for arg in args]
    at = 2 if name in ("EXPIRE", "PEXPIRE") else 0
    if name == "SET":
        at = next((place + 1 for place in range(3, len(words)) if words[place] in ("EX", "PX")), 0)
    if not 0 < at < len(words) or not words[at].isdecimal():
        return ""
    milliseconds = name == "PEXPIRE" or words[at - 1] == "PX"
    seconds = int(words[at]) / (1000 if milliseconds else 1)
    exact = f" ({number(round(seconds))} s)" if seconds >= LONG_SECONDS else ""
    return f"TTL {duration(seconds)}{exact}"


def quoted(word: Any) -> str:
    """A word as redis-cli reads it back, byte for byte."""
    text = word.decode("utf-8", "surrogateescape") if isinstance(word, bytes) else str(word)
    return text if PLAIN.fullmatch(text) else f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character.isprintable():
        return ESCAPED.get(character, character)
    return ESCAPED.get(character) or "".join(
        f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape")
    )


def _text(arg: Any) -> str:
    return arg.decode("utf-8", "backslashreplace") if isinstance(arg, bytes) else str(arg)


def shorten(word: Any, most: int = SHOWN_CHARACTERS) -> str:
    """The beginning of a value, with what cannot be printed escaped."""
    text = _text(word)
    if len(text) <= most and text.isprintable():
        return text
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:most]
    )
    return shown if len(text) <= most else f"{shown}… {len(text)} characters"


def shorten_key(key: str) -> str:
    """A key for the eye: of a session's the first letters only."""
    if key.startswith(SECRET_PREFIX):
        head, _, tail = key.removeprefix(SECRET_PREFIX + "{").partition("}")
        parts = [f"{part[:8]}…" if len(part) > 16 else part for part in tail.split(":")]
        return f"{SECRET_PREFIX}{{{head[:8]}…}}{':'.join(parts)}"
    return shorten(key, 96)


def told(reply: Any) -> str:
    """What a reply is, not what it says."""
    match reply:
        case None:
            return "nil"
        case Exception():
            return type(reply).__name__
        case bool() | int() | float():
            return str(int(reply)) if not isinstance(reply, float) else str(reply)
        case bytes() | str():
            return f"{'bytes' if isinstance(reply, bytes) else 'text'}, {size(len(reply))}"
        case dict():
            return f"hash of {len(reply)} field{'s' * (len(reply) != 1)}"
        case list() | tuple() | set():
            nils = sum(part is None for part in reply)
            nil = f", {nils} nil" if nils else ""
            held = sum(len(part) for part in reply if isinstance(part, bytes))
            return f"array of {len(reply)}{nil}{f', {size(held)}' if held else ''}"
    return type(reply).__name__
