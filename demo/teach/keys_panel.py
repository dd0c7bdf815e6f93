"""The keys behind a page: asked for by a click, never by looking.

Which keys these are nobody chooses: the page is made once more, and what its own commands named is
looked at, after its clock has stopped. What belongs to a session stays covered.
"""

from collections.abc import Iterator
from html import escape
from typing import Any

from redis.exceptions import RedisError

from demo.client import refusals
from demo.client.wire import Client
from demo.observe.trace import Trace
from demo.teach.describe import SECRET_PREFIX, keys_of, shorten, shorten_key
from demo.web.formats import size

MOST = 16
PEEK = 80
PEEKS: dict[str, tuple[Any, ...]] = {
    "string": ("GETRANGE", 0, PEEK),
    "hash": ("HRANDFIELD", 3, "WITHVALUES"),
    "list": ("LRANGE", 0, 2),
    "set": ("SRANDMEMBER", 3),
    "zset": ("ZRANGE", 0, 2, "WITHSCORES"),
    "stream": ("XREVRANGE", "+", "-", "COUNT", 1),
}


def link(address: str) -> str:
    """The place in the panel where they can be asked for; the address as HTML."""
    return f'<p class="body"><a class="btn small" href="{address}#keys" rel="nofollow">Look at the keys</a></p>'


def draw(client: Client, trace: Trace) -> str:
    """The keys that this trace saw, as a table; two round trips of their own, which are not in it."""
    keys = keys_of(trace)[:MOST]
    if not keys:
        return '<p class="body label" id="keys">This page asked for no key.</p>'
    try:
        rows = "".join(_rows(client, keys))
    except RedisError as error:
        told = refusals.of(error).sentence
        return f'<p class="body label" id="keys">Cannot look at the keys: {told}</p>'
    return (
        '<div class="body" id="keys"><h3>The keys behind this page</h3>'
        '<div class="table" tabindex="0" role="region" aria-label="The keys"><table><thead><tr>'
        '<th scope="col">Key, and what is in it</th><th scope="col">Type</th><th scope="col" class="num">Bytes</th>'
        f'<th scope="col" class="num">TTL</th></tr></thead><tbody>{rows}</tbody></table></div>'
        '<p class="label">Asked for by your click, in two round trips of their own.</p></div>'
    )


def _rows(client: Client, keys: list[str]) -> Iterator[str]:
    asked: Any = client.pipeline(transaction=False)
    for key in keys:
        for command in ("TYPE", "OBJECT ENCODING", "PTTL", "MEMORY USAGE"):
            asked.execute_command(command, key)
    facts = asked.execute(raise_on_error=False)
    found = [
        (key, _word(facts[4 * at]), facts[4 * at + 1 : 4 * at + 4]) for at, key in enumerate(keys)
    ]
    peeking: Any = client.pipeline(transaction=False)
    for key, kind, _ in found:
        if kind in PEEKS:
            peeking.execute_command(PEEKS[kind][0], key, *PEEKS[kind][1:])
    peeks = iter(peeking.execute(raise_on_error=False))
    for key, kind, told in found:
        if kind in PEEKS:
            peek = _peek(next(peeks))
            yield _row(key, kind, told, "••••" if key.startswith(SECRET_PREFIX) else peek)
        else:
            yield f'<tr><td class="wide"><code>{escape(shorten_key(key))}</code></td><td colspan="3">not there</td></tr>'


def _row(key: str, kind: str, told: list[Any], peek: str) -> str:
    encoding, ttl_ms, used = told
    left = ttl_ms / 1000 if isinstance(ttl_ms, int) and ttl_ms >= 0 else None
    ttl = f'<span data-ttl="{left:.0f}">{left:.0f} s</span>' if left is not None else "–"
    return (
        f'<tr><td class="wide"><code>{escape(shorten_key(key))}</code><br><span class="label">{escape(peek)}</span></td>'
        f'<td>{kind}<br><span class="label">{escape(_word(encoding))}</span></td>'
        f'<td class="num">{size(used) if isinstance(used, int) else "–"}</td><td class="num">{ttl}</td></tr>'
    )


def _word(value: Any) -> str:
    return (
        value.decode("ascii", "replace")
        if isinstance(value, bytes)
        else value
        if isinstance(value, str)
        else ""
    )


def _peek(value: Any) -> str:
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    parts = value if isinstance(value, (list, tuple)) else [value]
    return ", ".join(shorten(part) for part in parts if not isinstance(part, Exception))[:PEEK]
