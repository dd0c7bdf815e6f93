"""Replies as redis-cli prints them on a terminal."""

from typing import Any

ESCAPES = {
    0x22: '\\"',
    0x5C: "\\\\",
    0x0A: "\\n",
    0x0D: "\\r",
    0x09: "\\t",
    0x07: "\\a",
    0x08: "\\b",
}


def printed(reply: Any) -> str:
    """A reply in RESP2's forms, whatever redis-py has made of it: pairs stand one after the other,
    and a score is a string."""
    return "\n".join(_lines(reply))


def quoted(value: bytes) -> str:
    """A string in double quotes, its bytes escaped where they are not printable ASCII."""
    return '"' + "".join(_escaped(byte) for byte in value) + '"'


def _escaped(byte: int) -> str:
    return ESCAPES.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}")


def _lines(reply: Any) -> list[str]:
    match reply:
        case None:
            return ["(nil)"]
        case Exception():
            return [f"(error) {reply}"]
        case bool() | int():
            return [f"(integer) {int(reply)}"]
        case float():
            return [quoted(f"{reply:.17g}".encode())]
        case str():
            return [quoted(reply.encode())]
        case bytes():
            return [quoted(reply)]
        case dict():
            return _numbered([part for pair in reply.items() for part in pair])
    return _numbered(list(reply))


def _numbered(parts: list[Any]) -> list[str]:
    """A number before each part, what follows in it below its first line."""
    if not parts:
        return ["(empty array)"]
    width = len(str(len(parts)))
    lines: list[str] = []
    for number, part in enumerate(parts, 1):
        first, *rest = _lines(part)
        lines.append(f"{number:>{width}}) {first}")
        lines += [" " * (width + 2) + line for line in rest]
    return lines
