"""A game of ten seconds whose score is earned: type the words that the server has chosen.

A ticket says when the server handed out which words, for which board. A ticket is signed, so nobody
but the server can make one. The ticket comes back with the answer. By the server's clock, at most
SECONDS and a short grace pass between ticket and answer, so a score has a maximum. An answer after
t seconds can have MOST_PER_SECOND · t characters and no more. The ticket's number is the
idempotency key, so a ticket counts once.

A ticket does not show who typed: a program may, at the pace of the quickest typist. The maximum
holds for it too.
"""

import hashlib
import hmac
import random
import re
import secrets
from dataclasses import dataclass

SECONDS, GRACE_SECONDS = 10, 2
MOST_PER_SECOND = 20
POINTS = 10
COUNT = 36
MOST_CHARACTERS = 400
TICKET = re.compile(r"(?P<ms>\d{13,16})\.(?P<number>[0-9a-f]{24})\.(?P<mac>[0-9a-f]{64})")
ALL_WORDS = (
    "apple bridge candle desert eagle forest garden harbor island jacket kettle ladder marble needle orange paper quiver "
    "river saddle table under violet window yellow zebra anchor basket copper dinner engine feather glass hammer iron "
    "jungle knight lemon mirror night ocean pepper queen ribbon silver tiger unit valley winter"
)
WORDS = tuple(ALL_WORDS.split())


class Refused(ValueError):
    """Not counted. The message is a sentence for the player."""


@dataclass(frozen=True)
class Round:
    """One game: its ticket, the words to type, and when it began, in milliseconds."""

    ticket: str
    number: str
    words: tuple[str, ...]
    began_ms: int


@dataclass(frozen=True)
class Result:
    """An answer that counts: points, characters of right words, and the seconds that it took by the
    server's clock."""

    score: int
    characters: int
    seconds: float


def start(secret: str, board: str, now_ms: int) -> Round:
    """A new game."""
    number = secrets.token_hex(12)
    return _round(f"{now_ms}.{number}.{_mac(secret, board, now_ms, number)}", number, now_ms)


def read(secret: str, board: str, ticket: str) -> Round:
    """The game of a ticket. Raises Refused when this server has not signed it for this board."""
    found = TICKET.fullmatch(ticket)
    if not found or not hmac.compare_digest(
        found["mac"], _mac(secret, board, int(found["ms"]), found["number"])
    ):
        raise Refused("This is not a ticket of this board. Nothing was counted. Start a new game.")
    return _round(ticket, found["number"], int(found["ms"]))


def judge(game: Round, typed: str, now_ms: int) -> Result:
    """What an answer is worth: the words that are right, in their order. Raises Refused."""
    seconds = (now_ms - game.began_ms) / 1000
    if not 0 <= seconds <= SECONDS + GRACE_SECONDS:
        raise Refused("The ten seconds are over. Nothing was counted. Start a new game.")
    characters = 0
    for word, wanted in zip(typed[:MOST_CHARACTERS].split(), game.words, strict=False):
        if word != wanted:
            break
        characters += len(word)
    if characters > MOST_PER_SECOND * seconds:
        raise Refused(
            f"{characters} characters in {seconds:.1f} s: nobody types that fast. Nothing was "
            "counted."
        )
    return Result(POINTS * characters, characters, seconds)


def _round(ticket: str, number: str, began_ms: int) -> Round:
    return Round(ticket, number, tuple(random.Random(number).sample(WORDS, COUNT)), began_ms)


def _mac(secret: str, board: str, now_ms: int, number: str) -> str:
    return hmac.new(
        f"game:{secret}".encode(), f"{board}.{now_ms}.{number}".encode(), hashlib.sha256
    ).hexdigest()
