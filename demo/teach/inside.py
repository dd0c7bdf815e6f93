"""What a script ran in one call, as a learner would type it into redis-cli, with what came back.

What belongs to a session stays covered: of its commands the name, the key's beginning and what
stands in the script's own text are shown.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

from demo.observe.recorder import Inside, Ran
from demo.teach import scripts
from demo.teach.describe import SECRET_PREFIX, quoted, shorten_key

LITERAL = re.compile(r"'([^'\n]*)'")
TIMES = ("EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT")
COVERED = "••••"
NOT_PERMITTED = (
    '<p class="label">The commands of this call are not shown, because Redis does not permit EVAL '
    "for this app’s user. The script’s text names:</p>"
)


@dataclass(frozen=True)
class Line:
    """One command: its name, its first argument, the others, and its reply as redis-cli shows it;
    `typed` is what runs there as it stands, empty where something is covered or cut."""

    name: str
    key: str
    rest: str
    reply: str
    typed: str = ""

    @property
    def shown(self) -> list[str]:
        """What is read of it."""
        return [self.name, self.key, self.rest, self.reply]


def lines(inside: Inside, args: tuple[Any, ...]) -> list[Line]:
    """The commands that a call of a script ran, as far as they were noted. `args` are the call's."""
    covered = any(_text(arg).startswith(SECRET_PREFIX) for arg in args[3 : 3 + int(args[2])])
    shown = _literals(_text(args[1])) if covered else frozenset()
    return [_line(ran, covered, shown) for ran in inside.commands]


def draw(count: int, shown: Iterable[Line]) -> str:
    """The same as HTML."""
    drawn = [_drawn(line) for line in shown]
    more = f"\n… {count - len(drawn)} more" if count > len(drawn) else ""
    plural = f"{count} command{'s' * (count != 1)}"
    return (
        f'<p class="label">Inside the script, in this call: {plural}</p>'
        f'<pre class="inner" tabindex="0" role="region" aria-label="{plural} of the script">'
        + "\n".join(drawn)
        + f"{more}</pre>"
    )


def _drawn(line: Line) -> str:
    parts = "".join(
        f' <span class="{part}">{escape(words)}</span>'
        for part, words in (("key", line.key), ("arg", line.rest))
        if words
    )
    tone = " nil" if line.reply == "(nil)" else ""
    return (
        f'<b class="op">{escape(line.name)}</b>{parts}\n'
        f'<span class="reply{tone}">{escape(line.reply)}</span>'
    )


def _line(ran: Ran, covered: bool, shown: frozenset[str]) -> Line:
    words = ran.words
    name = _text(words[0][1])
    key = _text(words[1][1]) if len(words) > 1 else ""
    covered = covered and len(words) > 1
    typed = ""
    if covered:
        rest = [
            _text(value)
            if _text(value) in shown or (name in TIMES and _text(value).isdecimal())
            else COVERED
            for _, value, *_ in words[2:]
        ]
        key = shorten_key(key) if key.startswith(SECRET_PREFIX) else COVERED
    else:
        key = quoted(key) if key else ""
        rest = [_word(word) for word in words[2:]]
        if ran.length == len(words) and not any(map(_is_cut, words)):
            typed = " ".join(filter(None, [name, key, *rest]))
    more = [f"… {ran.length - len(words)} more"] if ran.length > len(words) else []
    return Line(name, key, " ".join([*rest, *more]), _reply(ran.reply, covered), typed)


def _is_cut(word: Any) -> bool:
    return bool(word[0] == b"s" and word[2] > len(word[1]))


def _word(word: Any) -> str:
    return f"{quoted(word[1])}… {word[2]} bytes" if _is_cut(word) else quoted(word[1])


def _reply(reply: Any, covered: bool) -> str:
    kind, value = _text(reply[0]), list(reply[1:])
    match kind:
        case "n":
            return "(nil)"
        case "i":
            return f"(integer) {_text(value[0])}"
        case "o":
            return _text(value[0])
        case "e":
            return f"(error) {_text(value[0])}"
        case "a" if not value[0]:
            return "(empty array)"
        case "a" if covered:
            return f"(array of {value[0]})"
        case "a":
            parts = [f"{at}) {_reply(part, covered)}" for at, part in enumerate(value[1:], 1)]
            more = [f"… {value[0] - len(parts)} more"] if value[0] > len(parts) else []
            return " ".join(parts + more)
    if covered:
        return f'"{COVERED}"'
    return f'"{quoted(value[0]).strip(chr(34))}"' + (
        f"… {value[1]} bytes" if value[1] > len(value[0]) else ""
    )


@cache
def _literals(called: str) -> frozenset[str]:
    """What stands between quotes in a script: nobody's secret."""
    return frozenset(LITERAL.findall(scripts.text_of(called)))


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
