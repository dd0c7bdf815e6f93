"""Try it in Redis: a prompt that takes a page's own read commands on the page's own keys.

Nobody chooses these keys. The page is made once more, and only keys that its own commands named may
be read, in one round trip after its clock has stopped. A reply is bounded by what is asked: what is
as long as a key is large is refused with a sentence. Of keys in which other visitors may stand only
counts are told, and nothing of a session.
"""

import re
import shlex
from collections.abc import Callable
from html import escape
from typing import Any

from redis.exceptions import RedisError, ResponseError

from demo.client import refusals
from demo.client.wire import Client
from demo.teach.describe import OWN_PREFIX, SECRET_PREFIX, quoted

MOST_CHARACTERS, MOST_WORDS, MOST_ROWS, MOST_SHOWN = 300, 16, 50, 2000
INTEGER = re.compile(r"-?\d{1,9}")
# Whose keys hold what is everybody's, or this visitor's alone.
OPEN = tuple(f"{OWN_PREFIX}{name}:" for name in ("catalog", "leaderboard", "rate_limit"))
WITHOUT_KEY = ("PING", "TIME")
TWO_WORDS = ("OBJECT ENCODING", "MEMORY USAGE")
COUNTS = frozenset(
    "TYPE TTL PTTL EXISTS STRLEN HLEN ZCARD ZCOUNT LLEN SCARD XLEN BITCOUNT".split()
) | set(TWO_WORDS)
READS = COUNTS | frozenset(
    (
        "GET GETRANGE GETBIT HGET HMGET HEXISTS HSTRLEN HRANDFIELD LINDEX LRANGE SISMEMBER SRANDMEMBER "
        "XRANGE XREVRANGE ZMSCORE ZRANGE ZRANK ZREVRANGE ZREVRANK ZSCORE"
    ).split()
)
INSTEAD = {
    "HGETALL": "HLEN, HMGET or HRANDFIELD",
    "HKEYS": "HLEN or HRANDFIELD",
    "HVALS": "HLEN or HRANDFIELD",
    "SMEMBERS": "SCARD or SRANDMEMBER",
    "KEYS": "TYPE of a key of this page",
    "SCAN": "TYPE of a key of this page",
}
FORM, OPEN_FORM = (f'<details class="body" id="ask"{more}>' for more in ("", " open"))
NAMES = "".join(f'<option value="{name} ">' for name in sorted(READS | set(WITHOUT_KEY)))


class Refused(ValueError):
    """Not asked. The message is a sentence for the visitor."""


def names_of(keys: list[str]) -> str:
    """What of a command's keys may be completed, as options of the prompt."""
    shown = [key for key in keys if key.startswith(OPEN)][:3]
    return "".join(
        f'<option value="{escape(f"{name} {quoted(key)}")}">'
        for key in shown
        for name in ("TYPE", "TTL")
    )


def form(path: str, hidden: str, line: str = "", told: str = "") -> str:
    """The prompt, with what was asked and answered; `path` and `line` as HTML."""
    value = f' value="{line}"' if line else ""
    return (
        f"{OPEN_FORM if line else FORM}<summary>Try it in Redis</summary>"
        f'<form class="flow" action="{path}#ask">{hidden}<label for="line" class="label">Read '
        'command for a key of this page</label><input class="input" id="line" name="xray" '
        'list="names" autocomplete="off" spellcheck="false" required '
        f'maxlength="{MOST_CHARACTERS}"{value}><button class="btn small">Send '
        f"command</button></form>{told}</details>"
    )


def answer(client: Client, line: str, keys: list[str]) -> str:
    """What Redis says to a line, or why it was not asked, as HTML."""
    try:
        told = _shown(_run(client, _checked(line, keys)))
    except Refused as error:
        return f'<p class="error" role="status">{escape(str(error))}</p>'
    except RedisError as error:
        kind = refusals.of(error)
        wrong = isinstance(error, ResponseError) and kind is not refusals.NO_PERMISSION
        told = f"(error) {error}" if wrong else kind.sentence
    cut = f"{told[:MOST_SHOWN]}…" if len(told) > MOST_SHOWN else told
    return (
        '<pre class="http" tabindex="0" role="region" aria-label="Answer of Redis">'
        f"<i>&gt;</i> {escape(line)}\n{escape(cut)}</pre>"
    )


