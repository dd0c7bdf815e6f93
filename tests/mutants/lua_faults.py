"""Faults in Lua: a short list of operators over its tokens, as no library has one for it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

TOKEN = re.compile(
    r"(?P<comment>--\[\[.*?\]\]|--[^\n]*)"
    r"|(?P<string>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")"
    r"|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>==|~=|<=|>=|\.\.|[-+*/%^#<>=(){}\[\];:,.])",
    re.DOTALL,
)
SWAPS = {
    **{"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "~=", "~=": "=="},
    **{"and": "or", "or": "and", "true": "false", "false": "true"},
    **{"+": "-", "-": "+", "*": "/", "/": "*", "%": "*"},
    **{"min": "max", "max": "min", "floor": "ceil", "ceil": "floor"},
}
OPTIONS = {"NX", "XX", "GT", "LT", "CH", "KEEPTTL"}
LIFETIMES = {"EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"}
OPENS, CLOSES = set("([{"), set(")]}")
Edit = tuple[str, int, int, str]


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    start: int
    end: int

    @property
    def bare(self) -> str:
        return self.text.strip("'\"") if self.kind == "string" else ""


def faults(source: str) -> list[tuple[int, str, Callable[[], str]]]:
    """Line, kind and maker of every fault."""
    return [
        (source.count("\n", 0, start) + 1, kind, partial(_edited, source, start, end, new))
        for kind, start, end, new in _edits(source)
    ]


def _edited(source: str, start: int, end: int, new: str) -> str:
    return source[:start] + new + source[end:]


def tokens(source: str) -> list[Token]:
    """What the source consists of, without its comments."""
    return [
        Token(match.lastgroup or "", match.group(), match.start(), match.end())
        for match in TOKEN.finditer(source)
        if match.lastgroup != "comment"
    ]


def _edits(source: str) -> Iterator[Edit]:
    found = tokens(source)
    for at, token in enumerate(found):
        before = found[at - 1] if at else None
        yield from _swapped(token, before)
        yield from _numbers(token)
        yield from _options(source, found, at)
        yield from _dropped_call(source, found, at)
        yield from _lifetimes(source, found, at)
        yield from _negated(source, found, at)
        if token.text == "not":
            yield "not dropped", token.start, token.end, ""
        if token.bare.startswith("(%"):
            new = token.text.replace("(%", "%", 1)
            yield "bound taken in", token.start, token.end, new


def _swapped(token: Token, before: Token | None) -> Iterator[Edit]:
    if token.kind == "string" or token.text not in SWAPS:
        return
    if token.text == "-" and not (
        before
        and (before.kind in ("number", "name", "string") or before.text in CLOSES)
        and before.text != "return"
    ):
        yield "sign dropped", token.start, token.end, ""
    else:
        yield "swapped", token.start, token.end, SWAPS[token.text]


def _numbers(token: Token) -> Iterator[Edit]:
    if token.kind != "number":
        return
    number = float(token.text)
    if number >= 1000 and number % 1000 == 0:
        yield "another unit", token.start, token.end, str(int(number) // 1000)
    else:
        yield "off by one", token.start, token.end, f"{number + 1:g}"


def _argument(found: list[Token], at: int) -> int:
    """The last token of the argument that begins here."""
    depth = 0
    while True:
        text = found[at].text
        if depth == 0 and (text == "," or text in CLOSES):
            return at - 1
        depth += (text in OPENS) - (text in CLOSES)
        at += 1


def _closing(found: list[Token], at: int) -> int:
    """The token that closes the bracket which opens here."""
    depth = 0
    while True:
        depth += (found[at].text in OPENS) - (found[at].text in CLOSES)
        if depth == 0:
            return at
        at += 1


def _options(source: str, found: list[Token], at: int) -> Iterator[Edit]:
    token, before = found[at], found[at - 1]
    if before.text != "," or token.bare not in OPTIONS | {"PX", "EX", "PXAT", "EXAT"}:
        return
    if token.bare in OPTIONS:
        yield f"{token.bare} dropped", before.start, token.end, ""
        return
    end = found[_argument(found, at + 2)].end
    yield "expiry dropped", before.start, end, ""
    yield from _other_lifetime(source, found[at + 2].start, end)


def _lifetimes(source: str, found: list[Token], at: int) -> Iterator[Edit]:
    """The lifetime is the last argument of the call."""
    if found[at].bare not in LIFETIMES or found[at + 1].text != ",":
        return
    first = at + 2
    while found[last := _argument(found, first)].end and found[last + 1].text == ",":
        first = last + 2
    yield from _other_lifetime(source, found[first].start, found[last].end)


def _other_lifetime(source: str, start: int, end: int) -> Iterator[Edit]:
    yield "half as long", start, end, f"math.ceil(({source[start:end]}) / 2)"
    yield "twice as long", start, end, f"math.ceil(({source[start:end]}) * 2)"


def _dropped_call(source: str, found: list[Token], at: int) -> Iterator[Edit]:
    """A call that is a statement of its own: it begins a line, or a block on one line."""
    token, before = found[at], found[at - 1] if at else None
    first = not source[source.rfind("\n", 0, token.start) + 1 : token.start].strip()
    begins = first and (
        before is None or before.text not in SWAPS.keys() | OPENS | {",", "=", "return", ".."}
    )
    begins = begins or (before is not None and before.text in ("then", "do", "else"))
    if token.kind != "name" or token.text in ("function", "return", "if") or not begins:
        return
    while found[at + 1].text == "." and found[at + 2].kind == "name":
        at += 2
    if found[at + 1].text == "(":
        yield "call dropped", token.start, found[_closing(found, at + 1)].end, ""


def _negated(source: str, found: list[Token], at: int) -> Iterator[Edit]:
    if found[at].text in ("if", "elseif"):
        last = next(i for i in range(at, len(found)) if found[i].text == "then")
        start, end = found[at + 1].start, found[last - 1].end
        yield "negated", start, end, f"not ({source[start:end]})"
