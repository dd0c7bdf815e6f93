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
from demo.teach.as_cli import printed
from demo.teach.describe import SECRET_PREFIX, keys_of, shorten_key
from demo.web.formats import LONG_SECONDS, duration, number, size

MOST = 16
PEEK = 80
MOST_SHOWN = 400
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
    return f'<p class="body"><a class="btn small" href="{address}#keys" rel="nofollow">Show keys</a></p>'


def draw(client: Client, trace: Trace) -> str:
    """The keys that this trace saw, as a table; two round trips of their own, which are not in it."""
    keys = keys_of(trace)[:MOST]
    if not keys:
        return '<p class="body label" id="keys">This page used no key.</p>'
    try:
        rows = "".join(_rows(client, keys))
    except RedisError as error:
        told = refusals.of(error).sentence
        return f'<p class="body label" id="keys">The keys cannot be shown: {told}</p>'
    return (
        '<div class="body" id="keys"><h3>Keys used by this page</h3><div class="table" '
        'tabindex="0" role="region" aria-label="The keys"><table><thead><tr><th '
        'scope="col">Type</th><th scope="col" class="num">Bytes</th><th scope="col" '
        f'class="num">TTL</th></tr></thead>{rows}</table></div><p class="label">Your click read '
        "these keys in two extra round trips.</p></div>"
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
            answer = next(peeks)
            peek = "" if isinstance(answer, Exception) else _peek(kind, answer)
            yield _row(key, kind, told, "••••" if key.startswith(SECRET_PREFIX) else peek)
        else:
            yield (
                f'<tbody><tr><th class="wide" scope="rowgroup" colspan="3"><code>{escape(shorten_key(key))}</code>'
                "</th></tr><tr><td>missing</td><td></td><td></td></tr></tbody>"
            )


def _row(key: str, kind: str, told: list[Any], peek: str) -> str:
    encoding, ttl_ms, used = told
    return (
        f'<tbody><tr><th class="wide" scope="rowgroup" colspan="3"><code>{escape(shorten_key(key))}</code>'
        f'<pre class="http">{escape(peek)}</pre></th></tr><tr>'
        f"<td>{kind}, {escape(_word(encoding))}</td>"
        f'<td class="num">{size(used) if isinstance(used, int) else "–"}</td>'
        f'<td class="num">{_left(ttl_ms)}</td></tr></tbody>'
    )


def _left(ttl_ms: Any) -> str:
    """What is left of a key's life, in words, the seconds beside where these are many."""
    if not isinstance(ttl_ms, int) or ttl_ms < 0:
        return "none" if ttl_ms == -1 else "–"
    left = ttl_ms // 1000
    seconds = f'<span data-ttl="{left}" data-then="gone">{number(left)} s</span>'
    return seconds if left < LONG_SECONDS else f"{duration(left)}<br>{seconds}"


def _word(value: Any) -> str:
    return (
        value.decode("ascii", "replace")
        if isinstance(value, bytes)
        else value
        if isinstance(value, str)
        else ""
    )


def _peek(kind: str, value: Any) -> str:
    """The beginning of a value as redis-cli prints it."""
    if kind == "zset":  # redis-py has made pairs of it
        value = [part for pair in value for part in pair]
    text = printed(value)
    if kind == "string" and isinstance(value, bytes) and len(value) > PEEK:
        text = f"{printed(value[:PEEK])}…"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
