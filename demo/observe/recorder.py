"""What a script ran in one call, noted by that very call.

`redis.call` is noted as it is used: the script is sent as EVAL, with a few lines of Lua before it
that keep each command and its reply. Its keys, its arguments, its answer and the round trip stay as
they are; so nothing is run twice, and nothing is guessed.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from redis.exceptions import ResponseError

from demo.client.wire import Send, Trip
from demo.config import REPOSITORY

MOST_COMMANDS, MOST_WORDS, MOST_PARTS = 60, 24, 12
MOST_BYTES, WORD_BYTES = 8000, 200
# Each part is {kind, …}: s a string's beginning and its length, i a number, n nil, o a status, e an
# error, a the length of an array and its first parts.
BEFORE = f"""
local server, seen, ran, room = redis, {{}}, 0, {MOST_BYTES}
local function part(value)
  room = room - 8
  if type(value) == 'string' then
    local shown = string.sub(value, 1, math.max(0, math.min({WORD_BYTES}, room)))
    room = room - #shown
    return {{'s', shown, #value}}
  elseif type(value) == 'number' then
    return {{'i', string.format('%.17g', value)}}
  elseif type(value) ~= 'table' then
    return {{'n'}}
  elseif value.ok then
    return {{'o', value.ok}}
  elseif value.err then
    return {{'e', value.err}}
  end
  local parts = {{'a', #value}}
  for n = 1, math.min(#value, {MOST_PARTS}) do
    if room > 0 then parts[#parts + 1] = part(value[n]) end
  end
  return parts
end
local function noted(how)
  return function(...)
    local reply = server[how](...)
    ran = ran + 1
    if ran <= {MOST_COMMANDS} and room > 0 then
      local words = {{}}
      for n = 1, math.min(select('#', ...), {MOST_WORDS}) do
        if room > 0 then words[n] = part((select(n, ...))) end
      end
      seen[#seen + 1] = {{select('#', ...), words, part(reply)}}
    end
    return reply
  end
end
local redis = setmetatable({{call = noted('call'), pcall = noted('pcall')}}, {{__index = server}})
local function script(KEYS, ARGV)
"""
# The answer comes last: a nil would end the array.
AFTER = "\nend\nlocal answer = script(KEYS, ARGV)\nreturn {ran, seen, answer}\n"


@dataclass(frozen=True)
class Ran:
    """One command of a script: how many words it had, the first of them, and its reply."""

    length: int
    words: tuple[Any, ...]
    reply: Any


@dataclass(frozen=True)
class Inside:
    """What a script ran in one call: how many commands, and the first of them. Not `permitted`:
    the server refuses EVAL to the app's user, and nothing could be noted."""

    count: int
    commands: tuple[Ran, ...]
    permitted: bool = True


def run(trip: Trip, send: Send) -> tuple[list[Any], Inside | None]:
    """Sends a trip, with its script noted where it is one, and returns the replies as they would
    have come without. Where EVAL is not permitted it goes out as it is, and only that is noted."""
    args = trip.commands[0]
    text = _text(args) if args[0] in ("EVALSHA", "EVAL") else None
    if text is None:
        return send(trip), None
    reply = send(trip.instead(("EVAL", noting(text), *args[2:])))[0]
    if isinstance(reply, ResponseError) and "'eval'" in str(reply).lower():
        return send(trip), Inside(0, (), permitted=False)
    if isinstance(reply, Exception):
        return [reply], None
    count, seen, *answer = reply
    commands = tuple(Ran(length, tuple(words), came) for length, words, came in seen)
    return [answer[0] if answer else None], Inside(count, commands)


@cache
def noting(text: str) -> str:
    """A script that notes what it runs. Its first line stays: it is known by it."""
    return f"{text.partition(chr(10))[0]}{BEFORE}{text}{AFTER}"


@cache
def texts() -> dict[str, str]:
    """This app's scripts by their SHA-1."""
    found = [path.read_text() for path in (REPOSITORY / "demo").rglob("*.lua")]
    return {hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(): text for text in found}


def _text(args: tuple[Any, ...]) -> str | None:
    first = args[1].decode() if isinstance(args[1], bytes) else str(args[1])
    return texts().get(first) if args[0] == "EVALSHA" else first