def _checked(line: str, keys: list[str]) -> list[str]:
    """The words of a line that may be sent."""
    if len(line) > MOST_CHARACTERS or not line.isprintable():
        raise Refused(
            f"A command can have at most {MOST_CHARACTERS} visible characters. Shorten it."
        )
    try:
        words = shlex.split(line)
    except ValueError:
        raise Refused("A quotation mark is missing.") from None
    name = " ".join(words[:1]).upper()
    if f"{name} {' '.join(words[1:2]).upper()}" in TWO_WORDS:
        name, words = f"{name} {words[1].upper()}", words[1:]
    if len(words) > MOST_WORDS:
        raise Refused(f"A command can have at most {MOST_WORDS} words here. Shorten it.")
    if name in WITHOUT_KEY and len(words) == 1:
        return [name]
    if name in INSTEAD:
        raise Refused(
            f"{name} returns an unlimited number of elements. Use {INSTEAD[name]} instead."
        )
    if name not in READS:
        raise Refused(
            f"{name[:20] or 'This'} is not one of the read commands that you can try here."
        )
    key = words[1] if len(words) > 1 else ""
    if key.startswith(SECRET_PREFIX):
        raise Refused("Session data is not shown.")
    if key not in keys:
        raise Refused(
            "You can try only keys that this page itself has used. They are listed in its commands."
        )
    if not key.startswith(OPEN) and name not in COUNTS:
        raise Refused(
            f"This key may hold data of other visitors, so you can only count it, for example with {_counts()}."
        )
    check: Callable[[list[str]], None] = BOUNDS.get(name, _no_bound)
    check(words[2:])
    return [name, *words[1:]]


def _counts() -> str:
    return "TYPE, TTL or ZCARD"


def _no_bound(_: list[str]) -> None:
    """A command that answers one thing."""


def _range(words: list[str]) -> None:
    first, last = (
        int(word) if INTEGER.fullmatch(word) else None for word in (words + ["", ""])[:2]
    )
    if first is None or last is None or (first < 0) != (last < 0) or last - first >= MOST_ROWS:
        raise Refused(f"Ask for at most {MOST_ROWS} rows, for example from 0 to {MOST_ROWS - 1}.")
    if {word.upper() for word in words[2:]} - {"WITHSCORES", "REV"}:
        raise Refused("After a range you can add only WITHSCORES or REV.")


def _few(words: list[str]) -> None:
    if words and not (INTEGER.fullmatch(words[0]) and abs(int(words[0])) <= MOST_ROWS):
        raise Refused(f"Ask for at most {MOST_ROWS}.")


def _stream(words: list[str]) -> None:
    counted = len(words) == 4 and words[2].upper() == "COUNT"
    if not counted or not INTEGER.fullmatch(words[3]) or not 0 < int(words[3]) <= MOST_ROWS:
        raise Refused(f"Add COUNT and a number up to {MOST_ROWS} at the end.")


def _bytes(words: list[str]) -> None:
    first, last = (int(word) if INTEGER.fullmatch(word) else -1 for word in (words + ["", ""])[:2])
    if not 0 <= first <= last < first + MOST_SHOWN:
        raise Refused(
            f"Ask for at most {MOST_SHOWN} bytes, for example from 0 to {MOST_SHOWN - 1}."
        )


def _alone(words: list[str]) -> None:
    if words:
        raise Refused("Use one key at a time, with nothing after it.")


BOUNDS: dict[str, Callable[[list[str]], None]] = {
    **dict.fromkeys(COUNTS - {"ZCOUNT", "BITCOUNT", "MEMORY USAGE"} | {"GET"}, _alone),
    **dict.fromkeys(("ZRANGE", "ZREVRANGE", "LRANGE"), _range),
    **dict.fromkeys(("HRANDFIELD", "SRANDMEMBER"), _few),
    **dict.fromkeys(("XRANGE", "XREVRANGE"), _stream),
    "GETRANGE": _bytes,
}


def _run(client: Client, words: list[str]) -> Any:
    """The reply. A GET is the beginning of the value, which may be long, in the same one trip."""
    name, *rest = words
    if name != "GET":
        return client.execute_command(name, *rest)
    asked: Any = client.pipeline(transaction=False)
    asked.exists(*rest).getrange(*rest, 0, MOST_SHOWN)
    there, value = asked.execute(raise_on_error=False)
    for reply in (there, value):
        if isinstance(reply, Exception):
            raise reply
    return value if there else None


def _shown(reply: Any, inner: bool = False) -> str:
    """A reply as redis-cli shows it."""
    match reply:
        case None:
            return "(nil)"
        case bool() | int():
            return f"(integer) {int(reply)}"
        case float():
            return f'"{reply:.17g}"'
        case bytes():
            return f'"{quoted(reply).strip(chr(34))}"'
        case dict():
            return _shown([part for pair in reply.items() for part in pair], inner)
        case list() | tuple() | set():
            rows = [_shown(part, inner=True) for part in reply]
            if inner:
                return " ".join(rows)
            return "\n".join(f"{at}) {row}" for at, row in enumerate(rows, 1)) or "(empty array)"
    return str(reply)
