"""Names from the server, made fit for a page that anybody may open: bounded, printable, nobody's
secret in them.

What would identify a visitor, a session's key or the address in a limit's key, is replaced by four
digits of a digest, which tell two apart. Of a key that is not this app's only the part before its
first colon is shown.
"""

import hashlib

from demo.client.contract import PREFIX

HIDDEN = ("sessions", "rate_limit")
LONGEST = 64


def shown_key(key: bytes | str, prefix: str = PREFIX) -> str:
    """A key's name."""
    raw = key.encode() if isinstance(key, str) else key
    mark = f"…{hashlib.sha256(raw).hexdigest()[:4]}"
    text = raw.decode("utf-8", "backslashreplace")
    if not text.startswith(f"{prefix}:"):
        head, colon, _ = text.partition(":")
        return printable(head, 16) + mark if colon and len(head) <= 16 else mark
    room, _, entity = text[len(prefix) + 1 :].partition(":{")
    if room in HIDDEN:
        kind = entity.partition(":")[0] if room == "rate_limit" else ""
        return f"{prefix}:{room}:{{{printable(kind, 32)}{mark}}}"
    return printable(text, LONGEST)


def shown_client(name: str, prefix: str = PREFIX) -> str:
    """Who a connection belongs to, by the name that it has given itself; addresses are not shown."""
    return printable(name, 48) if name.startswith(f"{prefix}:") else "not of this app"


def shown_command(words: bytes | str, prefix: str = PREFIX) -> str:
    """A command of the slow log: its name and its key; other words may be anything."""
    text = words.decode("utf-8", "backslashreplace") if isinstance(words, bytes) else words
    name, *rest = text.split(" ")
    key = next((word for word in rest[:6] if word.startswith(f"{prefix}:")), "")
    more = f" {shown_key(key, prefix)}" if key else " …" if rest else ""
    return printable(name.upper(), 24) + more


def printable(text: str, most: int) -> str:
    """What can be read of a text, `most` characters of it."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:most]
    )
    return shown if len(text) <= most else f"{shown[:most]}…"
